"""Row noise with a spectrum, second-order noise and maps of read noise: in models, checkpoints and pieces."""

import math
from pathlib import Path
from typing import Any

import noise_checks as checks
import pytest
import torch
from noise_checks import PLANES, READ_MAP, ROW_DENSITY, ROW_EDGES, ROW_LINES, ROW_STD, ROW_VARIANCE, WIDE_SENSOR
from torch import Tensor

import noisemodel.pieces
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, load, save, stream
from noisemodel.components import ReadMap, RowSpectrum
from noisemodel.components.row_spectrum import SpectralRows

every_layout = pytest.mark.parametrize("layout", ("mosaic", "planes"))
ROW_START = {"std": ROW_STD, "psd": ROW_DENSITY, "edges": ROW_EDGES, "lines": ROW_LINES}


def rows_model(words: str, layout: str = "planes") -> PhysicalNoise:
    start = {f"{word}_{key}": value for word in words.split("_") for key, value in ROW_START.items()}
    return PhysicalNoise.from_noiselist(words, layout=layout, sensor_size=WIDE_SENSOR, **start)


# Two readout chains.


@every_layout
@torch.no_grad()
def test_even_and_odd_columns_are_independent(layout: str) -> None:
    """r + a and r - a of one law: each has twice the variance, and they do not correlate."""
    model = rows_model("rowspectrum_rowparity", layout)
    noise = model.measure(torch.zeros(40, 30, PLANES[layout], 4, 4), generator=stream(0, "chains"), origin=(5, 3)).noise
    columns = checks.sensor_place(layout, (5, 3), 4, 4).columns[:, 0]  # (C, W)
    of_row = noise[:, :, :2, 1] if layout == "mosaic" else noise[:, :, :1, 1]
    even, odd = (of_row[..., columns[: of_row.shape[2]] % 2 == parity] for parity in (0, 1))
    assert torch.equal(even[..., :1].expand_as(even), even) and torch.equal(odd[..., :1].expand_as(odd), odd)
    checks.check_uncorrelated(even[..., 0], odd[..., 0], "chains")
    for chain in (even, odd):
        checks.check_sample_moments(chain[..., 0].reshape(-1, 1), 2 * ROW_VARIANCE)


# The spectrum.


def test_psd_is_the_smooth_density() -> None:
    component = rows_model("rowspectrum").component("rowspectrum")
    assert isinstance(component, SpectralRows)
    frequency = torch.linspace(0, 0.5, 100_001, dtype=torch.float64)
    density = component.psd(frequency).detach()
    assert float(density.mean() * 0.5) == pytest.approx(ROW_STD**2, rel=1e-4)
    values = component.psd(torch.tensor([0.0, 0.01, 0.1, 0.3, 0.5])).detach()
    expected = torch.tensor([ROW_DENSITY[0], *ROW_DENSITY], dtype=torch.float64)
    torch.testing.assert_close(values / values[0], expected / expected[0], rtol=1e-5, atol=0.0)
    assert not component.psd(torch.tensor([-0.1, 0.6])).any()
    for line, given in zip(component.lines, ROW_LINES, strict=True):
        assert line == pytest.approx((*given, 0.0), rel=1e-6)


def test_the_start_is_white() -> None:
    component = RowSpectrum("planes", std=0.1, sensor_size=(100, 4))
    density = component.psd(torch.linspace(0, 0.5, 301)).detach()
    torch.testing.assert_close(density, torch.full_like(density, 2 * 0.1**2), rtol=1e-5, atol=0.0)
    checks.check_lines(component.simulate, "planes", 0, along_rows=True, static=False)


@pytest.mark.parametrize("height", (1, 2, 7, 64))
@torch.no_grad()
def test_the_variance_is_exact_for_any_sensor(height: int) -> None:
    """Also where bins are narrower than the steps of the FFT."""
    component = RowSpectrum("planes", std=0.1, psd=(1.0, 40.0, 1.0), edges=(0, 0.2, 0.21, 0.5), sensor_size=(height, 2))
    noise = component.simulate(torch.zeros(4000, 1, height, 1), generator=stream(0, "height", height))
    checks.check_sample_moments(noise[:, 0, :, 0], 0.01)


