"""Fidelity of generated noise beside single frames with ground truth: real frame against generated frame.

The value compares each real frame with one generated frame of the same scene; where a scene has two real frames, the
floor compares these, each about its own ground truth. Without a second frame there is no floor, and it is NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from noisemodel.evaluation.fidelity import METRICS, Described, Score, join_recordings
from noisemodel.evaluation.recording import Recording
from noisemodel.evaluation.sample_counts import Sample, root_mean_square
from noisemodel.streams import stream


def measure_frames(
    real: Sequence[tuple[Recording, Tensor]],
    generated: Sequence[Tensor],
    names: Sequence[str],
    *,
    draws: int,
    generator: torch.Generator,
    described: Described | None = None,
) -> dict[str, Tensor]:
    """Value and floor of each metric on one scene: name -> (2, draws + 1), the first column not resampled.

    Args:
        real: recordings of one scene at the same place, and their residuals (T, C, h, w).
        generated: residuals beside each of them.
        names: of metrics that are defined on the data.
        draws: bootstrap resamples of bands of rows.
        generator: of the resampling.
        described: of the same real residuals, to be used again for the next source; filled here.
    Returns: values are means over the recordings; the floor compares the first two.
    """
    described = Described() if described is None else described
    scale = root_mean_square(real[0][1], real[0][0].valid)
    sides = [Sample(residual, at, scale) for at, residual in real]
    made = [Sample(residual, at, scale, generated=True) for (at, _), residual in zip(real, generated, strict=True)]
    found: dict[str, Tensor] = {}
    for describe in dict.fromkeys(METRICS[name].describe for name in names):
        if describe not in described:
            described[describe] = [describe(side) for side in sides]
        truth, models = described[describe], [describe(side) for side in made]
        for name in (name for name in names if METRICS[name].describe is describe):
            metric = METRICS[name]
            parts = [metric.compare(a, b) for a, b in zip(truth, models, strict=True)]
            parts += [metric.compare(truth[0], truth[1])] if len(truth) > 1 else []
            weights = _weights(len(parts[0]), draws, generator)
            numbers = [metric.finish(weights.to(part) @ part, sides[0]).double().cpu() for part in parts]
            floor = numbers.pop() if len(truth) > 1 else torch.full_like(numbers[0], math.nan)
            found[name] = torch.stack([torch.stack(numbers).mean(dim=0), floor])
    return {name: found[name] for name in names}


def join_scenes(measured: Mapping[str, Mapping[str, Tensor]], *, draws: int, seed: int) -> list[Score]:
    """Scores over scenes of equal weight, which are resampled too; the floor over those that have one.

    Args:
        measured: scene -> what `measure_frames` said of it; at least one.
        draws, seed: of the resampling.
    """
    scores = join_recordings(list(measured.values()), draws=draws, generator=stream(seed, "recordings"))
    twice = [found for found in measured.values() if has_floor(found)]
    if not twice or len(twice) == len(measured):
        return scores
    floors = join_recordings(twice, draws=draws, generator=stream(seed, "recordings"))
    return [
        replace(score, floor=other.floor, floor_low=other.floor_low, floor_high=other.floor_high)
        for score, other in zip(scores, floors, strict=True)
    ]


def has_floor(measured: Mapping[str, Tensor]) -> bool:
    """Whether a scene had two real frames."""
    return all(bool(torch.isfinite(found[1, 0])) for found in measured.values())


def _weights(units: int, draws: int, generator: torch.Generator) -> Tensor:
    """(draws + 1, units) how often each unit is drawn; the first row takes each once."""
    picks = torch.randint(units, (draws, units), generator=generator)
    ones = torch.ones(1, units, dtype=torch.float64)
    return torch.cat(
        [ones, torch.zeros(draws, units, dtype=torch.float64).scatter_add_(1, picks, ones.expand(draws, -1))]
    )
