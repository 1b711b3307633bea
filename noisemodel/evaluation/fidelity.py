"""Fidelity of generated noise: every metric with its floor (real against real) and bootstrap intervals.

The frames of a recording are split into two halves, even and odd ones. The floor compares the halves of the real
frames, the value each half of the real frames with the same half of the generated ones: equally many frames, so that
both have the same sampling noise, and a perfect model has a ratio of about 1. Where residuals are taken from the
burst's own mean, each half is taken from its own mean again: the halves of the real frames are then independent.

The bootstrap resamples recordings and, within each, bands of 64 sensor rows over the full width with all their frames
(what a row shares stays together; what a column shares, and what frames share, is not resampled). Spectra resample the
segments of each frame.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.evaluation.metrics_table import METRICS, Metric, is_srgb
from noisemodel.evaluation.recording import Pair, Recording
from noisemodel.evaluation.sample_counts import Sample, root_mean_square
from noisemodel.streams import stream

__all__ = ["METRICS", "DrawnPair", "Metric", "Score", "fidelity", "fidelity_score", "long_table", "mean_log_ratio"]

LEAST = 1e-12  # below this a distance is taken for 0 in a ratio


@dataclass(frozen=True)
class Score:
    """One metric of one model: model against real (value) beside real against real (floor), 95 % intervals.

    ratio_low, ratio_high: of value / floor, from the same resamples; NaN where either is not positive.
    """

    metric: str
    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    unit: str
    ratio_low: float = math.nan
    ratio_high: float = math.nan

    @property
    def ratio(self) -> float:
        """value / floor; NaN where either is negative (a KLD that drops bins can be) or the floor is 0."""
        return self.value / self.floor if self.floor > 0 and self.value >= 0 else math.nan


@dataclass(frozen=True, eq=False)
class DrawnPair:
    """A `Pair` with further draws of the model, over which akld is averaged (published: 50).

    draws: residuals like ``generated``, made alike. More draws narrow akld's error, not its expectation.
    """

    recording: Recording
    real: Tensor
    generated: Tensor
    draws: tuple[Tensor, ...] = ()


class Described(dict[Callable[[Sample], Any], list[Any]]):
    """What each ``Metric.describe`` said of the halves of one recording's real residuals."""


def fidelity(
    pairs: Iterable[Pair | DrawnPair], *, metrics: Sequence[str] | None = None, draws: int = 200, seed: int = 0
) -> list[Score]:
    """Compare generated with real residuals.

    Each metric is computed recording by recording and averaged with equal weights (`kld_starlight`: summed).

    Args:
        pairs: of one kind of data; read one after another, so they may be made on the way. 4 frames each at least, 2
            where there is ground truth.
        metrics: names in `METRICS`; all that are defined on this kind of data if None.
        draws: bootstrap resamples; 0 gives NaN for the intervals.
        seed: of the resampling.
    Returns: one score per metric, in the order asked for.
    Raises: InputError for an unknown metric, one for other data, no pair, or too few frames.
    """
    names = None if metrics is None else chosen_metrics(metrics)
    measured = []
    for index, pair in enumerate(pairs):
        names = chosen_metrics(metrics, pair.recording) if not index else names
        measured.append(measure_pair(pair, names or [], draws=draws, generator=stream(seed, "bands", index)))
    return join_recordings(measured, draws=draws, generator=stream(seed, "recordings"))


def fidelity_score(pairs: Iterable[Pair | DrawnPair]) -> float:
    """Mean of ln(value / floor) over the proper metrics: 0 for a perfect model, 0.69 for twice the floor.

    Made to choose checkpoints. It leaves the KLDs out: those that drop empty bins are 0 for noise that does not overlap
    with the real one at all, and all of them use bins that are wider than the noise of a good camera. It leaves out
    akld, which is clamped. What is left is lowest, in expectation, where the model's law agrees with the real one in
    distribution (ks, w1), level (variance_curve), line noise (row_spectrum, column_spectrum) and correlation.
    """
    proper = [name for name, metric in METRICS.items() if metric.proper]
    return mean_log_ratio(fidelity(pairs, metrics=proper, draws=0))


def mean_log_ratio(scores: Iterable[Score]) -> float:
    """Mean of ln(value / floor) over the proper metrics among ``scores``; NaN without any."""
    found = [math.log(max(s.value, LEAST) / max(s.floor, LEAST)) for s in scores if METRICS[s.metric].proper]
    return sum(found) / len(found) if found else math.nan


