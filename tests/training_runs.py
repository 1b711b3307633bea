"""Small training runs for tests: a folder of bursts, the program called in process, and what a run left behind."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import train_gan_noisemodel
import train_gan_records
from datasets import simulated_bursts

BURSTS = ("coffee", "motorcycle", "dark_0", "dark_1", "flat_0.25")
LEVELS = {"black_level": 256, "white_level": 4095}
TINY = (
    "--dataset bursts --crop_size 16 --patch 16 --batch_size 2 --frames 2 --num_iter 3 --critic_steps 2 "
    "--critic_width 4 --unet_width 4 --warmup 0 --gpus 0"
)


def frames_of(names: Sequence[str] = BURSTS) -> dict[str, np.ndarray]:
    """Name -> (4, 64, 64) uint16 frames of the simulated camera, an RGGB mosaic."""
    found = simulated_bursts(frames=4, size=(64, 64), with_truth=False)
    return {b.name: b.source.read(range(4), slice(None), slice(None)) for b in found.bursts if b.name in names}


def write_bursts(root: Path, arrays: Mapping[str, np.ndarray] | None = None, **facts: Any) -> Path:
    """Write one .npz per burst, and levels.json with ``facts``; those of a mosaic if none are given."""
    root.mkdir(parents=True)
    for name, frames in (frames_of() if arrays is None else arrays).items():
        np.savez(root / f"{name}.npz", frames=frames)
    facts = facts or {**LEVELS, "layout": "mosaic", "cfa": "RGGB"}
    (root / "levels.json").write_text(json.dumps(facts))
    return root


def quick(monkeypatch: pytest.MonkeyPatch, folder: Path, *, plot: bool = False) -> None:
    """Work in ``folder``, with the cache inside it, on one thread, and (unless ``plot``) without the slow picture."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NOISEMODEL_CACHE", str(folder / "cache"))
    monkeypatch.setattr("sys.argv", ["train_gan_noisemodel.py"])
    torch.set_num_threads(1)
    if not plot:
        monkeypatch.setattr(train_gan_records, "plot_history", lambda *_: None)


def words_of(out: Path, data: Path, words: str = "") -> list[str]:
    """A command line: TINY, then ``words`` (split at spaces)."""
    return [*TINY.split(), "--data_root", str(data), "--save_path", str(out), *words.split()]


def train(out: Path, data: Path, words: str = "") -> int:
    """Run the program in process; returns the exit code."""
    try:
        return train_gan_noisemodel.main(words_of(out, data, words))
    except SystemExit as stop:
        return int(stop.code or 0)


def model_tensors(run: Path) -> dict[str, Tensor]:
    """The weights of the model that the run kept."""
    return load_file(run / "model.safetensors")


def resume_state(run: Path) -> dict[str, Any]:
    """Weights and optimizer states that the run would go on with."""
    found = torch.load(run / "resume.ckpt", weights_only=True)
    return {name: found[name] for name in ("state_dict", "optimizer_states", "callbacks")}


def metrics(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv, without the time they took."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same(one: Any, other: Any) -> bool:
    """Whether two nested containers hold the same bits."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def same_runs(one: Path, other: Path) -> bool:
    """Whether two runs stand at the same bits: model, resume state, metrics."""
    return all(same(read(one), read(other)) for read in (model_tensors, resume_state, metrics))


def listing(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` with its content, and every folder."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else b"" for p in sorted(root.rglob("*"))}
