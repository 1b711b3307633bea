"""The parameters as tables: in a terminal, as a picture, and true beside calibrated beside learned."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from rich import box
from rich.table import Table

from noisemodel.components import Parameter
from noisemodel.evaluation.figure_style import styled
from noisemodel.evaluation.parameters import (
    Calibration,
    Interval,
    ParameterRow,
    known_intervals,
    per_cent_off,
    shown_name,
    with_derived,
)
from noisemodel.physical import PhysicalNoise
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels

# Heading -> attribute of a row; those of OPTIONAL are left out where no row has them.
COLUMNS = {
    "parameter": "name",
    "of white": "value",
    "DN": "dn",
    "electrons": "electrons",
    "95 % interval": "interval",
    "state": "state",
    "true value": "true",
    "model off by": "off",
}
LEFT = ("parameter", "state")
OPTIONAL = ("95 % interval", "true value", "model off by")


def headings(rows: Sequence[ParameterRow]) -> list[str]:
    """The columns that these rows fill."""
    return [h for h, key in COLUMNS.items() if h not in OPTIONAL or any(getattr(row, key) for row in rows)]


def parameter_table(rows: Sequence[ParameterRow], title: str = "") -> Table:
    """The table for a terminal."""
    shown = headings(rows)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in shown:
        table.add_column(heading, justify="left" if heading in LEFT else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(getattr(row, COLUMNS[heading]) for heading in shown))
    return table


def parameters_panel(rows: Sequence[ParameterRow], title: str, *, note: str = "") -> Figure:
    """The table as a picture."""
    shown = headings(rows)
    empty = ["no parameters", *[""] * (len(shown) - 1)]
    cells = [[getattr(row, COLUMNS[heading]) for heading in shown] for row in rows] or [empty]
    widths = [max(len(text) for text in column) + 3 for column in zip(shown, *cells, strict=True)]
    with styled(title, (max(0.098 * sum(widths), 8.0), 0.34 * (len(cells) + 1) + 1.1), note) as figure:
        ax = figure.subplots()
        ax.set_axis_off()
        drawn = ax.table(
            cells, colLabels=shown, colWidths=[w / sum(widths) for w in widths], bbox=Bbox.unit(), edges="horizontal"
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(10)
        for (row, column), cell in drawn.get_celld().items():
            cell.set_edgecolor("#CCCCCC")
            side = "left" if shown[column] in LEFT else "right"
            cell.set_text_props(ha=side, weight="bold" if row == 0 else "normal")
    return figure


def compare_parameters(
    learned: PhysicalNoise,
    calibrated: PhysicalNoise,
    true: Mapping[str, float],
    held: Sequence[str],
    *,
    calibration: Calibration | None = None,
) -> Table:
    """A table of every parameter: true where known, calibrated, its interval, learned, and how far learned is off.

    Args:
        learned, calibrated: models of one noiselist.
        true: known values [own unit]; may be empty.
        held: words and parameters that the data could not identify.
        calibration: where intervals are taken from; the column is left out where none is known.
    Returns: a rich table, in DN where levels are known, the learned values in electrons too.
    """
    levels = learned.levels
    closed = {p.name: p for p in with_derived(calibrated)}
    figures = with_derived(learned)
    intervals = known_intervals(list(closed.values()), calibration)
    gain = next((p.value for p in figures if p.name == "shot.gain"), None)
    optional = (["true"] * bool(true), ["95 % interval"] * bool(intervals))
    table = Table(title="noise parameters", title_justify="left")
    against = "off true" if true else "off calibrated"
    for name in ("parameter", "unit", *optional[0], "calibrated", *optional[1], "learned", "in e-", against):
        table.add_column(name, justify="left" if name in ("parameter", "unit") else "right")
    for parameter in figures:
        start = closed[parameter.name].value if parameter.name in closed else None
        cells = [_shown(true.get(parameter.name), parameter, levels)] * bool(true)
        cells += [_shown(start, parameter, levels)]
        cells += [_span(intervals.get(parameter.name), parameter, levels)] * bool(intervals)
        electrons = in_unit(parameter, "e-", levels, gain)
        cells += [_shown(parameter.value, parameter, levels), "" if electrons is None else f"{electrons:.3g}"]
        reference = true.get(parameter.name) if true else start
        table.add_row(
            shown_name(parameter, learned), _unit(parameter, levels), *cells, _remark(parameter, reference, held)
        )
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


def _span(interval: Interval | None, like: Parameter, levels: Levels | None) -> str:
    """An interval in the table's unit."""
    return "" if interval is None else " … ".join(_shown(end, like, levels) for end in interval)


def _remark(parameter: Parameter, reference: float | None, held: Sequence[str]) -> str:
    """How far off, or why it was not learned."""
    if parameter.name in held or parameter.name.split(".")[0] in held:
        return "held"
    if parameter.fixed:
        return "fixed"
    return per_cent_off(parameter.value, reference) if reference else ""
