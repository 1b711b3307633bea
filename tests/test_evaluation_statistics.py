"""The figures behind viewnoise's pictures, against closed forms; tolerances are 5 standard errors."""

import math

import pytest
import torch
from torch import Tensor

from datasets import BurstSet, SimulatedCamera, simulated_bursts
from noisemodel import Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.evaluation.comparison import compare
from noisemodel.evaluation.line_spectra import line_means, line_spectrum, power_spectrum
from noisemodel.evaluation.recording import Pair, Recording, expected_squares, generate, pair, read_recording
from noisemodel.evaluation.residual_histograms import histogram, histogram_edges
from noisemodel.evaluation.variance_curve import mean_and_error, variance_curve

LEVELS = Levels(256.0, 4095.0)
WORDS = "shot_read_uniform_row1_rowt_fixed1_periodic"


def camera_model(bursts: BurstSet, words: str = WORDS) -> NoiseGenerator:
    """The simulated camera's own parameters."""
    true, pattern = bursts.true_parameters, bursts.true_pattern
    assert true is not None
    start = {
        "shot_gain": true["shot.gain"],
        "read_std": true["read.std"],
        "row1_std": true["row1.std"],
        "rowt_std": true["rowt.std"],
        "fixed1_pattern": pattern,
        "periodic_std": tuple(true[f"periodic.std{i}"] for i in range(3)),
    }
    used = {name: value for name, value in start.items() if name.split("_")[0] in words.split("_")}
    return NoiseGenerator(PhysicalNoise.from_noiselist(words, levels=bursts.levels, **used))


def pairs_of(bursts: BurstSet, model: NoiseGenerator) -> list[Pair]:
    found = [read_recording(b, size=10_000, most_frames=16) for b in bursts.bursts]
    return [pair(model, at, generator=stream(0, "test", at.name)) for at in found]


def recording_of(frames: Tensor, *, layout: str = "planes", centred: bool = False, clean: float = 0.1) -> Recording:
    reference = torch.full_like(frames[:1], clean)
    valid = torch.ones_like(reference, dtype=torch.bool)
    return Recording("made", "scene", layout, LEVELS, frames, reference, reference, valid, (0, 0), centred)


@pytest.mark.parametrize("with_truth", [True, False])
def test_variance_curve_of_a_known_camera(with_truth: bool) -> None:
    bursts = simulated_bursts(frames=8, size=(128, 128), with_truth=with_truth)
    curve = variance_curve(camera_model(bursts), pairs_of(bursts, camera_model(bursts)))
    assert len(curve.signal) > 6
    for mean, error in ((curve.real, curve.real_error), (curve.generated, curve.generated_error)):
        assert float(((mean - curve.parts["sum"]) / error).abs().max()) < 5


def test_a_wrong_gain_shows_in_the_variance_curve() -> None:
    bursts = simulated_bursts(frames=4, size=(64, 64))
    wrong = camera_model(bursts)
    wrong.physical.fix(f"shot.gain={1.2}DN")
    curve = variance_curve(wrong, pairs_of(bursts, wrong))
    assert float(curve.generated[-1] / curve.real[-1]) == pytest.approx(1.2, abs=0.05)
    assert float(curve.parts["sum"][-1] / curve.real[-1]) == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize("shared", [(1, 16), (4, 1), (4, 16)])
def test_standard_errors_hold_what_frames_and_rows_share(shared: tuple[int, int]) -> None:
    """4 frames of 16 rows, 64 equal values each: one draw per row of the burst, per frame, or per row and frame."""
    draws = torch.randn(400, *shared, generator=stream(0, "shared"), dtype=torch.float64).expand(400, 4, 16)
    counts = [torch.full((16, 1), 64.0, dtype=torch.float64)]
    found = [mean_and_error([64 * draw.square().unsqueeze(-1)], counts) for draw in draws]
    means, errors = (torch.cat([f[i] for f in found]) for i in (0, 1))
    assert float(errors.square().mean().sqrt() / means.std()) == pytest.approx(1, abs=5 / math.sqrt(400))


