import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisers.corruption import CORRUPTIONS, Corruption
from denoisers.text import glyph_atlas
from noisemodel import stream
from noisemodel.errors import InputError

ERRORS = 5  # standard errors allowed
NAMES = sorted(CORRUPTIONS)


def draw(name, clean, purpose="a", **options):
    level = options.pop("level", None)
    return Corruption(name, **options).draw(clean, generator=stream(0, "test", purpose), level=level)


def grey(value=0.5, shape=(4, 3, 61, 87)):
    return torch.full(shape, value)


def test_gaussian_has_the_std_of_its_level_white_and_unclipped():
    noise = draw("gaussian", grey(0.99), level=25).noisy - 0.99
    n = noise.numel()
    assert abs(noise.mean()) < ERRORS * 25 / 255 / n**0.5
    assert abs(noise.std() - 25 / 255) < ERRORS * 25 / 255 / (2 * n) ** 0.5
    for a, b in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
    ):
        assert abs((a * b).mean()) < ERRORS * (25 / 255) ** 2 / a.numel() ** 0.5
    assert noise.max() > 0.02  # beyond white


def test_levels_are_uniform_up_to_p_and_one_for_each_image():
    noise = draw("gaussian", grey(0.5, (1500, 1, 16, 16)), amount=50).noisy - 0.5
    std = 255 * noise.flatten(1).std(1)
    assert abs(std.mean() - 25) < ERRORS * (50 / 12**0.5) / 1500**0.5
    assert abs(std.std() - 50 / 12**0.5) < ERRORS * 50 * 0.129 / 1500**0.5  # 0.129 = sqrt(1 / 80 - 1 / 144) 12^0.5 / 2
    kept = draw("bernoulli", grey(0.5, (1500, 1, 16, 16)), amount=0.8).mask.mean((1, 2, 3))
    assert abs(kept.mean() - 0.6) < ERRORS * (0.8 / 12**0.5 + 1 / 32) / 1500**0.5


@pytest.mark.parametrize("rate", [2.5, 30.0, 400.0])  # by table, by table, by torch.poisson
def test_poisson_has_mean_and_variance_of_light_and_goes_beyond_white(rate):
    noisy = draw("poisson", grey(0.9), amount=rate).noisy
    n = noisy.numel()
    assert abs(noisy.mean() - 0.9) < ERRORS * (0.9 / rate / n) ** 0.5
    assert abs(noisy.var() / (0.9 / rate) - 1) < ERRORS * ((2 + 1 / 0.9 / rate) / n) ** 0.5
    assert noisy.min() >= 0 and noisy.max() > 1.05  # no wrap-around, no clipping
    assert torch.allclose((noisy * rate).round() / rate, noisy)
    beyond = draw("poisson", grey(1.5), amount=rate).noisy
    assert abs(beyond.mean() - 1.5) < ERRORS * (1.5 / rate / n) ** 0.5
    assert torch.equal(draw("poisson", grey(-0.2), amount=rate).noisy, grey(0.0))


def test_bernoulli_drops_all_channels_of_a_pixel_and_says_which():
    clean = 0.1 + torch.rand((4, 3, 61, 87), generator=stream(0, "clean"))
    noisy, mask = draw("bernoulli", clean, level=0.3)
    assert mask.shape == (4, 1, 61, 87)
    assert torch.equal(noisy, clean * mask)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert abs(mask.mean() - 0.7) < ERRORS * (0.21 / mask.numel()) ** 0.5


def test_impulse_replaces_whole_pixels_by_uniform_colours():
    noisy = draw("impulse", grey(2.0), level=0.4).noisy  # 2 is no colour that could be drawn
    hit = noisy != 2.0
    assert torch.equal(hit.any(1), hit.all(1))
    assert abs(hit[:, 0].float().mean() - 0.4) < ERRORS * (0.24 / hit[:, 0].numel()) ** 0.5
    values = noisy[hit]
    assert abs(values.mean() - 0.5) < ERRORS * (1 / 12 / len(values)) ** 0.5
    assert abs(values.var() - (256**2 - 1) / 12 / 255**2) < ERRORS * (1 / 180 / len(values)) ** 0.5
    counts = (values * 255).round().long().bincount(minlength=256)
    assert ((counts - len(values) / 256).abs() < ERRORS * (len(values) / 256) ** 0.5).all()
    red, green = (noisy[:, c][hit[:, 0]] - 0.5 for c in (0, 1))
    assert abs((red * green).mean()) < ERRORS / 12 / len(red) ** 0.5


