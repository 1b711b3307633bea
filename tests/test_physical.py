"""PhysicalNoise: the sum of components, its pieces, rounding, words and start values."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import noise_checks as checks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import noisemodel.physical
import noisemodel.pieces
from noisemodel import InputError, Levels, PhysicalNoise, stream
from noisemodel.components import COMPONENTS, parse_noiselist

LEVELS = Levels(64.0, 1023.0)
ALL = "shot_excess_read_readtl_uniform_row1_rowt_rowspectrum_rowparity_rowgain_col1_colt_learnedfixed_prnu_periodic"
G, S, W, R = 0.004, 0.01, 0.03, 0.006  # shot gain, read std, uniform width, row std


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def everything(**start: Any) -> PhysicalNoise:
    start = {"fixed1_pattern": 0.01 * torch.randn((70, 80), generator=stream(0, "pattern")), **start}
    return PhysicalNoise.from_noiselist(ALL, sensor_size=(70, 80), **start)


def mixed(**context: Any) -> PhysicalNoise:
    return PhysicalNoise.from_noiselist(
        "shot_read_uniform_row1", shot_gain=G, read_std=S, uniform_width=W, row1_std=R, **context
    )


def white_variance(x: float) -> float:
    return G * x + S**2 + W**2 / 12


def frame_rows(noise: Tensor) -> Tensor:
    """(N, T, 4, H, W) on a mosaic -> (sensor rows, 2W): both planes that share a sensor row."""
    n, t, _, h, w = noise.shape
    return noise.view(n, t, 2, 2, h, w).movedim(3, 4).reshape(-1, 2 * w)


# The sum.


def test_moments_are_the_sums_of_the_parts() -> None:
    model = everything()
    clean = torch.rand((2, 3, 4, 6, 9), generator=stream(0, "clean")) - 0.1
    for name in ("mean", "variance"):
        of_model = getattr(model, name)(clean, origin=(3, 5))
        parts = [getattr(component, name)(clean, origin=(3, 5)) for component in model.each()]
        torch.testing.assert_close(of_model, torch.stack(parts).sum(0))


@pytest.mark.parametrize("x", (0.0, 0.02, 0.5))
@torch.no_grad()
def test_parts_measure_and_simulate_have_one_law(x: float) -> None:
    """Mean, variance inside a row and between rows, against the closed form."""
    model, clean = mixed(), torch.full((2, 8, 4, 48, 40), x)
    parts = model.parts(clean, generator=stream(0, "parts"))
    assert list(parts) == ["shot", "read", "uniform", "row1"]
    measurement = model.measure(clean, generator=stream(1, "measure"))
    assert torch.equal(measurement.noisy, clean + measurement.noise)
    simulated = model.simulate(clean, generator=stream(2, "simulate"))
    for name, noise in (
        ("parts", sum(parts.values(), torch.zeros_like(clean))),
        ("measure", measurement.noise),
        ("simulate", simulated - clean),
    ):
        checks.check_row_structure(frame_rows(noise), white_variance(x), R**2, name)


@torch.no_grad()
def test_static_terms_stay_over_the_burst() -> None:
    """With rowt, two frames share their rows; white noise and row1 are new."""
    model = PhysicalNoise.from_noiselist("read_row1_rowt", read_std=S, row1_std=R, rowt_std=2 * R)
    clean = torch.zeros(24, 2, 4, 48, 24)
    for noise in (
        model.measure(clean, generator=stream(0, "static")).noise,
        sum(model.parts(clean, generator=stream(1, "static")).values(), torch.zeros_like(clean)),
        model.simulate(clean, generator=stream(2, "static")),
    ):
        first, second = (frame_rows(noise[:, i : i + 1]) for i in range(2))
        checks.check_row_structure((first - second) / math.sqrt(2), S**2, R**2, "difference of frames")
        checks.check_row_structure((first + second) / math.sqrt(2), S**2, R**2 + 2 * (2 * R) ** 2, "sum of frames")


@torch.no_grad()
def test_every_word_together_has_the_right_moments_in_every_pixel() -> None:
    model = everything(periodic_std=(0.003, 0.004, 0.002), rowt_std=0.003, shot_gain=G)
    clean = (torch.rand((1, 1, 4, 5, 6), generator=stream(0, "clean")) - 0.2).repeat(4000, 1, 1, 1, 1)
    for noise in (
        model.measure(clean, generator=stream(0, "all"), origin=(3, 7)).noise,
        model.simulate(clean, generator=stream(1, "all"), origin=(3, 7)) - clean,
        sum(model.parts(clean, generator=stream(2, "all"), origin=(3, 7)).values(), torch.zeros_like(clean)),
    ):
        centred = (noise - model.mean(clean, origin=(3, 7))).flatten(1)
        checks.check_sample_moments(centred, model.variance(clean[:1], origin=(3, 7)).flatten())


# Bits.


@given(
    shape=st.tuples(*(st.integers(1, high) for high in (4, 5)), st.just(4), *(st.integers(1, 9) for _ in range(2))),
    piece=st.sampled_from([1, 40, 150, 700, 10**6]),
    image=st.booleans(),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=25, deadline=None)
def test_gradients_and_threads_do_not_change_the_bits(
    shape: tuple[int, ...], piece: int, image: bool, seed: int
) -> None:
    """However large the burst and its pieces are."""
    clean = torch.rand(shape, generator=stream(seed, "clean")) - 0.1
    clean = clean[:, 0] if image else clean
    model, origins = everything(), torch.arange(2 * shape[0]).view(-1, 2)
    params = {"shot.gain": torch.linspace(1e-3, 1e-2, shape[0])}

    def measure() -> Tensor:
        measurement = model.measure(clean, generator=stream(seed, "noise"), origin=origins, params=params)
        assert torch.equal(measurement.noisy, clean + measurement.noise)
        return measurement.noise.detach()

    before, threads_before = noisemodel.pieces.PIECE, torch.get_num_threads()
    noisemodel.pieces.PIECE = piece
    try:
        with_gradient = measure()
        with torch.no_grad():
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                assert torch.equal(measure(), with_gradient)
    finally:
        noisemodel.pieces.PIECE = before
        torch.set_num_threads(threads_before)


@pytest.mark.parametrize("gradient", (False, True))
@pytest.mark.parametrize("shape", ((1, 5, 4, 256, 257), (9, 1, 4, 160, 128), (3, 7, 4, 96, 96)))
def test_big_bursts_in_pieces(shape: tuple[int, ...], gradient: bool) -> None:
    """Frame-sized pieces, batches of small images, and pieces of some frames each."""
    model, clean = mixed(), torch.full(shape, 0.3)
    places = [at for at, _ in noisemodel.pieces.pieces(clean, stream(0, "places"))]
    assert len(places) > 2
    covered = torch.zeros(shape[:2])
    for at in places:
        covered[at] += 1
    assert bool((covered == 1).all())
    with torch.set_grad_enabled(gradient):
        noise = model.measure(clean, generator=stream(0, "big")).noise.detach()
    checks.check_row_structure(frame_rows(noise), white_variance(0.3), R**2, "big burst")
    checks.check_frames_differ(noise)


def test_repeated_pieces_and_a_wrong_std_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the merging once: every piece from the same seed; a std 3 % off."""
    model, clean = mixed(), torch.full((1, 5, 4, 256, 257), 0.3)
    true_pieces = noisemodel.pieces.pieces
    with monkeypatch.context() as broken:
        broken.setattr(
            noisemodel.physical,
            "pieces",
            lambda *arguments: [(at, torch.Generator().manual_seed(1)) for at, _ in true_pieces(*arguments)],
        )
        repeated = model.measure(clean, generator=stream(0, "big")).noise.detach()
    with pytest.raises(AssertionError, match="frames"):
        checks.check_frames_differ(repeated)
    with monkeypatch.context() as broken:
        broken.setattr(noisemodel.physical, "safe_sqrt", lambda variance: variance.sqrt() * 1.03)
        loud = model.measure(clean, generator=stream(0, "big")).noise.detach()
    with pytest.raises(AssertionError, match="inside a row"):
        checks.check_row_structure(frame_rows(loud), white_variance(0.3), R**2, "loud")


