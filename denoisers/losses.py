"""What a denoiser is scored by in training: one row of `LOSSES` each."""

from collections.abc import Callable

import torch
from torch import Tensor

from noisemodel.errors import InputError

TINY = 1e-8  # keeps the annealed norm smooth at 0

# Name -> function of (difference, progress in [0, 1]): the penalty of every value.
LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "l2": lambda difference, _: difference.square(),  # finds the mean of the targets
    "l1": lambda difference, _: difference.abs(),  # the median
    "l0": lambda difference, progress: (difference.abs() + TINY) ** (2 * (1 - progress)),  # from mean to mode
}


def check_loss(name: str) -> str:
    """The name, if it is one; raises InputError otherwise."""
    if name not in LOSSES:
        raise InputError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    return name


def weighed_loss(
    name: str, estimate: Tensor, target: Tensor, mask: Tensor | None = None, *, progress: float = 0.0
) -> tuple[Tensor, Tensor]:
    """sum m p(f - y), and sum m: their quotient is the mean penalty over the values that count.

    Numerator and denominator come apart, for processes have to add both before they divide.

    Args:
        name: a row of `LOSSES` (Lehtinen et al. 2018, sections 3.1 to 3.4).
        estimate, target: (N, C, H, W).
        mask: (N, 1, H, W) in {0, 1}; None counts everything.
        progress: share of the training that is done; anneals "l0" from L2 towards L0.
    """
    penalty = LOSSES[name](estimate.float() - target, progress)
    if mask is None:
        return penalty.sum(), torch.tensor(float(penalty.numel()), device=penalty.device)
    return (penalty * mask).sum(), mask.expand_as(penalty).sum()
