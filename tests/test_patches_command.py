"""patches.py: what is cut from real frames, and that train_nrgan.py learns from it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import frames_of, write_bursts

import patches
import train_nrgan


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["patches.py"])
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bursts(tmp_path_factory.mktemp("patches") / "bursts")


def run(*words: str) -> int:
    try:
        return patches.main(list(words))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_every_patch_lies_in_a_lit_frame(bursts: Path, tmp_path: Path) -> None:
    assert run(str(bursts), "--size", "16", "--count", "40", "-o", "cut.npy") == 0
    cut = np.load(tmp_path / "cut.npy")
    assert cut.shape == (40, 4, 16, 16) and cut.dtype == np.float32
    lit = [frames for name, frames in frames_of().items() if not name.startswith("dark")]
    planes = [
        (f.astype(float).reshape(4, 32, 2, 32, 2).transpose(0, 2, 4, 1, 3).reshape(4, 4, 32, 32) - 256) / 3839
        for f in lit
    ]
    tiles = {t.astype(np.float32).tobytes() for p in planes for f in p for r in (0, 16) for c in (0, 16)
             for t in [f[:, r : r + 16, c : c + 16]]}  # fmt: skip
    close = [min(np.abs(patch - np.frombuffer(t, np.float32).reshape(4, 16, 16)).max() for t in tiles) for patch in cut]
    assert max(close) < 1e-6
    assert len({patch.tobytes() for patch in cut}) == 40  # no tile twice


def test_the_same_seed_cuts_the_same(bursts: Path, tmp_path: Path) -> None:
    for name, seed in (("a.npy", "3"), ("b.npy", "3"), ("c.npy", "4")):
        assert run(str(bursts), "--size", "16", "--count", "12", "--seed", seed, "-o", name) == 0
    a, b, c = (np.load(tmp_path / name) for name in ("a.npy", "b.npy", "c.npy"))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_nrgan_learns_from_them(bursts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)
    assert run(str(bursts), "--count", "40") == 0
    words = "cifar10 physnrgan run --data patches.npy --batch_size 4 --g_channels 4 --d_channels 4 --num_iterations 2"
    assert train_nrgan.main([*words.split(), "--no_clip", "--device", "cpu"]) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--size", "64"], "give a smaller --size"),
        (["--size", "0"], "at least 1"),
        (["--signal", "2"], "lower it"),
        (["--truth", "t.npy"], "no ground truth"),
        (["-o", "cut.npz"], "ends so"),
    ],
)
def test_bad_options(bursts: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(bursts), *words) == 2
    said = capsys.readouterr().err
    assert part in said and said.count("\n") == 1
    assert not list(Path().glob("*.np*"))
