"""Noise2Noise pairs for free: two frames of a real burst of a static scene, at the same place."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from denoisers.pairs import Pair
from denoisers.synthesised import MOST_VALIDATION, VALIDATION_SIZE
from noisemodel.errors import InputError
from noisemodel.streams import stream

VALIDATION_SHARE = 8  # the last eighth of the rows is for validation
HIGHEST_VALID = 0.95  # above it the noise is cut by the white level [fraction of white]


class StaticBurst(Protocol):
    """What is asked of a burst of a static scene."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W) in planes."""

    @property
    def path(self) -> Path:
        """Where the frames lie, for messages."""

    @property
    def has_truth(self) -> bool:
        """Whether the noise-free exposure is known."""

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """(n, C, h, w) [fraction of white]."""

    def read_truth(self, rows: slice, columns: slice) -> Tensor:
        """(C, h, w) [fraction of white]."""

    def summary(self) -> "BurstSummary":
        """One pass over the frames."""


class BurstSummary(Protocol):
    """What one pass over a burst tells."""

    @property
    def offsets(self) -> Tensor:
        """(T,) mean of each frame minus the mean over frames [fraction of white]."""


class _Place(NamedTuple):
    burst: int
    frames: list[int]
    rows: slice
    columns: slice


@final
class BurstPairs:
    """noisy = frame s, target = frame t != s of the same burst and place, both less their lamp drift.

    E[frame t | frame s] = E[clean + fixed pattern | frame s], as the noise that changes from frame to frame is
    independent and has mean 0: what is the same in all frames (fixed pattern, rowt, hot pixels) is learned as if it
    were scene, and stays. ``mask`` leaves out pixels whose INPUT is near white, whose targets are cut off; a mask that
    looked at the target would choose by its noise, and bias it. For clips, T frames are the input and one more the
    target.

    Args:
        bursts: of static scenes; T + 1 frames or more each.
        layout: of the bursts, "mosaic" or "planes".
        crop: height and width of a crop, in pixels of a plane.
        batch_size: samples of the global batch.
        seed: of everything that is drawn.
        frames: T of the input.
    Raises: InputError for no bursts, too few frames, differing planes, or a crop that is larger than what is left
        of a frame without the rows for validation.
    """

    def __init__(
        self, bursts: Sequence[StaticBurst], *, layout: str, crop: int, batch_size: int, seed: int, frames: int = 1
    ) -> None:
        """Check every burst in one pass over its frames."""
        if not bursts or min(crop, batch_size, frames) < 1 or frames % 2 == 0:
            raise InputError(
                f"need bursts of static scenes, crop and batch size >= 1 and an odd number of frames; got "
                f"{len(bursts)} bursts, {crop}, {batch_size} and {frames}"
            )
        self.bursts, self.layout, self.channels = tuple(bursts), layout, bursts[0].shape[1]
        self.crop, self.batch_size, self.seed, self.frames = crop, batch_size, seed, frames
        for burst in self.bursts:
            count, channels, height, width = burst.shape
            if count <= frames or channels != self.channels:
                raise InputError(
                    f"{burst.path} has {count} frames of {channels} planes; needed are {frames + 1} frames or more of "
                    f"{self.channels}, leave it out"
                )
            if crop > min(_border(height), width):
                raise InputError(
                    f"crop {crop} is larger than what {burst.path} has for training, {_border(height)}x{width}; "
                    "use a smaller crop"
                )
        self.offsets = [burst.summary().offsets for burst in self.bursts]

    def pairs(self, step: int, rows: slice) -> Pair:
        """``rows`` of the global batch of ``step``."""
        generator = stream(self.seed, "burst pairs", step)
        places = torch.rand(self.batch_size, 3, generator=generator, dtype=torch.float64)
        longest = max(burst.shape[0] for burst in self.bursts)
        order = torch.rand(self.batch_size, longest, generator=generator)
        chosen = [self._place(places[i].tolist(), order[i]) for i in range(self.batch_size)[rows]]
        if not chosen:
            raise InputError(f"no rows {rows} in a batch of {self.batch_size}; use a larger batch")
        read = torch.stack([self._read(place) for place in chosen])  # (n, T + 1, C, h, w)
        return self._pair(read[:, : self.frames], read[:, self.frames], [place.burst for place in chosen])

    def validation(self) -> list[Pair]:
        """Unseen rows of each burst, up to 8: the first frames, and the truth or the mean of all other frames.

        The mean of n frames has 1 / n of their noise: the PSNR against it is too low by a little, and what is the same
        in all frames does not count as error.
        """
        return [self._validation_pair(i) for i in range(min(len(self.bursts), MOST_VALIDATION))]

    def _place(self, uniform: list[float], order: Tensor) -> _Place:
        """From three numbers (burst, row, column) in [0, 1) and the order of the frames."""
        index = int(uniform[0] * len(self.bursts))
        count, _, height, width = self.bursts[index].shape
        top = int(uniform[1] * (_border(height) - self.crop + 1))
        left = int(uniform[2] * (width - self.crop + 1))
        frames = torch.argsort(order[:count])[: self.frames + 1].tolist()
        return _Place(index, frames, slice(top, top + self.crop), slice(left, left + self.crop))

    def _read(self, place: _Place) -> Tensor:
        """Frames without lamp drift, (n, C, h, w)."""
        frames = self.bursts[place.burst].read(place.frames, place.rows, place.columns)
        return frames - self.offsets[place.burst][place.frames].view(-1, 1, 1, 1)

    def _pair(self, inputs: Tensor, target: Tensor, bursts: list[int]) -> Pair:
        valid = (inputs <= HIGHEST_VALID).all(dim=1).all(dim=1, keepdim=True)  # (n, 1, h, w)
        files = tuple(str(self.bursts[i].path) for i in bursts)
        return Pair(inputs if self.frames > 1 else inputs[:, 0], target, valid.to(target), files)

    def _validation_pair(self, index: int) -> Pair:
        burst = self.bursts[index]
        count, _, height, width = burst.shape
        first = _border(height)
        h, w = min(height - first, VALIDATION_SIZE), min(width, VALIDATION_SIZE)
        left = (width - w) // 2
        place = _Place(index, list(range(count)), slice(first, first + h), slice(left, left + w))
        frames = self._read(place)
        others = frames[self.frames :].mean(dim=0)
        target = burst.read_truth(place.rows, place.columns) if burst.has_truth else others
        return self._pair(frames[None, : self.frames], target[None], [index])


def _border(height: int) -> int:
    """The first row for validation; at least one row is."""
    return height - max(height // VALIDATION_SHARE, 1)
