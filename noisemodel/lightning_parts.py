"""What every training program shares of pytorch-lightning: checkpoints, time limit, progress, and how a fit is run."""

import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from noisemodel.checkpoint import write_atomically
from noisemodel.errors import InputError
from noisemodel.stopping import STOPPING

LINES_EVERY_S = 10.0  # where the output is no terminal
UNUSUAL = 100.0  # times the usual norm of a gradient: worth a word
SETTLED = 20  # steps after which there is a usual norm
LOG = logging.getLogger("noisemodel")


class SyncedCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, syncs and renames: a kill while writing leaves the previous checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save as torch does, atomically.

        Raises: InputError if it cannot be written (a full disk): what was saved before stays as it was.
        """
        try:
            write_atomically(Path(path), lambda temporary: torch.save(checkpoint, temporary))
        except (OSError, RuntimeError) as error:  # torch's writer turns a failed write into a RuntimeError
            reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["the write failed"])[0]
            before = "; the one saved before is whole, --resume goes on from it" if Path(path).is_file() else ""
            raise InputError(f"cannot write {path} ({reason}): make room{before}") from error


class Signalled(pl.Callback):
    """SIGINT and SIGTERM end the run after the step, with its state saved; a second signal ends it at once."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.number: int | None = None
        self.before = {each: signal.getsignal(each) for each in STOPPING}
        self.listens = threading.current_thread() is threading.main_thread()  # other threads are never told

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen; afterwards the handlers are those of before."""
        self._set(dict.fromkeys(STOPPING, self._note))
        try:
            yield
        finally:
            self._set(self.before)

    def _set(self, handlers: Mapping[signal.Signals, Any]) -> None:
        for each, handler in handlers.items():
            if self.listens and handler is not None:  # None: not set from Python
                signal.signal(each, handler)

    def _note(self, number: int, _: Any) -> None:
        self.number = number
        self._set(self.before)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Listen in Lightning's place, which would end the run without saving."""
        if self.number is None:
            self._set(dict.fromkeys(STOPPING, self._note))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop all processes together when one was signalled."""
        heard = self.number is not None
        if trainer.world_size > 1:
            heard = trainer.strategy.reduce_boolean_decision(heard, all=False)
        trainer.should_stop = trainer.should_stop or heard


class GradientWatch:
    """Says when a gradient is far beyond its usual norm, the geometric mean of those before."""

    def __init__(self) -> None:
        """No gradient seen yet."""
        self.log_usual: dict[str, float] = {}
        self.seen = 0

    def look(self, norms: dict[str, float], step: int) -> None:
        """Warn where one of the ``norms`` by network is unusual; infinite ones are for whoever stops the run."""
        self.seen += 1
        for name, norm in norms.items():
            if not 0 < norm < float("inf"):
                continue
            log = torch.tensor(norm).log().item()
            usual = self.log_usual.setdefault(name, log)
            over = torch.tensor(log - usual).exp().item()
            if self.seen > SETTLED and over > UNUSUAL:
                LOG.warning(f"step {step}: the gradient of the {name} is {over:.0f} times its usual size ({norm:.3g})")
            self.log_usual[name] = usual + (log - usual) / min(self.seen, SETTLED)


def gradient_norm(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """||g|| over all parameters that have a gradient, a scalar."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def diverged(
    step: int, figures: dict[str, float], remedy: str, files: Sequence[str] = (), last_good: Path | str | None = None
) -> InputError:
    """What to raise when losses are no longer finite: step, losses, the batch's files, where the last good state is."""
    losses = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    named = list(dict.fromkeys(files))
    batch = f"; batch of {', '.join(named[:4])}{' ...' if len(named) > 4 else ''}" if named else ""
    state = f"; the last good state is {last_good}" if last_good and Path(last_good).is_file() else ""
    return InputError(f"training diverged at step {step} ({losses}){batch}{state}; {remedy}")


