"""What a denoiser is scored by in training: one row of `LOSSES` each."""

from collections.abc import Callable

import torch
from torch import Tensor

from noisemodel.errors import InputError

WIDTHS = 0.5, 0.1  # of the annealed L0 at the start, and from half of the training on [fraction of white]


def _annealed_l0(difference: Tensor, progress: float) -> Tensor:
    """(1 + w^2) d^2 / (d^2 + w^2): Geman and McClure's penalty, which counts what is not 0 as w -> 0.

    w falls geometrically. Lehtinen's |d|^g, g from 2 to 0, has gradients without bound at d = 0 once g < 1, and reaches
    the mode at the last step only: after 1,600 steps it is 0.7 dB below this.
    """
    first, last = WIDTHS
    width = first * (last / first) ** min(2 * progress, 1.0)
    square = difference.square()
    return square * (1 + width**2) / (square + width**2)


# Name -> function of (difference, progress in [0, 1]): the penalty of every value.
LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "l2": lambda difference, _: difference.square(),  # finds the mean of the targets
    "l1": lambda difference, _: difference.abs(),  # the median
    "l0": _annealed_l0,  # the mode
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
        name: a row of `LOSSES` (Lehtinen et al. 2018, sections 3.1 to 3.4; Geman and McClure 1987).
        estimate, target: (N, C, H, W).
        mask: (N, 1, H, W) in {0, 1}; None counts everything.
        progress: share of the training that is done; narrows "l0".
    """
    penalty = LOSSES[name](estimate.float() - target, progress)
    if mask is None:
        return penalty.sum(), torch.tensor(float(penalty.numel()), device=penalty.device)
    return (penalty * mask).sum(), mask.expand_as(penalty).sum()