@torch.no_grad()
def test_beyond_the_sensor_it_goes_on() -> None:
    """The sensor's size is a lower bound: no row repeats."""
    component = RowSpectrum("planes", std=0.1, sensor_size=(8, 4))
    noise = component.simulate(torch.zeros(50, 1, 40, 1), generator=stream(0, "beyond"), origin=(100, 0))
    for lag in (8, 16, 32):
        checks.check_uncorrelated(noise[:, :, lag:], noise[:, :, :-lag], f"rows {lag} apart")


def test_the_shape_learns() -> None:
    """Rows that rise and fall slowly move the shares towards low frequencies."""
    component = RowSpectrum("planes", std=0.1, sensor_size=(64, 4))
    noise = component.sample(torch.zeros(50, 1, 64, 1), generator=stream(0, "learn"))
    (noise[:, :, 1:] - noise[:, :, :-1]).square().mean().backward()
    gradient = component.shape.grad
    assert gradient is not None
    assert float(gradient[0]) < 0 < float(gradient[-1])
    assert float(gradient.sum()) == pytest.approx(0, abs=1e-6 * float(gradient.abs().sum()))


def test_lines_are_parameters() -> None:
    model = rows_model("rowspectrum")
    table = {p.name: p for p in model.parameters_table()}
    assert list(table) == [
        f"rowspectrum.{k}"
        for k in ("std", "line1", "freq1", "jitter1", "steady1", "line2", "freq2", "jitter2", "steady2")
    ]
    assert {n for n, p in table.items() if p.fixed} == {
        f"rowspectrum.{k}{i}" for k in ("freq", "jitter", "steady") for i in (1, 2)
    }
    model.fix("rowspectrum.line2=0.01")
    model.assign("rowspectrum.freq1=0.3")
    model.assign("rowspectrum.jitter1=0")
    assert model.component("rowspectrum").lines[0] == pytest.approx((0.3, ROW_LINES[0][1], 0.0, 0.0), rel=1e-6)  # type: ignore[attr-defined]
    for wrong in ("rowspectrum.freq1=0.6", "rowspectrum.freq1=0", "rowspectrum.jitter2=-1"):
        with pytest.raises(InputError, match="cycles per row"):
            model.assign(wrong)
    with pytest.raises(InputError, match=r"steady1 is a share .* got 1\.5"):
        model.assign("rowspectrum.steady1=1.5")
    with pytest.raises(InputError, match=r"rowspectrum\.line2"):
        model.assign("rowspectrum.line3=0.1")
    plain = PhysicalNoise.from_noiselist("rowspectrum", sensor_size=WIDE_SENSOR)
    assert [p.name for p in plain.parameters_table()] == ["rowspectrum.std"]


# Checkpoints.

MODELS: dict[str, dict[str, Any]] = {
    "rows": {
        "noiselist": "shot_read_rowspectrum_rowparity", "rowspectrum_lines": ROW_LINES, "rowparity_psd": ROW_DENSITY,
        "rowspectrum_edges": ROW_EDGES, "sensor_size": WIDE_SENSOR,
    },
    "second order": {"noiselist": "shot_excess_rowgain", "excess_coefficient": 1e-3, "rowgain_std": 0.02},
    "map drawn": {"noiselist": "readmap", "sensor_size": WIDE_SENSOR, "readmap_seed": 3, "readmap_spread": 0.7},
    "map measured": {"noiselist": "shot_readmap", "readmap_map": READ_MAP.float(), "levels": Levels(64, 1023)},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_loaded_models_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model = NoiseGenerator(PhysicalNoise.from_noiselist(**MODELS[name]), channels=4)
    if name == "rows":
        model.physical.fix("rowspectrum.line1=0.004")
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=stream(0, "move", i)))
    loaded = load(save(model, tmp_path))
    assert loaded.config() == model.config()
    assert loaded.physical.parameters_table() == model.physical.parameters_table()
    clean = torch.rand((2, 3, 4, 6, 7), generator=stream(0, "clean"))
    for call in ("measure", "simulate"):
        first, second = (getattr(m, call)(clean, generator=stream(0, call), origin=(3, 5)) for m in (model, loaded))
        first, second = (x.noisy if call == "measure" else x for x in (first, second))
        assert torch.equal(first, second)
    held = [[n for n, p in m.named_parameters() if not p.requires_grad] for m in (model, loaded)]
    assert held[0] == held[1]


# Maps of read noise.


def test_a_measured_read_map_says_its_std() -> None:
    component = ReadMap("planes", map_=READ_MAP)
    torch.testing.assert_close(component.std_map().detach().double()[0], READ_MAP, rtol=1e-6, atol=0.0)
    given = ReadMap("planes", map_=READ_MAP, std=0.5)
    assert float(given.std_map().detach().square().mean().sqrt()) == pytest.approx(0.5, rel=1e-6)
    assert float(given.unit_map.square().mean()) == pytest.approx(1, rel=1e-6)


