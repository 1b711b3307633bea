import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisers.corruption import Corruption
from denoisers.losses import LOSSES, weighed_loss
from denoisers.picture_pairs import CameraCorruption, PairSettings, PicturePairs, crops
from noisemodel import stream
from noisemodel.errors import InputError
from noisemodel.sources import open_source

ALL = slice(None)


def numbered(height, width, channels=1):
    """An image whose values say their place."""
    return (torch.arange(height * width).view(1, height, width).float() + 1).expand(channels, -1, -1) / 1e4


def source(law="gaussian", *, clean=False, sizes=((40, 70), (64, 33)), amount=None, **options):
    pictures = [numbered(*size, channels=3) for size in sizes]
    law = Corruption(law, amount) if isinstance(law, str) else law
    asked = PairSettings(options.pop("batch_size", 4), options.pop("crop_size", 16), **options)
    return PicturePairs(pictures, pictures[:1], law, None if clean else law, asked, ["one", "two"])


def cut(image, size, purpose=0):
    return crops([image], size, generator=stream(0, "test", purpose))[0][0]


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 40), purpose=st.integers(0, 50))
def test_a_crop_is_a_part_of_the_image(height, width, size, purpose):
    image = numbered(height, width)
    found = cut(image, size, purpose)
    assert found.shape == (1, size, size)
    inside = found[0, : min(size, height), : min(size, width)]
    shown = ((inside * 1e4).round().long() - 1) % width, ((inside * 1e4).round().long() - 1) // width
    steps = shown[0].diff(dim=1)
    assert bool((steps.abs() == 1).all()) or size > width  # reflected where it is larger
    assert bool((shown[1].diff(dim=0) == 1).all())
    assert set(found.unique().tolist()) <= set(image.unique().tolist())


def test_crops_begin_everywhere_with_the_same_chance_and_half_are_mirrored():
    image = numbered(9, 11)
    found = torch.stack([c[0] for c in crops([image] * 4000, 4, generator=stream(0, "many"))[0].split(1)])[:, 0]
    mirrored = found[:, 0, 0] > found[:, 0, 1]
    assert abs(mirrored.float().mean() - 0.5) < 5 * 0.5 / 4000**0.5
    corner = ((found[:, 0].amin(1) * 1e4).round().long() - 1).bincount(minlength=99)
    corner = corner[corner > 0]
    assert len(corner) == 6 * 8
    assert ((corner - 4000 / 48).abs() < 5 * (4000 / 48) ** 0.5).all()


def test_whole_images_of_different_sizes_are_masked():
    pictures = [numbered(20, 31), numbered(25, 17)]
    found, mask = crops(pictures, 0, generator=stream(0, "whole"))
    assert found.shape == (2, 1, 25, 31) and mask.shape == (2, 1, 25, 31)
    for row, picture in enumerate(pictures):
        height, width = picture.shape[1:]
        assert mask[row].sum() == height * width == mask[row, 0, :height, :width].sum()
        shown = found[row, :, :height, :width]
        assert torch.equal(shown, picture) or torch.equal(shown, picture.flip(-1))
    same, none = crops([numbered(20, 31)] * 2, 0, generator=stream(0, "whole"))
    assert none is None and same.shape == (2, 1, 20, 31)
    pairs = source("bernoulli", crop_size=0, batch_size=8).pairs(0, ALL)
    assert pairs.noisy.shape == (8, 3, 64, 70)
    assert (pairs.mask.sum((1, 2, 3)) < 40 * 70).all()  # neither lost pixels nor what was added count


def test_input_and_target_are_independent_corruptions_of_the_same_crop():
    noisy, target, _, _ = source(crop_size=32, batch_size=32).pairs(3, ALL)
    clean = source(crop_size=32, batch_size=32, clean=True).pairs(3, ALL)
    assert torch.equal(clean.noisy, noisy)  # the same input, whatever the target
    one, other = noisy - clean.target, target - clean.target
    std = (one.square().mean() * other.square().mean()).sqrt()
    assert abs((one * other).mean()) < 5 * std * 2 / one.numel() ** 0.5
    assert target.max() > 0.5  # of at most 0.29: not clipped
    assert not torch.equal(noisy, source(crop_size=32, batch_size=32).pairs(4, ALL).noisy)


@pytest.mark.parametrize("law", ["gaussian", "bernoulli", "text"])
def test_a_batch_is_a_function_of_the_step_and_a_process_takes_its_rows(law):
    whole = source(law).pairs(5, ALL)
    halves = [source(law).pairs(5, slice(2 * rank, 2 * rank + 2)) for rank in range(2)]
    assert torch.equal(whole.noisy, torch.cat([half.noisy for half in halves]))
    assert torch.equal(whole.target, torch.cat([half.target for half in halves]))
    assert whole.files == halves[0].files + halves[1].files
    assert (whole.mask is None) == (law != "bernoulli")


