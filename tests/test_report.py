"""The page of viewnoise: complete, self-contained, safe against what files say, the same for the same input."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import noisemodel
import viewnoise
from datasets import BurstSet, simulated_bursts
from noisemodel import Levels, NoiseGenerator, PhysicalNoise
from noisemodel.evaluation.comparison import Comparison
from noisemodel.evaluation.parameter_table import compare_parameters, headings
from noisemodel.evaluation.report import SECTIONS, report_page
from noisemodel.evaluation.report.charts import numbers
from noisemodel.evaluation.report.figures import metrics_section
from noisemodel.evaluation.report.markup import Section, section, table

LEVELS = Levels(256.0, 4095.0)
STEP = LEVELS.adc_step
NASTY = "<script>alert('x')</script>&\"</script>"
CALIBRATION = {
    "figures": {"gain": {"value": 1.0, "low": 0.98, "high": 1.02, "unit": "DN/e-", "estimator": NASTY}},
    "parameters": {"shot.gain": {"low": 0.98 * STEP, "high": 1.02 * STEP}, "read.std": {"low": None}, "row1.std": 3},
    "levels": [
        {"burst": f"b{i}", "signal_dn": s, "variance_dn2": s + 7.0, "standard_error": 0.1, "fitted_dn2": s + 7.1}
        for i, s in enumerate((0.0, 100.0, 1000.0))
    ],
    "notes": [NASTY],
}


def physical(layout: str = "mosaic") -> PhysicalNoise:
    start = {"shot_gain": STEP, "read_std": 2.5 * STEP, "row1_std": 0.8 * STEP}
    return PhysicalNoise.from_noiselist("shot_read_uniform_row1", layout=layout, levels=LEVELS, **start)


def small(with_truth: bool = True, name: str = "simulated") -> BurstSet:
    found = simulated_bursts(frames=4, size=(96, 96), with_truth=with_truth)
    known = (found.true_parameters, found.true_pattern)
    return BurstSet(name, found.levels, found.layout, found.cfa, found.scenes[:2] + found.darks[:1], *known)


@dataclass(frozen=True)
class Score:
    metric: str
    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    unit: str


def fidelity_stub(scores: list[Score]) -> ModuleType:
    stub = ModuleType("noisemodel.evaluation.fidelity")
    stub.METRICS = {"ks": SimpleNamespace(about="largest gap <of> two")}  # type: ignore[attr-defined]
    stub.fidelity = lambda pairs, **options: scores  # type: ignore[attr-defined]
    return stub


@pytest.fixture(scope="module", autouse=True)
def fidelity() -> Iterator[None]:
    scores = [
        Score("ks", 0.02, 0.01, 0.04, 0.01, 0.005, 0.02, "1"),
        Score("w1", float("nan"), *[float("nan")] * 2, 0.0, 0.0, 0.0, "DN"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "noisemodel.evaluation.fidelity", fidelity_stub(scores))
        yield


@pytest.fixture(scope="module")
def compared() -> Comparison:
    made = {"calibration": CALIBRATION, "options": {"data": NASTY}, "long": "x" * 1000}
    return viewnoise.compare_with(physical(), small(name=NASTY), crop=96, provenance=made)


@pytest.fixture(scope="module")
def page(compared: Comparison) -> str:
    return report_page(compared)


class Outline(HTMLParser):
    """Tags, identifiers, references, and the text of scripts."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.counts: dict[str, int] = {}
        self.scripts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("src", "href", "action", "srcset") if name in given]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((given.get("type", ""), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_every_section_stands_in_the_contents_and_tags_are_balanced(outline: Outline) -> None:
    assert outline.open == []
    assert [name for name in outline.ids if name in SECTIONS] == list(SECTIONS)
    assert [a for a in outline.addresses if a.startswith("#")] == [f"#{key}" for key in SECTIONS]
    assert len(outline.ids) == len(set(outline.ids)) and outline.counts["h1"] == outline.counts["nav"] == 1
    assert outline.counts["section"] == len(SECTIONS) and outline.counts["figure"] == outline.counts["figcaption"] + 5


def test_nothing_is_loaded_and_plotly_is_there_once(page: str, outline: Outline) -> None:
    assert all(a.startswith(("#", "data:")) for a in outline.addresses)
    assert "default-src 'none'" in page and page.count("plotly.js v") == 1
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert len(page.encode()) < 8e6


def test_text_from_files_stays_text(page: str) -> None:
    assert NASTY not in page and "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(") >= 4
    assert "&lt;of&gt;" in page
    assert "<b>" not in section(Section("k", "<b>", "<b>", "")) and "<b>" not in table(
        ("<b>",), [["<b>"]], caption="<b>"
    )


def test_charts_are_figures_that_plotly_accepts(outline: Outline) -> None:
    charts = [json.loads(text) for kind, text in outline.scripts if kind == "application/json"]
    assert len(charts) >= 20
    for figure in charts:
        go.Figure(figure)
        for trace in figure["data"]:
            assert len(trace["x"]) == len(trace["z"][0] if "z" in trace else trace["y"]) > 0
    kinds = {trace["type"] for figure in charts for trace in figure["data"]}
    assert kinds == {"scatter", "bar", "heatmap"}


def test_intervals_are_shown_in_every_unit(page: str, compared: Comparison) -> None:
    gain = next(row for row in compared.rows if row.name == "shot.gain")
    assert gain.interval == "0.98 … 1.02 DN/e⁻" and gain.intervals[0] == f"{0.98 * STEP:.4g} … {1.02 * STEP:.4g} per e⁻"
    assert all(f"<small>{text}</small>" in page for text in gain.intervals if text)
    assert [row.interval for row in compared.rows if row.name != "shot.gain"] == [""] * (len(compared.rows) - 1)
    assert "95 % interval" in headings(compared.rows)
    told = compare_parameters(physical(), physical(), {}, [], calibration=CALIBRATION)
    cells = dict(
        zip(
            *[list(column.cells) for column in told.columns if column.header in ("parameter", "95 % interval")],
            strict=True,
        )
    )
    assert cells["shot.gain"] == "0.98 … 1.02" and cells["read.std"] == ""


def test_metrics_stand_beside_their_floor(page: str) -> None:
    assert "0.02<small>0.01 … 0.04</small>" in page and "0.01<small>0.005 … 0.02</small>" in page
    assert 'class="word">w1</th><td></td>' in page  # NaN is an empty cell


def test_what_is_missing_is_said(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "noisemodel.evaluation.fidelity", None)
    assert "not available" in metrics_section(compared).body_html
    bare = Comparison(
        compared.model, "d", compared.levels, compared.cfa, compared.pairs, 0, provenance={"calibration": 3}
    )
    for key, words in {
        "parameters": "Intervals are not available",
        "variance": "are not available in this checkpoint",
        "metrics": "Std of residuals",
    }.items():
        assert words in SECTIONS[key](bare).body_html


@pytest.mark.parametrize("kind", ["planes", "rgb", "Unet", "no_truth", "dark_only", "read_only"])
def test_a_page_for_every_kind_of_model_and_data(kind: str) -> None:
    data = small(with_truth=kind != "no_truth")
    model: Any = physical("planes" if kind in ("planes", "rgb") else "mosaic")
    if kind == "read_only":
        model = PhysicalNoise.from_noiselist("read")
    if kind in ("Unet", "rgb"):
        model = NoiseGenerator(
            model, "Unet" if kind == "Unet" else "noUnet", channels=3 if kind == "rgb" else 4, unet_width=4
        )
    if kind == "dark_only":
        data = BurstSet(data.name, data.levels, data.layout, data.cfa, data.darks)
    found = viewnoise.compare_with(model, data, crop=48)
    text = "".join(section(make(found)) for make in SECTIONS.values())
    assert Outline(text).open == []
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"data:image[^\"]*|<script.*?</script>", "", text))


