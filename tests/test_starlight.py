"""The starlight data set in its users' layout: scale, order of planes, bursts of 16, fixed pattern, bad files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from datasets import CropSampler, DataOptions, load_dataset
from datasets.starlight import load_pattern_of, load_starlight
from noisemodel.errors import InputError

SIZE = (24, 40)
EVERYTHING = (slice(None), slice(None))
# Planes in the files: R (0,0), G (0,1), B (1,1), NIR (1,0), each with a level of its own.
COLOUR = np.array([0.1, 0.2, 0.3, 0.4])
POSITIONAL = ("R", "G", "N", "B")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


def clean_planes(scale: float = 1.0) -> np.ndarray:
    """(H, W, 4): every plane, row and column tells itself from the others."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return scale * (COLOUR + (rows / 400 + columns / 4000)[..., None])


def expected_planes(scale: float = 1.0) -> torch.Tensor:
    """The same as (4, H, W) by position: R, G, NIR, B."""
    red, green, blue, infrared = np.moveaxis(clean_planes(scale), -1, 0)
    return torch.from_numpy(np.stack([red, green, infrared, blue])).float()


def numbered(frames: int) -> np.ndarray:
    """(T, H, W, 4): frame t is the clean image plus t / 1000."""
    return clean_planes() + np.arange(frames)[:, None, None, None] / 1000


def write_paired_data(root: Path, *, frames: int = 18, gray: int = 35) -> Path:
    """All three parts and the pattern; returns ``paired_data``."""
    data = root / "paired_data"
    stills, grey, coloured = (data / f"{name}_mat" for name in ("stillpairs", "graybackground", "colorbackground"))
    for folder in (stills, grey, coloured / "lamp"):
        folder.mkdir(parents=True)
    truths = clean_planes(8.0) + np.array([-0.01, 0.0, 0.01]).reshape(3, 1, 1, 1)
    for name in ("still_2", "still_10"):
        arrays = {"noisy_list": numbered(frames).astype(np.float32), "gt_list": truths, "alpha": 8.0}
        scipy.io.savemat(stills / f"{name}.mat", arrays, do_compression=True)
    for t, frame in enumerate(numbered(gray)):
        scipy.io.savemat(grey / f"noisy0_gain_{t}.mat", {"noisy": frame})
    scipy.io.savemat(grey / "gt0_gain.mat", {"gt": clean_planes(4.0), "alpha": 4.0})
    scipy.io.savemat(grey / "gt01.mat", {"gt": clean_planes(9.0), "alpha": 1.0})
    for t, frame in enumerate(numbered(16)):
        dn = {"gt_label": np.rint(frame * 65536).astype(np.uint16)}
        scipy.io.savemat(coloured / "lamp" / f"sequence_1_{t}.mat", dn)
    clean = {"gt_label": np.rint(clean_planes(2.0) * 65536).astype(np.float64), "alpha": 0.5}
    scipy.io.savemat(coloured / "lamp" / "clean_lamp.mat", clean)
    pattern = np.rint(np.arange(4) * 100 + clean_planes(100.0)).astype(np.int16)
    scipy.io.savemat(root / "fixed_pattern_noise.mat", {"mean_pattern": pattern})
    return data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_paired_data(tmp_path)


@pytest.mark.parametrize(
    ("part", "names", "tolerance"),
    [
        ("color", ["still_10", "still_2"], 1e-6),
        ("gray", ["noisy0/0000", "noisy0/0016"], 1e-6),
        ("newcalib", ["lamp"], 1 / 65536),
    ],
)
def test_frames_and_truth_are_fractions_by_position(part: str, names: list[str], tolerance: float, data: Path) -> None:
    found = load_dataset(part, DataOptions(data))
    assert (found.name, found.layout, found.cfa, found.levels.white_dn) == (part, "mosaic", "RGNB", 65536)
    assert [burst.name for burst in found.bursts] == names
    for burst in found.bursts:
        assert burst.shape == (16, 4, *SIZE)
        first = 16 if burst.name.endswith("0016") else 0
        offset = torch.arange(first, first + 16).view(16, 1, 1, 1) / 1000
        torch.testing.assert_close(
            burst.read(range(16), *EVERYTHING), expected_planes() + offset, rtol=0, atol=tolerance
        )
        torch.testing.assert_close(burst.read_truth(*EVERYTHING), expected_planes(), rtol=0, atol=tolerance)
        crop = (slice(3, 9), slice(5, 30))
        assert torch.equal(burst.read([4, 2], *crop), burst.read([4, 2], *EVERYTHING)[..., crop[0], crop[1]])
    batch = CropSampler(found, crop=8, frames=16, batch_size=2, seed=0).batch(0)
    assert batch.frames.shape == (2, 16, 4, 8, 8)
    assert not batch.centred


