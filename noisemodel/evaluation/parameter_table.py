"""True, calibrated and learned parameters side by side."""

from collections.abc import Mapping, Sequence

import torch
from rich.table import Table

from noisemodel.components import Parameter
from noisemodel.physical import PhysicalNoise
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels

WHITE = ("read", "readtl", "uniform")


def dark_white_std(physical: PhysicalNoise) -> float:
    """sqrt of the summed variance of all pixel-by-pixel noise in the dark, rounding included [fraction of white]."""
    dark = torch.zeros(1, 1, 4 if physical.layout == "mosaic" else 1, 1, 1)
    parts = [float(c.variance(dark).detach().mean()) for c in physical.each() if c.name in WHITE]
    return sum(parts) ** 0.5


def with_derived(physical: PhysicalNoise) -> list[Parameter]:
    """The model's parameters, and ``dark.std``: all white noise in the dark."""
    table = physical.parameters_table()
    if any(component.name in WHITE for component in physical.each()):
        table.append(Parameter("dark.std", dark_white_std(physical), "white"))
    return table


def compare_parameters(
    learned: PhysicalNoise, calibrated: PhysicalNoise, true: Mapping[str, float], held: Sequence[str]
) -> Table:
    """A table of every parameter: true where known, calibrated, learned, and how far learned is off.

    Args:
        learned, calibrated: models of one noiselist.
        true: known values [own unit]; may be empty.
        held: words and parameters that the data could not identify.
    Returns: a rich table, in DN where levels are known, the learned values in electrons too.
    """
    levels = learned.levels
    closed = {p.name: p for p in with_derived(calibrated)}
    figures = with_derived(learned)
    gain = next((p.value for p in figures if p.name == "shot.gain"), None)
    table = Table(title="noise parameters", title_justify="left")
    against = "off true" if true else "off calibrated"
    for name in ("parameter", "unit", *(["true"] if true else []), "calibrated", "learned", "in e-", against):
        table.add_column(name, justify="left" if name in ("parameter", "unit") else "right")
    for parameter in figures:
        reference = true.get(parameter.name, closed[parameter.name].value if not true else None)
        cells = [_shown(value, parameter, levels) for value in (closed[parameter.name].value, parameter.value)]
        if true:
            cells.insert(0, _shown(true.get(parameter.name), parameter, levels))
        electrons = in_unit(parameter, "e-", levels, gain)
        cells.append("" if electrons is None else f"{electrons:.3g}")
        cells.append(_remark(parameter, reference, held))
        table.add_row(parameter.name, _unit(parameter, levels), *cells)
    return table


def _unit(parameter: Parameter, levels: Levels | None) -> str:
    """DN where the parameter has such a unit and levels are known."""
    if levels is None or in_unit(parameter, "DN", levels, None) is None:
        return parameter.unit
    return "DN/e-" if parameter.unit == "white/e-" else "DN"


def _shown(value: float | None, like: Parameter, levels: Levels | None) -> str:
    """A value of the same kind as ``like``, in the table's unit."""
    if value is None:
        return ""
    parameter = Parameter(like.name, value, like.unit)
    dn = in_unit(parameter, "DN", levels, None)
    return f"{value if dn is None else dn:.4g}"


def _remark(parameter: Parameter, reference: float | None, held: Sequence[str]) -> str:
    """How far off, or why it was not learned."""
    if parameter.name in held or parameter.name.split(".")[0] in held:
        return "held"
    if parameter.fixed:
        return "fixed"
    if not reference:
        return ""
    return f"{100 * (parameter.value / reference - 1):+.1f} %".replace("-0.0 %", "+0.0 %")