def test_thread_count_does_not_change_a_big_burst(threads: Callable[[int], None]) -> None:
    model, clean = everything(), torch.full((3, 2, 4, 30, 36), 0.4).repeat(4, 9, 1, 1, 1)
    drawn = []
    for count in (1, 2, 4):
        threads(count)
        with torch.no_grad():
            drawn.append(model.measure(clean, generator=stream(0, "threads")).noise)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_a_stream_goes_on() -> None:
    """Two bursts from one generator differ, in pieces too."""
    model, clean = mixed(), torch.full((1, 5, 4, 256, 257), 0.3)
    generator = stream(0, "twice")
    first, second = (model.measure(clean, generator=generator).noise.detach() for _ in range(2))
    checks.check_uncorrelated(
        first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True), "one burst and the next"
    )


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
def test_gradients_reach_every_parameter(dtype: torch.dtype) -> None:
    model = everything()
    clean = torch.tensor([-0.1, 0.0, 1e-9, 0.5], dtype=dtype).view(4, 1, 1, 1, 1).repeat(1, 2, 4, 5, 6).requires_grad_()
    measurement = model.measure(clean, generator=stream(0, "gradient"))
    assert measurement.noisy.dtype == measurement.noise.dtype == dtype
    measurement.noise.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name
    assert clean.grad is not None and bool(torch.isfinite(clean.grad).all())