@pytest.mark.parametrize("frames", [2, 4])
@pytest.mark.parametrize("words", ["read_row1_periodic", "read_rowt_colt"])
def test_centred_closed_form(words: str, frames: int) -> None:
    start = {"read_std": 1e-3, "row1_std": 1e-3, "rowt_std": 2e-3, "colt_std": 2e-3, "periodic_std": (2e-3, 1e-3, 1e-3)}
    used = {name: value for name, value in start.items() if name.split("_")[0] in words.split("_")}
    model = NoiseGenerator(PhysicalNoise.from_noiselist(words, layout="planes", **used))
    at = recording_of(torch.zeros(frames, 1, 64, 64), centred=True)
    squares = torch.stack([_residual_square(model, at, draw) for draw in range(100)])
    expected = float(expected_squares(model, at)["sum"].mean())
    if "row1" in words:  # the mean of 64 rows goes with the frame's offset
        expected -= (frames - 1) / frames * 1e-6 / 64
    assert abs(float(squares.mean()) - expected) < 5 * float(squares.std()) / 100**0.5


def _residual_square(model: NoiseGenerator, at: Recording, draw: int) -> Tensor:
    return at.residual(generate(model, at, generator=stream(0, "centred", draw))).square().mean()


def test_white_noise_has_a_flat_spectrum_of_twice_its_variance() -> None:
    frames = 400
    frequency, power = power_spectrum(3.0 * torch.randn(frames, 128, generator=stream(0, "white")))
    assert frequency[0] == 0 and frequency[-1] == 0.5
    inner = power[1:-1]
    assert float((inner - 18.0).abs().max()) < 5 * 18.0 / frames**0.5
    assert float(inner.mean()) == pytest.approx(18.0, abs=5 * 18.0 / (frames * len(inner)) ** 0.5)


@pytest.mark.parametrize("length", [64, 65])
def test_the_integral_of_a_spectrum_is_the_mean_square(length: int) -> None:
    profile = torch.randn(7, length, generator=stream(0, "parseval"), dtype=torch.float64)
    assert float(power_spectrum(profile)[1].sum() / length) == pytest.approx(float(profile.square().mean()))


def test_a_line_shows_at_its_frequency_with_its_power() -> None:
    rows = torch.arange(256, dtype=torch.float64)
    frequency, power = power_spectrum((2.0 * torch.cos(2 * math.pi * 40 / 256 * rows)).unsqueeze(0))
    assert float(frequency[power.argmax()]) == pytest.approx(40 / 256)
    assert float(power.max() / 256) == pytest.approx(2.0)  # amplitude^2 / 2


@pytest.mark.parametrize(("word", "line"), [("row1", "row"), ("col1", "column")])
@pytest.mark.parametrize("layout", ["mosaic", "planes"])
def test_line_noise_shows_in_its_own_spectrum(word: str, line: str, layout: str) -> None:
    s, read, frames, side = 2e-3, 4e-3, 64, 64
    model = NoiseGenerator(
        PhysicalNoise.from_noiselist(f"read_{word}", layout=layout, read_std=read, **{f"{word}_std": s})
    )
    at = recording_of(torch.zeros(frames, 4 if layout == "mosaic" else 1, side, side), layout=layout)
    residual = at.residual(generate(model, at, generator=stream(0, "lines", word, layout)))
    pixels = side * (2 if layout == "mosaic" else 1)  # in a line, and lines
    for name, expected in ((line, s**2 + read**2 / pixels), ("column" if line == "row" else "row", read**2 / pixels)):
        spectrum = line_spectrum([Pair(at, residual, residual)], name)
        inner = spectrum.real[1:-1]
        assert spectrum.spectra == frames
        assert float(inner.mean()) == pytest.approx(2 * expected, rel=5 / (frames * len(inner)) ** 0.5)
        assert spectrum.white == pytest.approx(2 * (s**2 + read**2) / pixels, rel=0.1)


