"""A model's parameters as text: in their own unit, DN and electrons, with intervals and true values."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from noisemodel.components import Parameter
from noisemodel.evaluation.figure_style import short
from noisemodel.generator import NoiseGenerator
from noisemodel.physical import PhysicalNoise
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels

WHITE = ("read", "readtl", "readmap", "uniform")
LINE, LINE_FACT = re.compile(r"(\w+)\.line(\d+)"), re.compile(r"\.(freq|jitter|steady)\d+$")
UNITS = {"white": "", "white/e-": " per e⁻", "1": "", "cycles/px": " cycles/px"}
Interval = tuple[float, float]
Calibration = Mapping[str, Any]  # what a checkpoint's provenance holds under "calibration"; any part may be absent


@dataclass(frozen=True)
class ParameterRow:
    """One line of the table, as text.

    value, dn, electrons: the figure in fractions of white (or its own unit), DN and electrons.
    intervals: 95 % intervals in the same three units; "" where not known.
    true, off: what the data set's maker knows, and by how much the model is off.
    """

    name: str
    value: str
    dn: str
    electrons: str
    state: str
    true: str = ""
    off: str = ""
    intervals: tuple[str, str, str] = ("", "", "")

    @property
    def interval(self) -> str:
        """The interval in DN, or in the parameter's own unit where it has none in DN."""
        return self.intervals[1] or self.intervals[0]


def parameter_rows(
    model: NoiseGenerator | PhysicalNoise,
    levels: Levels | None = None,
    *,
    true: Mapping[str, float] | None = None,
    centred: bool = False,
    calibration: Calibration | None = None,
) -> list[ParameterRow]:
    """The parameters of a model, in the noiselist's order, and ``dark.std``.

    Args:
        model: its own levels win over ``levels``.
        levels: of the data, for DN.
        true: name -> true value in the parameter's own unit, where it is known.
        centred: whether the data has no ground truth: what is constant over a burst is then marked.
        calibration: where intervals are taken from (`known_intervals`).
    """
    physical = model.physical if isinstance(model, NoiseGenerator) else model
    levels = physical.levels or levels
    table = with_derived(physical)
    gain = next((p.value for p in table if p.name == "shot.gain"), None)
    intervals = known_intervals(table, calibration)
    rows = []
    for p in table:
        dn, electrons = (in_unit(p, unit, levels, gain) for unit in ("DN", "e-"))
        value = f"{p.value:.4g}{UNITS.get(p.unit, ' ' + p.unit)}"
        spans = _spans(p, intervals.get(p.name), levels, gain)
        known = _truth(p.value, dn, _dn_unit(p), (true or {}).get(p.name))
        texts = (value, _text(dn, _dn_unit(p)), _text(electrons, " e⁻"))
        rows.append(
            ParameterRow(shown_name(p, physical), *texts, _state(p, physical, centred), *known, intervals=spans)
        )
    return rows


def dark_white_std(physical: PhysicalNoise) -> float:
    """sqrt of the summed variance of all pixel-by-pixel noise in the dark, rounding included [fraction of white]."""
    dark = torch.zeros(1, 1, 4 if physical.layout == "mosaic" else 1, 1, 1)
    parts = [
        float(c.stored("std").detach()) ** 2 if c.name == "readmap" else float(c.variance(dark).detach().mean())
        for c in physical.each()
        if c.name in WHITE
    ]
    return sum(parts) ** 0.5


def with_derived(physical: PhysicalNoise) -> list[Parameter]:
    """The model's parameters, and ``dark.std``: all white noise in the dark; lines of a spectrum by their stds only."""
    table = [p for p in physical.parameters_table() if not LINE_FACT.search(p.name)]
    if any(component.name in WHITE for component in physical.each()):
        table.append(Parameter("dark.std", dark_white_std(physical), "white"))
    return table


def shown_name(p: Parameter, physical: PhysicalNoise) -> str:
    """The parameter's name, of a spectral line with its frequency."""
    if not (line := LINE.fullmatch(p.name)):
        return p.name
    freq = float(physical.component(line[1]).stored(f"freq{line[2]}"))
    return f"{p.name} at {freq:.3g}/row"


def known_intervals(table: list[Parameter], calibration: Calibration | None) -> dict[str, Interval]:
    """95 % intervals by parameter [own unit]: the parameter's own, else the calibration's, where they are intervals.

    Args:
        table: of the model.
        calibration: "parameters" -> name -> "low", "high" [own unit].
    """
    stored = (calibration or {}).get("parameters")
    found = {}
    for p in table:
        given = stored.get(p.name) if isinstance(stored, Mapping) else None
        given = given if isinstance(given, Mapping) else {}
        ends = (p.low, p.high) if p.low is not None and p.high is not None else (given.get("low"), given.get("high"))
        low, high = (float(x) if isinstance(x, int | float) else math.nan for x in ends)
        if low <= high:
            found[p.name] = (low, high)
    return found


def _spans(
    p: Parameter, interval: Interval | None, levels: Levels | None, gain: float | None
) -> tuple[str, str, str]:  # fmt: skip
    """An interval in the parameter's own unit, DN and electrons (at the model's gain)."""
    if interval is None:
        return "", "", ""
    ends = [Parameter(p.name, value, p.unit) for value in interval]
    texts = [f"{interval[0]:.4g} … {interval[1]:.4g}{UNITS.get(p.unit, ' ' + p.unit)}"]
    for unit, name in (("DN", _dn_unit(p)), ("e-", " e⁻")):
        low, high = (in_unit(end, unit, levels, gain) for end in ends)
        texts.append("" if low is None or high is None else f"{short(low, 4)} … {short(high, 4)}{name}")
    return texts[0], texts[1], texts[2]


def _state(p: Parameter, physical: PhysicalNoise, centred: bool) -> str:
    """Whether the figure is free, fixed, follows from others, or cannot be seen in the data."""
    if p.name == "dark.std":
        return "derived"
    if centred and (physical.component(p.name.split(".")[0]).static or p.name == "periodic.std0"):
        return "not identifiable from this data"
    return "fixed" if p.fixed else "free"


def _dn_unit(p: Parameter) -> str:
    return " DN/e⁻" if p.unit == "white/e-" else " DN"


def _text(value: float | None, unit: str) -> str:
    return "" if value is None else f"{short(value, 4)}{unit}"


def _truth(value: float, dn: float | None, dn_unit: str, known: float | None) -> tuple[str, str]:
    """The true value, in DN where it has such a unit, and by how much the model is off."""
    if not known:
        return "", ""
    shown = f"{known:.4g}" if dn is None or not value else _text(dn * known / value, dn_unit)
    return shown, per_cent_off(value, known)


def per_cent_off(value: float, reference: float) -> str:
    """100 (value / reference - 1) %, with a sign."""
    return f"{100 * (value / reference - 1):+.1f} %".replace("-0.0 %", "+0.0 %")
