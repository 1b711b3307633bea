"""Figures of a run as a terminal table, CSV and Markdown."""

import csv
import io
import math
from collections.abc import Sequence

from rich.table import Table

from nrgan.evaluation.judging import Judged, Reference, best_of

# Figure -> what it is; amounts of physical parameters are named by themselves.
DEFINITIONS: dict[str, str] = {
    "noise_std_255": "std of the noise after clipping [1/255 of white]",
    "lag1_across": "correlation of the noise with its right neighbour",
    "lag1_down": "correlation of the noise with its lower neighbour",
    "variance_slope": "slope of noise^2 against signal, signals 0.2 to 0.8 [fraction of white]",
    "variance_intercept_255": "signed root of that line's value at signal 0 [1/255 of white]",
    "abs_correlation": "correlation of |noise| with the signal",
    "spectrum_rms_db": "rms over frequencies of 10 log10 of learned over true spectrum, each divided by its mean [dB]; "
    "data: between two halves",
    "high_pass_std_255": "Immerkaer's estimate of noise in the clean images [1/255]; detail counts too, so compare",
}
Cells = list[tuple[str, ...]]


def columns(judged: Sequence[Judged], reference: Reference) -> dict[str, Judged]:
    """Heading -> side: the data, the best snapshot where there is one, the last."""
    shown = {"data": reference.judged}
    if (best := best_of(judged, reference.extractor)) is not None:
        shown[f"best (step {best.step})"] = best
    return shown | {f"last (step {judged[-1].step})": judged[-1]}


def rows(judged: Sequence[Judged], reference: Reference) -> Cells:
    """One row per figure: its name, then a cell per side."""
    sides = columns(judged, reference)
    names = judged[-1].values
    return [(name, *(shown(side.values.get(name, math.nan)) for side in sides.values())) for name in names]


def shown(value: float) -> str:
    """Four digits, or a dash where there is no figure."""
    return f"{value:.4g}" if math.isfinite(value) else "-"


def table(judged: Sequence[Judged], reference: Reference) -> Table:
    """For the terminal."""
    run = reference.run
    made = Table(title=f"{run.model} on {run.dataset}: {run.path}", title_justify="left")
    made.add_column("figure")
    for heading in columns(judged, reference):
        made.add_column(heading, justify="right")
    for cells in rows(judged, reference):
        made.add_row(*cells)
    return made


def definitions(judged: Sequence[Judged], reference: Reference) -> list[str]:
    """A line per figure that is shown."""
    lines = [f"{name}: {about}" for name, about in DEFINITIONS.items() if name in judged[-1].values]
    if any("%" in name for name in judged[-1].values):
        lines.append("parameters: 5, 50 and 95 % of images [fraction of white]")
    return lines


def markdown_text(judged: Sequence[Judged], reference: Reference, about: Sequence[str]) -> str:
    """The table, every snapshot's distances, and the protocol."""
    headings = ("figure", *columns(judged, reference))
    lines = [f"# {reference.run.model} on {reference.run.dataset}", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows(judged, reference))]
    return "\n".join([*lines, "", *(f"- {line}" for line in about)]) + "\n"


def csv_text(judged: Sequence[Judged], reference: Reference) -> str:
    """A row per snapshot after one of the data; ``best`` and ``last`` mark two of them."""
    run, best = reference.run, best_of(judged, reference.extractor)
    names = list(judged[-1].values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "dataset", "model", "samples", "step", "best", "last", *names])
    for side in (reference.judged, *judged):
        marks = ["data", "", ""] if side.step is None else [side.step, int(side is best), int(side is judged[-1])]
        figures = (side.values.get(name, math.nan) for name in names)
        cells = [f"{value:.8g}" if math.isfinite(value) else "" for value in figures]
        writer.writerow([run.path.name, run.dataset, run.model, reference.count, *marks, *cells])
    return text.getvalue()
