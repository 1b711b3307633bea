"""Levels, packing by position, and sensor coordinates: facts without randomness."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisemodel import InputError, Levels, PhysicalNoise, pack_mosaic, stream, unpack_mosaic
from noisemodel.sensor import Crop

CPU = torch.device("cpu")
# Codes are whole numbers: so is the white level. The black level may be a mean of many frames.
any_levels = st.tuples(st.floats(0, 5000), st.integers(1, 70000)).map(lambda v: Levels(v[0], math.ceil(v[0]) + v[1]))


@given(lead=st.lists(st.integers(1, 3), max_size=2), rows=st.integers(0, 5), columns=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_pack_and_unpack_are_inverse(lead: list[int], rows: int, columns: int) -> None:
    shape = (*lead, 2 * rows, 2 * columns)
    mosaic = torch.arange(math.prod(shape)).view(shape)
    planes = pack_mosaic(mosaic)
    assert planes.shape == (*lead, 4, rows, columns)
    assert torch.equal(unpack_mosaic(planes), mosaic)
    assert torch.equal(pack_mosaic(unpack_mosaic(planes)), planes)


def test_planes_are_by_position() -> None:
    """An asymmetric scene: every pixel says where it is, and a bright line lies in the planes that cross it."""
    mosaic = 100 * torch.arange(6).unsqueeze(1) + torch.arange(8)
    planes = pack_mosaic(mosaic)
    for plane, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        for i in range(3):
            for j in range(4):
                assert int(planes[plane, i, j]) == 100 * (2 * i + dy) + 2 * j + dx
    row, column = torch.zeros(6, 8), torch.zeros(6, 8)
    row[3], column[:, 4] = 1.0, 1.0
    assert [bool(plane.any()) for plane in pack_mosaic(row)] == [False, False, True, True]
    assert [bool(plane.any()) for plane in pack_mosaic(column)] == [True, False, True, False]


@pytest.mark.parametrize("size", ((3, 4), (4, 3), (1, 1)))
def test_odd_mosaics_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]}"):
        pack_mosaic(torch.zeros(2, *size))


@pytest.mark.parametrize("shape", ((4, 4), (3, 4, 4), (2, 1, 4, 4)))
def test_only_four_planes_are_a_mosaic(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="4 planes"):
        unpack_mosaic(torch.zeros(shape))


@given(
    origin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    mosaic=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_crop_knows_its_sensor_pixels(origin: tuple[int, int], h: int, w: int, mosaic: bool) -> None:
    """Read at its coordinates, the sensor's own picture gives the packed crop, at odd origins too."""
    sensor = torch.arange(20 * 20).view(20, 20)
    step, channels = (2, 4) if mosaic else (1, 1)
    cut = sensor[origin[0] : origin[0] + step * h, origin[1] : origin[1] + step * w]
    expected = pack_mosaic(cut) if mosaic else cut.unsqueeze(0)
    crop = Crop("mosaic" if mosaic else "planes", (1, 1, channels, h, w), origin, CPU)
    assert torch.equal(sensor[crop.rows.unsqueeze(-1), crop.columns.unsqueeze(-2)][0], expected)
    assert crop.sensor_extent == (origin[0] + step * h, origin[1] + step * w)


def test_origins_are_one_pair_or_one_per_sample() -> None:
    several = Crop("planes", (3, 1, 1, 2, 2), torch.tensor([[0, 5], [7, 1], [2, 2]]), CPU)
    assert several.rows[:, 0, 0].tolist() == [0, 7, 2] and several.columns[:, 0, 1].tolist() == [6, 2, 3]
    assert several.sensor_extent == (9, 7)
    for origin in (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64), torch.tensor(0)):
        with pytest.raises(InputError, match="origin"):
            Crop("planes", (3, 1, 1, 2, 2), origin, CPU)


@pytest.mark.parametrize("channels", (1, 3, 8))
def test_a_mosaic_has_four_planes(channels: int) -> None:
    with pytest.raises(InputError, match=f'4 planes, got {channels}; say layout="planes"'):
        Crop("mosaic", (1, 1, channels, 2, 2), (0, 0), CPU)


