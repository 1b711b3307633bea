"""Sampling: stateless, unbiased, inside its region, and residuals with the closed form's moments."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import Batch, BurstSet, CropSampler, SimulatedCamera, load_bursts, simulated_bursts
from datasets.burst import Burst
from noisemodel.errors import InputError
from noisemodel.sensor import Levels


@pytest.fixture(scope="module")
def truthless() -> BurstSet:
    return simulated_bursts(frames=4, size=(96, 96), with_truth=False)


@pytest.fixture(scope="module")
def with_truth() -> BurstSet:
    return simulated_bursts(frames=4, size=(96, 96))


def only(burst_set: BurstSet, *bursts: Burst) -> BurstSet:
    return BurstSet(burst_set.name, burst_set.levels, burst_set.layout, burst_set.cfa, bursts)


def assert_same(one: Batch, other: Batch) -> None:
    for name, a, b in zip(Batch._fields, one, other, strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b, name


@pytest.mark.parametrize("kind", ["truthless", "with_truth"])
def test_a_batch_depends_on_seed_purpose_and_step_alone(kind: str, request: pytest.FixtureRequest) -> None:
    bursts = request.getfixturevalue(kind)
    sampler = CropSampler(bursts, crop=16, frames=3, batch_size=6, seed=1)
    batch = sampler.batch(7)
    sampler.batch(8)
    assert_same(sampler.batch(7), batch)
    assert_same(pickle.loads(pickle.dumps(sampler)).batch(7), batch)
    for rows in (slice(0, 2), slice(2, 6), slice(1, None, 2)):
        part = sampler.batch(7, rows=rows)
        assert_same(part, Batch(*(field[rows] for field in batch[:5]), batch.centred, files=batch.files[rows]))
    for other in (sampler.batch(8), sampler.batch(7, "other")):
        assert not torch.equal(other.frames, batch.frames)
    assert not torch.equal(CropSampler(bursts, crop=16, frames=3, batch_size=6, seed=2).batch(7).frames, batch.frames)


def test_shapes_and_types(truthless: BurstSet) -> None:
    batch = CropSampler(truthless, crop=16, frames=99, batch_size=5, seed=0).batch(0)
    assert batch.frames.shape == batch.residual.shape == (5, 4, 4, 16, 16)
    assert batch.reference.shape == batch.clean.shape == batch.valid.shape == (5, 1, 4, 16, 16)
    assert (batch.frames.dtype, batch.valid.dtype, batch.origin.dtype) == (torch.float32, torch.bool, torch.int64)
    assert batch.origin.shape == (5, 2)
    assert batch.centred


def test_frames_come_from_their_origin_in_a_random_order(with_truth: BurstSet) -> None:
    burst = with_truth.scenes[0]
    sampler = CropSampler(only(with_truth, burst), crop=16, frames=3, batch_size=40, seed=0)
    batch = sampler.batch(0)
    orders = set()
    for i in range(40):
        assert not (batch.origin[i] % 2).any()
        top, left = (batch.origin[i] // 2).tolist()
        whole = burst.read(range(4), slice(top, top + 16), slice(left, left + 16))
        chosen = [next(t for t in range(4) if torch.equal(frame, whole[t])) for frame in batch.frames[i]]
        assert len(set(chosen)) == 3
        orders.add(tuple(chosen))
        torch.testing.assert_close(batch.reference[i, 0], burst.truth[:, top : top + 16, left : left + 16])
    assert len(orders) > 10  # of 24
    assert not batch.centred


def test_train_and_validation_rows_do_not_overlap(with_truth: BurstSet) -> None:
    rows = {}
    for split in ("train", "validation"):
        sampler = CropSampler(with_truth, crop=4, frames=1, batch_size=400, seed=0, split=split)
        tops = sampler.batch(0).origin[:, 0] // 2
        rows[split] = {row for top in tops.tolist() for row in range(top, top + 4)}
    assert rows["train"] == set(range(42))  # 48 rows, the last eighth is for validation
    assert rows["validation"] == set(range(42, 48))


def test_frames_too_small_to_split_serve_both(with_truth: BurstSet) -> None:
    for split in ("train", "validation"):
        sampler = CropSampler(with_truth, crop=40, frames=1, batch_size=200, seed=0, split=split)
        assert set((sampler.batch(0).origin[:, 0] // 2).tolist()) == set(range(9))


def test_bursts_places_and_frames_are_drawn_uniformly(with_truth: BurstSet) -> None:
    sampler = CropSampler(with_truth, crop=48, frames=1, batch_size=1800, seed=0)
    levels = torch.stack([burst.truth.mean() for burst in sampler.bursts])
    batch = sampler.batch(0)
    nearest = (batch.reference.mean(dim=(1, 2, 3, 4))[:, None] - levels).abs().argmin(dim=1)
    scenes = torch.bincount(nearest, minlength=9)[:5]
    expected = 1800 / 9
    assert ((scenes - expected).abs() < 5 * (expected * 8 / 9) ** 0.5).all()
    assert len(sampler.bursts) == 9  # scenes and darks; flats add nothing where the truth is known


def test_dark_bursts_are_conditioned_on_their_level(truthless: BurstSet, with_truth: BurstSet) -> None:
    batch = CropSampler(only(truthless, *truthless.darks), crop=16, frames=4, batch_size=3, seed=0).batch(0)
    assert (batch.clean == batch.clean[..., :1, :1]).all()
    assert float(batch.clean.abs().max()) < 1 / truthless.levels.range_dn
    assert float(batch.reference.std()) > 1 / truthless.levels.range_dn
    batch = CropSampler(only(with_truth, *with_truth.darks), crop=16, frames=4, batch_size=3, seed=0).batch(0)
    assert not batch.clean.any() and not batch.reference.any()
    assert all(
        b.kind != "dark"
        for b in CropSampler(truthless, crop=4, frames=2, batch_size=1, seed=0, include_darks=False).bursts
    )


def test_lamp_drift_is_removed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = 500 + rng.integers(0, 50, (1, 32, 32)) + np.array([0, 40, -30, 90])[:, None, None]
    np.save(tmp_path / "a.npy", frames.astype(np.uint16))
    bursts = load_bursts(tmp_path, black_level=0, white_level=1000)
    batch = CropSampler(bursts, crop=8, frames=3, batch_size=4, seed=0).batch(0)
    assert float(batch.residual.abs().max()) < 1e-6
    assert float(batch.reference.mean()) == pytest.approx(frames.mean() / 1000, abs=0.01)


def test_saturated_and_clipped_pixels_are_not_valid(tmp_path: Path) -> None:
    frames = np.full((4, 16, 16), 500, np.uint16)
    frames[:, 0, :], frames[:, 1, :], frames[:, 2, :] = 4095, 0, 3900
    np.save(tmp_path / "a.npy", frames)
    bursts = load_bursts(tmp_path, black_level=64, white_level=4095)
    batch = CropSampler(bursts, crop=16, frames=4, batch_size=1, seed=0).batch(0)
    assert not batch.valid[0, 0, 0, :3].any() and batch.valid[0, 0, 0, 3:].all()
    assert not batch.residual[~batch.valid.expand_as(batch.residual)].any()


def test_black_is_valid_where_levels_are_zero_and_one() -> None:
    source = simulated_bursts(frames=2, size=(32, 32)).scenes[0].source
    truth = torch.full((4, 16, 16), 0.01)
    burst = Burst("a", "scene", source, "mosaic", Levels(0.0, 4095.0, clip=(0.0, 1.0)), truth=truth)
    bursts = BurstSet("a", burst.levels, "mosaic", None, (burst,))
    assert CropSampler(bursts, crop=16, frames=1, batch_size=1, seed=0).batch(0).valid.all()


def test_bad_requests(truthless: BurstSet, with_truth: BurstSet) -> None:
    def sampler(bursts: BurstSet, **options: int) -> CropSampler:
        return CropSampler(bursts, **{"crop": 16, "frames": 4, "batch_size": 2, "seed": 0, **options})

    with pytest.raises(InputError, match="crop 49 is larger than simulated/astronaut: 48x48"):
        sampler(truthless, crop=49)
    with pytest.raises(InputError, match="2 frames"):
        sampler(truthless, frames=1)
    with pytest.raises(InputError, match="batch size"):
        sampler(truthless, batch_size=0)
    with pytest.raises(InputError, match="1 of 2 bursts have no ground truth"):
        sampler(only(truthless, truthless.scenes[0], with_truth.scenes[1]))
    with pytest.raises(InputError, match="dark bursts only"):
        CropSampler(only(truthless, *truthless.darks), crop=4, frames=2, batch_size=1, seed=0, include_darks=False)


def blocks(values: Tensor) -> tuple[float, float]:
    """Mean of independent values and its standard error."""
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


@pytest.mark.parametrize("level", [0.0, 0.05, 0.5])
def test_own_mean_residuals_have_the_closed_form_moments(level: float) -> None:
    """T = 4, no truth: E r^2 = (T-1)/T (g x + read^2 + w^2/12 + row1^2), rowt and the pattern cancel."""
    camera = SimulatedCamera(gain=2.0, row1_std=2.0, rowt_std=4.0, periodic_std=(0.0, 0.0, 0.0), pattern_std=5.0)
    size, range_dn = (256, 256), camera.levels.range_dn
    template = simulated_bursts(frames=4, size=size, with_truth=False, camera=camera)
    source = next(burst.source for burst in (*template.darks, *template.flats))
    source = type(source)(source.path, camera, np.full(size, level), 4, 11, source.pattern)
    burst = Burst("even", "flat", source, "mosaic", camera.levels)
    sampler = CropSampler(only(template, burst), crop=128, frames=4, batch_size=1, seed=0)
    residual = sampler.batch(0).residual[0].double() * range_dn  # (T, C, h, w)
    rows = residual.unflatten(1, (2, 2)).movedim(3, 1)  # (T, h, dy, dx, w)
    pixel = 2.0 * level * range_dn + 2.5**2 + 1 / 12
    square, error = blocks(rows.square().mean(dim=(0, 3, 4)).flatten())  # over the 256 sensor rows
    assert abs(square - 3 / 4 * (pixel + 2.0**2)) < 5 * error
    row_square, row_error = blocks(rows.mean(dim=(3, 4)).square().mean(dim=0).flatten())
    assert abs(row_square - 3 / 4 * (2.0**2 + pixel / 256)) < 5 * row_error
