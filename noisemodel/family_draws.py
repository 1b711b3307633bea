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


def poisson_counts(mean: Tensor, bits: Tensor, largest: float) -> Tensor:
    """Poisson(mean) = Poisson(grid mean) from an alias table + Poisson(rest), rest < 1/16, by inversion.

    Args:
        mean: expected counts, from 0 to ``largest``.
        bits: int64 of the same shape, uniform on 0..2**63 - 1.
        largest: upper end of the table, which is built once.
    Returns: counts as floats.
    """
    table, columns = alias_table(largest, mean.device)
    level = (mean * LEVELS_PER_PHOTON).int()
    column = bits.int() & (columns - 1)
    entry = table.index_select(0, (level * columns + column).flatten()).view(mean.shape)
    chance = (bits >> ALIAS_BITS).int() & ((1 << CHANCE_BITS) - 1)
    counts = torch.where(chance < entry >> ALIAS_BITS, column, entry & ((1 << ALIAS_BITS) - 1)).to(mean.dtype)
    tail = bits >> (ALIAS_BITS + CHANCE_BITS)
    some = (tail >= math.floor(math.exp(-1 / LEVELS_PER_PHOTON) * 2**REST_BITS)).flatten().nonzero().squeeze(1)
    rest = (mean.flatten()[some] - level.flatten()[some] / LEVELS_PER_PHOTON).double()
    chances = tail.flatten()[some].double() / 2**REST_BITS
    term = cumulated = (-rest).exp()
    more = (chances >= cumulated).to(mean.dtype)
    for k in range(1, 6):
        term = term * rest / k
        cumulated = cumulated + term
        more = more + (chances >= cumulated)
    counts.view(-1).index_add_(0, some, more)
    return counts