@pytest.mark.parametrize("coverage", [0.05, 0.3, 0.6, 0.95])
def test_text_covers_the_share_that_is_asked_for(coverage):
    clean = grey(2.0, (16, 3, 90, 133))
    noisy = draw("text", clean, level=coverage).noisy
    covered = (noisy != clean).any(1)
    letter = float(glyph_atlas().inked.max()) / covered[0].numel()  # one letter more or less
    assert ((covered.float().mean((1, 2)) - coverage).abs() <= letter).all()


def test_text_is_made_of_letters_of_one_colour_at_independent_places():
    clean = grey(2.0, (64, 3, 96, 96))
    one, other = (draw("text", clean, purpose, level=0.3).noisy for purpose in ("input", "target"))
    covered = [(noisy != clean).any(1) for noisy in (one, other)]
    both, (a, b) = (covered[0] & covered[1]).float().mean((1, 2)), (c.float().mean((1, 2)) for c in covered)
    assert abs((both - a * b).mean()) < ERRORS * (both - a * b).std() / 8  # independent
    beside = (one[..., 1:] == one[..., :-1]).all(1) & covered[0][..., 1:] & covered[0][..., :-1]
    assert beside.float().sum() > 0.3 * covered[0].sum()  # strokes, not specks
    assert len(torch.unique(one[0].flatten(1)[:, covered[0][0].flatten()], dim=1).T) > 20  # a colour for each letter
    colours = torch.unique(one.permute(0, 2, 3, 1)[covered[0]], dim=0)
    assert abs(colours.mean() - 0.5) < ERRORS * (1 / 12 / colours.numel()) ** 0.5
    where = covered[0].float().mean((0, 1)), covered[0].float().mean((0, 2))
    assert all(abs(share[:16].mean() - share[-16:].mean()) < 0.08 for share in where)  # as likely at all borders


def test_text_of_no_coverage_leaves_the_image():
    clean = grey()
    assert torch.equal(draw("text", clean, level=0.0).noisy, clean)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NAMES), shape=st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 40)] * 2))
def test_every_kind_takes_images_of_every_size(name, shape):
    noisy, mask = draw(name, grey(0.5, shape))
    assert noisy.shape == shape and bool(torch.isfinite(noisy).all())
    assert mask is None or mask.shape == (shape[0], 1, *shape[2:])


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_gives_the_same_bits_and_another_stream_others(name):
    clean = grey(0.5, (2, 3, 40, 40))
    assert torch.equal(draw(name, clean).noisy, draw(name, clean).noisy)
    assert not torch.equal(draw(name, clean).noisy, draw(name, clean, "b").noisy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("amount", [0.0, -1.0, math.nan])
def test_amounts_outside_the_law_are_refused(name, amount):
    with pytest.raises(InputError, match=f"amount of {name} must be above 0"):
        Corruption(name, amount)


@pytest.mark.parametrize("name", ["bernoulli", "impulse", "text"])
def test_shares_stay_below_one(name):
    with pytest.raises(InputError, match="below 1, got 1"):
        Corruption(name, 1.0)


def test_unknown_kinds_and_fonts_are_named(tmp_path):
    with pytest.raises(InputError, match="did you mean gaussian"):
        Corruption("gausian")
    with pytest.raises(InputError, match=r"no such font: .*missing\.ttf; name a \.ttf"):
        draw("text", grey(), font=tmp_path / "missing.ttf")
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    with pytest.raises(InputError, match="is no font that can be read"):
        draw("text", grey(), font=tmp_path / "bad.ttf")