def test_a_drawn_read_map_is_log_normal() -> None:
    first, again = (ReadMap("mosaic", spread=0.5, sensor_size=(120, 160)) for _ in range(2))
    other = ReadMap("mosaic", spread=0.5, sensor_size=(120, 160), seed=1)
    assert torch.equal(first.unit_map, again.unit_map) and not torch.equal(first.unit_map, other.unit_map)
    logs = first.unit_map.log()
    checks.check_sample_moments((logs - logs.mean()).reshape(-1, 1), 0.5**2, "log m")
    assert float(first.unit_map.square().mean()) == pytest.approx(1, rel=1e-5)
    flat = ReadMap("mosaic", spread=0.0, sensor_size=(4, 6)).unit_map
    torch.testing.assert_close(flat, torch.ones(1, 4, 6))


@every_layout
@pytest.mark.parametrize("piece", (1, 200, 700, 10**6))
@pytest.mark.parametrize("gradient", (False, True))
def test_pieces_have_the_map_of_their_samples(
    layout: str, piece: int, gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample with an origin of its own, however the burst is cut: noise / std is what one normal draw gives."""
    monkeypatch.setattr(noisemodel.pieces, "PIECE", piece)
    clean = torch.full((5, 3, PLANES[layout], 6, 7), 0.4)
    origins = torch.tensor([[0, 1], [4, 6], [5, 20], [33, 2], [51, 65]])
    by_map, flat = (
        PhysicalNoise([ReadMap(layout, map_=m, std=checks.READ)], layout=layout)
        for m in (READ_MAP, torch.ones(WIDE_SENSOR))
    )
    with torch.set_grad_enabled(gradient):
        noise, plain = (m.measure(clean, generator=stream(0, "pieces"), origin=origins).noise for m in (by_map, flat))
    std = by_map.variance(clean, origin=origins).sqrt()
    for i, (row, column) in enumerate(origins.tolist()):
        place = checks.sensor_place(layout, (row, column), 6, 7)
        torch.testing.assert_close(
            std[i, 0].detach().double(), READ_MAP[place.rows, place.columns], rtol=1e-5, atol=0.0
        )
    torch.testing.assert_close(noise, plain / checks.READ * std)


def test_a_map_does_not_reach_beyond_the_sensor() -> None:
    model = PhysicalNoise.from_noiselist("readmap", sensor_size=(20, 20))
    for call in (model.measure, model.simulate):
        with pytest.raises(InputError, match="readmap map covers 20x20"):
            call(torch.zeros(1, 4, 8, 8), generator=stream(0, "beyond"), origin=(6, 0))


# Merged draws.


def test_second_order_noise_merges_into_the_shared_draw() -> None:
    model = PhysicalNoise.from_noiselist("shot_excess_read", shot_gain=0.01, excess_coefficient=0.02, read_std=0.03)
    clean = torch.full((2, 4, 64, 64), 0.5)
    noise = model.measure(clean, generator=stream(0, "merged")).noise.detach()
    normal = torch.randn(noise.shape, generator=stream(0, "merged"))
    variance = 0.01 * 0.5 + 0.02 * 0.25 + 0.03**2
    torch.testing.assert_close(noise, math.sqrt(variance) * normal)


def test_new_parameters_vary_by_image() -> None:
    words = "excess_readmap_rowspectrum_rowparity_rowgain"
    model = PhysicalNoise.from_noiselist(words, sensor_size=WIDE_SENSOR, rowspectrum_lines=ROW_LINES)
    names = [
        "excess.coefficient",
        "readmap.std",
        "rowspectrum.std",
        "rowspectrum.line1",
        "rowparity.std",
        "rowgain.std",
    ]
    params: dict[str, Tensor] = {name: torch.tensor([0.01, 0.02]) for name in names}
    clean = torch.full((2, 4, 5, 6), 0.5)
    noise = model.measure(clean, generator=stream(0, "params"), params=params).noise
    assert noise.shape == clean.shape and bool(torch.isfinite(noise).all())
    with pytest.raises(InputError, match=r"rowspectrum\.freq1"):
        model.measure(clean, generator=stream(0, "params"), params={"rowspectrum.freq1": torch.tensor([0.1, 0.2])})
