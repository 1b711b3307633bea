"""One look for all figures: colours, fonts and line styles."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 130
# Okabe and Ito's palette, which colour-blind readers can tell apart.
REAL, GENERATED, FLOOR, CLOSED_FORM = "#0072B2", "#D55E00", "#9A9A9A", "#000000"
REAL_LABEL, GENERATED_LABEL = "real", "generated"
# Word -> colour and line style of its curve.
COMPONENT_STYLES: dict[str, tuple[str, str]] = {
    "shot": ("#E69F00", "-"),
    "read": ("#009E73", "-"),
    "readtl": ("#009E73", "--"),
    "uniform": ("#CC79A7", "-"),
    "row1": ("#56B4E9", "-"),
    "rowt": ("#56B4E9", "--"),
    "rowspectrum": ("#56B4E9", ":"),
    "rowparity": ("#1B6CA8", "-."),
    "rowgain": ("#1B6CA8", ":"),
    "readmap": ("#009E73", ":"),
    "excess": ("#E69F00", "--"),
    "col1": ("#7A5FB5", "-"),
    "colt": ("#7A5FB5", "--"),
    "periodic": ("#8C6D1F", "-."),
    "fixed1": ("#666666", "--"),
    "learnedfixed": ("#666666", "--"),
    "prnu": ("#B03060", ":"),
}
OTHER_STYLE = ("#333333", ":")
RESIDUAL_MAP = "RdBu_r"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.titlesize": 12.5,
    "figure.titleweight": "bold",
    "lines.linewidth": 1.6,
    "image.origin": "upper",
    "figure.facecolor": "white",
}


@contextmanager
def styled(title: str, size: tuple[float, float], note: str = "") -> Iterator[Figure]:
    """A figure with the common style, its title and a note under it; what is drawn inside takes the style.

    Args:
        title: bold, above all.
        size: width and height [inches].
        note: what was compared; one or two lines.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)  # type: ignore[union-attr, call-arg]
        figure.suptitle(title, x=0.01, ha="left")
        if note:
            figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color="#444444")
        yield figure


def write_png(figure: Figure, path: Path) -> None:
    """Draw a figure into a file, at the size and resolution it was made with."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=DPI)


def without_axes(ax: Axes) -> None:
    """A picture needs no ticks, spines or grid."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def short(value: float, digits: int = 3) -> str:
    """A figure with ``digits`` significant digits, without an exponent where it can be read without."""
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def signal_text(value_dn: float) -> str:
    """A signal level [DN]; what is far below a DN is 0."""
    return "0 DN" if abs(value_dn) < 0.05 else f"{short(value_dn)} DN"
