"""Where noise is constant, shared, repeated or independent: what no moment can tell."""

from typing import Any

import noise_checks as checks
import pytest
import torch
from noise_checks import LAW, ORIGIN, PATTERN, PLANES, SENSOR, Draw
from torch import Tensor

from noisemodel import InputError, PhysicalNoise, pack_mosaic, stream
from noisemodel.components import FixedPattern, LearnedFixedPattern, NoiseComponent, Periodic, PhotoResponse, ReadMap

ROW_PROCESSES = {"rowspectrum": False, "rowparity": True}
LINES = {"row1": (True, False), "rowt": (True, True), "col1": (False, False), "colt": (False, True)}
every_layout = pytest.mark.parametrize("layout", ("mosaic", "planes"))


def draws(component: NoiseComponent) -> list[Draw]:
    """Every way to draw from a component: sample, simulate, and a model of it alone with and without gradients."""
    model = PhysicalNoise([component], layout=component.layout)

    @torch.no_grad()
    def sample(clean: Tensor, **place: Any) -> Tensor:
        return component.sample(clean, **place)

    @torch.no_grad()
    def measure(clean: Tensor, **place: Any) -> Tensor:
        return model.measure(clean, **place).noise

    return [sample, component.simulate, measure, lambda clean, **place: model.measure(clean, **place).noise.detach()]


@pytest.mark.parametrize("word", ("shot", "read", "readtl(0.14)", "uniform", "excess"))
@every_layout
def test_white(word: str, layout: str) -> None:
    for draw in draws(LAW[word].build(layout)):
        checks.check_white(draw, layout, 0)


@every_layout
def test_a_read_map_is_white_beside_its_std(layout: str) -> None:
    """Squares of a pixel's noise correlate over frames by the map alone."""
    component = ReadMap(layout, std=checks.READ, sensor_size=(80, 90))

    def relative(draw: Draw) -> Draw:
        return lambda clean, **place: draw(clean, **place) / component.variance(clean, origin=ORIGIN).detach().sqrt()

    for draw in draws(component):
        checks.check_white(relative(draw), layout, 0)


@pytest.mark.parametrize("word", ROW_PROCESSES)
@every_layout
def test_row_processes(word: str, layout: str) -> None:
    for draw in draws(LAW[word].build(layout)):
        checks.check_row_process(draw, layout, 0, alternates=ROW_PROCESSES[word])


@pytest.mark.parametrize("word", ROW_PROCESSES)
@every_layout
def test_row_processes_stay_at_their_place(word: str, layout: str) -> None:
    for draw in draws(LAW[word].build(layout)):
        checks.check_row_place(draw, LAW[word], layout, 0)


@every_layout
def test_row_gain(layout: str) -> None:
    for draw in draws(LAW["rowgain"].build(layout)):
        checks.check_row_gain(draw, layout, 0)


@pytest.mark.parametrize("word", LINES)
@every_layout
def test_lines(word: str, layout: str) -> None:
    along_rows, static = LINES[word]
    for draw in draws(LAW[word].build(layout)):
        checks.check_lines(draw, layout, 0, along_rows=along_rows, static=static)


@pytest.mark.parametrize("word", LINES)
def test_lines_of_an_image_are_its_own(word: str) -> None:
    """A burst of one frame has its own static draw, and so has the next one."""
    component = LAW[word].build("planes")
    generator = stream(0, "image")
    first, second = (component.simulate(torch.zeros(2, 1, 5, 7), generator=generator) for _ in range(2))
    assert len({float(image[0, 0, 0]) for image in (*first, *second)}) == 4


@pytest.mark.parametrize("axis", ("column", "row"))
@pytest.mark.parametrize("freq", (None, 0.21))
@every_layout
def test_periodic(axis: str, freq: float | None, layout: str) -> None:
    component = Periodic(layout, std=checks.PERIODIC, freq=freq, axis=axis)
    for draw in draws(component):
        checks.check_periodic(draw, layout, 0, axis=axis, freq=freq)
    checks.check_periodic(component.simulate, layout, 1, axis=axis, freq=freq, origin=(0, 0))


@every_layout
def test_periodic_takes_an_origin_per_sample(layout: str) -> None:
    origins = torch.tensor([[0, 1], [4, 6], [5, 2000]]).repeat(20, 1)
    for axis in ("column", "row"):
        component = Periodic(layout, std=checks.PERIODIC, axis=axis)
        for draw in draws(component):
            checks.check_periodic(draw, layout, 0, axis=axis, origin=origins)