@given(levels=any_levels, dn=st.lists(st.floats(-100, 70000), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_fractions_and_dn_are_inverse(levels: Levels, dn: list[float]) -> None:
    values = torch.tensor(dn, dtype=torch.float64)
    torch.testing.assert_close(levels.to_dn(levels.to_fraction(values)), values, rtol=1e-9, atol=1e-6)
    ends = torch.tensor([levels.black_dn, levels.white_dn], dtype=torch.float64)
    torch.testing.assert_close(levels.to_fraction(ends), torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-9)
    assert levels.adc_step == pytest.approx(1 / (levels.white_dn - levels.black_dn))


def test_record_rounds_then_clips() -> None:
    levels = Levels(64.0, 1023.0)
    dn = torch.tensor([-3.0, -0.4, 0.6, 63.4, 63.6, 500.2, 1022.6, 1023.4, 2000.0], dtype=torch.float64)
    recorded = levels.to_dn(levels.record(levels.to_fraction(dn)))
    torch.testing.assert_close(recorded, torch.tensor([0.0, 0, 1, 63, 64, 500, 1023, 1023, 1023]).double())


def test_record_keeps_the_grid_of_a_fractional_black_level() -> None:
    levels = Levels(10.3, 4095.0)
    signal = torch.rand(1000, generator=stream(0, "signal"), dtype=torch.float64) * 1.2 - 0.1
    dn = levels.to_dn(levels.record(signal))
    torch.testing.assert_close(dn, dn.round(), rtol=0, atol=1e-9)
    assert float(dn.min()) == pytest.approx(0, abs=1e-9) and float(dn.max()) == pytest.approx(4095)


@given(levels=any_levels, signal=st.lists(st.floats(-2, 3), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_record_is_idempotent_and_within_half_a_step(levels: Levels, signal: list[float]) -> None:
    x = torch.tensor(signal, dtype=torch.float64)
    low, high = levels.clip_range
    once = levels.record(x)
    torch.testing.assert_close(levels.record(once), once, rtol=0, atol=1e-9)
    assert bool((once >= low).all()) and bool((once <= high).all())
    inside = (x >= low) & (x <= high)
    assert bool(((once - x).abs()[inside] <= 0.5 * levels.adc_step + 1e-9).all())


def test_clip_range_belongs_to_the_data_set() -> None:
    assert Levels(64, 1023).clip_range == pytest.approx((-64 / 959, 1.0))
    assert Levels(64, 1023, clip=(0, 1)).clip_range == (0.0, 1.0)
    sidd = Levels(64, 1023, clip=(0.0, 1.0)).record(torch.tensor([-0.5, 0.5, 1.5]))
    assert float(sidd.min()) == 0.0 and float(sidd.max()) == 1.0


@pytest.mark.parametrize(
    ("black", "white", "clip", "words"),
    [
        (100.0, 100.0, None, "white level must exceed black level, got 100.0 <= 100.0 DN"),
        (100.0, 50.0, None, "got 50.0 <= 100.0"),
        (float("nan"), 50.0, None, "finite"),
        (0.0, float("inf"), None, "finite"),
        (0.0, 1.0, (1.0, 0.0), "low < high"),
        (0.0, 1.0, (0.0, 0.0), "low < high"),
        (0.0, 1.0, (float("nan"), 1.0), "low < high"),
    ],
)
def test_levels_that_no_camera_has(black: float, white: float, clip: tuple[float, float] | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Levels(black, white, clip)


def test_fractions_are_on_no_grid() -> None:
    """Levels of 0 and 1 say that frames come as fractions: nothing rounds, what lies outside the clip range is cut."""
    levels = Levels(0, 1, clip=(0, 1))
    signal = torch.tensor([-0.2, 0.0, 0.3, 0.6004, 1.7])
    assert levels.rounding == 0
    assert torch.equal(levels.record(signal), torch.tensor([0.0, 0.0, 0.3, 0.6004, 1.0]))
    assert Levels(64, 1023).rounding == pytest.approx(1 / 959)
    model = PhysicalNoise.from_noiselist("read_uniform", layout="planes", levels=levels, read_std=1e-4)
    (width,) = (p for p in model.parameters_table() if p.name == "uniform.width")
    assert not width.fixed
    noisy = model.simulate(torch.full((1, 1, 64, 64), 0.3), generator=stream(0, "fractions"))
    expected = (1e-8 + width.value**2 / 12) ** 0.5
    assert abs(float(noisy.std()) / expected - 1) < 5 * (1 / (2 * 64 * 64)) ** 0.5
