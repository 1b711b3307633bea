"""The page in a browser: no console error, every chart drawn, nothing wider than a phone, the magnifier follows."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import viewnoise
from datasets import BurstSet, simulated_bursts
from noisemodel import Levels, PhysicalNoise
from noisemodel.evaluation.report import SECTIONS

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  const group = document.querySelector(".magnifier"), under = group.querySelectorAll(".under")[3];
  const seen = () => [...group.querySelectorAll("canvas")].map((c) => c.toDataURL());
  const frame = under.getBoundingClientRect(), before = seen();
  under.dispatchEvent(new PointerEvent("pointermove", {
    clientX: frame.left + 0.25 * frame.width, clientY: frame.top + 0.75 * frame.height }));
  document.documentElement.dataset.changed = seen().filter((picture, i) => picture !== before[i]).length;
  const boxes = [...group.querySelectorAll(".box")].map((box) => box.style.cssText);
  document.documentElement.dataset.boxes = new Set(boxes).size;
}, 3000));</script>"""
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser here (looked for {', '.join(BROWSERS)})")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    levels = Levels(256.0, 4095.0)
    start = {"shot_gain": levels.adc_step, "read_std": 2.5 * levels.adc_step, "row1_std": 0.8 * levels.adc_step}
    model = PhysicalNoise.from_noiselist("shot_read_uniform_row1", levels=levels, **start)
    found = simulated_bursts(frames=4, size=(96, 96))
    data = BurstSet(found.name, found.levels, found.layout, found.cfa, found.scenes[:2] + found.darks[:1])
    return viewnoise.write_report(viewnoise.compare_with(model, data), tmp_path_factory.mktemp("page") / "report.html")


def open_page(page: Path, tmp_path: Path, width: int, *more: str) -> tuple[dict[str, str], str, str]:
    """Facts that the page's script left (data-... of its root), the drawn document, and what the console said."""
    assert BROWSER is not None
    words = [BROWSER, *FLAGS, f"--window-size={width},4000", f"--user-data-dir={tmp_path / 'profile'}", *more]
    words += ["--virtual-time-budget=20000", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    root = re.search(r"<html[^>]*>", done.stdout)
    assert root is not None
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return dict(re.findall(r'data-(\w+)="([^"]*)"', root[0])), done.stdout, console


@pytest.mark.parametrize("width", [1280, 400])
def test_all_charts_are_drawn_and_nothing_sticks_out(page: Path, tmp_path: Path, width: int) -> None:
    facts, document, console = open_page(page, tmp_path, width)
    assert facts["error"] == "" and console == ""
    assert int(facts["charts"]) == int(facts["drawn"]) >= 20
    assert facts["overflow"] == "0"
    drawn = document.split('<div class="plot js-plotly-plot"')[1:]
    assert len(drawn) == int(facts["charts"]) and all("main-svg" in part for part in drawn)
    assert all(f'<section id="{key}"' in document for key in SECTIONS)


def test_the_magnifier_shows_one_place_in_all_pictures(page: Path, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    facts, document, console = open_page(probed, tmp_path, 1280)
    assert facts["error"] == "" and console == ""
    assert facts["changed"] == "5" and facts["boxes"] == "1"
    assert 'data-shown="0.250,0.750"' in document


def test_a_broken_page_is_noticed(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace("</body>", "<script>absent();</script></body>"), encoding="utf-8")
    facts, _, console = open_page(broken, tmp_path, 1280)
    assert "absent is not defined" in facts["error"] and "absent is not defined" in console
    loading = tmp_path / "loading.html"
    loading.write_text(text.replace("</body>", '<img src="https://example.org/x.png"></body>'), encoding="utf-8")
    assert "Content Security Policy" in open_page(loading, tmp_path, 1280)[2]