def test_rows_of_a_mosaic_are_interleaved() -> None:
    residual = torch.zeros(1, 4, 2, 3)
    residual[:, :2], residual[:, 2:] = 1.0, -1.0  # sensor rows 0, 2 and 1, 3
    means = line_means(residual, torch.ones(1, 4, 2, 3, dtype=torch.bool), "mosaic", "row")
    assert means.tolist() == [[1.0, -1.0, 1.0, -1.0]]


def test_masked_pixels_count_in_no_mean() -> None:
    residual, valid = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    residual[..., 2:], valid[..., 2:] = 100.0, False
    assert line_means(residual, valid, "planes", "row").tolist() == [[1.0] * 4]
    assert compare(residual, 2 * residual, valid=valid)["pixel_std"] == {"real": 1.0, "generated": 2.0, "ratio": 2.0}


def test_compare_against_closed_forms() -> None:
    white = torch.randn(16, 1, 64, 64, generator=stream(0, "compare"))
    rows = torch.randn(16, 1, 64, 1, generator=stream(0, "compare", "rows"))
    found = compare(white, white + rows, unit=10.0)
    assert found["pixel_std"]["real"] == pytest.approx(10.0, rel=5 / (2 * white.numel()) ** 0.5)
    assert found["row_mean_std"]["real"] == pytest.approx(10 / 8, rel=5 / (2 * 1024) ** 0.5)
    assert found["row_mean_std"]["generated"] == pytest.approx(10 * (1 + 1 / 64) ** 0.5, rel=5 / (2 * 1024) ** 0.5)


def test_histograms_are_densities_on_the_grid_of_the_adc() -> None:
    sample = torch.randn(40_000, generator=stream(0, "histogram")) * 3
    one = histogram("made", [sample.round()], [sample], 1.0)
    width = one.edges.diff()
    assert bool((width == width[0]).all()) and float(width[0]) % 2 == 1 and float(one.edges[0]) % 1 == 0.5
    for density in (one.real, one.generated, one.gaussian):
        assert float((density * width).sum()) == pytest.approx(1, abs=1e-3)
    assert one.ks < 0.01 and one.floor < 5 / 20_000**0.5
    shifted = histogram("made", [sample], [sample + 3], 1.0)
    assert shifted.ks == pytest.approx(math.erf(0.5 / 2**0.5), abs=0.03)  # two Gaussians one std apart
    assert float(histogram_edges(100.0, 1.0).diff()[0]) == 25


def test_a_model_without_uniform_is_not_rounded_twice() -> None:
    at = recording_of(torch.zeros(4, 1, 64, 64))
    for words, on_grid in (("read", False), ("read_uniform", True)):
        physical = PhysicalNoise.from_noiselist(words, layout="planes", levels=LEVELS, read_std=1e-3)
        dn = LEVELS.to_dn(generate(NoiseGenerator(physical), at, generator=stream(0, words)).double())
        assert (float((dn - dn.round()).abs().max()) < 1e-3) == on_grid


def test_a_burst_is_read_in_its_middle_and_centred_without_truth() -> None:
    bursts = simulated_bursts(frames=4, size=(64, 64), with_truth=False, camera=SimulatedCamera(rowt_std=3.0))
    at = read_recording(bursts.scenes[0], size=32, most_frames=3)
    assert at.frames.shape == (3, 4, 16, 16) and at.origin == (16, 16) and at.centred
    residual = at.residual(at.frames)
    assert float(residual.mean(dim=0).abs().max()) < 1e-6
    assert read_recording(bursts.scenes[0], size=64, most_frames=3, extent=(40, 64)).frames.shape == (3, 4, 20, 32)
    plane = at.planes((1,))
    assert plane.layout == "planes" and plane.origin == (8, 8) and plane.frames.shape == (3, 1, 16, 16)
