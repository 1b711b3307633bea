"""The folder of a run: what it refuses, what a resume may change, metrics, and the picture of a run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from noisemodel.components import Parameter
from noisemodel.errors import InputError
from noisemodel.evaluation.history import plot_history
from noisemodel.runs import LOCK, MAY_CHANGE, RunFolder
from noisemodel.sensor import Levels
from train_gan_noisemodel import TrainOptions

CONFIG: dict[str, Any] = {"lr": 0.1, "seed": 0, "num_iter": 10, "notes": "", "gpus": None, "resume": False}


def begun(path: Path, *, state: bool = True) -> RunFolder:
    """A run with all of its files."""
    folder = RunFolder(path)
    folder.check(CONFIG, resume=False, overwrite=False)
    folder.begin(CONFIG, resume=False)
    if state:
        torch.save({"step": 3}, folder.resume_file)
        folder.model_file.write_bytes(b"model")
        (path / "tensorboard").mkdir()
        (path / "tensorboard" / "events").write_bytes(b"events")
        folder.add_metrics({"step": 0, "score": 1.0})
    return folder


def test_a_new_folder_is_made_with_its_config(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.check(CONFIG, resume=False, overwrite=False)
    assert not folder.path.exists()  # a check leaves nothing behind
    folder.begin(CONFIG, resume=False)
    assert json.loads(folder.config_file.read_text())["lr"] == 0.1
    assert sorted(path.name for path in folder.path.iterdir()) == [LOCK, "config.json"]


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    for config in (CONFIG, {**CONFIG, "lr": 0.2}):
        with pytest.raises(InputError, match="--resume, --overwrite true, or another --save_path"):
            RunFolder(tmp_path / "run").check(config, resume=False, overwrite=False)
    RunFolder(tmp_path / "run").check(CONFIG, resume=False, overwrite=True)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        RunFolder(file).check(CONFIG, resume=False, overwrite=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("keep")
    RunFolder(tmp_path / "other").check(CONFIG, resume=False, overwrite=False)  # no run in it


def test_a_new_run_clears_what_an_old_one_left(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (tmp_path / "notes.txt").write_text("keep")
    folder.begin({**CONFIG, "lr": 0.2}, resume=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "config.json", "notes.txt"]
    assert json.loads(folder.config_file.read_text())["lr"] == 0.2
    assert folder.metrics() == []


def test_a_resumed_run_keeps_its_files(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    before = {path: path.read_bytes() for path in (folder.model_file, folder.resume_file, folder.metrics_file)}
    config = {**CONFIG, "num_iter": 20, "resume": True}
    folder.check(config, resume=True, overwrite=False)
    folder.begin(config, resume=True)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (tmp_path / "tensorboard" / "events").exists()
    assert json.loads(folder.config_file.read_text())["num_iter"] == 20


@pytest.mark.parametrize("name, value", [("lr", 0.2), ("seed", 1)])
def test_a_resume_with_another_option_names_it(tmp_path: Path, name: str, value: float) -> None:
    folder = begun(tmp_path)
    with pytest.raises(InputError, match=rf"--{name} was {CONFIG[name]} when .* began, now {value}"):
        folder.check({**CONFIG, name: value}, resume=True, overwrite=False)
    with pytest.raises(InputError, match=r"--patch was None when .* now 32"):
        folder.check({**CONFIG, "patch": 32}, resume=True, overwrite=False)


def test_what_may_change_on_a_resume_are_options() -> None:
    assert set(TrainOptions.__dataclass_fields__) > MAY_CHANGE
    assert not MAY_CHANGE & {
        "lr",
        "seed",
        "noiselist",
        "network",
        "dataset",
        "data_root",
        "init",
        "batch_size",
        "patch",
    }


def test_a_resume_needs_a_state_and_a_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume; leave --resume out"):
        RunFolder(tmp_path / "none").check(CONFIG, resume=True, overwrite=False)
    stateless = begun(
        tmp_path / "stateless", state=False
    )  # stopped before its first state: no flag may send in circles
    with pytest.raises(InputError, match="nothing to resume; give --overwrite true"):
        stateless.check(CONFIG, resume=True, overwrite=False)
    with pytest.raises(InputError, match="holds a run; give --overwrite true or another"):
        stateless.check(CONFIG, resume=False, overwrite=False)
    folder = begun(tmp_path / "run")
    folder.resume_file.write_bytes(folder.resume_file.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        folder.check(CONFIG, resume=True, overwrite=False)
    folder.config_file.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        folder.check(CONFIG, resume=True, overwrite=False)


def test_metrics_of_steps_that_are_done_again_are_replaced(tmp_path: Path) -> None:
    folder = begun(tmp_path, state=False)
    for step in (0, 5, 10, 15):
        folder.add_metrics({"step": step, "score": 1.0 + step})
    folder.add_metrics({"step": 10, "score": -1.0, "critic_gap": 0.5})
    assert folder.metrics() == [
        {"step": 0, "score": 1.0},
        {"step": 5, "score": 6.0},
        {"step": 10, "score": -1.0, "critic_gap": 0.5},
    ]
    header, *rows = folder.metrics_file.read_text().splitlines()
    assert header == "step,score,critic_gap" and rows[0] == "0,1.0,"
    assert RunFolder(tmp_path / "none").metrics() == []


def test_figures_survive_the_csv_bit_for_bit(tmp_path: Path) -> None:
    folder = begun(tmp_path, state=False)
    value = 1 / 3 * 1e-7
    folder.add_metrics({"step": 0, "score": value})
    folder.add_metrics({"step": 1, "score": value})
    assert [row["score"] for row in folder.metrics()] == [value, value]


def test_the_picture_of_a_run_is_written(tmp_path: Path) -> None:
    """A PNG with a panel for what moved and one for the score; a fixed parameter gets none."""
    parameters = [Parameter("shot.gain", 1e-3, "white/e-"), Parameter("read.std", 2e-3, "white", fixed=True)]
    rows = [
        {"step": s, "score": 1 / (1 + s), "shot.gain": 1e-3 + 1e-5 * s, "last.shot.gain": 1e-3, "read.std": 2e-3}
        for s in range(4)
    ]
    widths = []
    for levels, shown in ((Levels(0, 1023), parameters), (None, parameters), (None, parameters[1:])):
        path = plot_history(rows, shown, levels, {"shot.gain": 1e-3}, tmp_path / "history.png")
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        widths.append(int.from_bytes(content[16:20], "big"))
    assert widths[0] == widths[1] > 1.5 * widths[2]
    assert [file.name for file in tmp_path.iterdir()] == ["history.png"]


def test_a_run_is_resumed_or_replaced_not_both(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    with pytest.raises(InputError, match="give one of them"):
        folder.check(CONFIG, resume=True, overwrite=True)
