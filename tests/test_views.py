"""What the critic sees: channels, scale, invertibility and gradients of every view."""

import math

import pytest
import torch
from torch import Tensor

from noisemodel import NoiseGenerator, PhysicalNoise, stream
from noisemodel.critic import Critic
from noisemodel.game import Game, GanOptions
from noisemodel.sensor import pack_mosaic
from noisemodel.views import PARITY, VIEWS, Looks, Ruler, line_means, noise_features

LAYOUTS = {"mosaic": 4, "planes": 1}
RULER = Ruler(a=4e-4, b=0.01)
N, T, SIDE = 3, 4, 16


def burst(layout: str, seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> tuple[Tensor, Tensor]:
    """Unit white residual, and a reference from below black to bright."""
    draws = stream(seed, "views", layout)
    residual = torch.randn((N, T, LAYOUTS[layout], *size), generator=draws)
    reference = torch.rand((N, 1, LAYOUTS[layout], *size), generator=draws) - 0.1
    return residual, reference


def see(name: str, residual: Tensor, reference: Tensor, layout: str, ruler: Ruler = RULER) -> Looks:
    return VIEWS[name][0](residual, reference, ruler, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", VIEWS)
def test_looks_have_the_channels_that_the_table_says(name: str, layout: str) -> None:
    for size in ((SIDE, SIDE), (8, 12)):
        looks = see(name, *burst(layout, size=size), layout)
        planes = {look: channels * LAYOUTS[layout] for look, channels in VIEWS[name][1].items()}
        assert {look: values.shape[1] for look, values in looks.items()} == planes
        assert all(values.ndim == 4 and values.shape[0] in (N, N * T) for values in looks.values())
        score = Critic(planes, width=4)(looks)
        assert score.shape == () and bool(torch.isfinite(score))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_white_noise_has_std_1_in_every_feature(layout: str) -> None:
    """5 standard errors of the independent values of each feature."""
    noise = torch.randn((64, T, LAYOUTS[layout], SIDE, SIDE), generator=stream(1, "white", layout))
    features = noise_features(noise, layout)
    shared = 2 if layout == "mosaic" else 1  # planes that hold the same line
    for name, values in features.items():
        assert values.ndim == 5 and torch.broadcast_shapes(values.shape, noise.shape) == noise.shape
        draws = values.numel() / (shared if "row" in name or "column" in name else 1)
        off = float(values.double().square().mean()) - 1
        assert abs(off) < 5 * math.sqrt(2 / draws), f"{name}: variance off by {off:+.3f}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_line_means_of_noise_that_is_constant_along_lines(layout: str) -> None:
    """A row's own offset comes back times the root of its pixels; planes of other sensor rows stay apart."""
    planes, height, width = LAYOUTS[layout], 6, 10
    offsets = torch.randn((N, T, planes, height, 1), generator=stream(2, "rows", layout), dtype=torch.float64)
    if layout == "mosaic":
        offsets = offsets[:, :, [0, 0, 2, 2]]  # planes 0,1 share a sensor row, planes 2,3 the next
    rows, columns = line_means(offsets.expand(N, T, planes, height, width), layout)
    per_row = width * (2 if layout == "mosaic" else 1)
    torch.testing.assert_close(rows, offsets * math.sqrt(per_row))
    torch.testing.assert_close(columns, columns[..., :1].expand_as(columns))
    of_columns = offsets.transpose(-1, -2)
    if layout == "mosaic":
        of_columns = of_columns[:, :, [0, 2, 0, 2]]  # planes 0,2 share a sensor column, planes 1,3 the next
    rows, columns = line_means(of_columns.expand(N, T, planes, width, height), layout)
    torch.testing.assert_close(columns, of_columns * math.sqrt(per_row))
    torch.testing.assert_close(rows, rows[..., :1, :].expand_as(rows))


def test_line_means_join_the_channels_of_rgb() -> None:
    noise = torch.randn((2, 2, 3, 6, 8), generator=stream(3, "rgb"))
    rows, columns = line_means(noise, "planes")
    joint = noise.mean(dim=(2, 4), keepdim=True) * math.sqrt(3 * 8)
    torch.testing.assert_close(rows, joint.expand_as(rows))
    torch.testing.assert_close(columns, (noise.mean(dim=(2, 3), keepdim=True) * math.sqrt(3 * 6)).expand_as(columns))


def test_burst_features_are_those_of_the_mean() -> None:
    residual, _ = burst("mosaic")
    features = noise_features(residual, "mosaic")
    mean = residual.mean(dim=1, keepdim=True) * T**0.5
    torch.testing.assert_close(features["burst_mean"], mean)
    for name, lines in zip(("burst_row", "burst_column"), line_means(mean, "mosaic"), strict=True):
        torch.testing.assert_close(features[name], lines)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_spectrum_is_orthonormal_and_its_middle_is_the_mean(layout: str) -> None:
    residual, reference = burst(layout)
    frames = (reference + residual).flatten(0, 1)
    (spectrum,) = see("fourier", residual, reference, layout).values()
    torch.testing.assert_close(spectrum.square().sum(dim=(-2, -1)), frames.square().sum(dim=(-2, -1)))  # Parseval
    middle = spectrum[..., SIDE // 2, SIDE // 2]
    torch.testing.assert_close(middle, frames.mean(dim=(-2, -1)).abs() * SIDE)
    wave = torch.cos(2 * math.pi * 3 / SIDE * torch.arange(SIDE)).expand(1, 1, LAYOUTS[layout], SIDE, SIDE)
    (peaks,) = see("fourier", wave, torch.zeros_like(wave), layout).values()
    found = {tuple(place) for place in (peaks[0, 0] > 1e-3).nonzero().tolist()}
    assert found == {(SIDE // 2, SIDE // 2 - 3), (SIDE // 2, SIDE // 2 + 3)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_complex_spectrum_gives_the_frames_back(layout: str) -> None:
    residual, reference = burst(layout, size=(8, 13))
    (look,) = see("complex", residual, reference, layout).values()
    real, imaginary = look.chunk(2, dim=1)
    spectrum = torch.fft.ifftshift(torch.complex(real, imaginary), dim=(-2, -1))
    frames = torch.fft.ifft2(spectrum, norm="ortho")
    torch.testing.assert_close(frames.real, (reference + residual).flatten(0, 1))
    assert float(frames.imag.abs().max()) < 1e-5


def test_the_views_of_frames_hold_what_they_say() -> None:
    residual, reference = burst("mosaic")
    frames = reference + residual
    (real,), (fourier,), (mixed,), (mean,) = (
        see(name, residual, reference, "mosaic").values() for name in ("real", "fourier", "mixed", "mean")
    )
    assert torch.equal(real, frames.flatten(0, 1))
    assert torch.equal(mixed, torch.cat([real, fourier], dim=1))
    beside = frames.mean(dim=1, keepdim=True).expand_as(frames).flatten(0, 1)
    torch.testing.assert_close(mean, torch.cat([real, beside], dim=1))


def test_the_ruler_measures_noise_against_its_own_std() -> None:
    """Noise of variance a + b x becomes noise of variance 1, dark or bright, and the light is 0 in the dark."""
    x = torch.tensor([-0.05, 0.0, 0.1, 0.9]).view(4, 1, 1, 1, 1).expand(4, 1, 4, SIDE, SIDE)
    noise = (
        torch.randn((4, 16, 4, SIDE, SIDE), generator=stream(4, "ruler")) * (RULER.a + RULER.b * x.clamp_min(0)).sqrt()
    )
    looks = see("residual", noise, x, "mosaic")
    pixel = looks["pixel"].unflatten(0, (4, 16))
    variance = pixel[:, :, :4].double().square().mean(dim=(1, 2, 3, 4))
    assert bool(((variance - 1).abs() < 5 * math.sqrt(2 / (16 * 4 * SIDE**2))).all()), variance
    light = pixel[:, 0, 4, 0, 0]
    torch.testing.assert_close(light, 0.5 * torch.log1p(RULER.b / RULER.a * x[:, 0, 0, 0, 0].clamp_min(0)))


def test_real_and_generated_noise_are_divided_by_one_scale() -> None:
    """The ruler depends on the reference alone: features are linear in the residual, the light beside them equal."""
    real, reference = (x.double() for x in burst("mosaic", 0))
    fake = burst("mosaic", 1)[0].double()
    of_real, of_fake, of_both = (see("residual", x, reference, "mosaic") for x in (real, fake, real + 2 * fake))
    for name in of_real:
        noise, light = (slice(0, 4), slice(4, 8))
        torch.testing.assert_close(of_both[name][:, noise], of_real[name][:, noise] + 2 * of_fake[name][:, noise])
        assert torch.equal(of_real[name][:, light], of_fake[name][:, light])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", VIEWS)
def test_gradients_reach_every_pixel_of_the_residual(name: str, layout: str) -> None:
    """Finite everywhere, also below black and where a spectrum is exactly 0; zero nowhere."""
    residual, reference = burst(layout)
    residual.requires_grad_()
    looks = see(name, residual, reference, layout)
    weights = [torch.randn(v.shape, generator=stream(5, "weights", look)) for look, v in looks.items()]
    sum((w * v).sum() for w, v in zip(weights, looks.values(), strict=True)).backward()
    assert residual.grad is not None and bool(torch.isfinite(residual.grad).all()) and bool((residual.grad != 0).all())
    nothing = torch.zeros_like(residual, requires_grad=True)
    sum(v.sum() for v in see(name, nothing, torch.zeros_like(reference), layout).values()).backward()
    assert bool(torch.isfinite(nothing.grad).all())


def test_white_noise_in_a_wrongly_scaled_mean_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break it once: line means without the root of their pixels."""
    monkeypatch.setattr(
        "noisemodel.views.line_means",
        lambda noise, layout: (noise.mean(-1, keepdim=True), noise.mean(-2, keepdim=True)),
    )
    with pytest.raises(AssertionError, match="row: variance off"):
        test_white_noise_has_std_1_in_every_feature("mosaic")


@pytest.mark.parametrize("layout", ["planes", "mosaic"])
def test_the_parity_look_sees_what_alternates_and_nothing_else(layout: str) -> None:
    """A row's (-1)^column amplitude a over n pixels is a sqrt(n); what a row or a column shares is not there."""
    height, width = 8, 16
    amplitude = torch.randn(1, 1, 1, 2 * height, 1, dtype=torch.float64, generator=stream(0, "parity"))
    sign = 1 - 2 * (torch.arange(2 * width) % 2).double()
    sensor = (amplitude * sign)[0]  # (1, 1, 2 height, 2 width)
    shared = torch.randn(1, 1, 2 * height, 1, dtype=torch.float64, generator=stream(1, "parity"))
    noise = sensor + shared
    if layout == "mosaic":
        noise = pack_mosaic(noise[:, 0]).unsqueeze(1)
    seen = noise_features(noise, layout, parity=True)[PARITY]
    expected = amplitude[0, 0] * (2 * width) ** 0.5  # (1, 2 height, 1)
    if layout == "mosaic":
        expected = torch.stack([expected[0, dy::2] for dy in (0, 0, 1, 1)])
    torch.testing.assert_close(seen[0, 0] if layout == "mosaic" else seen[0], expected, rtol=1e-9, atol=1e-9)
    assert PARITY not in noise_features(noise, layout)


def test_rowparity_gives_the_critic_its_look() -> None:
    start = {"sensor_size": (64, 64), "layout": "planes"}
    physical = PhysicalNoise.from_noiselist("read_rowparity", **start)  # type: ignore[arg-type]
    game = Game(NoiseGenerator(physical), Ruler(1e-4, 0.0), GanOptions())
    assert PARITY in game.critic.heads
    plain = PhysicalNoise.from_noiselist("read_rowspectrum", **start)  # type: ignore[arg-type]
    assert PARITY not in Game(NoiseGenerator(plain), Ruler(1e-4, 0.0), GanOptions()).critic.heads
