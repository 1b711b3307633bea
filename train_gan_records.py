"""What a run of train_gan_noisemodel.py leaves in its folder and prints: metrics, the model, pictures, tables."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

import noisemodel
from datasets import BurstSet
from noisemodel.calibration import ClosedForm
from noisemodel.checkpoint import read_model
from noisemodel.commandline import to_dict
from noisemodel.evaluation.fidelity_ratio import fidelity_ratio
from noisemodel.evaluation.history import plot_history
from noisemodel.evaluation.parameter_table import compare_parameters
from noisemodel.generator import NoiseGenerator
from noisemodel.iso_groups import figures_of, law_table
from noisemodel.iso_law import middle_iso
from noisemodel.runs import RunFolder
from noisemodel.starting import Sensor, with_pattern
from noisemodel.training import NoiseGan

if TYPE_CHECKING:
    from train_gan_noisemodel import TrainOptions


@dataclass(frozen=True)
class Records:
    """Writes a row of metrics per score, and the model where it is to be kept."""

    folder: RunFolder
    options: "TrainOptions"
    data: str
    closed: ClosedForm
    begin: float

    def __call__(self, gan: NoiseGan, score: float, keep: bool) -> None:
        """Record where ``gan`` stands."""
        generator, step = gan.game.averaged, int(gan.step)
        values = {p.name: p.value for p in generator.physical.parameters_table()}
        values |= {f"last.{p.name}": p.value for p in gan.game.generator.physical.parameters_table()}
        row = {"step": step, "seconds": round(time.monotonic() - self.begin, 1), "score": score, **gan.losses, **values}
        self.folder.add_metrics(row)
        if gan.logger is not None:
            gan.logger.log_metrics({"score": score, **{f"physics/{k}": v for k, v in values.items()}}, step=step)
        if keep:
            noisemodel.save(
                generator,
                self.folder.model_file,
                program="train_gan_noisemodel.py",
                options=to_dict(self.options),
                data=self.data,
                calibration=self.closed.to_dict(),
                step=step,
                score=score,
            )


def report(
    console: Console,
    folder: RunFolder,
    sets: Mapping[int, BurstSet],
    sensor: Sensor,
    closed: Mapping[int, ClosedForm],
    held: list[str],
    options: "TrainOptions",
) -> None:
    """Print true | calibrated | learned, draw the parameters over time, and, with --view, viewnoise's pictures."""
    model, made = read_model(folder.path), noisemodel.read_provenance(folder.path)
    iso0, physical = middle_iso(sets), model.physical
    data = sets[iso0]
    true = data.true_parameters or {}
    calibrated = {iso: sensor.model(physical.noiselist, with_pattern(each, physical)) for iso, each in closed.items()}
    console.print(compare_parameters(physical, calibrated[iso0], true, held, calibration=made["calibration"]))
    if model.iso_law is not None:
        console.print(law_table(model.iso_law, {iso: figures_of(each) for iso, each in calibrated.items()}))
    first = folder.metrics()[0]["score"]
    console.print(
        f"energy score (lower is better): {first:.5f} at the start, {made['score']:.5f} at step {made['step']}"
    )
    for iso, each in sets.items():
        learned = model if model.iso_law is None else model.at_iso(iso)
        for name, judged in (("calibrated", NoiseGenerator(calibrated[iso])), ("learned", learned)):
            ratio = fidelity_ratio(judged, each.bursts, options.seed)
            if ratio is not None:
                about = f"ISO {iso}, {name}" if len(sets) > 1 else name
                console.print(f"{about}: {ratio:.3g} times the distance of real from real noise (see docs/evaluate.md)")
    console.print(f"model: {folder.model_file}")
    picture = folder.path / "parameters_over_time.png"
    plot_history(folder.metrics(), physical.parameters_table(), data.levels, true, picture)
    console.print(f"picture: {picture}")
    if options.view:
        from viewnoise import view

        view(model, data, folder.path / "view", seed=options.seed)
