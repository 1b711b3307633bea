"""A proper score of generated against real noise: it chooses checkpoints."""

from torch import Tensor


def energy_score(real: Tensor, draw: Tensor, other: Tensor) -> Tensor:
    """CRPS = E|X - y| - E|X - X'| / 2, the energy score of scalars (Gneiting and Raftery 2007, eq. 20).

    Strictly proper: lowest in expectation exactly where the generated law is the real one, and, unlike a KLD that drops
    empty bins, large for laws that do not overlap.

    Args:
        real: observations y, any shape.
        draw, other: two independent draws X, X' of the model at the same places, shape of ``real``.
    Returns: the mean over all values, in the unit of ``real``.
    """
    spread = (draw - other).abs().mean()
    return ((draw - real).abs().mean() + (other - real).abs().mean() - spread) / 2
