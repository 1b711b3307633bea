"""The scores of several models as a terminal table, CSV and Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from torch import Tensor

from noisemodel.evaluation.fidelity import METRICS, Score, mean_log_ratio

REAL = "real vs real"


@dataclass(frozen=True)
class Judged:
    """One model: its scores over all recordings, and (value, floor) of each metric on each recording."""

    name: str
    scores: tuple[Score, ...]
    recordings: Mapping[str, Mapping[str, tuple[float, float]]]

    @property
    def mean_ratio(self) -> float:
        """Geometric mean of value / floor over the proper metrics."""
        return math.exp(mean_log_ratio(self.scores))


def floor_row(judged: Judged) -> Judged:
    """Real against real, from the floors of any model."""
    scores = tuple(
        Score(s.metric, *(s.floor, s.floor_low, s.floor_high) * 2, s.unit, 1.0, 1.0)  # ratio 1 by definition
        for s in judged.scores
    )
    recordings = {
        name: {metric: (floor, floor) for metric, (_, floor) in found.items()}
        for name, found in judged.recordings.items()
    }
    return Judged(REAL, scores, recordings)


def point_values(measured: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """(value, floor) of one recording, from `measure_pair`."""
    return {name: (float(found[0, 0]), float(found[1, 0])) for name, found in measured.items()}


def ratio_table(models: Sequence[Judged]) -> Table:
    """Ratio of value to floor, metrics down and models across; the mean is over the proper ones."""
    table = Table(title="ratio to the floor (1: as good as real noise)", title_justify="left")
    table.add_column("metric")
    for model in models:
        table.add_column(model.name, justify="right", overflow="fold")
    table.add_row("mean ratio", *(_number(model.mean_ratio, 3) for model in models), end_section=True)
    for i, score in enumerate(models[0].scores):
        table.add_row(score.metric, *(_number(model.scores[i].ratio, 3) for model in models))
    return table


def value_table(models: Sequence[Judged]) -> Table:
    """Value, interval, floor and ratio of every metric and model."""
    table = Table(title="values with 95 % intervals", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("metric", "unit", "model") else "right")
    for i, score in enumerate(models[0].scores):
        for k, cells in enumerate(_cells(models, i)):
            start = (score.metric, score.unit) if k == 0 else ("", "")
            table.add_row(*start, *cells, end_section=k == len(models) - 1)
    return table


COLUMNS = (
    "model", "metric", "unit", "recording", "value", "low", "high", "floor", "floor_low", "floor_high", "ratio",
    "ratio_low", "ratio_high",
)  # fmt: skip
HEADINGS = ("metric", "unit", "model", "value", "95 % interval", "ratio", "95 % interval of ratio")


def _cells(models: Sequence[Judged], metric: int) -> list[tuple[str, ...]]:
    """Rows of one metric."""
    rows: list[tuple[str, ...]] = []
    for model in models:
        s = model.scores[metric]
        of_ratio = "" if model.name == REAL else _span(s.ratio_low, s.ratio_high)
        rows.append((model.name, _number(s.value), _span(s.low, s.high), _number(s.ratio, 3), of_ratio))
    return rows


def definitions(models: Sequence[Judged]) -> list[str]:
    """One line per metric used."""
    return [f"{s.metric} [{s.unit}]: {METRICS[s.metric].about}" for s in models[0].scores]


def csv_text(models: Sequence[Judged]) -> str:
    """All figures: recording "all" holds means with intervals, the others the values of single recordings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model in models:
        for s in model.scores:
            bounds = (s.value, s.low, s.high, s.floor, s.floor_low, s.floor_high, s.ratio, s.ratio_low, s.ratio_high)
            writer.writerow([model.name, s.metric, s.unit, "all", *map(_plain, bounds)])
            for recording, found in model.recordings.items():
                value, floor = found[s.metric]
                ratio = value / floor if floor > 0 and value >= 0 else math.nan
                numbers = (value, math.nan, math.nan, floor, math.nan, math.nan, ratio, math.nan, math.nan)
                writer.writerow([model.name, s.metric, s.unit, recording, *map(_plain, numbers)])
    return text.getvalue()


def markdown_text(models: Sequence[Judged], protocol: Sequence[str]) -> str:
    """Protocol, definitions and both tables."""
    lines = ["# Fidelity of generated noise", "", *(f"- {line}" for line in protocol), ""]
    lines += ["Ratio to the floor (1: as good as real noise).", "", _row(["metric", *(m.name for m in models)])]
    lines += [_row(["---", *["---:"] * len(models)]), _row(["mean ratio", *(_number(m.mean_ratio, 3) for m in models)])]
    for i, score in enumerate(models[0].scores):
        lines.append(_row([score.metric, *(_number(m.scores[i].ratio, 3) for m in models)]))
    lines += ["", "Values with 95 % intervals.", "", _row(HEADINGS), _row(["---"] * 3 + ["---:"] * 4)]
    for i, score in enumerate(models[0].scores):
        lines += [_row([score.metric, score.unit, *cells]) for cells in _cells(models, i)]
    return "\n".join([*lines, "", "Definitions.", "", *(f"- {line}" for line in definitions(models))]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"


def _span(low: float, high: float) -> str:
    return f"{_number(low, 3)} .. {_number(high, 3)}" if math.isfinite(low) else "-"


def _plain(value: float) -> str:
    """For CSV: empty where there is no number."""
    return f"{value:.6g}" if math.isfinite(value) else ""
