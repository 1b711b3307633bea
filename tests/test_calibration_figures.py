"""Figures of a camera: planes, full well, defects, lamps, and what is left out and said where data cannot tell."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from test_calibration import GAIN, LEVELS, READ, SIZE, Recording, ramp, record

from datasets.burst import Burst, Kind
from noisemodel.calibration import Estimate, Evidence, calibrate
from noisemodel.calibration.figures import cannot_tell, figures, plane_figures
from noisemodel.calibration.spatial import DEFECT_RATE
from noisemodel.errors import InputError

QUIET = {"row": 0.0, "column": 0.0, "wave": 0.0}
Array = np.ndarray[Any, Any]


def darks(count: int = 3, frames: int = 6, **facts: Any) -> list[Burst]:
    return [record(0.0, frames, 10 + i, kind="dark", **{**QUIET, **facts}) for i in range(count)]


def flats(levels: Sequence[float] = (100.0, 400.0, 800.0), frames: int = 5, **facts: Any) -> list[Burst]:
    return [record(x, frames, 30 + i, kind="flat", **{**QUIET, **facts}) for i, x in enumerate(levels)]


def told(bursts: Sequence[Burst]) -> dict[str, Estimate]:
    return figures(Evidence(bursts, LEVELS))


def holds(found: Estimate, truth: float) -> bool:
    """Within 5 standard errors, which are 2.55 times the half width of a 95 % interval."""
    half = 5 / stats.norm.isf(0.025)
    low, high = (found.value + half * (end - found.value) for end in (found.low, found.high))
    return bool(low <= truth <= high)


# Planes.


def coloured(gains: Sequence[float], layout: str) -> list[Burst]:
    """Darks and flats whose planes have gains of their own; frames on the sensor of a mosaic, else planes."""
    rng, found = np.random.default_rng(5), []
    plan: list[tuple[Kind, float]] = [("dark", 0.0), ("dark", 0.0), ("flat", 200.0), ("flat", 700.0)]
    for i, (kind, light) in enumerate(plan):
        planes = [g * rng.poisson(light / g, (6, 48, 64)) + READ * rng.standard_normal((6, 48, 64)) for g in gains]
        dn = np.stack(planes, axis=1) + LEVELS.black_dn
        if layout == "mosaic":
            sensor = np.empty((6, 96, 128))
            for index in range(4):
                sensor[:, index // 2 :: 2, index % 2 :: 2] = dn[:, index]
            dn = sensor
        found.append(Burst(f"{kind}{i}", kind, Recording(dn), layout, LEVELS))
    return found


@pytest.mark.parametrize(("layout", "gains"), (("mosaic", (0.4, 0.5, 0.6, 0.8)), ("planes", (0.4, 0.8, 0.6))))
def test_each_plane_has_its_own_gain(layout: str, gains: tuple[float, ...]) -> None:
    found = plane_figures(Evidence(coloured(gains, layout), LEVELS))
    assert len(found) == len(gains)
    for plane, gain in zip(found, gains, strict=True):
        assert holds(plane["gain_dn_per_e"], gain) and plane["gain_dn_per_e"].value == pytest.approx(gain, rel=0.1)
        assert holds(plane["read_std_dn"], READ)
    ends = [(p["gain_dn_per_e"].low, p["gain_dn_per_e"].high) for p in found]
    assert not any(low < gains[0] < high for low, high in ends[1:])  # told apart


# Full well.


def test_saturated_pixels_give_the_full_well() -> None:
    scene = ramp(100, 900)
    scene[:, -16:] = 3000.0
    found = told([*darks(), *flats(), record(scene, 4, 3, **QUIET)])
    assert holds(found["full_well_e"], LEVELS.range_dn / GAIN)
    assert "full_well_e" not in told([*darks(), *flats()])
    said = " ".join(cannot_tell(Evidence([*darks(), *flats()], LEVELS)))
    assert "full well: no burst saturates; it exceeds" in said


def test_a_flat_that_is_cut_off_tells_no_gain_map() -> None:
    gains = 0.02 * np.random.default_rng(0).standard_normal(SIZE)
    cut = record(990.0, 5, 77, kind="flat", gain_map=gains, **QUIET)
    assert holds(told([*darks(), *flats(gain_map=gains), cut])["prnu_percent"], 100 * float(gains.std()))


# Defects.


def with_defects(hot: Array, noisy: Array, count: int = 4, frames: int = 6) -> list[Burst]:
    """Darks with 60 DN more at ``hot``, and two levels 40 DN apart from frame to frame at ``noisy``."""
    bursts, rng = darks(count, frames), np.random.default_rng(9)
    for burst in bursts:
        burst.source.dn[...] += 60.0 * hot + 40.0 * noisy * (rng.random((frames, *SIZE)) < 0.5)
    return bursts


def test_planted_defects_are_found_and_no_others() -> None:
    rng = np.random.default_rng(2)
    place = rng.permutation(SIZE[0] * SIZE[1])
    hot, noisy = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    hot.flat[place[:20]], noisy.flat[place[20:60]] = True, True
    evidence = Evidence(with_defects(hot, noisy), LEVELS)
    found = evidence.defects
    assert found is not None
    assert bool((found.hot[0].numpy() >= hot).all()) and bool((found.noisy[0].numpy() >= noisy).all())
    others = int((found.mask[0].numpy() & ~hot & ~noisy).sum())
    allowed = stats.poisson.isf(3e-7, 2 * DEFECT_RATE * hot.size)
    assert others <= allowed
    share = told(with_defects(hot, noisy))["noisy_pixel_share"]
    assert share.low <= 40 / hot.size <= share.high
    assert torch.equal(found.mask, found.hot | found.noisy)


def test_false_alarms_come_at_the_stated_rate() -> None:
    """Over half a million sound pixels in the dark, some 5 false alarms of each test."""
    alarms, pixels = np.zeros(2), 0
    for seed in range(20):
        bursts = [record(0.0, 5, 100 * seed + i, kind="dark", size=(160, 160), **QUIET) for i in range(2)]
        found = Evidence(bursts, LEVELS).defects
        assert found is not None
        alarms += [int(found.hot.sum()), int(found.noisy.sum())]
        pixels += found.hot.numel()
    assert (alarms <= stats.poisson.isf(3e-7, DEFECT_RATE * pixels)).all(), alarms


# Lamps.


@pytest.mark.parametrize("how", ("more", "times"))
def test_a_drifting_lamp_does_not_move_the_gain(how: str) -> None:
    """Offsets of 15 DN, or 3 % more and less light, from frame to frame; scenes are not even."""
    rng = np.random.default_rng(11)
    steady = [record(ramp(30, 800), 6, i, **QUIET) for i in range(3)] + darks()
    moved = []
    for burst in steady:
        dn, draws = burst.source.dn, rng.standard_normal((6, 1, 1))
        draws -= draws.mean()  # light that makes no shot noise is not more light
        if burst.kind == "scene":
            light = dn - LEVELS.black_dn
            dn = dn + (15.0 * draws if how == "more" else 0.03 * draws * light.mean(axis=0))
        moved.append(replace(burst, source=Recording(dn)))
    one, other = told(steady), told(moved)
    assert other["lamp_drift_percent"].value > 1 > one["lamp_drift_percent"].value
    width = one["gain_dn_per_e"].high - one["gain_dn_per_e"].low
    assert abs(one["gain_dn_per_e"].value - other["gain_dn_per_e"].value) < 0.05 * width
    assert holds(other["gain_dn_per_e"], GAIN)


# What is not there.


def test_scenes_without_darks_are_told_and_say_what_they_lack() -> None:
    evidence = Evidence([record(ramp(30, 800), 6, i, **QUIET) for i in range(3)], LEVELS)
    found, said = figures(evidence), " ".join(cannot_tell(evidence))
    assert holds(found["gain_dn_per_e"], GAIN) and holds(found["read_std_dn"], READ)
    assert not {"black_dn", "dsnu_dn", "prnu_percent", "static_row_std_dn", "frame_offset_std_dn"} & found.keys()
    for words in ("black level against the intercept", "DSNU, fixed pattern, defective pixels", "PRNU", "cancel"):
        assert words in said


def test_darks_alone_give_the_read_side_and_no_gain() -> None:
    evidence = Evidence(darks(row=1.0), LEVELS)
    found, said = figures(evidence), " ".join(cannot_tell(evidence))
    assert holds(found["read_std_dn"], READ) and holds(found["row_std_dn"], 1.0)
    assert not [name for name in found if "gain" in name or name.endswith("_e") or "prnu" in name]
    assert "gain, full well, PRNU: there are only darks" in said
    assert calibrate(darks(row=1.0), LEVELS, noiselist="read_row1").physical.noiselist == "read_row1"
    with pytest.raises(InputError, match="add brighter bursts"):
        calibrate(darks(), LEVELS, noiselist="shot_read")


def test_one_dark_burst_does_not_tell_static_rows() -> None:
    evidence = Evidence([*darks(1), *flats()], LEVELS)
    assert "static_row_std_dn" not in figures(evidence)
    assert "need two dark bursts or more" in " ".join(cannot_tell(evidence))


def test_read_against_quantisation_is_always_said() -> None:
    for bursts in (darks(), flats(), [*darks(), *flats()]):
        assert "read against quantisation" in cannot_tell(Evidence(bursts, LEVELS))[0]


# Shapes.


def test_two_frames_are_enough() -> None:
    found = told([*darks(3, 2), *flats(frames=2)])
    assert holds(found["gain_dn_per_e"], GAIN) and holds(found["read_std_dn"], READ)


def test_bursts_of_different_sizes_and_places() -> None:
    """Odd sizes and origins; a pattern needs darks of one window, and everything else does not."""
    moved = [
        replace(burst, source=Recording(burst.source.dn[:, : 96 - 7 * i, 1 + i : 126]), origin=(0, 1 + i))
        for i, burst in enumerate([*darks(row=1.0), *flats(row=1.0)])
    ]
    found = told(moved)
    assert holds(found["gain_dn_per_e"], GAIN) and holds(found["row_std_dn"], 1.0)
    assert "dsnu_dn" not in found and "hot_pixel_share" not in found


@pytest.mark.parametrize("first", (0, 1))
def test_alternation_follows_the_sensor_not_the_window(first: int) -> None:
    """Rows whose even and odd columns differ: 2 DN, wherever the window starts."""
    rng, sign = np.random.default_rng(4), np.where(np.arange(SIZE[1]) % 2, -1, 1)
    bursts = darks(frames=8)
    for burst in bursts:
        burst.source.dn[...] += 2.0 * rng.standard_normal((8, SIZE[0], 1)) * sign
    moved = [replace(b, source=Recording(b.source.dn[..., first:]), origin=(0, first)) for b in bursts]
    found = told(moved)["row_alternating_std_dn"]
    assert holds(found, 2.0) and found.low > 1.5


# Units and order.


@settings(max_examples=8, deadline=None, derandomize=True)
@given(some.floats(0.2, 20.0), some.floats(-50.0, 500.0))
def test_figures_scale_with_the_codes(scale: float, shift: float) -> None:
    """The same frames in other codes, a DN + b: DN scale by a, electrons and percent stay; black moves along."""
    bursts = [*darks(2, 4, row=1.0), *flats((200.0, 700.0), 4, row=1.0)]
    one = told(bursts)
    levels = replace(LEVELS, black_dn=LEVELS.black_dn * scale + shift, white_dn=LEVELS.white_dn * scale + shift)
    turned = [replace(b, source=Recording(b.source.dn * scale + shift), levels=levels) for b in bursts]
    other = figures(Evidence(turned, levels))
    for name in ("read_std_dn", "row_std_dn", "gain_dn_per_e", "dsnu_dn"):
        assert other[name].value == pytest.approx(scale * one[name].value, rel=1e-3), name
        assert other[name].high == pytest.approx(scale * one[name].high, rel=1e-3), name
    for name in ("read_std_e", "prnu_percent", "dsnu_e"):
        assert other[name].value == pytest.approx(one[name].value, rel=1e-3), name
    assert other["black_dn"].value == pytest.approx(scale * one["black_dn"].value + shift, abs=1e-3 * scale)


def test_the_order_of_bursts_does_not_matter() -> None:
    bursts = [*darks(), *flats()]
    one, other = told(bursts), told(bursts[::-1])
    assert one.keys() == other.keys()
    for name, figure in one.items():
        assert other[name].value == pytest.approx(figure.value, rel=1e-6, abs=1e-12), name
        assert math.isclose(other[name].high, figure.high, rel_tol=1e-5, abs_tol=1e-9), name