def test_shot_alone_has_finite_gradients_in_the_dark() -> None:
    model = PhysicalNoise.from_noiselist("shot")
    clean = torch.tensor([-0.1, 0.0, 0.5]).view(3, 1, 1, 1).repeat(1, 4, 3, 3).requires_grad_()
    model.measure(clean, generator=stream(0, "dark")).noise.square().sum().backward()
    assert clean.grad is not None and bool(torch.isfinite(clean.grad).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


# Parameters that vary by image.


def test_params_reach_measure_and_simulate() -> None:
    model, clean = mixed(), torch.full((3, 4, 48, 40), 0.3)
    params = {"shot.gain": torch.tensor([0.001, 0.01, 0.1]), "row1.std": torch.tensor([0.05, 0.02, 0.001])}
    variances = model.variance(clean, params=params)
    parts = model.parts(clean, generator=stream(2, "params"), params=params)
    for noise in (
        model.measure(clean, generator=stream(0, "params"), params=params).noise.detach(),
        model.simulate(clean, generator=stream(1, "params"), params=params) - clean,
        sum(parts.values(), torch.zeros_like(clean)).detach(),
    ):
        for i, (gain, row) in enumerate(zip(*(v.tolist() for v in params.values()), strict=True)):
            white = gain * 0.3 + S**2 + W**2 / 12
            checks.check_row_structure(frame_rows(noise[i : i + 1, None]), white, row**2, f"image {i}")
            torch.testing.assert_close(variances[i], torch.full((4, 48, 40), white + row**2))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"shot.gian": torch.ones(2)}, "shot.gian.*shot.gain"),
        ({"col1.std": torch.ones(2)}, "col1.std.*row1.std"),
        ({"shot": torch.ones(2)}, "unknown parameter 'shot'"),
        ({"shot.gain": torch.ones(3)}, r"\(2,\).*\(3,\)"),
        ({"shot.gain": torch.ones(2, 1)}, r"\(2,\).*\(2, 1\)"),
        ({"shot.gain": torch.tensor(1.0)}, r"\(2,\)"),
    ],
)
def test_wrong_params_are_refused(params: dict[str, Tensor], words: str) -> None:
    model, clean = mixed(), torch.zeros(2, 4, 3, 3)
    for call in (model.measure, model.simulate, model.parts):
        with pytest.raises(InputError, match=words):
            call(clean, generator=stream(0, "wrong"), params=params)
    with pytest.raises(InputError, match=words):
        model.variance(clean, params=params)


def test_a_frequency_does_not_vary_by_image() -> None:
    with pytest.raises(InputError, match=r"periodic\.freq"):
        everything().variance(torch.zeros(2, 4, 3, 3), params={"periodic.freq": torch.tensor([0.1, 0.2])})