class Deadline(pl.Callback):
    """Stops training after ``minutes``, on all processes together."""

    def __init__(self, minutes: float) -> None:
        """Start the clock."""
        self.end = time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop when the time is over."""
        over = trainer.strategy.reduce_boolean_decision(time.monotonic() > self.end, all=False)
        trainer.should_stop = trainer.should_stop or over


class Due(NamedTuple):
    """What is done with the module every ``interval`` steps (0: never), and at the end of a run."""

    interval: int
    do: Callable[[Any], None]


class Recorder(pl.Callback):
    """Calls what is due on the first process, then saves the resume state: files never lag behind it.

    A module with a method ``refuse_divergence`` is asked first: nothing is written of a run that has broken down.

    Args:
        due: in order.
        checkpoint_interval: steps between resume states; the last step has one too.
        resume_file: the state to resume from.
    """

    def __init__(self, due: Sequence[Due], checkpoint_interval: int, resume_file: Path) -> None:
        """Keep the table."""
        self.due, self.checkpoint_interval, self.resume_file = due, checkpoint_interval, resume_file

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Let messages name the state."""
        pl_module.state_file = self.resume_file

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Look what is due."""
        step = int(pl_module.step)
        last = step == pl_module.options.num_iter or trainer.should_stop
        due = [each.do for each in self.due if last or (each.interval and step % each.interval == 0)]
        saves = last or step % self.checkpoint_interval == 0
        if (due or saves) and hasattr(pl_module, "refuse_divergence"):
            pl_module.refuse_divergence()
        for do in due if trainer.is_global_zero else ():
            do(pl_module)
        if saves:
            trainer.save_checkpoint(self.resume_file, weights_only=False)


class ProgressLine(pl.Callback):
    """A bar with rate, time left and ``describe()`` on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, describe: Callable[[], str]) -> None:
        """Call ``describe`` for the figures that matter."""
        self.describe, self.console = describe, Console()
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.2f} it/s"), TimeElapsedColumn())
        self.bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=self.console)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self.begin = self.last = time.monotonic()
        self.first, total = int(pl_module.step), pl_module.options.num_iter
        self.task = self.bar.add_task("", total=total, completed=self.first, rate=0.0, text=self.describe())
        if self.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Show where the run stands."""
        now, step, total = time.monotonic(), int(pl_module.step), pl_module.options.num_iter
        rate = (step - self.first) / (now - self.begin)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=step, rate=rate, text=self.describe())
        if not self.console.is_terminal and (now - self.last > LINES_EVERY_S or step == total):
            self.last = now
            left = timedelta(seconds=round((total - step) / rate))
            self.console.print(f"step {step}/{total}  {rate:.2f} it/s  {left} left  {self.describe()}", soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give the terminal back."""
        self.bar.stop()


def _lost_a_process(error: RuntimeError) -> bool:
    """Whether a message between processes failed: gloo's errors have no type of their own."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def run_fit(
    module: pl.LightningModule,
    callbacks: list[pl.Callback],
    *,
    devices: Sequence[int] = (),
    nodes: int = 1,
    logger: Any = False,
    resume: Path | None = None,
    deterministic: bool = False,
) -> None:
    """One pass over the module's batches, on the CPU or on the GPUs of each node that ``devices`` names.

    The module optimises by hand and counts its own steps; ``deterministic`` asks GPUs for reproducible sums.
    Raises: KeyboardInterrupt with the signal's number when SIGINT or SIGTERM ended it, after the state was saved.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec", module="pytorch_lightning")
    warnings.filterwarnings("ignore", "Found .* in eval mode", module="pytorch_lightning")  # lpips
    signalled, world = Signalled(), nodes * len(devices or [0])
    try:
        with signalled.heard():
            trainer = pl.Trainer(
                accelerator="gpu" if devices else "cpu",
                devices=list(devices) or 1,
                num_nodes=nodes,
                strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
                max_epochs=1,
                logger=logger,
                callbacks=[signalled, *callbacks],  # first: recorders save the step that is the last
                plugins=[SyncedCheckpointIO()],
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                log_every_n_steps=1,
                use_distributed_sampler=False,
                deterministic="warn" if deterministic else None,
            )
            trainer.fit(module, ckpt_path=resume, weights_only=True)
    except RuntimeError as error:
        if world == 1 or not _lost_a_process(error):
            raise
        raise InputError(
            "another process of this run has ended or cannot be reached: its output says why; start all of them again "
            "with --resume"
        ) from error
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has turned Ctrl-C into exit(1)
            raise KeyboardInterrupt(*stop.__context__.args) from None
        raise
    if signalled.number is not None:
        raise KeyboardInterrupt(signalled.number)
