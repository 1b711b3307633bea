"""Random numbers for batches of images: normals, uniforms, amounts per image, and exact Poisson counts by table."""

import math
from functools import cache
from typing import final

import torch
from torch import Tensor

from noisemodel.errors import InputError

Amount = float | tuple[float, float]  # the same for all images, or drawn uniformly from (low, high) for each
LEVELS_PER_PHOTON = 16  # spacing of the tabulated Poisson means: what is left over is a second, rare Poisson draw
ALIAS_BITS, CHANCE_BITS, REST_BITS = 8, 23, 32  # of one 63-bit draw
PIECE = 1 << 17  # numbers that a core works on at once, so that what is between two passes stays in its cache


@final
class Draws:
    """Standard random numbers for ``count`` images, of which ``rows`` are used: a row does not depend on the others.

    Args:
        generator: where they are drawn.
        count: images drawn for.
        rows: which of them are wanted.
        exact: whether Poisson counts follow their exact law, or its normal approximation (differentiable).
    """

    def __init__(self, generator: torch.Generator, count: int, rows: slice = slice(None), exact: bool = False) -> None:
        """Keep the stream for as long as one batch needs it."""
        self.generator, self.count, self.rows, self.exact = generator, count, rows, exact

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) of N(0, 1)."""
        return torch.randn(self.count, *shape, generator=self.generator, device=self.generator.device)[self.rows]

    def uniform(self, *shape: int) -> Tensor:
        """(n, *shape) of U[0, 1)."""
        return torch.rand(self.count, *shape, generator=self.generator, device=self.generator.device)[self.rows]

    def amount(self, amount: Amount) -> Tensor:
        """(n, 1, 1, 1) of an amount; one that is the same for all images takes no draw."""
        if isinstance(amount, tuple):
            low, high = amount
            return low + (high - low) * self.uniform(1, 1, 1)
        return torch.full((self.count, 1, 1, 1), amount, device=self.generator.device)[self.rows]

    def poisson(self, mean: Tensor, largest: float) -> Tensor:
        """Counts of the given mean, which nowhere exceeds ``largest``: exact, or mean + sqrt(mean) N(0, 1)."""
        if not self.exact:
            return mean + _safe_sqrt(mean) * self.normal(*mean.shape[1:])
        bits = torch.empty(self.count, *mean.shape[1:], dtype=torch.int64, device=mean.device)
        return poisson_counts(mean, bits.random_(generator=self.generator)[self.rows], largest)


def _safe_sqrt(x: Tensor) -> Tensor:
    """sqrt(max(x, 0)) with gradient 0 where it is 0."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


@cache
def alias_table(largest: float, device: torch.device) -> tuple[Tensor, int]:
    """Alias tables of Poisson(i / 16) for all means up to ``largest`` (Walker 1977), drawn from in one lookup.

    Returns: (means * columns,) int32, each entry ``chance << 8 | other``: a column is kept with chance / 2**23, else it
        becomes ``other``; and the number of columns, a power of two. Probabilities are off by at most 2**-31.
    """
    columns = 1 << math.ceil(math.log2(largest + 8.0 * math.sqrt(largest) + 16.0))
    if columns > 1 << ALIAS_BITS:
        raise InputError(f"Poisson means up to {largest:g} need {columns} columns; the table has {1 << ALIAS_BITS}")
    mean = torch.arange(math.ceil(largest * LEVELS_PER_PHOTON) + 1, dtype=torch.float64)[:, None] / LEVELS_PER_PHOTON
    counts = torch.arange(columns, dtype=torch.float64)
    left = (torch.xlogy(counts, mean) - mean - torch.lgamma(counts + 1.0)).exp() * columns  # (means, columns)
    chance, other = torch.ones_like(left), torch.zeros_like(left, dtype=torch.int64)
    done = torch.zeros_like(left, dtype=torch.bool)
    for _ in range(columns):  # fill the emptiest column up from the fullest
        small = left.masked_fill(done, torch.inf).argmin(1, keepdim=True)
        full = left.masked_fill(done, -torch.inf).argmax(1, keepdim=True)
        share = left.gather(1, small).clamp(max=1.0)
        chance.scatter_(1, small, share)
        other.scatter_(1, small, full)
        left.scatter_add_(1, full, share - 1.0)
        done.scatter_(1, small, True)
    scaled = (chance * ((1 << CHANCE_BITS) - 1)).round().long()
    return ((scaled << ALIAS_BITS) | other).int().flatten().to(device), columns