# What a camera records.


@pytest.mark.parametrize("levels", (Levels(64, 1023), Levels(10.3, 4095), Levels(0, 255), Levels(240, 4095)))
def test_simulate_is_on_the_dn_grid_and_in_range(levels: Levels) -> None:
    model = PhysicalNoise.from_noiselist("shot_read_row1", levels=levels, shot_gain=0.01, read_std=0.08)
    clean = torch.linspace(-0.1, 1.1, 8).view(-1, 1, 1, 1).repeat(1, 4, 16, 16)
    recorded = model.simulate(clean, generator=stream(0, "grid"))
    dn = recorded.double() * (levels.white_dn - levels.black_dn) + levels.black_dn
    assert float((dn - dn.round()).abs().max()) < 2e-3
    assert float(dn.round().min()) == 0.0 and float(dn.round().max()) == levels.white_dn
    assert float(recorded.max()) == 1.0
    assert len(dn.round().unique()) > 50


def test_dark_pixels_go_negative_unless_the_data_set_clips() -> None:
    dark = torch.zeros(1, 4, 64, 64)
    black_subtracted = PhysicalNoise.from_noiselist("read", levels=LEVELS, read_std=0.01)
    recorded = black_subtracted.simulate(dark, generator=stream(0, "dark"))
    assert 0.4 < float((recorded < 0).float().mean()) < 0.55
    checks.check_sample_moments(recorded.reshape(-1, 1), 0.01**2 + LEVELS.adc_step**2 / 12, "dark frame")
    sidd = PhysicalNoise.from_noiselist("read", levels=Levels(64, 1023, clip=(0.0, 1.0)), read_std=0.01)
    clipped = sidd.simulate(dark, generator=stream(0, "dark"))
    assert torch.equal(clipped, recorded.clamp(0, 1))
    assert float(clipped.min()) == 0.0


@pytest.mark.parametrize("words", ("read", "read_uniform"))
def test_rounding_counts_once(words: str) -> None:
    """One DN of read noise, recorded: 1 + 1/12 DN^2, whether or not uniform stands for rounding in training."""
    model = PhysicalNoise.from_noiselist(words, levels=LEVELS, read_std=LEVELS.adc_step)
    recorded = model.simulate(torch.full((4, 4, 160, 160), 0.5), generator=stream(0, "rounding"))
    dn = (recorded.double() - 0.5) * LEVELS.range_dn
    checks.check_sample_moments(dn.reshape(-1, 1), 1 + 1 / 12, words)


def test_uniform_stays_where_nothing_rounds() -> None:
    model = PhysicalNoise.from_noiselist("uniform", uniform_width=0.1)
    noise = model.simulate(torch.zeros(1, 4, 64, 64), generator=stream(0, "uniform"))
    checks.check_sample_moments(noise.reshape(-1, 1), 0.1**2 / 12, "uniform")
    assert len(noise.unique()) > 1000


def test_without_levels_nothing_is_rounded_or_clipped() -> None:
    model = PhysicalNoise.from_noiselist("read", read_std=1.0)
    noisy = model.simulate(torch.zeros(1, 4, 64, 64), generator=stream(0, "free"))
    assert float(noisy.min()) < -3 and float(noisy.max()) > 3 and len(noisy.unique()) > 16000


def test_measure_is_neither_rounded_nor_clipped() -> None:
    model = PhysicalNoise.from_noiselist("read", read_std=1.0, levels=Levels(64, 1023, clip=(0.0, 1.0)))
    noisy = model.measure(torch.zeros(1, 4, 64, 64), generator=stream(0, "free")).noisy.detach()
    assert float(noisy.min()) < -3 and float(noisy.max()) > 3


# Words and start values.


