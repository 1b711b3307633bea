"""NTGAN's pairs from noisy images alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from denoisers.ntgan_camera import CameraLaw
from denoisers.ntgan_levels import NoiseLevels, measure_levels
from denoisers.ntgan_pairs import PairLaw, make_pairs
from denoisers.ntgan_step import Rows
from denoisers.response_curves import gamma_curve
from noisemodel import stream
from noisemodel.errors import InputError


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rows(count: int, *purpose: str | int, of: slice | None = None) -> Rows:
    return Rows(count, of or slice(0, count), stream(0, *purpose))


def noise(count: int, side: int) -> Tensor:
    return torch.randn((count, 3, side, side), generator=stream(0, "noise", side))


def law(**more: object) -> PairLaw:
    return replace(PairLaw(CameraLaw(gamma_curve())), **more)


def test_literal_pairs_leave_the_input():
    y = torch.rand((6, 3, 32, 32), generator=stream(0, "y"))
    batch = make_pairs(y, law(pairing="literal"), rows(6, "pairs"))
    assert torch.equal(batch.input, y)
    assert bool(batch.zero.any()) and not bool(batch.zero.all())


def test_level_zero_means_the_image_itself():
    y = 0.5 + 0.05 * torch.randn((20, 3, 32, 32), generator=stream(0, "y"))
    batch = make_pairs(y, law(), rows(20, "pairs"))
    assert torch.equal(batch.target[batch.zero], y[batch.zero])
    assert bool((batch.level_map[batch.zero] == 0).all())
    assert bool((batch.level_map[~batch.zero].mean(dim=(1, 2, 3)) > 0).all())
    assert bool(((batch.target - y)[~batch.zero].std(dim=(1, 2, 3)) > 0).all())
    assert not torch.equal(batch.input, y)


@pytest.mark.parametrize("ratio", [0.5, 1.5])
def test_measured_input_noise_is_so_many_times_the_images_own(ratio):
    y = 0.5 + 0.04 * torch.randn((40, 3, 64, 64), generator=stream(0, "y"))
    batch = make_pairs(y, law(ratio=ratio), rows(40, "pairs"))
    added = (batch.input - y).std(dim=(1, 2, 3)) / 0.04
    assert float(added.mean()) == pytest.approx(ratio, rel=0.05)


def test_pseudo_clean_images_get_noise_of_the_images_level():
    y = 0.5 + 0.04 * torch.randn((40, 3, 64, 64), generator=stream(0, "y"))
    clean = torch.full_like(y, 0.5)
    batch = make_pairs(y, law(ratio=1.5), rows(40, "pairs"), pseudo_clean=clean)
    assert torch.equal(batch.target[batch.zero], clean[batch.zero])
    assert float((batch.input - clean).std()) == pytest.approx(0.04, rel=0.05)


def test_processes_take_their_rows_of_one_batch():
    y = 0.5 + 0.05 * torch.randn((6, 3, 32, 32), generator=stream(0, "y"))
    whole = make_pairs(y, law(), rows(6, "pairs"))
    part = make_pairs(y[2:4], law(), rows(6, "pairs", of=slice(2, 4)))
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(one[2:4], other)


def test_pairs_take_the_levels_that_they_are_given():
    """Those of the pictures that crops were cut from, one each."""
    y = torch.full((2, 3, 64, 64), 0.5)
    quiet, loud = (measure_levels(0.5 + std * noise(1, 256)) for std in (0.01, 0.05))
    levels = NoiseLevels(*(torch.cat(both) for both in zip(quiet, loud, strict=True)))
    added = (make_pairs(y, law(ratio=1.0), rows(2, "pairs"), levels=levels).input - y).std(dim=(1, 2, 3))
    torch.testing.assert_close(added, torch.tensor([0.01, 0.05]), rtol=0.06, atol=0)


def test_drawn_noise_is_the_cameras():
    y = torch.full((400, 3, 16, 16), 0.5)
    drawn = PairLaw(CameraLaw(gamma_curve(), 0.0, 0.06, 0.0), input_noise="drawn")
    added = (make_pairs(y, drawn, rows(400, "pairs")).input - y).std(dim=(1, 2, 3))
    assert float(added.max()) > 5 * float(added.min())  # levels are uniform from 0


@pytest.mark.parametrize(
    "wrong", [{"pairing": "none"}, {"zero_share": 0.0}, {"ratio": 0.0}, {"spread": 2.0}, {"input_noise": "loud"}]
)
def test_impossible_pairs_are_refused(wrong):
    with pytest.raises(InputError):
        law(**wrong)
