"""A camera calibrated: model, figures with intervals, and everything that the figures rest on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from noisemodel.calibration.closed_form import ClosedForm, from_evidence
from noisemodel.calibration.estimates import Estimate
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.figures import cannot_tell, figures, plane_figures
from noisemodel.calibration.residuals import StaticBurst
from noisemodel.calibration.selection import choose_noiselist
from noisemodel.calibration.stated import ColourNoise, noise_by_colour
from noisemodel.components import parse_noiselist
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Levels
from noisemodel.sensor.noise_profile import NoiseProfile

AUTO = "auto"
Progress = Callable[[Iterable[StaticBurst]], Iterable[StaticBurst]]


@dataclass(frozen=True)
class Calibration:
    """What bursts say of their camera.

    physical: the model, at its calibrated values.
    figures: name -> estimate in DN and electrons; planes: the same per colour plane.
    closed: start values, intervals of the model's parameters, notes.
    reasons: why each word is or is not in the noiselist, where it was chosen.
    cfa: colours of a mosaic by position, where known; stated: what the maker says of the noise.
    """

    physical: PhysicalNoise
    evidence: Evidence
    figures: dict[str, Estimate]
    planes: list[dict[str, Estimate]]
    closed: ClosedForm
    reasons: tuple[str, ...]
    cfa: str | None = None
    stated: NoiseProfile | None = None

    @cached_property
    def colours(self) -> list[ColourNoise]:
        """S and O of each colour, beside the maker's."""
        return noise_by_colour(self.evidence, self.cfa, self.stated)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON holds it: for ``--json``, and for the checkpoint's provenance."""
        e = self.evidence
        return {
            "figures": {name: estimate.to_dict() for name, estimate in self.figures.items()},
            "planes": [{name: estimate.to_dict() for name, estimate in plane.items()} for plane in self.planes],
            "parameters": {name: estimate.to_dict() for name, estimate in self.closed.intervals.items()},
            "noise_profile": [colour.to_dict() for colour in self.colours],
            "noiselist": self.physical.noiselist,
            "reasons": list(self.reasons),
            "lack_of_fit": _rounded(e.line.lack_of_fit),
            "levels": self.levels(),
            "lines": [
                {"axis": line.axis, "freq": _rounded(line.freq), "std_dn": _rounded(line.std * e.levels.range_dn)}
                for line in e.column_lines
            ],
            "notes": [*e.warnings, *self.closed.notes],
            "cannot_tell": cannot_tell(e),
            "confidence": 0.95,
        }

    def levels(self) -> list[dict[str, Any]]:
        """The photon-transfer line level by level, in DN; levels of one burst and plane as their mean."""
        unit, found = self.evidence.levels.range_dn, []
        keys = dict.fromkeys((level.burst, level.plane) for level in self.evidence.line.levels)
        for burst, plane in keys:
            group = [at for at in self.evidence.line.levels if (at.burst, at.plane) == (burst, plane)]
            for part in _by_signal(group):
                weight = np.array([1 / max(at.error, 1e-300) ** 2 for at in part])
                signal, variance, fitted = (
                    float(np.average([getattr(at, name) for at in part], weights=weight))
                    for name in ("signal", "variance", "fitted")
                )
                found.append(
                    {
                        "burst": burst,
                        "plane": plane,
                        "signal_dn": _rounded(signal * unit),
                        "variance_dn2": _rounded(variance * unit**2),
                        "standard_error": _rounded(float(weight.sum() ** -0.5) * unit**2),
                        "fitted_dn2": _rounded(fitted * unit**2),
                        "lack_of_fit": _rounded(variance / fitted - 1) if fitted else None,
                    }
                )
        return found


def calibrate(
    bursts: Sequence[StaticBurst],
    levels: Levels,
    *,
    noiselist: str = AUTO,
    sensor_size: tuple[int, int] | None = None,
    progress: Progress = iter,
    cfa: str | None = None,
    stated: NoiseProfile | None = None,
) -> Calibration:
    """Calibrate a camera in closed form, with 95 % intervals.

    Args:
        bursts: darks, flats and static scenes of one camera at one setting, 2 frames or more each.
        levels: black and white level.
        noiselist: words of the model, or "auto": what held-out frames ask for.
        sensor_size: (rows, columns) that the model covers.
        progress: wraps the bursts while they are read.
        cfa: colours of a mosaic by position, for figures by colour.
        stated: what the camera's maker states of its noise, to be shown beside the fit.
    Raises: InputError for an unknown word, bursts without valid pixels, or no slope although ``shot`` is asked for.
    """
    if noiselist != AUTO:
        parse_noiselist(noiselist)
    evidence = Evidence(bursts, levels, progress)
    reasons: tuple[str, ...] = ()
    if noiselist == AUTO:
        choice = choose_noiselist(bursts, levels)
        noiselist, reasons = choice.noiselist, choice.reasons
    closed = from_evidence(evidence, noiselist)
    layout = bursts[0].layout
    physical = PhysicalNoise.from_noiselist(
        noiselist, layout=layout, levels=levels, sensor_size=sensor_size, **closed.start
    )
    return Calibration(
        physical, evidence, figures(evidence), plane_figures(evidence), closed, reasons, cfa=cfa, stated=stated
    )


def _by_signal(levels: Sequence[Any]) -> list[list[Any]]:
    """Levels of one burst in at most 8 groups of neighbouring signals; one where all are alike."""
    ordered = sorted(levels, key=lambda at: at.signal)
    if ordered[-1].signal < 1.2 * ordered[0].signal:
        return [ordered]
    return [[ordered[i] for i in part] for part in np.array_split(range(len(ordered)), min(8, len(ordered)))]


def _rounded(value: float) -> float | None:
    """Seven significant digits; None, which JSON has, for what is not finite."""
    return float(f"{value:.7g}") if np.isfinite(value) else None