@pytest.mark.parametrize(
    ("noiselist", "words"),
    [
        ("threadless", "threadless"),
        ("shot_raed", "did you mean 'read'"),
        ("shot_read_shot", "'shot' stands twice"),
        ("fixed1_learnedfixed", "contradict"),
        ("learnedfixed_read_fixed1", "contradict"),
        ("read_readmap", "contradict"),
        ("", "empty"),
        ("_", "unknown word ''"),
        ("shot__read", "unknown word ''"),
        ("shot read", "unknown word 'shot read'"),
        ("Shot", "unknown word 'Shot'"),
    ],
)
def test_wrong_noiselists_are_answered_with_the_known_words(noiselist: str, words: str) -> None:
    for call in (parse_noiselist, PhysicalNoise.from_noiselist):
        with pytest.raises(InputError) as error:
            call(noiselist)
        assert words in str(error.value) and "\n" not in str(error.value)
        assert all(word in str(error.value) for word in COMPONENTS)


@given(words=st.lists(st.sampled_from(sorted(set(COMPONENTS) - {"fixed1"})), min_size=1, unique=True))
@settings(max_examples=25, deadline=None)
def test_any_choice_of_words_works_in_its_order(words: list[str]) -> None:
    words = [word for word in words if word != "readmap" or "read" not in words]
    model = PhysicalNoise.from_noiselist("_".join(words), sensor_size=(16, 16))
    assert [component.name for component in model.each()] == words
    assert model.noiselist == "_".join(words)
    clean = torch.full((2, 4, 5, 6), 0.5)
    assert model.measure(clean, generator=stream(0, "words")).noise.shape == clean.shape
    assert model.simulate(clean, generator=stream(0, "words")).shape == clean.shape