@pytest.mark.parametrize("place", [".", ".."])
def test_the_fixed_pattern(place: str, data: Path) -> None:
    """Beside ``paired_data``, or in it; R, G, B, NIR at (0,0), (0,1), (1,1), (1,0) of each cell of the sensor."""
    (data.parent / "fixed_pattern_noise.mat").rename(data / place / "fixed_pattern_noise.mat")
    pattern = load_starlight(data, "color").measured_pattern
    assert pattern is not None
    assert pattern.shape == (2 * SIZE[0], 2 * SIZE[1])
    stored = np.rint(np.arange(4) * 100 + clean_planes(100.0)) / 65536
    for plane, (dy, dx) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        np.testing.assert_allclose(pattern[dy::2, dx::2], stored[..., plane], rtol=1e-6)


def test_without_a_pattern(data: Path) -> None:
    (data.parent / "fixed_pattern_noise.mat").unlink()
    assert load_pattern_of(data) is None


def test_a_short_recording_is_said_and_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"noisy_list": numbered(7), "gt_list": clean_planes()[None], "alpha": 1.0}
    scipy.io.savemat(data / "stillpairs_mat" / "short.mat", arrays)
    found = load_starlight(data, "color")
    assert {burst.shape[0] for burst in found.bursts} == {16}
    assert "short.mat has 7 frames, others 16" in capsys.readouterr().err
    for path in (data / "stillpairs_mat").glob("still_*.mat"):
        path.unlink()
    assert load_starlight(data, "color").bursts[0].shape[0] == 7


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(**arrays: object) -> Callable[[Path], None]:
    return lambda path: scipy.io.savemat(path, arrays)


CLEAN = clean_planes()
BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated": ("still_10.mat", truncate, "cannot read|no array"),
    "empty": ("still_10.mat", lambda path: path.write_bytes(b""), "cannot read"),
    "pickle": ("still_10.mat", lambda path: path.write_bytes(b"\x80\x04K*."), "cannot read"),
    "no truth": ("still_10.mat", rewrite(noisy_list=numbered(3), alpha=1.0), "no array 'gt_list'.*noisy_list, alpha"),
    "no alpha": ("still_10.mat", rewrite(noisy_list=numbered(3), gt_list=CLEAN), "no array 'alpha'"),
    "alpha 0": ("still_10.mat", rewrite(noisy_list=numbered(3), gt_list=CLEAN, alpha=0.0), "must be positive"),
    "three planes": ("still_10.mat", rewrite(noisy_list=CLEAN[..., :3], gt_list=CLEAN, alpha=1.0), "H, W, 4"),
    "text": ("still_10.mat", rewrite(noisy_list="no", gt_list=CLEAN, alpha=1.0), "H, W, 4"),
    "sizes": ("still_10.mat", rewrite(noisy_list=CLEAN, gt_list=CLEAN[:10], alpha=1.0), "keep both alike"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_line_with_their_path(name: str, data: Path) -> None:
    file, change, message = BAD[name]
    path = next(data.rglob(file))
    change(path)
    with pytest.raises(InputError, match=message) as caught:
        load_starlight(data, "color")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    said: list[str] = []
    found = load_starlight(data, "color", skip_bad_files=True, warn=said.append)
    assert [burst.name for burst in found.bursts] == ["still_2"]
    assert len(said) == 1 and str(path) in said[0]


def test_incomplete_folders(data: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*stillpairs_mat"):
        load_starlight(data.parent, "color")
    with pytest.raises(InputError, match="unknown part 'blue'"):
        load_starlight(data, "blue")
    with pytest.raises(InputError, match="--data_root"):
        load_dataset("gray", DataOptions())
    with pytest.raises(InputError, match="takes no --cfa"):
        load_dataset("gray", DataOptions(data, cfa="RGGB"))
    next(data.rglob("clean_lamp.mat")).unlink()
    with pytest.raises(InputError, match=r"no ground truth clean\*.mat in .*lamp"):
        load_starlight(data, "newcalib")
    (data / "graybackground_mat" / "gt0_gain.mat").unlink()
    with pytest.raises(InputError, match=r"no ground truth gt0\*.mat"):
        load_starlight(data, "gray")
