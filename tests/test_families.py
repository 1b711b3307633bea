"""Noise families against their laws; a tolerance is 5 standard errors, counted over images, which are independent."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from noisemodel import InputError, PhysicalNoise, stream
from noisemodel.families import FAMILIES, amounts, antialias, corrupt, measure, variance
from noisemodel.family_draws import LEVELS_PER_PHOTON, alias_table, poisson_counts

PUBLISHED = {
    "cifar10": "", "cifar10ag25": "A", "cifar10ag5-50": "B", "cifar10lg25p16": "C", "cifar10lg25p8-24": "D",
    "cifar10u50": "E", "cifar10mix": "F", "cifar10bg25k5": "G", "cifar10abg25k5": "H", "cifar10mg25": "I",
    "cifar10mg5-50": "J", "cifar10amg5_25": "K", "cifar10amg25_25": "L", "cifar10p30": "M", "cifar10p10-50": "N",
    "cifar10pg30_5": "O", "cifar10pg30_25": "P",
}  # fmt: skip
RELATIONS = {"": "none"} | dict.fromkeys("ABCDEFGH", "independent") | dict.fromkeys("IJKL", "multiplicative")
SENSORS = ("sensor", "sensor5-25")
POISSON = [name for name, row in FAMILIES.items() if row.relation == "poisson"]
WHITE_NOISE = [name for name, row in FAMILIES.items() if row.letter not in ("", "C", "D", "G", "H")]
P_VALUE = 2 * float(scipy.stats.norm.sf(5))
N = 1536


def ramp(count: int = N, dtype: torch.dtype = torch.float32) -> Tensor:
    """(count, 3, 32, 32): 0 to 1 from left to right, so that every signal level is in every image."""
    return torch.linspace(0, 1, 32, dtype=dtype).expand(count, 3, 32, 32).contiguous()


def check_mean(per_image: Tensor, expected: Tensor | float = 0.0) -> None:
    """The mean over images, (N, ...), is as expected within 5 standard errors."""
    per_image = per_image.double()
    error = per_image.std(0) / math.sqrt(len(per_image))
    off = (per_image.mean(0) - expected).abs()
    assert bool((off <= 5 * error + 1e-9).all()), f"{(off / error.clamp(min=1e-12)).max():.1f} standard errors"


def noise_of(name: str, clean: Tensor, how: str) -> Tensor:
    if how == "corrupt":
        return corrupt(name, clean, seed=1, clip=False) - clean
    return measure(name, clean, generator=stream(1, "test", name)) - clean


def test_the_published_names_and_their_relations_are_there():
    assert [name for name in FAMILIES if name not in SENSORS] == list(PUBLISHED)
    for name, letter in PUBLISHED.items():
        row = FAMILIES[name]
        assert (row.letter, row.relation) == (letter, RELATIONS.get(letter, "poisson"))
        assert row.antialias == (letter != "" and letter in "MNOP")


@pytest.mark.parametrize("how", ["corrupt", "measure"])
@pytest.mark.parametrize("name", FAMILIES)
def test_mean_and_variance_at_every_row_and_signal(name, how):
    clean = ramp()
    noise = noise_of(name, clean, how)
    excess = noise.square() - variance(name, clean)
    assert variance(name, clean).shape == clean.shape
    for axis in (2, 3):  # means over columns and over rows: by place, and by signal
        check_mean(noise.mean((1, axis)))
        check_mean(excess.mean((1, axis)))


VARIANCE_255 = {  # at x = 0.25 and x = 1, variance * 255^2
    "A": (625, 625), "B": (925, 925), "E": (2500 / 3, 2500 / 3),
    "F": (0.7 * 225 + 0.2 * 625 + 250 / 3, 0.7 * 225 + 0.2 * 625 + 250 / 3),
    "I": (625 / 16, 625), "J": (925 / 16, 925), "K": (25 + 625 / 16, 650), "L": (625 + 625 / 16, 1250),
    "M": (65025 / 120, 65025 / 30), "N": (65025 / 160 * math.log(5), 65025 / 40 * math.log(5)),
    "O": (25 + 65025 / 120, 25 + 65025 / 30), "P": (625 + 65025 / 120, 625 + 65025 / 30),
}  # fmt: skip


def test_variances_are_those_of_the_paper():
    clean = torch.tensor([0.25, 1.0], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 3, 32, 32)
    for name, letter in PUBLISHED.items():
        if letter in VARIANCE_255 and letter:
            got = variance(name, clean)[:, 0, 16, 16] * 255**2
            assert torch.allclose(got, torch.tensor(VARIANCE_255[letter], dtype=torch.float64)), name


@pytest.mark.parametrize("name", WHITE_NOISE)
def test_white_families_are_uncorrelated_over_pixels_and_channels(name):
    clean = torch.full((N, 3, 32, 32), 0.5)
    noise = noise_of(name, clean, "corrupt")
    check_mean((noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)))
    check_mean((noise[..., 1:, :] * noise[..., :-1, :]).mean((1, 2, 3)))
    check_mean((noise[:, 1:] * noise[:, :-1]).mean((1, 2, 3)))
    check_mean(noise[1:].flatten(1).mul(noise[:-1].flatten(1)).mean(1))


def rectangles(name: str) -> list[tuple[Tensor, Tensor]]:
    """(start, side) of the noisy rectangle in every image, along rows and along columns."""
    marked = corrupt(name, torch.zeros(N, 3, 32, 32), seed=1, clip=False) != 0
    found = []
    for axis in (3, 2):
        inside = marked.any(axis).any(1)
        found.append((inside.int().argmax(1), inside.sum(1)))
    (top, height), (left, width) = found
    place = torch.arange(32)
    rows = (place >= top[:, None]) & (place < (top + height)[:, None])
    columns = (place >= left[:, None]) & (place < (left + width)[:, None])
    box = (rows[:, :, None] & columns[:, None])[:, None].expand_as(marked)
    assert bool((box | ~marked).all())
    assert int((box & ~marked).sum()) <= 3  # randn returns an exact 0 once in 2**24 draws
    return found


def test_patches_of_one_size_are_anywhere():
    for start, side in rectangles("cifar10lg25p16"):
        assert bool((side == 16).all())
        assert scipy.stats.chisquare(torch.bincount(start, minlength=17).numpy()).pvalue > P_VALUE


def test_sides_are_independent_and_places_uniform_where_they_fit():
    (top, height), (left, width) = rectangles("cifar10lg25p8-24")
    for start, side in ((top, height), (left, width)):
        counts = torch.bincount(side, minlength=25)
        assert int(counts[:8].sum()) == 0 and len(counts) == 25
        assert scipy.stats.chisquare(counts[8:].numpy()).pvalue > P_VALUE
        check_mean(start - (32 - side) / 2)
        check_mean((start - (32 - side) / 2).square() - ((33 - side).square() - 1) / 12)
    check_mean((height - 16.0) * (width - 16.0))
    check_mean((top - (32 - height) / 2) * (left - (32 - width) / 2))


def test_uniform_noise_is_uniform():
    noise = noise_of("cifar10u50", ramp(64), "corrupt") * 255
    assert scipy.stats.kstest(noise.flatten().numpy(), scipy.stats.uniform(-50, 100).cdf).pvalue > P_VALUE


def test_the_mixture_is_of_the_said_parts_and_chosen_once_per_pixel():
    noise = noise_of("cifar10mix", ramp(), "corrupt") * 255
    stds, shares = (15, 25), (0.7, 0.2)

    def cdf(x: np.ndarray) -> np.ndarray:
        normals = sum(w * scipy.stats.norm.cdf(x, scale=s) for w, s in zip(shares, stds, strict=True))
        return normals + 0.1 * scipy.stats.uniform.cdf(x, -50, 100)

    assert scipy.stats.kstest(noise[:64, 0].flatten().numpy(), cdf).pvalue > P_VALUE
    shared = 0.7 * 15**4 + 0.2 * 25**4 + 0.1 * (2500 / 3) ** 2
    check_mean((noise[:, 0].square() * noise[:, 1].square()).mean((1, 2)), shared)
    check_mean((noise[:, 0].square() * noise[:, 2].square()).mean((1, 2)), shared)
    next_pixel = (0.7 * 15**2 + 0.2 * 25**2 + 250 / 3) ** 2
    check_mean((noise[..., 1:].square() * noise[..., :-1].square()).mean((1, 2, 3)), next_pixel)


def kernel() -> Tensor:
    """The 5x5 Gaussian of sigma 1.1, sum of squares 1."""
    place = torch.arange(5.0, dtype=torch.float64) - 2
    weights = torch.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.1**2))
    return weights / weights.square().sum().sqrt()


@pytest.mark.parametrize(("name", "white"), [("cifar10bg25k5", 0.0), ("cifar10abg25k5", 1.0)])
def test_blurred_noise_has_the_kernels_autocorrelation_and_border(name, white):
    noise = noise_of(name, torch.full((N, 3, 32, 32), 0.5), "corrupt") * (255 / 25)
    response = kernel().clone()
    response[2, 2] += white
    centre = noise[..., 4:-4, 4:-4]
    for rows in range(5):
        for columns in range(-4, 5):
            shifted = noise[..., 4 + rows : 28 + rows, 4 + columns : 28 + columns]
            padded = torch.zeros(13, 13, dtype=torch.float64)
            padded[4:9, 4:9] = response
            expected = (padded * torch.roll(padded, (rows, columns), (0, 1))).sum()
            check_mean((centre * shifted).mean((1, 2, 3)), float(expected))
    check_mean((noise[:, 1:] * noise[:, :-1]).mean((1, 2, 3)))
    assert float((response**2).sum()) == pytest.approx(3.03 if white else 1.0, abs=0.01)
    corner = response[2:, 2:].square().sum()
    check_mean(noise[..., [0, 0, 31, 31], [0, 31, 0, 31]].square().mean(1), float(corner))
    check_mean(noise[..., 0, 16].square().mean(1), float(response[2:].square().sum()))
    if not white:
        edge = float(response[2:].square().sum())
        assert (edge, float(corner)) == (pytest.approx(0.757, abs=5e-4), pytest.approx(0.572, abs=5e-4))


def test_alias_tables_hold_the_poisson_law():
    table, columns = alias_table(50.0, torch.device("cpu"))
    chance = (table >> 8).double().view(-1, columns) / 2**23
    other = (table & 255).long().view(-1, columns)
    mass = chance.scatter_add(1, other, 1 - chance) / columns
    means = np.arange(50 * LEVELS_PER_PHOTON + 1)[:, None] / LEVELS_PER_PHOTON
    expected = scipy.stats.poisson.pmf(np.arange(columns), means)
    assert np.abs(mass.numpy() - expected).max() < 1e-7
    assert np.abs((mass.numpy() * np.arange(columns)).sum(1) - means[:, 0]).max() < 1e-4


@pytest.mark.parametrize("mean", [0.0, 0.03, 1 / 16, 1.55, 7.0, 29.99, 50.0])
def test_counts_follow_the_poisson_law_on_and_between_the_tabulated_means(mean):
    bits = torch.empty(400_000, dtype=torch.int64).random_(generator=stream(3, "bits", str(mean)))
    counts = poisson_counts(torch.full((400_000,), mean), bits, 50.0).long()
    expected = scipy.stats.poisson.pmf(np.arange(200), mean) * 400_000
    often = expected > 10
    seen = counts.bincount(minlength=200).numpy()
    rare, rare_law = seen[~often].sum(), expected[~often].sum()
    assert abs(rare - rare_law) <= 5 * math.sqrt(rare_law) + 1e-6 + (rare_law > 1e-6)
    if mean:
        law = expected[often] * (seen[often].sum() / expected[often].sum())
        assert scipy.stats.chisquare(seen[often], law).pvalue > P_VALUE


@pytest.mark.parametrize("name", ["cifar10p30", "cifar10pg30_5"])
def test_exact_counts_are_skewed_and_the_normal_approximation_is_not(name):
    clean = torch.full((N, 3, 32, 32), 0.25)
    check_mean(noise_of(name, clean, "corrupt").pow(3).mean((1, 2, 3)), 0.25 / 30**2)
    check_mean(noise_of(name, clean, "measure").pow(3).mean((1, 2, 3)), 0.0)


def test_poisson_images_are_whole_numbers_of_photons():
    photons = 30 * corrupt("cifar10p30", ramp(64), seed=0, clip=False)
    assert float((photons - photons.round()).abs().max()) < 1e-4
    assert float(photons[..., 0].abs().max()) == 0.0


@pytest.mark.parametrize("name", SENSORS)
def test_the_sensor_has_the_law_of_the_physical_model_with_the_true_amounts(name):
    clean = ramp()
    truth = amounts(name, N, seed=1)
    model = PhysicalNoise.from_noiselist("shot_read", layout="planes")
    expected = model.variance(clean, params=truth)
    check_mean((noise_of(name, clean, "corrupt").square() - expected).mean((1, 2)))


@pytest.mark.parametrize(
    ("name", "key", "low", "high"),
    [
        ("cifar10ag5-50", "read.std", 5 / 255, 50 / 255),
        ("cifar10mg5-50", "multiplicative.std", 5 / 255, 50 / 255),
        ("sensor5-25", "read.std", 5 / 255, 25 / 255),
    ],
)
def test_amounts_are_uniform_over_images_and_those_of_the_images(name, key, low, high):
    drawn = amounts(name, N, seed=4)[key]
    assert scipy.stats.kstest(drawn.numpy(), scipy.stats.uniform(low, high - low).cdf).pvalue > P_VALUE
    assert torch.equal(amounts(name, 40, seed=4, first=50)[key], drawn[50:90])
    clean = torch.ones(N, 3, 32, 32) if "multi" in key else torch.zeros(N, 3, 32, 32)
    noise = corrupt(name, clean, seed=4, clip=False) - clean
    off = noise.std((1, 2, 3)) / drawn - 1
    assert float(off.abs().max()) < 6 / math.sqrt(2 * 3072)


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(list(FAMILIES)), first=st.integers(0, 1090), count=st.integers(0, 80))
def test_any_slice_gets_the_same_bits(name, first, count):
    images = torch.rand(1200, 3, 24, 28, generator=stream(0, "images"))
    part = slice(first, first + count)
    whole = corrupt(name, images, seed=7)
    assert torch.equal(corrupt(name, images[part], seed=7, first=first), whole[part])


@pytest.mark.parametrize("name", ["cifar10mix", "cifar10p10-50"])
def test_bits_depend_on_neither_threads_nor_memory_order(name):
    images = torch.rand(200, 3, 32, 32, generator=stream(0, "images"))
    once = corrupt(name, images, seed=7)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        assert torch.equal(corrupt(name, images, seed=7), once)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(corrupt(name, images.contiguous(memory_format=torch.channels_last), seed=7), once)
    assert corrupt(name, images[:0], seed=7).shape == (0, 3, 32, 32)


def test_seeds_names_blocks_and_rows_give_other_noise():
    images = torch.full((1, 3, 32, 32), 0.5)
    keys = [("cifar10ag25", 0, 0), ("cifar10ag25", 1, 0), ("cifar10ag5-50", 0, 0), ("cifar10mg25", 0, 0)]
    keys += [("cifar10ag25", 0, first) for first in (1, 64, 1024, 1025)]
    noise = [(corrupt(name, images, seed=seed, first=first) - 0.5).flatten() for name, seed, first in keys]
    correlation = torch.corrcoef(torch.stack(noise)) - torch.eye(len(keys))
    assert float(correlation.abs().max()) < 5 / math.sqrt(3072)


@pytest.mark.parametrize("name", FAMILIES)
def test_measure_is_reproducible_and_has_the_gradient_of_finite_differences(name):
    clean = 0.1 + 0.8 * torch.rand(4, 3, 24, 24, generator=stream(0, "clean"), dtype=torch.float64)

    def run(x: Tensor, detach: bool = False) -> Tensor:
        return measure(name, x, generator=stream(5, "draw"), detach=detach)

    assert torch.equal(run(clean), run(clean))
    leaf = clean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(run(leaf).sum(), leaf)
    step = 1e-5
    differences = (run(clean + step) - run(clean - step)) / (2 * step)  # each pixel depends on itself alone
    assert torch.allclose(gradient, differences, atol=1e-6)
    (constant,) = torch.autograd.grad(run(leaf, detach=True).sum(), leaf)
    assert torch.equal(constant, torch.ones_like(constant))
    assert bool((gradient != 1).any()) == (FAMILIES[name].relation in ("multiplicative", "poisson"))


@pytest.mark.parametrize("name", POISSON)
def test_the_gradient_is_finite_in_the_dark(name):
    clean = torch.tensor([0.0, -0.1, 1e-12]).repeat(2, 3, 4, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(measure(name, clean, generator=stream(5, "draw")).sum(), clean)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[..., :2] == 1).all())


@pytest.mark.parametrize("name", FAMILIES)
def test_clipping_is_the_last_step(name):
    images = torch.rand(8, 3, 32, 32, generator=stream(0, "images"))
    free = corrupt(name, images, seed=2, clip=False)
    assert torch.equal(corrupt(name, images, seed=2), free.clamp(0, 1))
    assert (float(free.min()) < -1e-6) == (PUBLISHED.get(name, "s") not in ("", "M", "N", "I", "J"))


def test_no_noise_leaves_real_noisy_images_alone():
    raw = torch.randn(5, 4, 16, 16, generator=stream(0, "raw"))
    assert torch.equal(corrupt("cifar10", raw, seed=0, clip=False), raw)


def test_antialias_blurs_each_way_with_a_zero_border():
    images = torch.rand(2, 3, 8, 9, generator=stream(0, "images"), dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    vertical = torch.nn.functional.conv2d(images.view(6, 1, 8, 9), weights.view(1, 1, 3, 1), padding=(1, 0))
    horizontal = torch.nn.functional.conv2d(images.view(6, 1, 8, 9), weights.view(1, 1, 1, 3), padding=(0, 1))
    blurred = antialias(images)
    assert torch.allclose(blurred, torch.cat([vertical.view(2, 3, 8, 9), horizontal.view(2, 3, 8, 9)], 1))
    leaf = images.requires_grad_()
    assert torch.autograd.gradcheck(antialias, (leaf,), fast_mode=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "cifar10ag26"}, "cifar10ag26.*known: cifar10, cifar10ag25"),
        ({"images": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}, "floats, got .*uint8"),
        ({"images": torch.zeros(3, 32, 32)}, r"\(3, 32, 32\)"),
        ({"images": torch.full((1, 3, 32, 32), 200.0)}, "200 to 200; divide"),
        ({"images": torch.full((1, 3, 32, 32), torch.nan)}, "nan"),
        ({"first": -1}, "from 0, got -1"),
        ({"name": "cifar10lg25p8-24", "images": torch.zeros(1, 3, 16, 16)}, "24 px need larger images, got 16x16"),
    ],
)
def test_wrong_input_is_named(arguments, words):
    usual = {"name": "cifar10ag25", "images": torch.zeros(1, 3, 32, 32), "first": 0}
    with pytest.raises(InputError, match=words):
        corrupt(seed=0, **(usual | arguments))