@pytest.mark.parametrize(
    ("noiselist", "start", "words"),
    [
        ("shot", {"shot_gian": 1.0}, "unknown start value 'shot_gian'.*shot_gain"),
        ("shot", {"read_std": 1.0}, "'read_std' is for 'read'.*not in noiselist 'shot'"),
        ("shot", {"shot_gain": 0.0}, "shot.gain must be a positive number, got 0"),
        ("shot", {"shot_gain": float("nan")}, "positive"),
        ("read", {"read_std": -1.0}, "positive"),
        ("read", {"read_std": float("inf")}, "positive"),
        ("readtl", {"readtl_lambda": -0.5}, "lambda must exceed -0.5"),
        ("uniform", {"uniform_width": -0.1}, "positive"),
        ("fixed1", {}, "fixed_pattern"),
        ("learnedfixed", {}, "sensor_size"),
        ("prnu", {}, "sensor_size"),
        ("prnu", {"prnu_std": 0.1, "prnu_map": torch.eye(3)}, "not both"),
        ("prnu", {"prnu_map": torch.ones(3, 3)}, "constant"),
        ("periodic", {"periodic_std": (1.0, 2.0)}, r"\(s0, s1, s2\)"),
        ("periodic", {"periodic_freq": 0.6}, r"\(0, 0.5\]"),
        ("periodic", {"periodic_axis": "diagonal"}, "'column' or 'row'"),
        ("excess", {"excess_coefficient": 0.0}, "positive"),
        ("rowgain", {"rowgain_std": -1.0}, "positive"),
        ("rowspectrum", {}, "sensor_size"),
        ("rowparity", {}, "sensor_size"),
        ("readmap", {}, "sensor_size"),
        ("readmap", {"readmap_map": torch.ones(3, 3), "readmap_spread": 0.1}, "not both"),
        ("readmap", {"readmap_map": -torch.ones(3, 3)}, "none may be negative"),
        ("readmap", {"readmap_map": torch.zeros(3, 3)}, "not all 0"),
        ("readmap", {"readmap_spread": -0.1, "sensor_size": (8, 8)}, r"\[0, 3\]"),
        ("rowspectrum", {"rowspectrum_std": 0.0, "sensor_size": (8, 8)}, "positive"),
        ("rowspectrum", {"rowspectrum_psd": (1.0, -1.0), "sensor_size": (8, 8)}, "not negative"),
        ("rowspectrum", {"rowspectrum_psd": (0.0, 0.0), "sensor_size": (8, 8)}, "not all 0"),
        ("rowspectrum", {"rowspectrum_edges": (0.0, 0.3, 0.2, 0.5), "sensor_size": (8, 8)}, "rise from 0 to 0.5"),
        ("rowspectrum", {"rowspectrum_edges": (0.1, 0.5), "sensor_size": (8, 8)}, "rise from 0 to 0.5"),
        (
            "rowspectrum",
            {"rowspectrum_edges": (0, 0.1, 0.5), "rowspectrum_psd": (1.0,), "sensor_size": (8, 8)},
            "per bin",
        ),
        ("rowspectrum", {"rowspectrum_lines": ((0.1, 0.1),), "sensor_size": (8, 8)}, r"jitter, steady\) of"),
        ("rowspectrum", {"rowspectrum_lines": ((0.6, 0.1, 0.0),), "sensor_size": (8, 8)}, r"\(0, 0.5\]"),
        ("rowparity", {"rowparity_lines": ((0.1, 0.1, -1.0),), "sensor_size": (8, 8)}, r"\[0, 0.5\]"),
        ("read", {"layout": "bayer"}, "mosaic, planes"),
    ],
)
def test_wrong_start_values_are_refused(noiselist: str, start: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PhysicalNoise.from_noiselist(noiselist, **start)


STARTS = {
    "shot_gain": ("shot.gain", 0.002), "read_std": ("read.std", 0.003), "readtl_scale": ("readtl.scale", 0.004),
    "readtl_lambda": ("readtl.lambda", 0.3), "uniform_width": ("uniform.width", 0.005), "row1_std": ("row1.std", 0.006),
    "rowt_std": ("rowt.std", 0.007), "col1_std": ("col1.std", 0.008), "colt_std": ("colt.std", 0.009),
    "excess_coefficient": ("excess.coefficient", 0.012), "rowgain_std": ("rowgain.std", 0.013),
    "rowspectrum_std": ("rowspectrum.std", 0.014), "rowparity_std": ("rowparity.std", 0.015),
    "prnu_std": ("prnu.std", 0.011), "periodic_freq": ("periodic.freq", 0.2),
}  # fmt: skip


def test_start_values_arrive_in_the_table() -> None:
    start: dict[str, Any] = {key: value for key, (_, value) in STARTS.items()}
    model = PhysicalNoise.from_noiselist(ALL, sensor_size=(8, 8), periodic_std=(0.1, 0.2, 0.3), **start)
    table = {parameter.name: parameter for parameter in model.parameters_table()}
    expected = dict(STARTS.values()) | {f"periodic.std{i}": 0.1 * (i + 1) for i in range(3)}
    assert {name: parameter.value for name, parameter in table.items()} == pytest.approx(expected, rel=1e-6)
    units = {name: parameter.unit for name, parameter in table.items()}
    assert units["shot.gain"] == "white/e-" and units["row1.std"] == "white" and units["periodic.freq"] == "cycles/px"
    assert units["readtl.lambda"] == units["prnu.std"] == "1"
    assert [name for name, parameter in table.items() if parameter.fixed] == ["periodic.freq"]
    assert [name.split(".")[0] for name in dict.fromkeys(n.split(".")[0] for n in table)] == [
        word for word in ALL.split("_") if word != "learnedfixed"
    ]


def test_uniform_is_the_adc_step_where_it_is_known() -> None:
    (known,) = PhysicalNoise.from_noiselist("uniform", levels=LEVELS).parameters_table()
    assert known.fixed and known.value == pytest.approx(1 / (1023 - 64), rel=1e-6)
    (free,) = PhysicalNoise.from_noiselist("uniform", levels=LEVELS, uniform_width=0.01).parameters_table()
    assert not free.fixed and free.value == pytest.approx(0.01)
    model = PhysicalNoise.from_noiselist("uniform", levels=LEVELS)
    assert not any(p.requires_grad for p in model.parameters())


# Held parameters.

# name=value unit -> stored value, with g = 0.42 DN and 1 DN = 1/959 of white
FIXES = {
    "shot.gain=0.42DN": 0.42 / 959, "shot.gain=0.42DN/e-": 0.42 / 959, "shot.gain=0.0004": 0.0004,
    "read.std=2DN": 2 / 959, "read.std=2.1e-": 2.1 * 0.42 / 959, "read.std=1e-4": 1e-4, "read.std=1E-4": 1e-4,
    "read.std=1e-1e-": 0.1 * 0.42 / 959, "read.std=1e0DN": 1 / 959, "row1.std=.5e-": 0.5 * 0.42 / 959,
    "periodic.std1=3DN": 3 / 959, "periodic.freq=0.2": 0.2, "readtl.lambda=-0.2": -0.2, "prnu.std=0.02": 0.02,
    "uniform.width=1DN": 1 / 959, "readtl.scale=+2e-": 2 * 0.42 / 959,
}  # fmt: skip


@pytest.mark.parametrize("assignment", FIXES)
def test_fix_sets_and_holds(assignment: str) -> None:
    model = PhysicalNoise.from_noiselist(ALL, sensor_size=(8, 8), levels=LEVELS, shot_gain=0.42 / 959)
    model.fix(assignment)
    name = assignment.split("=")[0]
    table = {parameter.name: parameter for parameter in model.parameters_table()}
    assert table[name].value == pytest.approx(FIXES[assignment], rel=1e-5)
    assert {n for n, p in table.items() if p.fixed} == {name, "uniform.width", "periodic.freq"}
    model.measure(torch.full((1, 4, 4, 4), 0.5), generator=stream(0, "fix")).noise.square().sum().backward()
    word, key = name.split(".")
    leaf = model.component(word).leaf(key)
    assert leaf is None or leaf.grad is None
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_assign_sets_without_holding() -> None:
    model = PhysicalNoise.from_noiselist("shot_read", levels=LEVELS)
    assert model.assign("shot.gain=0.42DN") == ("shot", "gain")
    gain, read = model.parameters_table()
    assert gain.value == pytest.approx(0.42 / 959) and not gain.fixed and not read.fixed


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("shot.gian=1", "cannot set 'shot.gian'.*shot.gain"),
        ("col1.std=1", "cannot set 'col1.std'"),
        ("shot.gain", "NAME=VALUE"),
        ("shot.gain=", "NAME=VALUE"),
        ("shot.gain=DN", "NAME=VALUE"),
        ("shot.gain=1mV", "NAME=VALUE"),
        ("shot.gain=nan", "NAME=VALUE"),
        ("shot.gain=1-2", "NAME=VALUE"),
        ("shot=1", "NAME=VALUE"),
        ("shot.gain=2e-", "cannot be given in e-"),
        ("shot.gain=0", "positive"),
        ("shot.gain=1e999DN", "positive"),
        ("read.std=0.8", "write read.std=0.8DN"),
        ("read.std=-1DN", "positive"),
        ("readtl.lambda=1DN", "cannot be given in DN"),
        ("readtl.lambda=-0.5", "exceed -0.5"),
        ("periodic.freq=0.7", r"\(0, 0.5\]"),
        ("periodic.freq=0.1DN", "cannot be given in DN"),
    ],
)
def test_wrong_fixes_are_refused_and_change_nothing(assignment: str, words: str) -> None:
    model = PhysicalNoise.from_noiselist("shot_read_readtl_periodic", levels=LEVELS)
    before = model.parameters_table()
    with pytest.raises(InputError, match=words):
        model.fix(assignment)
    assert model.parameters_table() == before


def test_units_need_what_they_are_converted_with() -> None:
    with pytest.raises(InputError, match="black and white level"):
        PhysicalNoise.from_noiselist("shot_read").fix("read.std=2DN")
    with pytest.raises(InputError, match="'shot'"):
        PhysicalNoise.from_noiselist("read", levels=LEVELS).fix("read.std=2e-")


def test_hold_exactly_frees_the_rest() -> None:
    model = mixed(levels=LEVELS)
    model.fix("read.std=0.02")
    model.hold_exactly(["shot.gain"])
    assert [p.name for p in model.parameters_table() if p.fixed] == ["shot.gain"]
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["components.shot.log.gain"]


def test_a_component_is_found_by_its_word() -> None:
    model = mixed()
    assert model.component("row1").name == "row1"
    with pytest.raises(InputError, match="shot, read, uniform, row1"):
        model.component("col1")