def chosen_metrics(metrics: Sequence[str] | None, recording: Recording | None = None) -> list[str]:
    """Names of the metrics that are defined on a recording's kind of data.

    Raises: InputError if one that was asked for is unknown, or is for other data.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    if recording is None:
        return list(metrics or METRICS)
    here = "sRGB" if is_srgb(recording) else "raw"
    for name in metrics or ():
        if METRICS[name].domain not in ("", here):
            raise InputError(
                f"{name} is defined on {METRICS[name].domain} images, {recording.name} is {here}: leave it out"
            )
    return list(metrics) if metrics else [name for name, metric in METRICS.items() if metric.domain in ("", here)]


def measure_pair(
    pair: Pair | DrawnPair,
    names: Sequence[str],
    *,
    draws: int,
    generator: torch.Generator,
    described: Described | None = None,
) -> dict[str, Tensor]:
    """Value and floor of each metric on one recording: name -> (2, draws + 1), the first column not resampled.

    Args:
        described: of the same real residuals, to be used again for the next model; filled here.
    """
    described = Described() if described is None else described
    at = pair.recording
    scale = root_mean_square(pair.real, at.valid)
    real, *models = (
        [Sample(half, at, scale, generated=i > 0) for half in _halves(residual, at)]
        for i, residual in enumerate((pair.real, pair.generated, *getattr(pair, "draws", ())))
    )
    found: dict[str, Tensor] = {}
    for describe in dict.fromkeys(METRICS[name].describe for name in names):
        users = [name for name in names if METRICS[name].describe is describe]
        several = any(METRICS[name].averages_draws for name in users)
        if describe not in described:
            described[describe] = [describe(half) for half in real]
        sides = described[describe]
        made = [[describe(half) for half in model] for model in (models if several else models[:1])]
        for name in users:
            metric = METRICS[name]
            parts = [metric.compare(*sides)]
            for i, side in enumerate(sides):
                each = [metric.compare(side, model[i]) for model in made]
                parts.append(torch.stack(each).mean(dim=0) if len(each) > 1 else each[0])
            found[name] = _resampled(metric, parts, real[0], draws, generator)
    return {name: found[name] for name in names}


def _halves(residual: Tensor, at: Recording) -> list[Tensor]:
    """Even and odd frames, equally many; where centred, each half less its own mean."""
    least = 4 if at.centred else 2
    if len(residual) < least:
        raise InputError(
            f"{at.name}: {len(residual)} frames cannot be split into two halves to compare; "
            f"record {least} or more{' or give the ground truth' if at.centred else ''}"
        )
    count = len(residual) // 2
    halves = [residual[first : 2 * count : 2] for first in (0, 1)]
    return [half - half.mean(dim=0, keepdim=True) if at.centred else half for half in halves]


def _resampled(
    metric: Metric, parts: Sequence[Tensor], sample: Sample, draws: int, generator: torch.Generator
) -> Tensor:
    """(2, draws + 1): value and floor from the sums of (units, K) statistics under resampling weights."""
    weights = _weights(len(parts[0]), draws, generator).to(parts[0])
    floor, *values = (metric.finish(weights @ part, sample) for part in parts)
    return torch.stack([torch.stack(values).mean(dim=0), floor]).cpu()


def _weights(units: int, draws: int, generator: torch.Generator) -> Tensor:
    """(draws + 1, units) how often each unit is drawn; the first row takes each once."""
    picks = torch.randint(units, (draws, units), generator=generator)
    drawn = torch.zeros(draws, units, dtype=torch.float64).scatter_add_(
        1, picks, torch.ones(1).double().expand(picks.shape)
    )
    return torch.cat([torch.ones(1, units, dtype=torch.float64), drawn])


def join_recordings(measured: Sequence[Mapping[str, Tensor]], *, draws: int, generator: torch.Generator) -> list[Score]:
    """Scores over recordings of equal weight, which are resampled too; from `measure_pair` of each."""
    if not measured:
        raise InputError("no recording to compare; give at least one burst")
    weights = _weights(len(measured), draws, generator) / len(measured)
    scores = []
    for name in measured[0]:
        each = torch.stack([found[name] for found in measured])  # (recordings, 2, draws + 1)
        value, floor = torch.einsum("rsd,dr->sd", each, weights) * (len(measured) if METRICS[name].summed else 1)
        bounds = (*_interval(value), *_interval(floor))
        ratio = value / floor if bool((value > 0).all() and (floor > 0).all()) else torch.full_like(value, math.nan)
        numbers = (float(value[0]), *bounds[:2], float(floor[0]), *bounds[2:])
        scores.append(Score(name, *numbers, METRICS[name].unit, *map(math.exp, _interval(ratio.log()))))
    return scores


def _interval(draws: Tensor) -> tuple[float, float]:
    """95 % interval: quantiles of the resamples, moved so that their mean is the estimate, which comes first.

    Resampling adds noise of its own to a distance, which is never negative, and so makes it larger: that is taken out.
    """
    estimate, resampled = draws[0], draws[1:]
    if len(resampled) < 2 or not bool(torch.isfinite(draws).all()):
        return math.nan, math.nan
    moved = resampled - resampled.mean() + estimate
    low, high = torch.quantile(moved, torch.tensor([0.025, 0.975], dtype=moved.dtype)).tolist()
    if bool((draws >= 0).all()):
        low = max(low, 0.0)
    return min(low, float(estimate)), max(high, float(estimate))


def long_table(
    pairs: Iterable[Pair | DrawnPair],
    *,
    metrics: Sequence[str] | None = None,
    labels: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """One row per recording, plane and metric: value, floor, and unit, without intervals.

    Args:
        pairs, metrics: as `fidelity`.
        labels: what is known of a recording, e.g. {"0001": {"camera": "S6", "iso": 3200}}; its keys become columns.
    Returns: rows {"recording", "kind", *labels, "plane", "metric", "value", "floor", "unit"}; plane is "all" or 0, 1...
    """
    rows = []
    for pair in pairs:
        at, names = pair.recording, chosen_metrics(metrics, pair.recording)
        known = {"recording": at.name, "kind": at.kind, **(labels or {}).get(at.name, {})}
        planes = range(at.frames.shape[1]) if at.frames.shape[1] > 1 else ()
        for plane, part in [("all", pair), *((str(c), one_plane(pair, c)) for c in planes)]:
            allowed = names if plane == "all" else [n for n in names if METRICS[n].domain != "sRGB"]
            measured = measure_pair(part, allowed, draws=0, generator=stream(0, "unused"))
            for name, found in measured.items():
                value, floor = found[:, 0].tolist()
                numbers = {"metric": name, "value": value, "floor": floor, "unit": METRICS[name].unit}
                rows.append({**known, "plane": plane, **numbers})
    return rows


def one_plane(pair: Pair | DrawnPair, plane: int) -> Pair:
    """The same of one plane, as an image of its own."""
    keep = [plane]
    return Pair(pair.recording.planes(keep), pair.real[:, keep], pair.generated[:, keep])
