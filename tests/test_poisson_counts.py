"""Poisson counts by table: against the same look-up written out in numpy, whatever the pieces they are made in."""

import math

import numpy as np
import pytest
import torch

from noisemodel import family_draws, stream
from noisemodel.family_draws import alias_table, poisson_counts

HIGHEST = (1 << 63) - 1


def looked_up(mean, bits, largest):
    """The counts, step by step: table, chance, other column, then the inverse of what the grid leaves."""
    table, columns = (part.numpy() if isinstance(part, torch.Tensor) else part for part in alias_table(*largest))
    mean, bits = mean.numpy(), bits.numpy()
    level = (mean * 16).astype(np.int64)
    column = bits & (columns - 1)
    entry = table[level * columns + column]
    counts = np.where((bits >> 8) & (2**23 - 1) < entry >> 8, column, entry & 255).astype(np.float32)
    rest, chance = (mean - level.astype(np.float32) / 16).astype(np.float64), (bits >> 31) / 2**32
    law = [np.exp(-rest) * rest**k / math.factorial(k) for k in range(6)]
    return counts + sum((chance >= total).astype(np.float32) for total in np.cumsum(law, axis=0))


@pytest.mark.parametrize("largest", [0.9, 6.0, 30.0, 128.0])
def test_counts_are_what_the_table_and_the_inverse_say(largest):
    draws = stream(0, "counts")
    mean = torch.rand(3, 2, 97, 301, generator=draws) * largest
    bits = torch.empty(mean.shape, dtype=torch.int64).random_(generator=draws)
    mean[0, 0, 0, :3], mean[0, 0, 1, :3] = 0, largest
    bits[1] |= HIGHEST - (1 << 59) + 1  # seldom: the rest is often 1
    bits[2] |= HIGHEST - (1 << 42) + 1  # very seldom: it is 2 and more
    bits[:, :, 0, 0], bits[:, :, 0, 1] = 0, HIGHEST
    expected = looked_up(mean, bits, (largest, mean.device))
    assert (poisson_counts(mean, bits, largest).numpy() == expected).all()
    assert (poisson_counts(mean[..., ::3], bits[..., ::3], largest).numpy() == expected[..., ::3]).all()


@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (2, 3, 40, 50), (3, 3, 160, 170), (0, 3, 4, 4)])
def test_a_generator_gives_the_counts_of_its_bits_in_one_piece_and_in_many(shape, monkeypatch):
    mean = torch.rand(shape, generator=stream(0, "mean")) * 30
    bits = torch.empty(shape, dtype=torch.int64).random_(generator=stream(0, "bits"))
    whole = poisson_counts(mean, bits, 30.0)
    monkeypatch.setattr(family_draws, "PIECE", 1000)
    for source in (bits, stream(0, "bits")):
        counts = poisson_counts(mean, source, 30.0)
        assert counts.shape == shape and torch.equal(counts, whole)


def test_the_stream_is_left_where_one_draw_for_all_pixels_leaves_it():
    mean, draws, whole = torch.full((3, 3, 160, 170), 2.0), stream(0, "left"), stream(0, "left")
    poisson_counts(mean, draws, 30.0)
    torch.empty(mean.shape, dtype=torch.int64).random_(generator=whole)
    assert torch.equal(torch.rand(4, generator=draws), torch.rand(4, generator=whole))