def test_the_same_input_gives_the_same_page(compared: Comparison, page: str) -> None:
    assert report_page(compared) == page


def test_html_and_png_choose_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noisemodel.save(physical(), tmp_path / "run", calibration=CALIBRATION)
    monkeypatch.setattr(viewnoise, "load_data", lambda config, layout: small())
    monkeypatch.setattr(viewnoise, "_draw", lambda make, path: path.touch())

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["viewnoise.py", str(tmp_path / "run"), "--crop", "64", *map(str, words)])
        return viewnoise.main()

    target = tmp_path / "pages" / "report.html"
    assert run("--html", target) == 0
    assert [p.name for p in target.parent.iterdir()] == ["report.html"] and not (tmp_path / "run" / "view").exists()
    assert str(target) in capsys.readouterr().out
    assert run("--html", target, "--png", "-o", tmp_path / "view") == 0
    assert (tmp_path / "view" / "images.png").exists() and "0.98 … 1.02 DN/e⁻" in capsys.readouterr().out
    assert run("--html", tmp_path) == 2
    assert "is a folder; --html takes a file" in capsys.readouterr().err


def test_numbers_keep_their_digits_and_leave_gaps() -> None:
    found = numbers([0.0, -1.234567e-7, 98765.432, np.nan, np.inf])
    assert found == [0.0, pytest.approx(-1.2346e-7, rel=1e-12), 98765.0, None, None]
    assert json.dumps(numbers([0.1 + 0.2])) == "[0.3]"
