"""A proper score of generated against real noise: it chooses checkpoints."""

from torch import Tensor


def energy_score(real: Tensor, draw: Tensor, other: Tensor) -> Tensor:
    """CRPS = E|X - y| - E|X - X'| / 2, the energy score of scalars (Gneiting and Raftery 2007, eq. 20).

    Strictly proper: lowest in expectation exactly where the generated law is the real one, and, unlike a KLD that drops
    empty bins, large for laws that do not overlap.

    Args:
        real: observations y, any shape.
        draw, other: two independent draws X, X' of the model at the same places, shape of ``real``.
        Their first axis is the sample's.
    Returns: (N,) mean over the values of each sample, in the unit of ``real``.
    """
    near = (draw - real).abs() + (other - real).abs()
    return (near - (draw - other).abs()).flatten(1).mean(dim=1) / 2


def not_worse(scores: Tensor, best: Tensor) -> bool:
    """Whether ``scores`` exceed ``best`` by no more than the standard error of their paired difference.

    The one-standard-error rule (Breiman 1984): of checkpoints that the data cannot tell apart, take the last, whose
    average is the longest.
    """
    difference = scores - best
    return bool(difference.mean() <= difference.std() / len(difference) ** 0.5)
