"""Figures with units: what `--fix` may say, and what tables print. And the names of random streams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisemodel import InputError, Levels, Parameter, stream
from noisemodel.quantities import describe, in_unit, parse_assignment, scale_of

LEVELS = Levels(64.0, 1023.0)
positive = st.floats(1e-12, 1e12)


@given(value=positive, unit=st.sampled_from(["", "DN", "e-"]), form=st.sampled_from(["{!r}", "{:.3e}", "{:f}", "{:E}"]))
@settings(max_examples=100, deadline=None)
def test_any_number_is_read_with_any_unit(value: float, unit: str, form: str) -> None:
    """2.1e-, 1e-4, 1e-4e- and 1e5DN are told apart."""
    text = form.format(value)
    assert parse_assignment(f"read.std={text}{unit}") == ("read.std", float(text), unit)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shot.gain=0.42DN", ("shot.gain", 0.42, "DN")),
        ("shot.gain=0.42DN/e-", ("shot.gain", 0.42, "DN")),
        ("read.std=2.1e-", ("read.std", 2.1, "e-")),
        ("read.std=2e-", ("read.std", 2.0, "e-")),
        ("read.std=2.e-", ("read.std", 2.0, "e-")),
        ("row1.std=1e-4", ("row1.std", 1e-4, "")),
        ("row1.std=1e-4e-", ("row1.std", 1e-4, "e-")),
        ("readtl.lambda=-0.2", ("readtl.lambda", -0.2, "")),
        ("periodic.std0=.5", ("periodic.std0", 0.5, "")),
    ],
)
def test_assignments(text: str, expected: tuple[str, float, str]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "read.std", "read.std=", "read.std=e-", "read.std=DN", "read.std=1 DN", "read.std=1dn", "read.std=1e",
        "std=1", "read.std=1,5", "read.std=--1", "read.std=1.2.3", "read.std=inf", "read.std=nan", "read.std=1%",
        " read.std=1", "read.std=1=2", "read..std=1",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_assignment(text)
    assert repr(text) in str(error.value) and "NAME=VALUE" in str(error.value)


def test_scales() -> None:
    gain = 0.42 / 959
    assert scale_of("read.std", "white", "", None, None) == 1.0
    assert scale_of("read.std", "white", "DN", LEVELS, None) == pytest.approx(1 / 959)
    assert scale_of("read.std", "white", "e-", None, gain) == gain
    assert scale_of("shot.gain", "white/e-", "DN", LEVELS, None) == pytest.approx(1 / 959)


@pytest.mark.parametrize(
    ("native", "unit", "levels", "gain", "words"),
    [
        ("white", "DN", None, 0.1, "black and white level"),
        ("white", "e-", LEVELS, None, "'shot'"),
        ("white/e-", "e-", LEVELS, 0.1, "cannot be given in e-"),
        ("1", "DN", LEVELS, 0.1, "cannot be given in DN"),
        ("cycles/px", "e-", LEVELS, 0.1, "cannot be given in e-"),
    ],
)
def test_impossible_units(native: str, unit: str, levels: Levels | None, gain: float | None, words: str) -> None:
    with pytest.raises(InputError, match=f"x.y.*{words}"):
        scale_of("x.y", native, unit, levels, gain)
    assert in_unit(Parameter("x.y", 1.0, native), unit, levels, gain) is None


@given(value=positive)
@settings(max_examples=20, deadline=None)
def test_printing_undoes_reading(value: float) -> None:
    for unit in ("DN", "e-", ""):
        native = value * scale_of("read.std", "white", unit, LEVELS, 0.0004)
        assert in_unit(Parameter("read.std", native, "white"), unit, LEVELS, 0.0004) == pytest.approx(value)


def test_a_line_for_people() -> None:
    parameters = [
        Parameter("shot.gain", 0.42 / 959, "white/e-"),
        Parameter("read.std", 0.84 / 959, "white"),
        Parameter("readtl.lambda", 0.14, "1"),
    ]
    assert describe(parameters, LEVELS) == "shot.gain 0.42 DN/e-, read.std 0.84 DN (2 e-), readtl.lambda 0.14 1"
    assert describe(parameters[1:2], LEVELS) == "read.std 0.84 DN"
    assert describe(parameters[1:2], None) == "read.std 0.000876 white"


# Streams.


def test_streams_are_named() -> None:
    def numbers(*name: str | int, seed: int = 0) -> list[float]:
        drawn: list[float] = torch.rand(4, generator=stream(seed, *name)).tolist()
        return drawn

    assert numbers("train", 3) == numbers("train", 3)
    names: list[tuple[str | int, ...]] = [("train", 3), ("train", 4), ("train",), ("train3",), ("t", "rain", 3), ()]
    different = [numbers(*name) for name in names] + [numbers("train", 3, seed=1)]
    assert len({tuple(values) for values in different}) == len(different)


def test_streams_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.rand(9, generator=stream(0, "mine"))
    assert torch.equal(torch.rand(3), expected)


def test_streams_keep_their_numbers() -> None:
    """The seed's derivation is part of the format: results name their streams."""
    assert stream(0, "train", 3).initial_seed() == stream(0, "train", 3).initial_seed()
    seeds = {stream(seed, "purpose", step).initial_seed() for seed in range(30) for step in range(30)}
    assert len(seeds) == 900 and all(0 <= seed < 2**63 for seed in seeds)