def poisson_counts(mean: Tensor, bits: Tensor | torch.Generator, largest: float) -> Tensor:
    """Poisson(mean) = Poisson(grid mean) from an alias table + Poisson(rest), rest < 1/16, by inversion.

    Args:
        mean: expected counts, from 0 to ``largest``.
        bits: int64 of the same shape, uniform on 0..2**63 - 1; or the generator that draws them.
        largest: upper end of the table, which is built once.
    Returns: counts as floats.
    """
    counts, means = torch.empty(mean.shape, dtype=mean.dtype, device=mean.device), mean.flatten()
    drawn = bits.flatten() if isinstance(bits, Tensor) else bits
    step = PIECE if mean.device.type == "cpu" else max(mean.numel(), 1)
    for start in range(0, mean.numel(), step):
        piece = slice(start, start + step)
        if isinstance(drawn, Tensor):
            words = drawn[piece]
        else:
            words = torch.empty(means[piece].shape, dtype=torch.int64, device=mean.device).random_(generator=drawn)
        _count(means[piece], words, counts.view(-1)[piece], largest)
    return counts


def _count(mean: Tensor, bits: Tensor, counts: Tensor, largest: float) -> None:
    """`poisson_counts` of a row of pixels, written into ``counts``."""
    table, columns = alias_table(largest, mean.device)
    word = bits.int()  # from the highest bit: one that is not used, CHANCE_BITS, ALIAS_BITS
    column = word & (columns - 1)
    entry = table.index_select(0, (mean * LEVELS_PER_PHOTON).int().mul_(columns).add_(column))
    below = (1 << ALIAS_BITS) - 1
    # -1 where the chance is less than the entry's, else 0: torch.where takes twice as long as these four passes.
    kept = word.bitwise_and_((1 << 31) - 1).bitwise_or_(below).sub_(entry).bitwise_right_shift_(31)
    other = entry.bitwise_and_(below)
    counts.copy_(column.bitwise_xor_(other).bitwise_and_(kept).bitwise_xor_(other))
    _add_rest(counts, mean, bits)


def _add_rest(counts: Tensor, mean: Tensor, bits: Tensor) -> None:
    """Add Poisson(rest) of what the grid leaves of ``mean``, where the upper bits let it be 1, or 2 and more."""
    low = ALIAS_BITS + CHANCE_BITS
    none = math.exp(-1 / LEVELS_PER_PHOTON)  # at the largest rest; with less of it even more counts are 0
    some = (bits >= _floor(none) << low).nonzero().squeeze(1)
    rest = mean[some]
    rest = (rest - (rest * LEVELS_PER_PHOTON).int() / LEVELS_PER_PHOTON).double()
    tail = bits[some] >> low
    chances = tail.double().mul_(2.0**-REST_BITS)
    cumulated = (-rest).exp()
    counts.index_add_(0, some, (chances >= cumulated).to(counts.dtype))
    few = (tail >= _floor(none * (1 + 1 / LEVELS_PER_PHOTON))).nonzero().squeeze(1)
    rest, chances = rest[few], chances[few]
    term = cumulated = cumulated[few]
    more = torch.zeros_like(rest, dtype=counts.dtype)
    for k in range(1, 6):
        term = term * rest / k
        cumulated = cumulated + term
        more += chances >= cumulated
    counts.index_add_(0, some[few], more)


def _floor(chance: float) -> int:
    """The largest upper bits that are a chance below it."""
    return math.floor(chance * 2**REST_BITS)