@every_layout
def test_periodic_does_not_depend_on_the_crop(layout: str) -> None:
    """The same stream draws the same wave on a part of the image."""
    component = Periodic(layout, std=checks.PERIODIC, freq=0.13)
    step = 2 if layout == "mosaic" else 1
    whole = component.simulate(torch.zeros(2, 3, PLANES[layout], 8, 30), generator=stream(0, "crop"), origin=(0, 5))
    part = component.simulate(
        torch.zeros(2, 3, PLANES[layout], 2, 11), generator=stream(0, "crop"), origin=(6, 5 + 7 * step)
    )
    torch.testing.assert_close(whole[..., :2, 7:18], part, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("word", ("fixed1", "learnedfixed", "prnu"))
@every_layout
def test_maps_stay_at_their_place(word: str, layout: str) -> None:
    for draw in draws(LAW[word].build(layout)):
        checks.check_place(draw, LAW[word], layout, 0)


@pytest.mark.parametrize("component", (FixedPattern, LearnedFixedPattern))
def test_packed_pattern_is_the_sensor_pattern(component: type[FixedPattern]) -> None:
    """A pattern of packed planes lies where the mosaic that it was packed from does."""
    packed, whole = component("mosaic", pack_mosaic(PATTERN)), component("mosaic", PATTERN)
    assert torch.equal(packed.pattern, whole.pattern)
    checks.check_place(lambda clean, **place: packed.sample(clean, **place).detach(), LAW["fixed1"], "mosaic", 0)


def test_every_plane_may_have_its_own_pattern() -> None:
    pattern = torch.rand((3, 9, 11), generator=stream(0, "colour pattern"))
    component = FixedPattern("planes", pattern)
    origins = torch.tensor([[1, 2], [5, 6]])
    noise = component.simulate(torch.zeros(2, 3, 4, 5), generator=stream(0, "unused"), origin=origins)
    assert torch.equal(noise[0], pattern[:, 1:5, 2:7])
    assert torch.equal(noise[1], pattern[:, 5:9, 6:11])
    with pytest.raises(InputError, match="3 planes"):
        component.mean(torch.zeros(1, 1, 4, 5))


@pytest.mark.parametrize("word", ("fixed1", "learnedfixed", "prnu"))
@pytest.mark.parametrize("origin", ((SENSOR[0] - 7, 0), (0, SENSOR[1] - 9), (-1, 0), (0, -3)))
def test_maps_do_not_reach_beyond_the_sensor(word: str, origin: tuple[int, int]) -> None:
    component, clean = LAW[word].build("mosaic"), torch.full((2, 4, 4, 5), 0.5)
    at_the_corner = (SENSOR[0] - 8, SENSOR[1] - 10)
    component.sample(clean, generator=stream(0, "corner"), origin=at_the_corner)
    for place in (origin, torch.tensor([[0, 0], origin])):
        with pytest.raises(InputError, match=r"origin"):
            component.sample(clean, generator=stream(0, "outside"), origin=place)
        with pytest.raises(InputError, match=r"origin"):
            component.mean(clean, origin=place)


def test_damaged_patterns_are_refused() -> None:
    for pattern, words in (
        (torch.tensor([[0.0, float("nan")]]), "NaN"),
        (torch.zeros(3), "shape"),
        (torch.zeros(0, 4), "shape"),
        (torch.zeros(3, 4, 4), "4 planes"),
    ):
        with pytest.raises(InputError, match=words):
            FixedPattern("mosaic", pattern)


def test_prnu_map_is_drawn_once_and_reproducible() -> None:
    first, again = (PhotoResponse("mosaic", std=0.02, sensor_size=(120, 160)) for _ in range(2))
    other = PhotoResponse("mosaic", std=0.02, sensor_size=(120, 160), seed=1)
    assert torch.equal(first.gain_map(), again.gain_map())
    checks.check_uncorrelated(first.unit_map, other.unit_map, "seeds")
    checks.check_sample_moments(first.gain_map().detach().reshape(-1, 1), 0.02**2, "gain map")
    assert first.gain_map().shape == (1, 120, 160)


def test_prnu_is_proportional_to_the_signal() -> None:
    component = PhotoResponse("mosaic", std=0.02, sensor_size=(40, 50))
    clean = torch.rand((2, 3, 4, 7, 9), generator=stream(0, "signal"))
    place = checks.sensor_place("mosaic", ORIGIN, 7, 9)
    gain = component.gain_map().detach()[0, place.rows, place.columns]
    noise = component.simulate(clean, generator=stream(0, "unused"), origin=ORIGIN)
    torch.testing.assert_close(noise, clean * gain)
    assert not component.simulate(torch.zeros_like(clean), generator=stream(0, "unused")).any()


def test_measured_prnu_map_is_kept_and_fixed() -> None:
    component = PhotoResponse("planes", map_=PATTERN)
    torch.testing.assert_close(component.gain_map().detach().double()[0], PATTERN, rtol=1e-6, atol=1e-9)
    (parameter,) = component.parameters_table()
    assert parameter.fixed and parameter.value == pytest.approx(float(PATTERN.std(correction=0)), rel=1e-6)


def test_learned_pattern_learns() -> None:
    """It starts from 0 and gets a gradient where the crop lies, nowhere else."""
    component = LearnedFixedPattern("mosaic", sensor_size=(20, 30))
    noise = component.sample(torch.zeros(2, 4, 3, 4), generator=stream(0, "unused"), origin=(5, 7))
    assert not noise.any()
    noise.sum().backward()
    assert component.pattern.grad is not None
    inside = torch.zeros(20, 30)
    inside[5:11, 7:15] = 2.0
    assert torch.equal(component.pattern.grad[0], inside)
