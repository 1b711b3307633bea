"""The energy score: closed forms for Gaussians, properness, and the rule for checkpoints."""

import math

import pytest
import torch
from torch import Tensor

from noisemodel import stream
from noisemodel.evaluation.energy_score import energy_score, not_worse

COUNT = 100_000


def scores(scale: float, shift: float = 0.0, seed: int = 0, real_scale: float = 1.0) -> Tensor:
    """Scores of N(shift, scale^2) against N(0, real_scale^2): single values; the same real ones for all models."""
    draws = stream(seed, "energy")
    real, one, other = (torch.randn((COUNT, 1), generator=draws, dtype=torch.float64) for _ in range(3))
    return energy_score(real_scale * real, shift + scale * one, shift + scale * other)


def expected(scale: float, shift: float = 0.0) -> float:
    """E|X - y| - E|X - X'| / 2 with X - y ~ N(shift, 1 + scale^2) and X - X' ~ N(0, 2 scale^2) (folded normals)."""
    s = math.hypot(1, scale)
    folded = s * math.sqrt(2 / math.pi) * math.exp(-((shift / s) ** 2) / 2) + shift * math.erf(shift / s / math.sqrt(2))
    return folded - scale / math.sqrt(math.pi)


@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (0.5, 0.0), (2.0, 0.0), (1.0, 0.7), (1.5, -3.0), (1e-9, 0.0)])
@pytest.mark.parametrize("seed", (0, 1))
def test_gaussians_have_the_closed_form(scale: float, shift: float, seed: int) -> None:
    found = scores(scale, shift, seed)
    error = float(found.std()) / math.sqrt(COUNT)
    assert abs(float(found.mean()) - expected(scale, shift)) < 5 * error


@pytest.mark.parametrize("seed", (0, 1, 2))
def test_the_true_law_has_the_lowest_score(seed: int) -> None:
    """By more than 5 standard errors of the paired difference, whichever way the model errs."""
    best = scores(1.0, seed=seed)
    for scale, shift in ((0.8, 0.0), (1.25, 0.0), (1.0, 0.2), (1.0, -0.2)):
        worse = scores(scale, shift, seed) - best
        assert float(worse.mean()) > 5 * float(worse.std()) / math.sqrt(COUNT), (scale, shift)


def test_laws_that_do_not_overlap_score_their_distance() -> None:
    """Where a KLD that drops empty bins says 0."""
    assert float(scores(1.0, 50.0).mean()) == pytest.approx(50 - 1 / math.sqrt(math.pi), rel=0.001)


def test_one_score_per_sample_in_the_unit_of_the_data() -> None:
    draws = stream(0, "shape")
    real, one, other = (torch.randn((5, 2, 3, 4), generator=draws) for _ in range(3))
    found = energy_score(real, one, other)
    assert found.shape == (5,)
    by_hand = ((one - real).abs() + (other - real).abs()) / 2 - (one - other).abs() / 2
    torch.testing.assert_close(found, by_hand.flatten(1).mean(dim=1))
    torch.testing.assert_close(energy_score(7 * real, 7 * one, 7 * other), 7 * found)
    torch.testing.assert_close(energy_score(real, other, one), found)
    assert not energy_score(real, real, real).any()


def test_not_worse_is_one_standard_error_of_the_paired_difference() -> None:
    best = torch.tensor([1.0, 2.0, 3.0, 4.0])
    spread = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    error = float(spread.std()) / 2
    assert not_worse(best, best) and not_worse(best - 0.1, best)
    assert not_worse(best + spread + 0.99 * error, best)
    assert not not_worse(best + spread + 1.01 * error, best)
    assert not not_worse(best + 0.01, best)  # always worse, without scatter: told apart
