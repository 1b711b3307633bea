"""Each metric as a plain function: closed forms, identity, disjoint laws, ties; tolerances are 5 standard errors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from noisemodel import stream
from noisemodel.evaluation import (
    akld,
    autocorrelation,
    column_spectrum,
    kld_naflow,
    kld_neca,
    kld_noise2noiseflow,
    kld_noiseflow,
    kld_starlight,
    ks,
    row_spectrum,
    variance_error,
    w1,
)
from noisemodel.evaluation.kolmogorov_smirnov import ks_of_counts
from noisemodel.evaluation.sample_counts import REACH, counts, fine_bins, fine_edges
from noisemodel.evaluation.variance_curve import signal_edges
from noisemodel.evaluation.wasserstein import w1_of_counts
from noisemodel.sensor import Levels, unpack_mosaic

BINNED = {"noiseflow": kld_noiseflow, "noise2noiseflow": kld_noise2noiseflow, "naflow": kld_naflow}
LINES = {"row": row_spectrum, "column": column_spectrum}
EDGES = torch.tensor([-torch.inf, 0.2, 0.5, torch.inf], dtype=torch.float64)


def normal(*shape: int, std: float = 1.0, name: str = "") -> Tensor:
    return std * torch.randn(shape, generator=stream(0, "metrics", name), dtype=torch.float64)


def gaussian_bins(edges: Tensor, std: float, mean: float = 0.0) -> Tensor:
    return (0.5 * (1 + torch.erf((edges - mean) / std / 2**0.5))).diff()


def noise_edges() -> Tensor:
    inner = torch.linspace(-0.1, 0.1, 65, dtype=torch.float64)
    return torch.cat([torch.tensor([-torch.inf]), inner, torch.tensor([torch.inf])])


@pytest.mark.parametrize(("s1", "s2"), [(1.0, 1.3), (2.0, 0.5), (1.0, 1.02)])
def test_ks_and_w1_of_two_gaussians(s1: float, s2: float) -> None:
    n = 200_000
    real, model = normal(3, n, std=s1, name="a"), normal(3, n, std=s2, name="b")
    at = math.sqrt(2 * math.log(s2 / s1) / (s1**-2 - s2**-2))
    expected = abs(math.erf(at / s1 / 2**0.5) - math.erf(at / s2 / 2**0.5)) / 2
    assert ks(real, model).tolist() == pytest.approx([expected] * 3, abs=5 * (0.25 * 2 / n) ** 0.5)
    error = ((1 - 2 / math.pi) * (s1**2 + s2**2) / n) ** 0.5
    assert w1(real, model).tolist() == pytest.approx([abs(s1 - s2) * (2 / math.pi) ** 0.5] * 3, abs=5 * error)


@pytest.mark.parametrize("name", BINNED)
def test_binned_klds_of_two_gaussians(name: str) -> None:
    n, s1, s2 = 1_000_000, 0.02, 0.03
    edges = torch.linspace(-1, 1, 257, dtype=torch.float64) if name == "naflow" else noise_edges()
    p, q = gaussian_bins(edges, s1), gaussian_bins(edges, s2)
    kept = (p > 1e-12) & (q > 1e-12)
    log_ratio = torch.where(kept, (p / q.clamp_min(1e-300)).clamp_min(1e-300).log(), 0.0)
    expected = float((p * log_ratio).sum())
    spread = (p * log_ratio.square()).sum() - expected**2 + (torch.where(kept, p**2 / q, 0.0)).sum() - 1
    found = BINNED[name](normal(1, n, std=s1, name="p").float(), normal(1, n, std=s2, name="q").float())
    assert float(found) == pytest.approx(expected, abs=5 * float(spread / n) ** 0.5 + len(edges) / n)
    assert expected > 0.05


def test_add_one_smoothing_of_ten_values() -> None:
    real, model = torch.full((1, 10), 0.0501), torch.full((1, 10), 0.0701)
    assert float(kld_noise2noiseflow(real, model)) == pytest.approx(10 / 76 * math.log(11))


def test_starlight_is_symmetric_and_of_the_images() -> None:
    n, edges = 1_000_000, torch.linspace(0, 1, 1001, dtype=torch.float64)
    p, q = gaussian_bins(edges, 0.05, 0.4), gaussian_bins(edges, 0.05, 0.42)
    expected = float(((p - q) * (p / q).log())[(p > 1e-9) & (q > 1e-9)].sum()) / 2  # (0.02 / 0.05)^2 / 2
    real, model = 0.4 + normal(1, n, std=0.05, name="p"), 0.42 + normal(1, n, std=0.05, name="q")
    error = 0.4 * (2 / n) ** 0.5
    assert float(kld_starlight(real, model)) == pytest.approx(expected, abs=5 * error + 1000 / n)
    assert kld_starlight(real, model) == pytest.approx(kld_starlight(model, real))
    outside = torch.cat([real[:, ::2], real[:, ::2] + 2], dim=1)  # half of the values count in n only
    assert float(kld_starlight(outside, outside)) == 0 and float(kld_starlight(real, outside)) > 0.1


def test_neca_rounds_and_clips_the_generated_image_only() -> None:
    clean = torch.full((1, 3, 64, 64), 100 / 255, dtype=torch.float64)
    real = (normal(1, 3, 64, 64, std=4, name="r").round()) / 255
    assert float(kld_neca(real, real + 0.3 / 255, clean)) == 0
    assert abs(float(kld_neca(real + 0.3 / 255, real, clean))) > 1e-3
    bright = torch.ones_like(clean)
    assert float(kld_neca(torch.zeros_like(clean), normal(1, 3, 64, 64).abs(), bright)) == 0


@pytest.mark.parametrize("factor", [1.0, 1.1, 2.0, 0.5])
def test_metrics_of_scaled_noise_have_closed_forms(factor: float) -> None:
    real = normal(2, 4, 1, 64, 64, name="scaled")
    r = factor**2
    assert akld(real[0], factor * real[0]).tolist() == pytest.approx([0.5 * (r - 1 - math.log(r))] * 4, abs=1e-12)
    for distance in LINES.values():
        assert distance(real, factor * real).tolist() == pytest.approx([abs(math.log(r))] * 2, abs=1e-9)
    clean = torch.rand(real.shape, generator=stream(0, "clean"), dtype=torch.float64)
    assert variance_error(real, factor * real, clean, EDGES).tolist() == pytest.approx([abs(r - 1)] * 2)
    assert autocorrelation(real, factor * real).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_akld_clamps_and_averages_draws() -> None:
    real = normal(2, 1, 32, 32, name="akld")
    assert akld(real, 100 * real).tolist() == pytest.approx([0.5 * (9 - math.log(10))] * 2)
    assert akld(real, real / 100).tolist() == pytest.approx([0.5 * (-0.9 + math.log(10))] * 2)
    draws = torch.stack([real, 2 * real])
    assert akld(real, draws).tolist() == pytest.approx([0.25 * (3 - math.log(4))] * 2)


@pytest.mark.parametrize("name", [*BINNED, "starlight", "ks", "w1"])
def test_disjoint_laws(name: str) -> None:
    """KLDs that drop empty bins call noise that never overlaps perfect; add-one, ks and w1 do not."""
    real, shift = 0.002 * torch.rand(2, 5000, generator=stream(0, "disjoint"), dtype=torch.float64) + 0.0501, 0.04
    function = {**BINNED, "starlight": kld_starlight, "ks": ks, "w1": w1}[name]
    expected = {"noiseflow": 0.0, "naflow": 0.0, "starlight": 0.0, "ks": 1.0, "w1": shift}
    found = function(real, real + shift).tolist()
    if name == "noise2noiseflow":
        assert min(found) > 5
    else:
        assert found == pytest.approx([expected[name]] * 2, abs=1e-12)


@pytest.mark.parametrize("name", [*BINNED, "starlight", "ks", "w1", "akld", *LINES, "autocorrelation", "variance"])
def test_identity_gives_nothing_and_nearer_noise_gives_less(name: str) -> None:
    shape = (2, 3, 64, 64)
    real, other = normal(*shape, std=0.02, name="x"), normal(*shape, std=0.02, name="y")
    function = {**BINNED, "starlight": kld_starlight, "ks": ks, "w1": w1, "akld": akld, **LINES}.get(name)
    shared = normal(*shape[:-1], 1, std=0.02, name="rows") + normal(2, 3, 1, 64, std=0.02, name="columns")
    found = []
    for far in (0.0, 0.1, 0.4, 1.6):
        model = (real if far == 0 else other) * (1 + far) + far * shared
        if name == "starlight":
            found.append(kld_starlight(0.5 + real, 0.5 + model))
        elif name == "autocorrelation":
            found.append(autocorrelation(real, model).view(1))
        elif name == "variance":
            found.append(variance_error(real, model, torch.full(shape, 0.3), EDGES))
        else:
            assert function is not None
            found.append(function(real, model).view(-1))
    assert float(found[0].abs().max()) < 1e-12
    assert bool((torch.stack(found).diff(dim=0) > 0).all())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30), st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_ks_and_w1_of_tied_data(first: list[int], second: list[int]) -> None:
    real, model = torch.tensor([first]), torch.tensor([second])
    expected = max(
        abs(sum(x <= at for x in first) / len(first) - sum(y <= at for y in second) / len(second))
        for at in range(-5, 6)
    )
    assert float(ks(real, model)) == pytest.approx(expected, abs=1e-6)
    assert float(w1(real, model)) == pytest.approx(stats.wasserstein_distance(first, second), abs=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.05, 1.0, 300.0])
def test_fine_histograms_agree_with_sorting(rounded: bool, shift: float) -> None:
    real, model = normal(1, 100_000, std=2, name="f"), normal(1, 100_000, std=2.2, name="g")
    if rounded:
        real, model, shift = real.round(), model.round(), round(shift)
    model = model + shift
    histograms = [counts(fine_bins(x, 2.0), 2 * REACH) for x in (real, model)]
    assert float(ks_of_counts(*histograms)) == pytest.approx(float(ks(real, model)), abs=0.4 / 200)
    found = float(w1_of_counts(histograms[0], histograms[1], fine_edges(2.0)))
    assert found == pytest.approx(float(w1(real, model)), rel=0.01)


def test_order_of_a_batch_and_of_frames_does_not_matter() -> None:
    real, model = normal(5, 1, 64, 64, std=0.02, name="r"), normal(5, 1, 64, 64, std=0.03, name="m")
    order = torch.tensor([3, 0, 4, 1, 2])
    for function in (*BINNED.values(), ks, w1, akld):
        torch.testing.assert_close(function(real[order], model[order]), function(real, model)[order])
    for function in (row_spectrum, column_spectrum, autocorrelation):
        torch.testing.assert_close(function(real[order], model), function(real, model))


@pytest.mark.parametrize("layout", ["planes", "mosaic"])
def test_row_noise_in_closed_form(layout: str) -> None:
    """rho(0, dx) = s^2 / (s^2 + 1) at 8 of 144 lags; a row mean has s^2 + 1 / W instead of 1 / W."""
    frames, side, s = 32, 64, 0.5
    planes = (frames, 4, side // 2, side // 2) if layout == "mosaic" else (frames, 1, side, side)
    white = normal(*planes, name="white")
    rows = normal(frames, side, 1, std=s, name="rows").expand(frames, side, side)
    real = normal(*planes, name="real")
    real = real + (_pack(rows) if layout == "mosaic" else rows.unsqueeze(1))
    rho, count = s**2 / (s**2 + 1), frames * side
    expected = rho * (8 / 144) ** 0.5
    error = (8 / 144) ** 0.5 * (2 / count) ** 0.5  # of a variance estimated from `count` rows
    noise = 1 / (frames * side * side) ** 0.5
    assert float(autocorrelation(real, white, layout=layout)) == pytest.approx(expected, abs=5 * error + noise)
    found = float(row_spectrum(real, white, layout=layout))
    assert found == pytest.approx(math.log(1 + s**2 * side), abs=5 * (2 / frames) ** 0.5 / 31**0.5 + 1 / frames)
    assert float(column_spectrum(real, white, layout=layout)) < 2 * (2 / frames) ** 0.5
    if layout == "mosaic":
        assert unpack_mosaic(real).shape == (frames, side, side)


@pytest.mark.parametrize("step", [(1, 1), (1, -1), (3, -8), (8, 0)])
def test_lags_go_both_ways(step: tuple[int, int]) -> None:
    """x = (a(p) + a(p + step)) / sqrt(2) has rho = 1/2 at one of 144 lags."""
    first, white = normal(16, 1, 80, 80, name="lag"), normal(16, 1, 64, 64, name="no lag")
    moved = first.roll(step, dims=(-2, -1))
    real = ((first + moved) / 2**0.5)[..., 8:72, 8:72]
    variance = 2 / (16 * 64 * 64)  # of the difference of two correlations of white noise
    expected = (0.5**2 / 144 + variance) ** 0.5
    assert float(autocorrelation(real, white)) == pytest.approx(expected, abs=5 * (variance / 144) ** 0.5)


def _pack(rows: Tensor) -> Tensor:
    return torch.stack([rows[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)], dim=1)


def test_two_spectra_of_one_law_are_as_far_apart_as_their_scatter() -> None:
    frames = 64
    found = torch.stack(
        [
            row_spectrum(normal(frames, 1, 128, 32, name=f"a{i}"), normal(frames, 1, 128, 32, name=f"b{i}"))
            for i in range(9)
        ]
    )
    assert float(found.mean()) == pytest.approx((2 / frames) ** 0.5, rel=5 / (2 * 9 * 64) ** 0.5 + 2 / frames)


def test_levels_are_those_of_the_clean_signal() -> None:
    levels = Levels(0, 1000)
    edges = signal_edges(levels, 0.9)
    real, clean = normal(1, 1, 64, 64, name="v"), torch.full((1, 1, 64, 64), 0.1)
    clean[..., 32:] = 0.8
    model = real.clone()
    model[..., 32:] *= 2
    assert float(variance_error(real, model, clean, edges)) == pytest.approx((0 + 3) / 2)
