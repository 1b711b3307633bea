"""Fingerprints of data: the same wherever they lie, others for other data, and cheap for large ones."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noisemodel import fingerprint as module
from noisemodel.fingerprint import BLOCK, MOST_BLOCKS, fingerprint, in_words


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three files, one in a folder."""
    folder = tmp_path / "data"
    (folder / "inner").mkdir(parents=True)
    for number, name in enumerate(("a.npy", "b ä.npy", "inner/c.npy")):
        (folder / name).write_bytes(np.random.default_rng(number).bytes(1000))
    return folder


def test_it_does_not_depend_on_the_place(data: Path, tmp_path: Path) -> None:
    before = fingerprint(data)
    assert before is not None and (before["files"], before["bytes"]) == (3, 3000)
    assert "3 files, 3000 bytes" in in_words(before)
    moved = shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # new times
    assert fingerprint(moved) == before
    (tmp_path / "link").symlink_to(moved)
    assert fingerprint(tmp_path / "link") == before
    assert fingerprint(data / "a.npy") == fingerprint(shutil.copy(data / "a.npy", tmp_path / "renamed.npy"))


def test_what_is_no_data_does_not_count(data: Path) -> None:
    before = fingerprint(data)
    (data / "README.md").write_text("notes")
    (data / ".DS_Store").write_text("x")
    (data / ".cache").mkdir()
    (data / ".cache" / "x.npy").write_text("x")
    for run, mark in (("running", ".lock"), ("over", "resume.ckpt")):
        (data / run / "pictures").mkdir(parents=True)
        for name in (mark, "model.safetensors", "pictures/x.png"):
            (data / run / name).write_text("x")
    (data / "inner" / "loop").symlink_to(data)
    (data / "gone").symlink_to(data / "nowhere")
    os.mkfifo(data / "pipe")
    assert fingerprint(data) == before


def flip(data: Path) -> None:
    content = bytearray((data / "a.npy").read_bytes())
    content[500] ^= 1
    (data / "a.npy").write_bytes(content)


def swap(data: Path) -> None:
    for one, other in (("a.npy", "kept"), ("b ä.npy", "a.npy"), ("kept", "b ä.npy")):
        (data / one).rename(data / other)


OTHERS: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "another name": lambda data: (data / "a.npy").rename(data / "z.npy"),
    "another size": lambda data: (data / "a.npy").write_bytes((data / "a.npy").read_bytes() + b"x"),
    "one more": lambda data: (data / "d.npy").write_bytes(b""),
    "one less": lambda data: (data / "a.npy").unlink(),
    "swapped": swap,
}


@pytest.mark.parametrize("change", OTHERS)
def test_other_data_have_another(change: str, data: Path) -> None:
    before = fingerprint(data)
    OTHERS[change](data)
    assert fingerprint(data) != before


def test_large_data_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)
    large = tmp_path / "large.npy"
    content = bytearray(np.random.default_rng(0).bytes(100_000))
    large.write_bytes(content)
    before = fingerprint(large)
    read = [sum(map(len, module._blocks(large, count))) for count in (3, MOST_BLOCKS)]
    assert read == [3 * 16, MOST_BLOCKS * 16]
    for place in (0, 99_999):  # the ends are always looked at
        content[place] ^= 1
        large.write_bytes(content)
        assert fingerprint(large) != before
        content[place] ^= 1
    many = tmp_path / "many"
    many.mkdir()
    for number in range(500):
        (many / f"{number:03}.png").write_bytes(b"%d" % number)
    before = fingerprint(many)
    (many / "499.png").write_bytes(b"xxx")
    assert fingerprint(many) != before
    assert BLOCK * MOST_BLOCKS < 13_000_000


def test_nothing_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert fingerprint(tmp_path / "nowhere") is None and fingerprint(tmp_path / "empty") is None
