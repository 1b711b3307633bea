"""The index of a SIDD tree: splits, the cache, and what it notices."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from datasets import sidd_index
from datasets.sidd_index import Instance, find_instances
from datasets.sidd_splits import HELD_OUT, NOISE_FLOW_TEST, NOISE_FLOW_TRAIN
from noisemodel.errors import InputError

LISTS = Path(__file__).parents[2] / "shared" / "data" / "sidd_nlf"
PHONES = ("GP", "IP", "S6", "N6", "G4")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NOISEMODEL_CACHE", str(folder))
    return folder


def empty_tree(root: Path, *, instances: int = 200, frames: int = 1, inner: bool = False) -> None:
    """Folders of empty files with SIDD's names; older than the time in which an index takes nothing for granted."""
    old = time.time() - 3600
    for number in range(1, instances + 1):
        folder = root / f"{number:04d}_{number % 10 + 1:03d}_{PHONES[number % 5]}_{100 << number % 3:05d}_00060_3200_L"
        places = {kind: folder / (f"{number:04d}_{kind}_RAW" if inner else "") for kind in ("NOISY", "GT")}
        for kind, place in places.items():
            place.mkdir(parents=True, exist_ok=True)
            for frame in range(1, frames + 1):
                os.close(os.open(place / f"{number:04d}_{kind}_RAW_{frame:03d}.MAT", os.O_CREAT))
        for place in {*places.values(), folder}:
            os.utime(place, (old, old))


def touched(folder: Path) -> None:
    """Make it clear that a folder has changed, but not just now."""
    stamp = time.time() - 1800
    os.utime(folder, (stamp, stamp))


@pytest.mark.skipif(not LISTS.is_dir(), reason="shared/data/sidd_nlf is not here")
def test_the_lists_are_the_published_ones() -> None:
    for name, ids in (("train", NOISE_FLOW_TRAIN), ("test", NOISE_FLOW_TEST)):
        assert set(map(int, re.findall(r"\d+", (LISTS / f"{name}_inst.csv").read_text()))) == ids


def test_sides_do_not_meet(tmp_path: Path) -> None:
    assert (len(NOISE_FLOW_TRAIN), len(NOISE_FLOW_TEST), len(HELD_OUT)) == (62, 22, 40)
    assert not NOISE_FLOW_TRAIN & NOISE_FLOW_TEST
    empty_tree(tmp_path)
    (tmp_path / "ids.csv").write_text("4, 11,13\n22;23\n")
    for split, train, test in (
        ("noiseflow", NOISE_FLOW_TRAIN, NOISE_FLOW_TEST),
        ("holdout", set(range(1, 201)) - HELD_OUT, HELD_OUT),
        (tmp_path / "ids.csv", {4, 11, 13, 22, 23}, set(range(1, 201)) - {4, 11, 13, 22, 23}),
    ):
        found = {part: {i.id for i in find_instances(tmp_path, split=split, part=part)} for part in ("train", "test")}
        assert found == {"train": set(train), "test": set(test)}
        assert {i.id for i in find_instances(tmp_path, split=split)} == set(train) | set(test)
    assert len(find_instances(tmp_path)) == 200


def test_filters(tmp_path: Path) -> None:
    empty_tree(tmp_path, instances=30)
    assert {(i.phone, i.iso) for i in find_instances(tmp_path, cameras=["S6", "IP"], iso=[100])} == {
        ("S6", 100), ("IP", 100),
    }  # fmt: skip
    first = find_instances(tmp_path)[0]
    folder = tmp_path.resolve() / "0001_002_IP_00200_00060_3200_L"
    assert first == Instance(1, 2, "IP", 200, 60, 3200, "L", folder, (1,))
    assert first.file("NOISY", 1) == folder / "0001_NOISY_RAW_001.MAT"
    assert first.file("GT", 9) == folder / "0001_GT_RAW_009.MAT"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cameras": ["S9"]}, "no --cameras S9 in .*; there are G4, GP, IP, N6, S6"),
        ({"iso": [50]}, "no --iso 50 in .*; there are 100, 200, 400"),
        ({"split": "noiseflow", "part": "half"}, "unknown part 'half'"),
        ({"part": "train"}, "needs a split"),
        ({"split": "other"}, "unknown split 'other'; known: noiseflow, holdout"),
        ({"split": "noiseflow", "part": "test", "cameras": ["S6"]}, "no instance .* in test noiseflow"),
    ],
)
def test_bad_requests(options: dict, message: str, tmp_path: Path) -> None:
    empty_tree(tmp_path, instances=30)
    with pytest.raises(InputError, match=message):
        find_instances(tmp_path, **options)


