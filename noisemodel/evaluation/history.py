"""Learned parameters over a training run, as a picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from noisemodel.checkpoint import write_atomically
from noisemodel.components import Parameter
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels

LEARNED, LAST, TRUE, SCORE = "#0072B2", "#9ECAE1", "#D55E00", "#555555"


def plot_history(
    rows: Sequence[Mapping[str, float]],
    parameters: Sequence[Parameter],
    levels: Levels | None,
    true: Mapping[str, float],
    path: Path,
) -> Path:
    """One panel per learned parameter (in DN where levels are known) and one for the score, against generator steps.

    Args:
        rows: of ``metrics.csv``: "step", "score", every parameter's name and "last." name [own unit].
        parameters: what to show; those that never moved are left out.
        levels: for DN.
        true: known values [own unit], drawn as dashed lines.
        path: PNG to write.
    """
    moving = [p for p in parameters if len({row[p.name] for row in rows if p.name in row}) > 1]
    columns = min(4, len(moving) + 1)
    lines = math.ceil((len(moving) + 1) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.5 * lines), layout="constrained", dpi=130)
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    steps = [row["step"] for row in rows]
    for axis, parameter in zip(axes, moving, strict=False):
        scale = (in_unit(parameter, "DN", levels, None) or parameter.value) / parameter.value
        unit = parameter.unit if scale == 1.0 else "DN/e-" if parameter.unit == "white/e-" else "DN"
        last = [scale * row.get(f"last.{parameter.name}", math.nan) for row in rows]
        axis.plot(steps, last, color=LAST, linewidth=1, label="iterate")
        axis.plot(steps, [scale * row[parameter.name] for row in rows], color=LEARNED, label="average (saved)")
        if parameter.name in true:
            axis.axhline(scale * true[parameter.name], color=TRUE, linestyle="--", label="true")
        axis.set(title=parameter.name, ylabel=unit, xlabel="generator step", yscale="log")
        axis.yaxis.set_major_formatter("{x:.3g}")
        axis.yaxis.set_minor_formatter("{x:.3g}")
        axis.tick_params(axis="y", which="both", labelsize=7)
    if moving:
        axes[0].legend(fontsize=8)
    score = axes[len(moving)]
    score.plot(steps, [row["score"] for row in rows], color=SCORE)
    score.set(title="energy score (validation)", ylabel="lower is better", xlabel="generator step")
    score.ticklabel_format(axis="y", useOffset=False)
    score.tick_params(axis="y", labelsize=7)
    for axis in axes[len(moving) + 1 :]:
        axis.set_axis_off()
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return path
