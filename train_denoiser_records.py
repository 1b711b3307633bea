"""What a run of train_denoiser.py leaves in its folder: metrics, pictures, the denoiser."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from denoisers.pairs import Pair
from denoisers.trained import Denoiser, save_denoiser
from denoisers.validation import comparison, noisy_psnr
from noisemodel.checkpoint import write_atomically
from noisemodel.lightning_parts import Due
from noisemodel.png import write_png
from noisemodel.runs import RunFolder


class Trained(Protocol):
    """What is asked of a training run, whatever its method."""

    step: Any
    losses: dict[str, float]
    psnr: float | None
    validation: Sequence[Pair]

    def trained(self) -> Denoiser:
        """What is validated and saved."""

    def validate(self) -> float | None:
        """The PSNR of the validation images now."""


@dataclass
class Records:
    """Writes what is due.

    Args:
        folder: of the run.
        options: of the run, for the denoiser's provenance.
    """

    folder: RunFolder
    options: Mapping[str, Any]
    begin: float = field(default_factory=time.monotonic)

    def due(self, display_interval: int, validation_interval: int) -> list[Due]:
        """What is written how often."""
        return [Due(validation_interval, self.validation), Due(display_interval, self.metrics)]

    def metrics(self, training: Trained) -> None:
        """A row of metrics.csv; the PSNR where there was a validation at this step."""
        row = {"step": int(training.step), "seconds": round(time.monotonic() - self.begin, 1), **training.losses}
        row.pop("psnr", None)  # of an earlier step
        before = next((r for r in self.folder.metrics() if r["step"] == row["step"]), {})
        self.folder.add_metrics({**row, **{name: before[name] for name in ("psnr", "noisy psnr") if name in before}})

    def validation(self, training: Trained) -> None:
        """PSNR, picture and denoiser as they are now."""
        step, found = int(training.step), training.validate()
        row: dict[str, float] = {"step": step, "seconds": round(time.monotonic() - self.begin, 1)}
        if found is not None:
            row |= {"psnr": found, "noisy psnr": noisy_psnr(training.validation)}
            picture = comparison(training.trained(), training.validation)
            write_atomically(picture_file(self.folder.path, step), lambda file: write_png(file, picture))
        self.folder.add_metrics(row)
        save_denoiser(
            training.trained(),
            self.folder.model_file,
            program="train_denoiser.py",
            step=step,
            psnr=found,
            options=dict(self.options),
        )


def picture_file(folder: Path, step: int) -> Path:
    """Where the picture of a step lies."""
    return folder / f"validation_{step:06d}.png"


def plot_losses(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Losses, and the PSNR beside that of the noisy images, against steps, as PNG; ``rows`` are of metrics.csv."""
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=120)
    left, right = figure.subplots(1, 2)
    names = dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds"))
    for name in names:
        axis = right if "psnr" in name else left
        found = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*found, strict=True), label=name, marker="." if axis is right else None, linewidth=1)
    left.set(xlabel="step", ylabel="loss")
    right.set(xlabel="step", ylabel="PSNR of the validation images [dB]")
    for axis in (left, right):
        if axis.get_lines():
            axis.legend()
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return path
