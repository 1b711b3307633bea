"""Damaged files are read in a process of their own, so that a crash, a hang or a memory limit ends only that.

As a script it is that process: a subject a line on stdin, a line for every mutant on stdout.
"""

import contextlib
import json
import logging
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LIMIT_S = 10.0  # for one file, of this process's own time
LIMIT_BYTES = 10**9
LONGEST = 600  # characters of a message, beside the path


class Result(NamedTuple):
    """What came of one mutant: "read", "refused", or what went wrong."""

    subject: str
    kind: str
    name: str
    outcome: str
    said: str

    @property
    def survived(self) -> bool:
        return self.outcome in ("read", "refused")


class Reading:
    """Reads mutants of the subjects in a child process, and starts another one where it dies.

    Args:
        folder: an empty folder to work in.
        patience_s: on the clock, for one file; longer than `LIMIT_S`, for machines that are busy.
    """

    def __init__(self, folder: Path, patience_s: float = 25.0) -> None:
        self.folder, self.patience_s, self.child = folder, patience_s, None
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process

    def results(self, subject: str, *, seed: int = 0, flips: int = 16) -> list[Result]:
        """What came of every mutant of one subject."""
        found: list[Result] = []
        while True:
            self._ask({"subject": subject, "seed": seed, "flips": flips, "skip": len(found)})
            begun = ("", "")
            while (line := self._line()) is not None and "end" not in line:
                if "outcome" in line:
                    found.append(Result(subject, *begun, line["outcome"], line["said"]))
                    if line["outcome"] == "memory":  # it may not have been given back: others would pay for it
                        break
                else:
                    begun = line["kind"], line["name"]
            if line is not None and "end" in line:
                return found
            if line is not None:
                self._why()
                continue
            if not begun[0]:
                self.errors.seek(0)
                raise RuntimeError(f"{subject}: the reading process died: {self.errors.read()[-3000:].decode()}")
            found.append(Result(subject, *begun, self._why(), ""))

    def _ask(self, question: dict[str, Any]) -> None:
        if self.child is None:
            command = [sys.executable, str(Path(__file__)), str(self.folder)]
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0, cwd=self.folder
            )
            self.pending = b""
        self.fresh = True  # files are written first
        self.child.stdin.write(json.dumps(question).encode() + b"\n")

    def _line(self) -> dict[str, Any] | None:
        """The next answer; None where the process died or is late."""
        self.late = False
        deadline, self.fresh = time.monotonic() + self.patience_s + 120 * self.fresh, False
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            self.late = not ready
            if self.late or not (part := os.read(self.child.stdout.fileno(), 1 << 16)):
                return None
            self.pending += part
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def _why(self) -> str:
        child, self.child = self.child, None
        child.kill()
        code = child.wait()
        child.stdin.close(), child.stdout.close()
        return "hung" if self.late else f"crashed ({code})"

    def close(self) -> None:
        """End the process."""
        if self.child is not None:
            self._why()
        self.errors.close()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def table(results: list[Result]) -> str:
    """Faults tried and survived by reader, as Markdown."""
    lines = ["| reader | faults tried | read | refused in one line | other |", "|---|--:|--:|--:|--:|"]
    for subject in dict.fromkeys(result.subject for result in results):
        counts = Counter(result.outcome for result in results if result.subject == subject)
        total, read, refused = sum(counts.values()), counts["read"], counts["refused"]
        lines.append(f"| {subject} | {total} | {read} | {refused} | {total - read - refused} |")
    counts = Counter("other" if not r.survived else r.outcome for r in results)
    return "\n".join([*lines, f"| all | {len(results)} | {counts['read']} | {counts['refused']} | {counts['other']} |"])


# Readers that a fault has to be found in, for tests of this file.


def unlucky(path: Path, how: str) -> Any:
    """Does what no reader may, on a file that is cut to half."""
    from noisemodel.errors import InputError

    if how == "not finite":
        return [float("nan")] if path.stat().st_size == 8 else [1.0]
    if path.stat().st_size != 8:
        return [1.0]
    deeds = {
        "ZeroDivisionError": lambda: 1 // 0,
        "crashed": os.abort,
        "hung": lambda: time.sleep(1000),
        "memory": lambda: len(bytearray(1200 * 10**6).replace(b"x", b"y")),
        "no path": lambda: (_ for _ in ()).throw(InputError("it is damaged")),
        "more than a line": lambda: warnings.warn("something", stacklevel=1),
    }
    deeds[how]()
    return [1.0]


UNLUCKY = ("ZeroDivisionError", "crashed", "hung", "memory", "no path", "more than a line", "not finite")


def unlucky_subjects() -> dict[str, Any]:
    """A subject for each of `UNLUCKY`."""
    from fuzz_files import Subject

    return {
        how: Subject("a.bin", lambda folder: (folder / "a.bin").write_bytes(bytes(16)), partial(unlucky, how=how))
        for how in UNLUCKY
    }


# The other side.


