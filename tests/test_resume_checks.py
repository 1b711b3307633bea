"""--resume refuses other data and fewer steps, for all three training programs; a moved folder is the same data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import training_runs as runs
from fuzz_models import write_eld
from PIL import Image

import train_denoiser
import train_gan_noisemodel
import train_nrgan


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, tmp_path)
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)
    monkeypatch.setattr(train_nrgan, "plot_losses", lambda *_: None)
    monkeypatch.setattr(train_denoiser, "plot_losses", lambda *_: None)


def array_of(place: Path, seed: int) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    np.save(place, np.random.default_rng(seed).integers(0, 200, (8, 3, 32, 32)).astype(np.uint8))
    return place


def pictures_of(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    draws = np.random.default_rng(seed)
    for name in "abc":
        Image.fromarray(draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def bursts_of(folder: Path, seed: int) -> Path:
    arrays = runs.frames_of()
    arrays["coffee"] = arrays["coffee"].copy()
    arrays["coffee"][0, 0, 0] += seed  # one pixel of one frame
    return runs.write_bursts(folder, arrays)


class Trainer(NamedTuple):
    """A program, its words for a run folder, and how other and the same data are made."""

    main: Callable[[list[str]], int]
    words: Callable[[Path], list[str]]
    data: str
    steps: str
    make: Callable[[Path, int], Path]


def nrgan_words(out: Path) -> list[str]:
    tiny = "--batch_size 4 --g_channels 4 --d_channels 4 --device cpu"
    return ["cifar10ag25", "sinrgan1", str(out), *tiny.split()]


def denoiser_words(out: Path) -> list[str]:
    tiny = "--batch_size 2 --crop_size 16 --width 4 --gpus 0"
    return [*tiny.split(), "-o", str(out)]


def noise_words(out: Path) -> list[str]:
    tiny = "--noiselist shot_read --init default --lr_decay false"
    return [*runs.TINY.split(), *tiny.split(), "--save_path", str(out)]


TRAINERS = {
    "nrgan": Trainer(train_nrgan.main, nrgan_words, "data", "num_iterations", array_of),
    "denoiser": Trainer(train_denoiser.main, denoiser_words, "data", "num_steps", pictures_of),
    "noisemodel": Trainer(train_gan_noisemodel.main, noise_words, "data_root", "num_iter", bursts_of),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_run_goes_on_with_its_own_data_and_more_steps(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, out = TRAINERS[name], tmp_path / "run"

    def went(data: Path, steps: int, *more: str) -> tuple[int, str, str]:
        code = trainer.main(
            [*trainer.words(out), f"--{trainer.data}", str(data), f"--{trainer.steps}", str(steps), *more]
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    mine = trainer.make(tmp_path / "mine" / "data.npy", 0)
    other = trainer.make(tmp_path / "other" / "data.npy", 1)
    assert went(mine, 2)[0] == 0
    before = runs.listing(out)

    code, _, said = went(other, 3, "--resume")
    assert code == 2 and said.count("\n") == 1, said
    assert f"--{trainer.data} is not the data that {out} began with: now {other} (" in said and f"then {mine} (" in said
    assert said.rstrip().endswith("give the same data, or begin again with --overwrite true")
    code, _, said = went(mine, 1, "--resume")
    assert code == 2 and said.count("\n") == 1, said
    assert f"{out} has 2 steps already, --{trainer.steps} is 1: give more than 2 to go on, or --overwrite true" in said
    assert runs.listing(out) == before

    code, said, _ = went(mine, 2, "--resume")
    assert code == 0 and f"{out} has 2 steps already, nothing is left to be trained" in said
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    code, _, said = went(tmp_path / "loop", 3, "--resume")  # whoever reads the data says it
    assert code == 2 and said.count("\n") == 1 and f"{tmp_path / 'loop'}" in said
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.move(mine, tmp_path / "moved" / "moved.npy"))
    (code, said, _), kept = went(moved, 3, "--resume"), (out / "data.json").read_bytes()
    assert code == 0 and "nothing is left" not in said
    assert json.loads((out / "config.json").read_text())[trainer.data] == str(moved)
    assert kept == before["data.json"]

    (out / "data.json").write_text(json.dumps({trainer.data: "x"}))
    assert f"{out / 'data.json'} is damaged; begin again" in went(moved, 4, "--resume")[2]
    (out / "data.json").unlink()  # a run of an earlier version
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, trainer.data: str(other)}))
    assert went(other, 4, "--resume")[0] == 0


def test_the_path_alone_decides_for_runs_without_a_fingerprint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As before: --data_root was an option like any other."""
    data = bursts_of(tmp_path / "data", 0)
    assert train_gan_noisemodel.main([*noise_words(tmp_path / "run"), "--data_root", str(data)]) == 0
    (tmp_path / "run" / "data.json").unlink()
    moved = shutil.move(data, tmp_path / "moved")
    words = [*noise_words(tmp_path / "run"), "--data_root", str(moved), "--num_iter", "5", "--resume"]
    assert train_gan_noisemodel.main(words) == 2
    assert "--data_root was " in capsys.readouterr().err


