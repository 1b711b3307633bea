"""The parameter table: every figure of a model in its own unit, DN and electrons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from rich import box
from rich.table import Table

from noisemodel.evaluation.figure_style import short, styled
from noisemodel.generator import NoiseGenerator
from noisemodel.physical import PhysicalNoise
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels

HEADINGS = ("parameter", "of white", "DN", "electrons", "state", "true value", "model off by")
RIGHT = HEADINGS[1:4] + HEADINGS[5:]
UNITS = {"white": "", "white/e-": " per e⁻", "1": " of signal", "cycles/px": " cycles/px"}


@dataclass(frozen=True)
class ParameterRow:
    """One line of the table, as text; ``true`` is what the data set's maker knows."""

    name: str
    value: str
    dn: str
    electrons: str
    state: str
    true: str = ""
    off: str = ""

    def cells(self, with_truth: bool) -> list[str]:
        """The texts of a line."""
        texts = [self.name, self.value, self.dn, self.electrons, self.state]
        return [*texts, self.true, self.off] if with_truth else texts


def parameter_rows(
    model: NoiseGenerator | PhysicalNoise,
    levels: Levels | None = None,
    *,
    true: Mapping[str, float] | None = None,
    centred: bool = False,
) -> list[ParameterRow]:
    """The parameters of a model, in the noiselist's order.

    Args:
        model: its own levels win over ``levels``.
        levels: of the data, for DN.
        true: name -> true value in the parameter's own unit, where it is known.
        centred: whether the data has no ground truth: what is constant over a burst is then marked.
    """
    physical = model.physical if isinstance(model, NoiseGenerator) else model
    levels = physical.levels or levels
    table = physical.parameters_table()
    gain = next((p.value for p in table if p.name == "shot.gain"), None)
    rows = []
    for p in table:
        hidden = centred and (physical.component(p.name.split(".")[0]).static or p.name == "periodic.std0")
        state = "not identifiable from this data" if hidden else "fixed" if p.fixed else "free"
        dn, electrons = (in_unit(p, unit, levels, gain) for unit in ("DN", "e-"))
        dn_unit = " DN/e⁻" if p.unit == "white/e-" else " DN"
        value = f"{p.value:.4g}{UNITS.get(p.unit, p.unit)}"
        known = _truth(p.value, dn, dn_unit, (true or {}).get(p.name))
        rows.append(ParameterRow(p.name, value, _text(dn, dn_unit), _text(electrons, " e⁻"), state, *known))
    return rows


def _text(value: float | None, unit: str) -> str:
    return "" if value is None else f"{short(value, 4)}{unit}"


def _truth(value: float, dn: float | None, dn_unit: str, known: float | None) -> tuple[str, str]:
    """The true value, in DN where it has such a unit, and by how much the model is off."""
    if known is None:
        return "", ""
    off = f"{100 * (value / known - 1):+.1f} %".replace("-0.0", "+0.0")
    return (f"{known:.4g}" if dn is None else _text(dn * known / value, dn_unit)), off


def parameter_table(rows: Sequence[ParameterRow], title: str = "") -> Table:
    """The table for a terminal."""
    with_truth = any(row.true for row in rows)
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in _headings(with_truth):
        table.add_column(heading, justify="right" if heading in RIGHT else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells(with_truth))
    return table


def parameters_panel(rows: Sequence[ParameterRow], title: str, *, note: str = "") -> Figure:
    """The table as a picture."""
    with_truth = any(row.true for row in rows)
    cells = [row.cells(with_truth) for row in rows] or [["no parameters", "", "", "", ""]]
    headings = _headings(with_truth)
    widths = [max(len(text) for text in column) + 3 for column in zip(headings, *cells, strict=True)]
    with styled(title, (max(0.098 * sum(widths), 8.0), 0.34 * (len(cells) + 1) + 1.1), note) as figure:
        ax = figure.subplots()
        ax.set_axis_off()
        drawn = ax.table(
            cells,
            colLabels=headings,
            colWidths=[w / sum(widths) for w in widths],
            bbox=Bbox.unit(),
            edges="horizontal",
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(10)
        for (row, column), cell in drawn.get_celld().items():
            cell.set_edgecolor("#CCCCCC")
            right = headings[column] in RIGHT
            cell.set_text_props(ha="right" if right else "left", weight="bold" if row == 0 else "normal")
    return figure


def _headings(with_truth: bool) -> list[str]:
    return list(HEADINGS if with_truth else HEADINGS[:5])
