"""What every training program shares of pytorch-lightning: checkpoints, time limit, progress, and how a fit is run."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from noisemodel.checkpoint import write_atomically

LINES_EVERY_S = 10.0  # where the output is no terminal


class SyncedCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, syncs and renames: a kill while writing leaves the previous checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save as torch does, atomically."""
        write_atomically(Path(path), lambda temporary: torch.save(checkpoint, temporary))


class Deadline(pl.Callback):
    """Stops training after ``minutes``, on all processes together."""

    def __init__(self, minutes: float) -> None:
        """Start the clock."""
        self.end = time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop when the time is over."""
        over = trainer.strategy.reduce_boolean_decision(time.monotonic() > self.end, all=False)
        trainer.should_stop = trainer.should_stop or over


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
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec", module="pytorch_lightning")
    warnings.filterwarnings("ignore", "Found .* in eval mode", module="pytorch_lightning")  # lpips
    trainer = pl.Trainer(
        accelerator="gpu" if devices else "cpu",
        devices=list(devices) or 1,
        num_nodes=nodes,
        strategy="ddp_find_unused_parameters_true" if nodes * len(devices or [0]) > 1 else "auto",
        max_epochs=1,
        logger=logger,
        callbacks=callbacks,
        plugins=[SyncedCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        deterministic="warn" if deterministic else None,
    )
    try:
        trainer.fit(module, ckpt_path=resume, weights_only=True)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning has turned Ctrl-C into exit(1)
            raise KeyboardInterrupt from None
        raise
