"""The picture of evaluate.py sidd-noise: every metric and source, group by group."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisemodel.evaluation.fidelity_report import REAL
from noisemodel.evaluation.figure_style import FLOOR, styled
from noisemodel.evaluation.group_report import OVERALL, Group
from noisemodel.evaluation.panel_fidelity import COLOURS, MARKERS

MANY = 8  # groups beyond which panels are wide
SPREAD = 0.6  # of a group's width that its sources take


def groups_panel(groups: Sequence[Group], *, note: str = "") -> Figure:
    """Value of every metric with 95 % intervals on a log scale, groups along x; grey: real against real.

    Args:
        groups: in order; overall last.
        note: what was compared.
    """
    metrics = [score.metric for score in groups[0].judged[0].scores]
    names = list(dict.fromkeys(j.name for group in groups for j in group.judged if j.name != REAL))
    columns, width = (2, min(1.2 + 0.42 * len(groups), 12.0)) if len(groups) > MANY else (3, 4.4)
    rows = math.ceil(len(metrics) / columns)
    with styled("Generated against real noise, by group", (columns * width, 1.6 + 2.9 * rows), note) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[len(metrics) :]:
            ax.set_axis_off()
        for index, (ax, metric) in enumerate(zip(axes.flat, metrics, strict=False)):
            _draw(ax, groups, index, names)
            ax.set_title(f"{metric} [{groups[0].judged[0].scores[index].unit}]", loc="left")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 6))
    return figure


def _draw(ax: Axes, groups: Sequence[Group], index: int, names: Sequence[str]) -> None:
    """One metric."""
    for k, name in enumerate(names):
        places, values, below, above = [], [], [], []
        for x, group in enumerate(groups):
            score = next((j.scores[index] for j in group.judged if j.name == name), None)
            if score is not None and score.value > 0:
                places.append(x + SPREAD * ((k + 0.5) / len(names) - 0.5))
                values.append(score.value)
                below.append(max(score.value - score.low, 0.0) if score.low > 0 else 0.0)
                above.append(max(score.high - score.value, 0.0) if math.isfinite(score.high) else 0.0)
        marker, colour = MARKERS[k % len(MARKERS)], COLOURS[k % len(COLOURS)]
        ax.errorbar(places, values, yerr=[below, above], fmt=marker, color=colour, ms=4.5, lw=1.1, label=name)
    floors = [(x, group.judged[0].scores[index].floor) for x, group in enumerate(groups)]
    floors = [(x, floor) for x, floor in floors if floor > 0]
    if floors:
        where, heights = zip(*floors, strict=True)
        ax.hlines(
            heights, [x - 0.45 for x in where], [x + 0.45 for x in where], color=FLOOR, lw=2, label="real vs real"
        )
    ax.set_yscale("log")
    texts = [OVERALL if group.labels[0] == OVERALL else "/".join(group.labels) for group in groups]
    ax.set_xticks(range(len(groups)), texts, rotation=60 if len(groups) > 4 else 0, fontsize=8)
    ax.set_xlim(-0.6, len(groups) - 0.4)
