"""Frames too small for statistics, or without any noise: every program that compares names them in one line."""

import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate
import noisemodel
import viewnoise
from noisemodel import Levels, PhysicalNoise
from noisemodel.checkpoint import write_atomically
from noisemodel.evaluation.command_output import check_targets


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    small = rng.integers(100, 200, (4, 8, 8))
    same = np.repeat(rng.integers(100, 200, (1, 64, 64)), 4, axis=0)
    for name, frames in (("small", small), ("same", same)):
        (root / name).mkdir()
        for scene in "abc":
            np.save(root / name / f"{scene}.npy", frames.astype(np.uint16))
        (root / name / "levels.json").write_text('{"black_level": 64, "white_level": 1023}')
    physical = PhysicalNoise.from_noiselist("shot_read", layout="planes", levels=Levels(64, 1023))
    noisemodel.save(physical, root / "model")
    return root


@pytest.mark.parametrize(("data", "said"), [("small", "is 8x8 pixels"), ("same", "are identical: no temporal noise")])
@pytest.mark.parametrize(
    "words",
    [
        "viewnoise model --data_root {} -o out",
        "evaluate noise --data_root {} --checkpoint model --noiselist shot_read --csv out/a.csv",
        "evaluate compare real model --on {} --figure out/a.png",
    ],
)
def test_one_line_and_nothing_written(
    data: str,
    said: str,
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    program, *rest = words.format(data).split()
    monkeypatch.setattr(sys, "argv", [program, *rest])
    assert (viewnoise.main() if program == "viewnoise" else evaluate.main(rest)) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and said in shown, shown
    assert not (place / "out").exists()


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    """/dev/null and pipes are targets like others, and are not replaced."""
    check_targets(csv=Path("/dev/null"))
    write_atomically(Path("/dev/null"), lambda path: path.write_text("x"))
    assert Path("/dev/null").is_char_device()
    (tmp_path / "link").symlink_to("/dev/null")
    write_atomically(tmp_path / "link", lambda path: path.write_text("x"))
    assert (tmp_path / "link").is_symlink() and list(tmp_path.iterdir()) == [tmp_path / "link"]
