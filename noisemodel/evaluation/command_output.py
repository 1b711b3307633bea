"""What evaluation commands share: a bar that moves, and the files they leave."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from noisemodel.checkpoint import write_atomically
from noisemodel.errors import InputError

WIDTH = 150  # of tables that do not go to a terminal


def check_targets(**paths: Path | None) -> None:
    """Raise InputError where an output, by the name of its option, cannot be a file."""
    for name, path in paths.items():
        if path is not None and (path.is_dir() or any(parent.is_file() for parent in path.parents)):
            raise InputError(f"--{name} {path} is a folder, or lies below a file; give a file in a folder")


def write_targets(writers: Mapping[Path | None, Callable[[Path], object]], console: Console) -> None:
    """Write each file whole and print its path; None is what was not asked for."""
    for path, write in writers.items():
        if path is not None:
            write_atomically(path, write)
            console.print(str(path))


def consoles() -> tuple[Console, Console]:
    """For lines of any length, and for tables; both on stdout."""
    lines = Console(soft_wrap=True, markup=False, highlight=False)
    return lines, Console(width=None if lines.is_terminal else WIDTH, markup=False)


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr; gives the function that moves it on by one."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