def test_bad_files_of_ids(tmp_path: Path) -> None:
    empty_tree(tmp_path, instances=3)
    for text, message in (("", "got nothing"), ("1, two", "got 'two'"), ("12345", "got '12345'")):
        (tmp_path / "ids").write_text(text)
        with pytest.raises(InputError, match=message):
            find_instances(tmp_path, split=tmp_path / "ids")
    (tmp_path / "ids").write_bytes(b"\xff\xfe1")
    with pytest.raises(InputError, match="cannot read"):
        find_instances(tmp_path, split=tmp_path / "ids")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_instances(tmp_path / "nowhere")
    (tmp_path / "0001_001_S6_00100_00060_3200_L").mkdir()
    with pytest.raises(InputError, match="no SIDD scene folders"):
        find_instances(tmp_path)


def test_a_large_tree_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40,000 files of the full layout: the second time only the folder of scene folders is listed."""
    empty_tree(tmp_path, instances=200, frames=100, inner=True)
    first = find_instances(tmp_path)
    assert {len(i.frames) for i in first} == {100}
    scandir, listed = os.scandir, []

    def watched(path: str) -> object:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr(sidd_index.os, "scandir", watched)
    begin = time.perf_counter()
    assert find_instances(tmp_path) == first
    assert time.perf_counter() - begin < 2
    assert listed == [str(tmp_path.resolve())]


def test_changes_are_noticed(tmp_path: Path) -> None:
    empty_tree(tmp_path, instances=4, frames=2, inner=True)
    assert [i.frames for i in find_instances(tmp_path)] == [(1, 2)] * 4
    place = find_instances(tmp_path)[1].folder / "0002_NOISY_RAW"
    (place / "0002_NOISY_RAW_007.MAT").touch()
    touched(place)
    assert find_instances(tmp_path)[1].frames == (1, 2, 7)
    (place / "0002_NOISY_RAW_001.MAT").unlink()
    touched(place.parent)
    assert find_instances(tmp_path)[1].frames == (2, 7)
    place.parent.rename(tmp_path / "0009_001_S6_00100_00060_3200_N")
    assert [i.id for i in find_instances(tmp_path)] == [1, 3, 4, 9]


def test_a_change_right_after_listing_is_noticed(tmp_path: Path) -> None:
    """Time stamps are coarse: a change may leave the stamp of a folder that was listed just before as it was."""
    folder = tmp_path / "0001_001_S6_00100_00060_3200_L"
    folder.mkdir()
    stamp = folder.stat().st_mtime_ns
    for frame in range(10, 15):
        (folder / f"0001_NOISY_RAW_{frame:03d}.MAT").touch()
        os.utime(folder, ns=(stamp, stamp))
        assert find_instances(tmp_path)[0].frames[-1] == frame


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1, "folders": [1]}'])
def test_a_damaged_cache_is_made_again(text: str, tmp_path: Path, cache: Path) -> None:
    empty_tree(tmp_path, instances=3)
    expected = find_instances(tmp_path)
    (file,) = cache.glob("sidd-*.json")
    file.write_text(text)
    assert find_instances(tmp_path) == expected
    assert json.loads(file.read_text())["version"] == 1


def test_without_a_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_tree(tmp_path, instances=3)
    assert len(find_instances(tmp_path, cache=False)) == 3
    assert not list(cache.iterdir())
    (cache / "file").touch()
    monkeypatch.setenv("NOISEMODEL_CACHE", str(cache / "file"))
    assert len(find_instances(tmp_path)) == 3
