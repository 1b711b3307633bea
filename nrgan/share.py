"""A process's share of a batch: many processes compute what one would."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Share:
    """Rows rank * N ... (rank + 1) * N of a global batch of world * N rows.

    Every process draws the numbers of the global batch and takes its rows, so that the bits do not depend on the number
    of processes.
    """

    rank: int = 0
    world: int = 1

    def rows(self, count: int) -> slice:
        """The rows of this process, ``count`` of them, in the global batch."""
        return slice(self.rank * count, (self.rank + 1) * count)

    def normal(self, count: int, *shape: int, generator: torch.Generator) -> Tensor:
        """``count`` rows of N(0, 1)."""
        return torch.randn((self.world * count, *shape), generator=generator, device=generator.device)[self.rows(count)]

    def uniform(self, count: int, *shape: int, generator: torch.Generator) -> Tensor:
        """``count`` rows of U(0, 1)."""
        return torch.rand((self.world * count, *shape), generator=generator, device=generator.device)[self.rows(count)]

    def integers(self, below: int, count: int, *shape: int, generator: torch.Generator) -> Tensor:
        """``count`` rows of whole numbers in 0 .. below - 1."""
        drawn = torch.randint(below, (self.world * count, *shape), generator=generator, device=generator.device)
        return drawn[self.rows(count)]

    def pad(self, mine: Tensor, value: float = 0.0) -> Tensor:
        """The global batch with ``mine`` in its place and ``value`` in the rows of the others, for laws that draw."""
        if self.world == 1:
            return mine
        whole = mine.new_full((self.world * len(mine), *mine.shape[1:]), value)
        return torch.cat([whole[: self.rank * len(mine)], mine, whole[(self.rank + 1) * len(mine) :]])

    def gather(self, mine: Tensor) -> Tensor:
        """The global batch; gradients flow through the rows of this process only."""
        if self.world == 1:
            return mine
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        distributed.all_gather(parts, mine.detach().contiguous())
        parts[self.rank] = mine
        return torch.cat(parts)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one message."""
        found = list(tensors)
        if self.world == 1 or not found:
            return
        flat = torch.cat([tensor.flatten() for tensor in found])
        distributed.all_reduce(flat)
        for tensor, mean in zip(found, (flat / self.world).split([t.numel() for t in found]), strict=True):
            tensor.copy_(mean.view_as(tensor))


ALONE = Share()