def test_the_loss_counts_pixels_that_the_target_has():
    noisy, target, mask, _ = source("bernoulli", amount=0.9).pairs(0, ALL)
    clean = source("bernoulli", amount=0.9, clean=True).pairs(0, ALL).target
    assert torch.equal(target, clean * mask)  # the target's mask, not the input's
    assert not torch.equal(noisy, clean * mask)
    for name in LOSSES:
        total, weight = weighed_loss(name, clean, target, mask, progress=0.5)
        assert float(total) < 1e-3 and float(weight) == float(3 * mask.sum())  # lost pixels cost nothing
    total, weight = weighed_loss("l2", clean, target)
    assert float(total) > 0 and float(weight) == clean.numel()


def test_losses_are_means_medians_and_modes():
    targets = torch.tensor([0.0] * 45 + [0.3] * 15 + [1.0] * 40)
    places = torch.linspace(0, 1, 101)
    found = {}
    for name, progress in (("l2", 0.0), ("l1", 0.0), ("l0", 0.0), ("l0", 0.25), ("l0", 0.5), ("l0", 1.0)):
        costs = [float(weighed_loss(name, torch.full_like(targets, p), targets, progress=progress)[0]) for p in places]
        found[name, progress] = float(places[torch.tensor(costs).argmin()])
    assert abs(found["l2", 0.0] - float(targets.mean())) < 0.006
    assert abs(found["l1", 0.0] - 0.3) < 1e-6
    assert found["l0", 0.0] > found["l0", 0.25] > found["l0", 0.5] == found["l0", 1.0]  # slowly, from far to the mode
    assert found["l0", 0.5] <= 0.02


def test_annealed_l0_counts_outliers_alike_and_is_smooth_at_0():
    difference = torch.tensor([0.0, 1e-4, 0.5, 1.0], requires_grad=True)
    costs = LOSSES["l0"](difference, 1.0)
    _, _, half, whole = costs.tolist()
    assert abs(whole - 1) < 1e-6 and 0.95 < half < 1  # how far off hardly matters
    slopes = torch.autograd.grad(costs.sum(), difference)[0].tolist()
    assert slopes[0] == 0 and 0 < slopes[1] < 0.1 and 0 < slopes[3] < slopes[2] < 1


def test_gradients_of_two_processes_add_up_to_that_of_one():
    noisy, target, mask, _ = source("bernoulli").pairs(0, ALL)
    weight = torch.ones((), requires_grad=True)

    def gradient(rows, share):
        total, _ = weighed_loss("l2", weight * noisy[rows], target[rows], mask[rows])
        return torch.autograd.grad(total * share, weight)[0]

    count = weighed_loss("l2", noisy, target, mask)[1]
    halves = [gradient(rows, 2 / count) for rows in (slice(0, 2), slice(2, 4))]  # DDP takes their mean
    assert torch.allclose(gradient(ALL, 1 / count), sum(halves) / 2)


def test_validation_is_the_same_for_every_seed_at_the_typical_level():
    one, other = (source(seed=seed).validation() for seed in (0, 1))
    assert torch.equal(one[0].noisy, other[0].noisy)
    noise = one[0].noisy - one[0].target
    assert noise.shape == (1, 3, 40, 70)
    assert abs(noise.std() * 255 / 25 - 1) < 5 / (2 * noise.numel()) ** 0.5


def test_camera_noise_is_a_corruption():
    noise = open_source("gaussian:0.05", layout="planes")
    law = CameraCorruption(lambda clean, draws: noise.draw(clean, generator=draws))
    found = source(law, crop_size=32, batch_size=16).pairs(0, ALL)
    difference = found.noisy - found.target
    assert abs(difference.std() / (0.05 * 2**0.5) - 1) < 5 / (2 * difference.numel()) ** 0.5


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: PairSettings(0), "a batch of at least 1"),
        (lambda: PairSettings(4, -1), "crops of at least 0 px"),
        (lambda: source(sizes=()), "no images to train on"),
        (lambda: source(channels=1).pairs(0, ALL), "images have 3 channels, the denoiser 1"),
        (lambda: crops([numbered(9, 9), numbered(9, 9, 3)], 4, generator=stream(0, "a")), "differ in channels"),
    ],
)
def test_what_makes_no_pairs_is_refused(act, said):
    with pytest.raises(InputError, match=said):
        act()
