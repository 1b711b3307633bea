"""Training images with one fixed noisy realisation each, and the order in which they are seen."""

import tempfile
from functools import lru_cache
from typing import final

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.families import BLOCK, corrupt, family
from noisemodel.streams import stream
from nrgan.data import Images

HELD_BYTES = 1 << 31  # more noisy images than this are kept in an unnamed file, not in memory


@final
class NoisyImages:
    """noisy[i] = clip(clean[i] + noise(family, seed, i)): made once, in blocks, then looked up.

    Args:
        images: the clean ones, or real noisy ones with the family ``cifar10``, which adds nothing.
        name: a row of `noisemodel.families.FAMILIES`.
        seed: of the data.
        device: where the noise is drawn and the images are kept.
        clip: whether noisy images are clipped to [0, 1].
        held_bytes: on the CPU, more than this goes to a file that ends with the process.
    Raises: InputError for an unknown family, or images it cannot be added to.
    """

    def __init__(
        self,
        images: Images,
        name: str,
        seed: int,
        *,
        device: str | torch.device = "cpu",
        clip: bool = True,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        """Corrupt every image; memory beyond the result is one block's."""
        self.images, self.name, self.family, self.seed = images, name, family(name), seed
        self.device = torch.device(device)
        self._noisy = self._room((len(images), *images.shape), held_bytes)
        for first in range(0, len(images), BLOCK):
            block = slice(first, min(first + BLOCK, len(images)))
            clean = images[block].to(self.device)
            self._noisy[block] = corrupt(name, clean, seed=seed, first=first, clip=clip)

    def _room(self, shape: tuple[int, ...], held_bytes: int) -> Tensor:
        """An uninitialised float32 tensor, in memory or in a file without a name."""
        if self.device.type != "cpu" or 4 * int(np.prod(shape)) <= held_bytes:
            return torch.empty(shape, device=self.device)
        with tempfile.TemporaryFile() as file:  # the mapping keeps it
            return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """(n, C, H, W) noisy images [fraction of white] on the device."""
        return self._noisy[indices.to(self.device) if isinstance(indices, Tensor) else indices]

    def clean(self, indices: Tensor | slice) -> Tensor:
        """(n, C, H, W): what the noise was added to, for evaluation only."""
        return self.images[indices.to(self.images.values.device) if isinstance(indices, Tensor) else indices].to(
            self.device
        )


@final
class Sampler:
    """Endless batches of indices: every epoch is a fresh shuffle, and the batch of a step needs no step before it.

    Args:
        count: how many images there are.
        batch_size: of the global batch.
        seed: of the order.
    Raises: InputError unless both numbers are positive.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        """Keep the three numbers; there is no other state."""
        if min(count, batch_size) < 1:
            raise InputError(f"need at least one image and a batch of one, got {count} and {batch_size}")
        self.count, self.batch_size, self.seed = count, batch_size, seed

    def indices(self, step: int, rows: slice | None = None) -> Tensor:
        """(batch,) indices of a step, counted from 0; ``rows`` takes a rank's share of the global batch.

        Position p = step * batch_size + row of an endless row of shuffles: epoch p // count, place p % count.
        """
        position = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)[rows or slice(None)]
        epoch, place = position // self.count, position % self.count
        chosen = torch.empty_like(position)
        for number in epoch.unique().tolist():
            here = epoch == number
            chosen[here] = _shuffle(self.count, self.seed, number)[place[here]]
        return chosen


@lru_cache(maxsize=4)
def _shuffle(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch."""
    return torch.randperm(count, generator=stream(seed, "order", epoch))