def judged(subject: Any, path: Path) -> tuple[str, str]:
    """Read one file: the outcome, and what was said."""
    import numpy as np
    from fuzz_files import numbers

    from noisemodel.errors import InputError

    try:
        found = list(numbers(subject.read(path)))
    except InputError as error:
        said = str(error)
        if "\n" in said or len(said) > LONGEST + len(str(path)):
            return "more than a line", said
        if not any(str(place) in said for place in (path, path.parent, path.name, path.parents[1])):
            return "no path", said
        if "MemoryError" in said or "llocate" in said:
            return "memory", said
        return "refused", said
    except MemoryError as error:
        return "memory", repr(error)
    except Exception as error:
        return type(error).__name__, f"{error} ({_where(error)})"
    finite = all(np.isfinite(array).all() for array in found if array.dtype.kind in "fc")
    return ("read", "") if finite else ("not finite", "")


def _where(error: BaseException) -> str:
    """The last line of ours."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(str(ROOT)) and "tests" not in name:
            place = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def memory(name: str) -> int:
    """VmHWM (the peak) or VmRSS of this process and the raw decoder's [bytes]."""
    from noisemodel.sensor.raw_decoder import DECODER

    child = DECODER._child
    total = 0
    for pid in ("self", *([] if child is None else [str(child.pid)])):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/status").read_text()
            total += sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(name))
    return total


@contextlib.contextmanager
def quiet(said: Path) -> Iterator[None]:
    """What is written to stderr goes into a file."""
    kept = os.dup(2)
    with said.open("wb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def attempt(subject: Any, path: Path, stderr: Path) -> tuple[str, str]:
    """As `judged`, with time, memory, warnings and stderr looked at."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before, begin = memory("VmRSS"), time.process_time()
    with warnings.catch_warnings(record=True) as caught, quiet(stderr):
        warnings.simplefilter("default")
        outcome, said = judged(subject, path)
    used, took = memory("VmHWM") - before, time.process_time() - begin
    aloud = [
        str(each.message) for each in caught if not issubclass(each.category, DeprecationWarning | ResourceWarning)
    ]
    aloud += stderr.read_text(errors="replace").splitlines()
    if outcome in ("read", "refused"):
        if took > LIMIT_S:
            return "slow", f"{took:.0f} s"
        if used > LIMIT_BYTES:
            return "memory", f"{used / 1e6:.0f} MB"
        if aloud:
            return "more than a line", aloud[0]
    return outcome, said


def answers(question: dict[str, Any], place: Path) -> Iterator[dict[str, Any]]:
    """Begin and outcome of every mutant of a subject."""
    from fuzz_files import FILES
    from fuzz_models import MODELS
    from fuzz_mutants import ODD_NAMES, Mutant, mutants

    subject = {**FILES, **MODELS, **unlucky_subjects()}[question["subject"]]
    work = place / "files"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    subject.write(work)
    path = work / subject.file
    data = path.read_bytes()
    tried = [
        Mutant("whole", "as it is", lambda path: None),
        *mutants(subject, data, question["seed"], question["flips"]),
    ]
    odd = [Mutant("name", name, lambda path: None) for name in ODD_NAMES if question["seed"] == 0]
    for number, mutant in enumerate([*tried, *odd]):
        if number < question["skip"]:
            continue
        yield {"kind": mutant.kind, "name": mutant.name}
        at = path
        if mutant.kind == "name":
            at = renamed(subject, place, mutant.name)
        else:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            path.write_bytes(data)
            mutant.apply(path)
            if path.is_file():  # two mutants of one moment and size are two files to a cache
                os.utime(path, ns=(number * 10**9, number * 10**9 + question["seed"]))
        outcome, said = attempt(subject, at, place / "stderr")
        if mutant.kind in ("whole", "name") and outcome != "read":
            outcome, said = f"whole file {outcome}", said
        yield {"outcome": outcome, "said": said}
    yield {"end": True}


def renamed(subject: Any, place: Path, name: str) -> Path:
    """The valid files in a folder of an odd name, the file itself called so too where it may be."""
    work = place / f"{name}folder"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    subject.write(work)
    path = work / subject.file
    return path.rename(path.with_name(f"{name}{path.name}")) if subject.named else path


def main() -> None:
    """Answer until the input ends."""
    place = Path(sys.argv[1])
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ["NOISEMODEL_CACHE"] = str(place / "cache")
    import torch

    torch.set_num_threads(1)
    logging.getLogger("noisemodel").setLevel(logging.ERROR)
    import fuzz_files  # noqa: F401 - before the limit is set
    import fuzz_models  # noqa: F401
    from fuzz_privileges import heed_permissions

    if not heed_permissions():
        raise SystemExit("files without permission can be read here, which cannot be switched off: nothing to try")
    size = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line)
    resource.setrlimit(resource.RLIMIT_AS, (1024 * size + 4 * LIMIT_BYTES,) * 2)
    for line in sys.stdin.buffer:
        for answer in answers(json.loads(line), place):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
