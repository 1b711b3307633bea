"""Scores per group, such as a phone at an ISO, and overall: tables, CSV and Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from torch import Tensor

from noisemodel.evaluation.fidelity_report import Judged, csv_text, definitions, floor_row, point_values
from noisemodel.evaluation.frame_fidelity import join_scenes

OVERALL = "overall"
Measured = Mapping[str, Mapping[str, Mapping[str, Tensor]]]  # source -> scene -> metric -> (2, draws + 1)


@dataclass(frozen=True)
class Group:
    """Scores of one group: its name parts, and a row per source.

    labels: e.g. ("S6", "3200").
    judged: rows; the last is real against real where scenes have two frames.
    """

    labels: tuple[str, ...]
    judged: tuple[Judged, ...]


def group_of(labels: Sequence[str], measured: Measured, *, draws: int, seed: int) -> Group:
    """Join the scenes of a group.

    Args:
        labels: of the group.
        measured: source -> scene -> `measure_frames`; at least one source, the same scenes for all.
        draws, seed: of the resampling.
    """
    rows = []
    for name, scenes in measured.items():
        points = {scene: point_values(found) for scene, found in scenes.items()}
        rows.append(Judged(name, tuple(join_scenes(scenes, draws=draws, seed=seed)), points))
    if any(math.isfinite(score.floor) for score in rows[0].scores):
        rows.append(floor_row(rows[0]))
    return Group(tuple(labels), tuple(rows))


def overall_of(groups: Mapping[tuple[str, ...], Measured], *, draws: int, seed: int) -> tuple[Group, list[str]]:
    """All scenes of the groups in which every source was judged; and what to say of the others.

    Where there is no such group, the sources that were judged in all groups.
    """
    sources = list(dict.fromkeys(name for measured in groups.values() for name in measured))
    full = {labels: measured for labels, measured in groups.items() if len(measured) == len(sources)}
    notes = []
    if not full:
        full, everywhere = dict(groups), [n for n in sources if all(n in measured for measured in groups.values())]
        notes = [f"overall: without {', '.join(n for n in sources if n not in everywhere)}, not judged in every group"]
        sources = everywhere
    elif len(full) < len(groups):
        left = ", ".join("/".join(labels) for labels in groups if labels not in full)
        notes = [f"overall: {len(full)} of {len(groups)} groups, those with every row; without {left}"]
    joined = {n: {scene: found for m in full.values() for scene, found in m[n].items()} for n in sources}
    labels = (OVERALL, *[""] * (len(next(iter(groups))) - 1))
    return group_of(labels, joined, draws=draws, seed=seed), notes


def group_table(groups: Sequence[Group], names: Sequence[str]) -> Table:
    """Values, groups and sources down, metrics across.

    Args:
        groups: in order.
        names: headings of the groups' labels.
    """
    table = Table(title="values by group", title_justify="left")
    for name in (*names, "row"):
        table.add_column(name)
    for score in groups[0].judged[0].scores:
        table.add_column(score.metric, justify="right", overflow="fold")
    for group in groups:
        for k, cells in enumerate(_rows(group)):
            shown = group.labels if k == 0 else ("",) * len(names)
            table.add_row(*shown, *cells, end_section=k == len(group.judged) - 1)
    return table


def group_csv(groups: Sequence[Group], names: Sequence[str]) -> str:
    """All figures, the columns of `csv_text` behind the group's labels; scene "all" has the intervals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for index, group in enumerate(groups):
        heading, *rows = csv.reader(io.StringIO(csv_text(group.judged)))
        if index == 0:
            writer.writerow([*names, *heading])
        writer.writerows([*group.labels, *row] for row in rows)
    return text.getvalue()


def group_markdown(groups: Sequence[Group], names: Sequence[str], protocol: Sequence[str]) -> str:
    """Protocol, a table of values, intervals of the last group (overall), and definitions."""
    metrics = [score.metric for score in groups[0].judged[0].scores]
    heading = [*names, "row", *metrics]
    lines = ["# Noise on SIDD", "", *(f"- {line}" for line in protocol), "", "Values.", "", _line(heading)]
    lines.append(_line([*["---"] * (len(names) + 1), *["---:"] * len(metrics)]))
    for group in groups:
        lines += [_line([*group.labels, *cells]) for cells in _rows(group)]
    lines += ["", "Overall, with 95 % intervals; the floor is real against real.", ""]
    lines += [
        _line(["metric", "row", "value", "95 % interval", "floor", "ratio"]),
        _line([*["---"] * 2, *["---:"] * 4]),
    ]
    for i, metric in enumerate(metrics):
        for judged in groups[-1].judged:
            s = judged.scores[i]
            span = f"{_number(s.low)} .. {_number(s.high)}" if math.isfinite(s.low) else "-"
            lines.append(_line([metric, judged.name, _number(s.value), span, _number(s.floor), _number(s.ratio)]))
    lines += ["", "Definitions.", "", *(f"- {line}" for line in definitions(groups[0].judged))]
    return "\n".join(lines) + "\n"


def _rows(group: Group) -> list[list[str]]:
    """Name and values of each source."""
    return [[judged.name, *(_number(score.value) for score in judged.scores)] for judged in group.judged]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
