"""NTGAN's generator and critic: sizes, level 0, what the level map does, the correction, files."""

import itertools
from pathlib import Path

import pytest
import torch

from denoisers import Denoiser, DenoiserSettings, load_denoiser, save_denoiser
from denoisers.ntgan_networks import BLOCKS, NoiseTransfer, PatchCritic, build_ntgan, corrected
from noisemodel import stream
from noisemodel.errors import InputError

PUBLISHED = 3.5e6  # weights of the generator


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def network(width: int = 4, seed: int = 0) -> NoiseTransfer:
    """A small generator whose last layer is not zero."""
    made = NoiseTransfer(width, generator=stream(seed, "weights"))
    with torch.no_grad():
        made.leave[-1].weight.normal_(generator=stream(seed, "last"))
    return made


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=stream(0, "images", *shape))


def test_full_width_has_the_published_number_of_weights():
    full = NoiseTransfer(generator=stream(0, "weights"))
    assert sum(p.numel() for p in full.parameters()) == pytest.approx(PUBLISHED, rel=0.02)


def test_blocks_have_weights_of_their_own():
    blocks = list(network().blocks)
    assert len(blocks) == BLOCKS
    for one, other in itertools.combinations(blocks, 2):
        weights, others = (list(block.parameters()) for block in (one, other))
        assert not {id(p) for p in weights} & {id(p) for p in others}
        assert not torch.equal(weights[0], others[0])


def test_a_new_network_changes_nothing_but_the_level():
    new, x = NoiseTransfer(4, generator=stream(0, "weights")), images(2, 3, 12, 16)
    assert torch.equal(new(x), x)
    moved = new.transfer(x, torch.full((), 0.1), generator=stream(1, "eps"))
    eps = torch.randn(x.shape, generator=stream(1, "eps"))
    torch.testing.assert_close(moved, x + 0.1 * eps)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (16, 16), (19, 33)])
@torch.no_grad()
def test_any_size(size):
    made, x = network(), images(1, 3, *size)
    found = made.denoise(x)
    assert found.shape == x.shape and bool(torch.isfinite(found).all())
    assert found.min() >= 0 and found.max() <= 1
    assert made.transfer(x, 0.1 * x, generator=stream(0, "eps")).shape == x.shape


@torch.no_grad()
def test_padding_reflects_and_is_cropped():
    made, x = network(), images(1, 3, 6, 9)
    padded = torch.nn.functional.pad(x, (0, 3, 0, 2), mode="reflect")
    torch.testing.assert_close(made(x), made(padded)[..., :6, :9])


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other():
    made, x = network(), images(3, 3, 8, 8)
    torch.testing.assert_close(made(x)[1:2], made(x[1:2]))


@torch.no_grad()
def test_the_level_map_acts_where_it_is():
    """eps has the law N(0, M^2): a channel's map moves what the generator gets in this channel, in place."""
    made, x = NoiseTransfer(4, generator=stream(0, "w")), images(1, 3, 64, 64)
    level = torch.zeros(1, 3, 64, 64)
    level[:, 1, :32] = 0.2
    difference = made.transfer(x, level, generator=stream(2, "eps")) - x
    assert bool((difference[:, [0, 2]] == 0).all()) and bool((difference[:, 1, 32:] == 0).all())
    part = difference[:, 1, :32]
    assert float(part.std()) == pytest.approx(0.2, rel=5 / (2 * part.numel()) ** 0.5)


def test_weights_follow_the_stream():
    one, same, other = (network(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["enter.weight"], other["enter.weight"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda n: n(torch.zeros(1, 4, 8, 8)), "RGB"),
        (lambda n: n(torch.zeros(3, 8, 8)), "RGB"),
        (lambda n: n.transfer(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 7), generator=stream(0)), "does not fit"),
        (lambda n: n.transfer(torch.zeros(1, 3, 8, 8), torch.full((), -0.1), generator=stream(0)), "at least 0"),
        (lambda n: corrected(torch.zeros(1), torch.zeros(1), 0.0), "above 0"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(call, said):
    with pytest.raises(InputError, match=said) as caught:
        call(network())
    assert "\n" not in str(caught.value)


def test_the_correction_is_exact_for_gaussians():
    """x ~ N(0, s^2), noise std t, added a t: from E[x + n | z] the formula gives E[x | z]."""
    a, s, t = 0.7, 2.0, 0.5
    z = images(1, 3, 4, 4)
    total = s**2 + t**2 * (1 + a**2)
    torch.testing.assert_close(corrected(z * (s**2 + t**2) / total, z, a), z * s**2 / total)


def test_the_critic_sees_both_images_and_many_patches():
    critic = PatchCritic(4, generator=stream(0, "critic"))
    x, y = images(2, 3, 128, 128), images(2, 3, 128, 128).flip(-1)
    assert critic(x, y).shape == (2, 1, 14, 14)
    assert not torch.allclose(critic(x, y), critic(x, x))
    assert not torch.allclose(critic(x, y), critic(y, x))
    with pytest.raises(InputError, match="at least 32 px, got 31x40"):
        critic(images(1, 3, 31, 40), images(1, 3, 31, 40))


def test_a_score_sees_seventy_pixels():
    critic = PatchCritic(2, generator=stream(0, "critic"))
    for module in critic.modules():  # instance norm would let every pixel see all others
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    x = images(1, 3, 128, 128).requires_grad_()
    critic(x, x.detach())[0, 0, 7, 7].backward()
    seen = x.grad[0].abs().sum(dim=0).nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [70, 70]


def test_a_denoiser_is_saved_and_loaded(tmp_path: Path):
    settings = DenoiserSettings("ntgan", "ntgan", 3, "srgb", width=4)
    made, x = network(), images(1, 3, 9, 14)
    save_denoiser(Denoiser(settings, made), tmp_path)
    assert torch.equal(load_denoiser(tmp_path).denoise(x), made(x))


@pytest.mark.parametrize("facts", [(1, "srgb", 1), (4, "mosaic", 1), (3, "planes", 1), (3, "srgb", 5)])
def test_only_rgb_pictures(facts):
    channels, layout, frames = facts
    settings = DenoiserSettings("ntgan", "ntgan", channels, layout, frames=frames)
    with pytest.raises(InputError, match="RGB pictures"):
        build_ntgan(settings, generator=stream(0))