def test_noise_is_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bursts that train_denoiser.py learns from may move, and no more."""
    bursts, other = bursts_of(tmp_path / "bursts", 0), bursts_of(tmp_path / "other", 1)
    words = [*denoiser_words(tmp_path / "run"), "--num_steps"]
    assert train_denoiser.main([*words, "1", "--noise", f"bursts:{bursts}"]) == 0
    assert train_denoiser.main([*words, "2", "--noise", f"bursts:{other}", "--resume"]) == 2
    assert "--noise is not the data that" in capsys.readouterr().err
    assert train_denoiser.main([*words, "2", "--noise", "gaussian:0.1", "--resume"]) == 2
    assert "--noise was 'bursts:" in capsys.readouterr().err
    moved = shutil.move(bursts, tmp_path / "moved")
    assert train_denoiser.main([*words, "2", "--noise", f"bursts:{moved}", "--resume"]) == 0


def test_embedded_pictures_are_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*denoiser_words(tmp_path / "run"), "--num_steps"]
    assert train_denoiser.main([*words, "1"]) == 0
    pictures = pictures_of(tmp_path / "pictures", 0)
    assert train_denoiser.main([*words, "2", "--resume", "--data", str(pictures)]) == 2
    assert f"now {pictures} (3 files" in (said := capsys.readouterr().err) and "then no path; give the same" in said
    assert train_denoiser.main([*words, "2", "--resume"]) == 0


def test_files_of_noise_with_arguments_may_move_and_keep_their_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    write_eld(tmp_path / "here")
    shutil.copy(tmp_path / "here" / "eld.npy", tmp_path / "there" / "a, b.npy")
    words = [*denoiser_words(tmp_path / "run"), "--num_steps"]
    assert train_denoiser.main([*words, "1", "--noise", f"eld:{tmp_path}/here/eld.npy,1.5"]) == 0
    assert json.loads((tmp_path / "run" / "data.json").read_text())["noise"]["files"] == 1
    assert train_denoiser.main([*words, "2", "--noise", f"eld:{tmp_path}/here/eld.npy,2.5", "--resume"]) == 2
    assert "--noise was 'eld:" in capsys.readouterr().err
    shutil.move(tmp_path / "here" / "eld.npy", tmp_path / "there" / "eld.npy")
    assert train_denoiser.main([*words, "2", "--noise", f"eld:{tmp_path}/there/eld.npy,1.5", "--resume"]) == 0
    assert train_denoiser.noise_path(f"eld:{tmp_path}/there/a, b.npy,1.5") == tmp_path / "there" / "a, b.npy"
    assert train_denoiser.noise_path("gaussian:0.1") is None
