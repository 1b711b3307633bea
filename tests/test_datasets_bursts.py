"""Bursts: kinds, levels, packing, and what one pass over the frames tells."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from datasets import DataOptions, load_bursts, load_dataset
from noisemodel.errors import InputError
from noisemodel.sensor import Levels, pack_mosaic

RNG = np.random.default_rng(0)
MONO = RNG.integers(100, 3000, (4, 20, 24)).astype(np.uint16)
IMX541 = Path(__file__).parents[2] / "shared" / "data" / "imx541"
LEVELS = {"black_level": 64.0, "white_level": 4095.0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def numbered(folder: Path, stem: str, frames: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for t, frame in enumerate(frames):
        tifffile.imwrite(folder / f"{stem}{t:04d}.tif", frame, photometric="minisblack")


def test_kinds_and_names(root: Path) -> None:
    for folder in ("darks", "flats", "night"):
        (root / folder).mkdir()
    dark = np.full_like(MONO, 64)
    for name in ("street.npz", "night/park.npz", "flats/a.npz", "flat_2.npz"):
        np.savez(root / name, frames=MONO)
    for name in ("Dark_1.npz", "darks/a.npz"):
        np.savez(root / name, frames=dark)
    numbered(root, "scene_", MONO)
    numbered(root, "dark", dark)
    numbered(root / "lamp", "", MONO)
    for t in (1, 2):
        tifffile.imwrite(root / f"many_{t}.tif", MONO, photometric="minisblack")  # numbered bursts, not frames
    (root / "README.md").write_text("no frames here")
    bursts = load_bursts(root, **LEVELS)
    assert {burst.name for burst in bursts.darks} == {"Dark_1", "darks/a", "dark"}
    assert {burst.name for burst in bursts.flats} == {"flat_2", "flats/a"}
    assert {burst.name for burst in bursts.scenes} == {"street", "night/park", "scene", "lamp", "many_1", "many_2"}
    assert {burst.shape for burst in bursts.bursts} == {(4, 1, 20, 24)}
    assert (bursts.layout, bursts.cfa, bursts.has_truth, bursts.name) == ("planes", None, False, "data")


def test_signals_are_fractions_of_white(root: Path) -> None:
    np.save(root / "a.npy", MONO)
    (burst,) = load_bursts(root, **LEVELS).bursts
    crop = burst.read([3, 1], slice(2, 7), slice(5, 20))
    assert crop.dtype == torch.float32
    expected = (MONO[[3, 1], None, 2:7, 5:20].astype(np.float64) - 64) / (4095 - 64)
    np.testing.assert_allclose(crop, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("packed", [False, True])
def test_a_mosaic_is_packed_by_position(packed: bool, root: Path) -> None:
    cell = np.array([[1000, 2000], [3000, 4000]])
    mosaic = np.tile(cell, (10, 12)) + np.arange(20)[:, None] * 3 + np.arange(24)  # every pixel tells its place
    stack = np.stack([mosaic, mosaic + 1]).astype(np.uint16)
    planes = pack_mosaic(torch.from_numpy(stack.astype(np.int32))).numpy()
    np.save(root / "a.npy", planes.astype(np.uint16) if packed else stack)
    bursts = load_bursts(root, black_level=0, white_level=5000, layout="mosaic", cfa="gbrg")
    (burst,) = bursts.bursts
    assert (burst.shape, bursts.cfa, bursts.sensor_size) == ((2, 4, 10, 12), "GBRG", (20, 24))
    crop = burst.read([1], slice(2, 5), slice(3, 12)) * 5000
    np.testing.assert_allclose(crop[0], planes[1, :, 2:5, 3:12], atol=1e-3)
    assert [round(float(crop[0, p, 0, 0])) // 1000 for p in range(4)] == [1, 2, 3, 4]


def test_reading_a_packed_crop_asks_only_for_its_sensor_pixels(root: Path) -> None:
    np.save(root / "a.npy", MONO)
    (burst,) = load_bursts(root, **LEVELS, layout="mosaic").bursts
    asked = []

    class Spy:
        path, shape = burst.path, burst.source.shape

        def read(self, frames: list[int], rows: slice, columns: slice) -> np.ndarray:
            asked.append((frames, rows, columns))
            return burst.source.read(frames, rows, columns)

    type(burst)("spy", "scene", Spy(), "mosaic", burst.levels).read([2], slice(1, 3), slice(4, 8))
    assert asked == [([2], slice(2, 6), slice(8, 16))]


def test_colour_planes_and_different_frame_sizes(root: Path) -> None:
    np.save(root / "a.npy", np.stack([MONO] * 3, axis=1))
    np.save(root / "b.npy", np.stack([MONO[:3, :10]] * 3, axis=1))
    bursts = load_bursts(root, **LEVELS)
    assert [burst.shape for burst in bursts.bursts] == [(4, 3, 20, 24), (3, 3, 10, 24)]
    assert bursts.sensor_size == (20, 24)


def test_summary_in_one_pass(root: Path) -> None:
    drift = np.array([0, 5, -3, 10])
    frames = np.stack([MONO + drift[:, None, None], MONO * 0 + 500], axis=1).astype(np.uint16)
    frames[:, 1, 0, :6] = 4095
    np.save(root / "a.npy", frames)
    (burst,) = load_bursts(root, **LEVELS).bursts
    summary = burst.summary()
    fraction = (frames.astype(np.float64) - 64) / (4095 - 64)
    means = fraction.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(summary.offsets, means - means.mean(), atol=1e-7)
    np.testing.assert_allclose(summary.level, fraction.mean(axis=(0, 2, 3)), atol=1e-7)
    assert summary.saturated == pytest.approx(6 / (2 * 20 * 24))
    assert burst.summary() is summary
    assert pickle.loads(pickle.dumps(burst)).summary().saturated == summary.saturated


def test_levels_may_lie_beside_the_frames_in_the_root_or_on_the_command_line(root: Path) -> None:
    (root / "darks").mkdir()
    np.save(root / "darks" / "a.npy", MONO)
    (root / "levels.json").write_text(json.dumps({"black_level": 64, "white_level": 4095, "layout": "mosaic"}))
    bursts = load_bursts(root)
    assert (bursts.levels, bursts.layout) == (Levels(64.0, 4095.0), "mosaic")
    (root / "darks" / "levels.json").write_text(json.dumps({"black_level": 60}))
    assert load_bursts(root).levels == Levels(60.0, 4095.0)
    assert load_bursts(root, black_level=50, layout="planes").levels == Levels(50.0, 4095.0)
    np.savez(root / "b.npz", frames=MONO, black_level=61)
    with pytest.raises(InputError, match="--black_level"):
        load_bursts(root)
    assert load_bursts(root, black_level=62).levels.black_dn == 62.0


BAD = {
    "no levels": ({}, "--black_level and --white_level"),
    "white below black": ({"black_level": 4095, "white_level": 64}, "must exceed black level"),
    "white far too low": ({"black_level": 64, "white_level": 1023}, "--white_level"),
    "black far too high": ({"black_level": 3000, "white_level": 4095}, "--black_level"),
    "unknown layout": ({**LEVELS, "layout": "bayer"}, "known: mosaic, planes"),
    "X-Trans": ({**LEVELS, "layout": "mosaic", "cfa": "GGRGGBGGBGGR"}, "X-Trans"),
    "not colours": ({**LEVELS, "layout": "mosaic", "cfa": "ABCD"}, "RGGB"),
    "cfa of planes": ({**LEVELS, "cfa": "RGGB"}, "--layout mosaic"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_facts_are_answered_with_the_remedy(name: str, root: Path) -> None:
    np.save(root / "a.npy", MONO)
    options, remedy = BAD[name]
    with pytest.raises(InputError, match=remedy) as caught:
        load_bursts(root, **options)
    assert "\n" not in str(caught.value)


def test_bad_frames_are_named(root: Path) -> None:
    frames = MONO.astype(np.float32)
    frames[2, 3, 4] = np.nan
    np.save(root / "a.npy", frames)
    with pytest.raises(InputError, match=r"frame 2 of .*a\.npy"):
        load_bursts(root, **LEVELS).bursts[0].summary()
    np.save(root / "a.npy", np.full_like(MONO, 4095))
    with pytest.raises(InputError, match=r"a\.npy: 100% .* saturated"):
        load_bursts(root, **LEVELS).bursts[0].summary()
    np.save(root / "a.npy", MONO[:, :, 1:])
    with pytest.raises(InputError, match=r"even height and width, .*a\.npy has 20x23"):
        load_bursts(root, **LEVELS, layout="mosaic")
    np.save(root / "a.npy", np.stack([MONO] * 3, axis=1))
    with pytest.raises(InputError, match="4 planes"):
        load_bursts(root, **LEVELS, layout="mosaic")
    np.save(root / "b.npy", MONO)
    with pytest.raises(InputError, match="share layout, levels and planes"):
        load_bursts(root, **LEVELS)


def test_folders_without_bursts(root: Path) -> None:
    (root / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no bursts in .*\.npz"):
        load_bursts(root, **LEVELS)
    with pytest.raises(InputError, match="no such folder"):
        load_bursts(root / "missing", **LEVELS)


def test_the_table_of_data_sets(root: Path) -> None:
    np.save(root / "a.npy", MONO)
    assert load_dataset("bursts", DataOptions(data_root=root, **LEVELS)).name == "data"
    assert load_dataset("simulated", DataOptions(seed=3)).name == "simulated"
    with pytest.raises(InputError, match="known: simulated, bursts"):
        load_dataset("sid", DataOptions())
    with pytest.raises(InputError, match="--data_root"):
        load_dataset("bursts", DataOptions())
    with pytest.raises(InputError, match="takes no --black_level"):
        load_dataset("simulated", DataOptions(black_level=0))


@pytest.mark.skipif(not IMX541.is_dir(), reason="needs the IMX541 frames in ../shared/data/imx541")
def test_imx541_dark_noise_is_the_vendors() -> None:
    bursts = load_bursts(IMX541, black_level=10.3, white_level=4095)
    assert (len(bursts.darks), len(bursts.scenes), bursts.sensor_size) == (2, 4, (1128, 1128))
    for burst in bursts.darks:
        assert abs(float(burst.summary().level)) * bursts.levels.range_dn < 0.1
        offsets = burst.summary().offsets.view(-1, 1, 1)
        frames = burst.read(range(8), slice(None), slice(None))[:, 0] - offsets
        std_dn = float(frames.var(dim=0).mean().sqrt()) * bursts.levels.range_dn
        assert std_dn == pytest.approx(0.886, rel=0.03)
