"""--noiselist auto: the words of cameras written out here in numpy are found, and none that are not there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_calibration import LEVELS, Recording

from datasets.burst import Burst, Kind
from noisemodel.calibration import calibrate
from noisemodel.calibration.selection import Choice, choose_noiselist
from noisemodel.errors import InputError

Array = np.ndarray[Any, Any]
Noise = Callable[[np.random.Generator, Array, Array], Array]  # of a generator, the light and the sensor's own map
FRAMES, SIZE = 8, (128, 128)
GAIN, READ = 0.5, 2.0
ALTERNATING = np.where(np.arange(SIZE[1]) % 2, -1.0, 1.0)


def rows(std: float) -> Noise:
    return lambda rng, light, own: std * rng.standard_normal((FRAMES, SIZE[0], 1))


def columns(std: float) -> Noise:
    return lambda rng, light, own: std * rng.standard_normal((FRAMES, 1, SIZE[1]))


def banding(std: float) -> Noise:
    """Rows that follow each other: a first-order autoregression of correlation 0.8."""

    def draw(rng: np.random.Generator, light: Array, own: Array) -> Array:
        band = rng.standard_normal((FRAMES, SIZE[0]))
        for row in range(1, SIZE[0]):
            band[:, row] = 0.8 * band[:, row - 1] + 0.6 * band[:, row]
        return std * band[..., None]

    return draw


def alternating(std: float) -> Noise:
    return lambda rng, light, own: std * rng.standard_normal((FRAMES, SIZE[0], 1)) * ALTERNATING


def wave(std: float) -> Noise:
    angle = 2 * np.pi * np.arange(SIZE[1]) / 8
    return lambda rng, light, own: (
        std * sum(rng.standard_normal((FRAMES, 1, 1)) * phase for phase in (np.cos(angle), np.sin(angle)))
    )


def growing(coefficient: float) -> Noise:
    return lambda rng, light, own: coefficient**0.5 * light * rng.standard_normal(light.shape)


def noisy_pixels(share: float) -> Noise:
    """Pixels ten times as noisy as the others."""
    return lambda rng, light, own: 10 * READ * (own < share) * rng.standard_normal(light.shape)


# What the camera has beside shot and read noise -> the words that it must get, beside shot and uniform.
CAMERAS: dict[str, tuple[list[Noise], set[str]]] = {
    "nothing": ([], {"read"}),
    "rows": ([rows(0.6)], {"read", "row1"}),
    "rows and columns": ([rows(0.6), columns(0.5)], {"read", "row1", "col1"}),
    "banding": ([banding(0.8)], {"read", "rowspectrum"}),
    "alternation": ([rows(0.6), alternating(0.7)], {"read", "row1", "rowparity"}),
    "second order": ([growing(4e-4)], {"read", "excess"}),
    "noisy pixels": ([noisy_pixels(0.02)], {"readmap"}),
    "a wave": ([rows(0.6), wave(0.8)], {"read", "row1", "periodic"}),
}


def camera(noises: list[Noise], seed: int, frames: int = FRAMES) -> list[Burst]:
    """3 darks and 4 flats."""
    rng, found = np.random.default_rng((3, seed)), []
    own = rng.random(SIZE)
    plan: list[tuple[Kind, float]] = [("dark", 0.0)] * 3 + [("flat", x) for x in (100.0, 300.0, 500.0, 850.0)]
    for i, (kind, level) in enumerate(plan):
        light = GAIN * rng.poisson(level / GAIN, (FRAMES, *SIZE))
        dn = light + LEVELS.black_dn + READ * rng.standard_normal(light.shape)
        for noise in noises:
            dn = dn + noise(rng, np.full_like(dn, level), own)
        found.append(Burst(f"{kind}{i}", kind, Recording(np.rint(dn)[:frames]), "planes", LEVELS))
    return found


def choose(name: str, seed: int = 0) -> Choice:
    return choose_noiselist(camera(CAMERAS[name][0], seed), LEVELS)


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("seed", (0, 1, 2))
def test_the_words_of_a_camera_are_found_and_no_others(name: str, seed: int) -> None:
    choice = choose(name, seed)
    assert set(choice.noiselist.split("_")) == {"shot", "uniform"} | CAMERAS[name][1], "\n".join(choice.reasons)


def test_every_word_has_its_reason() -> None:
    choice = choose("a wave")
    for word in choice.noiselist.split("_"):
        assert any(reason.startswith(f"{word}: ") for reason in choice.reasons), word
    for word in ("excess", "readtl", "readmap", "rowspectrum", "rowparity", "col1", "fixed1", "prnu", "rowt", "colt"):
        assert any(reason.startswith(f"no {word}: ") for reason in choice.reasons), word
    assert any("nats" in reason and "held-out" in reason for reason in choice.reasons)


def test_it_takes_enough_frames_to_hold_some_out() -> None:
    with pytest.raises(InputError, match="needs 4 frames or more of each burst, dark0 has 3; name the words instead"):
        choose_noiselist(camera([], 0, frames=3), LEVELS)


def test_darks_alone_have_no_shot_noise() -> None:
    darks = [burst for burst in camera([rows(0.6)], 0) if burst.kind == "dark"]
    found = calibrate(darks, LEVELS)
    assert found.physical.noiselist == "read_uniform_row1" and found.reasons
    assert found.physical.parameters_table()


def test_scores_are_of_frames_that_were_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break it: scored on the frames that they were fitted to, words that are not there get in."""
    import noisemodel.calibration.selection as selection

    honest = [set(choose("nothing", seed).noiselist.split("_")) for seed in range(3)]
    original = selection.SomeFrames
    monkeypatch.setattr(selection, "SomeFrames", lambda burst, chosen: original(burst, tuple(range(0, FRAMES, 2))))
    assert [set(choose("nothing", seed).noiselist.split("_")) for seed in range(3)] != honest
