"""Folders of raw files as bursts: codes, levels, kinds, and what must agree."""

import numpy as np
import pytest
import torch
from raw_files import CFAS, codes, write_dng

import datasets.raw
from datasets.raw import load_raw_bursts
from noisemodel import InputError, Levels, pack_mosaic


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "cache"))


def frames_of(seed: int, count: int = 3) -> list[np.ndarray]:
    return [codes((28, 32), bits=9, seed=10 * seed + i) + 300 for i in range(count)]


def write_burst(folder, frames, **tags):
    for i, frame in enumerate(frames):
        write_dng(folder / f"IMG_{i:04}.dng", frame, **{"black": (256,), **tags})


def packed(frames) -> torch.Tensor:
    return pack_mosaic(torch.from_numpy(np.stack(frames).astype(np.float32)))


@pytest.mark.parametrize("cfa", CFAS)
def test_folders_become_bursts_with_their_codes(tmp_path, cfa):
    root = tmp_path / "camera"
    for i, place in enumerate(("scene_1", "darks/1s", "night/Dark", "flat_2", "shots/darkroom/flats")):
        write_burst(root / place, frames_of(i), cfa=cfa)
    found = load_raw_bursts(root)
    assert {burst.name: burst.kind for burst in found.bursts} == {
        "darks/1s": "dark",
        "flat_2": "flat",
        "night/Dark": "dark",
        "scene_1": "scene",
        "shots/darkroom/flats": "flat",
    }
    assert (found.levels, found.layout, found.cfa, found.name) == (Levels(256, 4095), "mosaic", cfa, "camera")
    (scene,) = found.scenes
    expected = found.levels.to_fraction(packed(frames_of(0)))
    torch.testing.assert_close(scene.read([0, 1, 2], slice(None), slice(None)), expected, rtol=0, atol=0)
    crop = scene.read([2, 0], slice(3, 8), slice(1, 9))
    torch.testing.assert_close(crop, expected[[2, 0], :, 3:8, 1:9], rtol=0, atol=0)


def test_black_levels_that_differ_are_brought_to_one(tmp_path):
    black, white = (256, 250, 240, 244), 800
    frames = frames_of(0)
    frames[0][:4, :4] = white
    frames[0][4:6, 4:6] = np.reshape(black, (2, 2))
    frames[0][6:8, 6:8] = 0
    write_burst(tmp_path / "data" / "a", frames, black=black, white=white)
    found = load_raw_bursts(tmp_path / "data")
    assert found.levels == Levels(256, white)
    (burst,) = found.bursts
    dn = burst.source.read([0, 1, 2], slice(None), slice(None))
    assert dn.dtype == np.uint16
    raised = packed(frames) + (max(black) - torch.tensor(black)).view(4, 1, 1)
    torch.testing.assert_close(packed(dn), raised.clamp(max=white), rtol=0, atol=0)
    signal = burst.read([0], slice(None), slice(None))[0]
    assert bool((signal[:, :2, :2] == 1).all())
    assert bool((signal[:, 2, 2] == 0).all())
    low, high = found.levels.clip_range
    assert float(signal.min()) >= low - 1e-6 and float(signal.max()) <= high  # float32
    for rows, columns in ((slice(3, 8), slice(5, 9)), (slice(0, 3), slice(1, 2))):
        np.testing.assert_array_equal(burst.source.read([1], rows, columns)[0], dn[1][rows, columns])


def test_levels_and_colours_that_are_given_win(tmp_path):
    write_burst(tmp_path / "data" / "a", frames_of(0), black=(256, 250, 240, 244))
    found = load_raw_bursts(tmp_path / "data", black_level=200, white_level=1000, cfa="gbrg")
    assert (found.levels, found.cfa) == (Levels(200, 1000), "GBRG")
    dn = found.bursts[0].source.read([1], slice(None), slice(None))[0]
    np.testing.assert_array_equal(dn, frames_of(0)[1])
    with pytest.raises(InputError, match="4 colour letters"):
        load_raw_bursts(tmp_path / "data", cfa="RGB")


def test_the_last_row_and_column_of_an_odd_size_are_left_out(tmp_path):
    frames = [frame[:27, :31] for frame in frames_of(0)]
    write_burst(tmp_path / "data" / "a", frames, bits=16, white=4095)
    (burst,) = load_raw_bursts(tmp_path / "data").bursts
    assert burst.shape == (3, 4, 13, 15)
    np.testing.assert_array_equal(burst.source.read([0], slice(None), slice(None))[0], frames[0][:26, :30])


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Model": "Two"}, "camera of .*Acme Two.*Acme One"),
        ({"PhotographicSensitivity": [400]}, r"iso of .*400\.0.*800\.0"),
        ({"cfa": "BGGR"}, "cfa of .*BGGR.*RGGB"),
        ({"black": (250,)}, "black of "),
        ({"white": 4000}, "white of "),
        ({"ActiveArea": [0, 0, 26, 32]}, "size of "),
    ],
)
def test_a_frame_that_differs_is_named(tmp_path, tags, said):
    root = tmp_path / "data"
    write_burst(root / "a", frames_of(0))
    write_burst(root / "b", frames_of(1))
    write_dng(root / "b" / "IMG_0001.dng", frames_of(1)[1], **{"black": (256,), **tags})
    with pytest.raises(InputError, match=said) as error:
        load_raw_bursts(root)
    assert "b/IMG_0001.dng" in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_frame_is_named(tmp_path):
    root = tmp_path / "data"
    write_burst(root / "a", frames_of(0))
    damaged = root / "a" / "IMG_0002.dng"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"IMG_0002\.dng: Input/output error; .* truncated") as error:
        load_raw_bursts(root)
    assert "\n" not in str(error.value)


def test_what_is_no_burst_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="no raw files in"):
        load_raw_bursts(tmp_path / "data")
    with pytest.raises(InputError, match="no such folder"):
        load_raw_bursts(tmp_path / "none")
    write_dng(tmp_path / "data" / "a" / "one.dng", frames_of(0)[0])
    with pytest.raises(InputError, match=r"one\.dng is the only raw file"):
        load_raw_bursts(tmp_path / "data")


def test_a_file_is_decoded_once_and_again_when_it_changes(tmp_path, monkeypatch):
    decoded = []
    real = datasets.raw.read_raw
    monkeypatch.setattr(datasets.raw, "read_raw", lambda path: decoded.append(path.name) or real(path))
    root = tmp_path / "data"
    write_burst(root / "a", frames_of(0))
    for _ in range(2):
        load_raw_bursts(root)
    assert decoded == ["IMG_0000.dng", "IMG_0001.dng", "IMG_0002.dng"]
    write_dng(root / "a" / "IMG_0001.dng", frames_of(5)[1], black=(256,), Artist="someone")
    (burst,) = load_raw_bursts(root).bursts
    np.testing.assert_array_equal(burst.source.read([1], slice(None), slice(None))[0], frames_of(5)[1])
    assert decoded[3:] == ["IMG_0001.dng"]
