"""Folders of pictures as they are found: runs among them, hidden files, one picture, small and broken ones."""

from pathlib import Path

import numpy as np
import pytest
import training_runs as runs
from PIL import Image

import train_denoiser
import train_nrgan
from nrgan.folders import read_folder
from train_denoiser_pictures import read_noisy_pictures

TINY = "--num_steps 2 --batch_size 2 --width 4 --gpus 0"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_denoiser, "plot_losses", lambda *_: None)
    monkeypatch.setattr(train_nrgan, "plot_losses", lambda *_: None)


def folder_of(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def program(data: Path, out: Path, words: str = "") -> int:
    tiny = [*TINY.split(), "--crop_size", "32"]
    return train_denoiser.main([*tiny, "--data", str(data), "-o", str(out), *words.split()])


def test_a_run_among_its_pictures_does_not_learn_from_its_own_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its validation pictures are results; resumed, it trains on what it began with, to the same bits."""
    data, elsewhere = folder_of(tmp_path / "data", [(40, 40)] * 3), folder_of(tmp_path / "elsewhere", [(40, 40)] * 3)
    for pictures, out in ((data, data / "run"), (elsewhere, tmp_path / "run")):
        assert program(pictures, out) == 0
        assert (out / "validation_000002.png").exists()
        (pictures / "._0.png").write_bytes(b"a file of the Finder's")
        assert program(pictures, out, "--num_steps 4 --resume") == 0
        assert "2 images for training, 1 for validation" in capsys.readouterr().out
    assert runs.same(runs.model_tensors(data / "run"), runs.model_tensors(tmp_path / "run"))


@pytest.mark.parametrize("resume", ["", "--resume"])
def test_a_run_is_not_written_among_its_data(resume: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of(tmp_path / "data", [(40, 40)] * 3)
    (tmp_path / "link").symlink_to(data)
    assert program(tmp_path / "link", data, resume) == 2
    assert f"--data {data} is where the run is written; give another" in capsys.readouterr().err
    assert sorted(file.name for file in data.iterdir()) == ["0.png", "1.png", "2.png"]


def test_nrgan_leaves_the_pictures_of_a_run_out(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", [(32, 32)] * 12)
    folder_of(data / "run", [(32, 32)] * 3)
    (data / "run" / "resume.ckpt").touch()
    assert len(read_folder(data, 32, "train")) == 11


def test_a_file_that_is_no_picture_is_named_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of(tmp_path / "data", [(40, 40)] * 3)
    (data / "0.png").write_text("a text")
    for method in ("n2n", "n2c", "ntgan --critic_width 4"):
        assert program(data, tmp_path / "run", f"--method {method}") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"cannot read {data / '0.png'} (cannot identify image file it); repair or remove it" in line
    assert not (tmp_path / "run").exists()


def test_ntgan_learns_from_one_noisy_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = folder_of(tmp_path / "data", [(20, 50)])
    assert program(data, tmp_path / "run", "--method ntgan --critic_width 4") == 0
    assert "1 images, taken to be noisy" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["", "--corruption gaussian"])
def test_ntgan_names_a_picture_or_a_crop_that_is_too_small(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--method ntgan --critic_width 4 {words}"
    data = folder_of(tmp_path / "data", [(40, 40), (15, 40)])
    np.save(data / "a.npy", np.zeros((3, 40, 40), np.float32))
    assert program(data, tmp_path / "run", words) == 2
    assert f"{data / '1.png'} has 15x40 px, at least 16 are needed; leave it out" in capsys.readouterr().err
    (data / "1.png").write_bytes((data / "0.png").read_bytes())
    assert program(data, tmp_path / "run", f"{words} --crop_size 31") == 2
    assert "--method ntgan needs a --crop_size of at least 32, got 31" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_ntgan_does_not_hold_more_pictures_than_there_is_room_for(tmp_path: Path) -> None:
    found = read_noisy_pictures(folder_of(tmp_path / "data", [(40, 40)] * 3), 16)
    assert found.held == {}
    found.room = 5000  # bytes: one picture
    assert [tuple(picture.shape) for picture in found] == [(3, 40, 40)] * 3
    assert [*found.held] == [0]
