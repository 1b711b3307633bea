"""Random crops of bursts: the numbers of a batch depend on (seed, purpose, step) alone."""

from typing import Literal, final

import torch
from torch import Tensor

from datasets.burst import Burst, BurstSet
from noisemodel.errors import InputError
from noisemodel.patches import Crops
from noisemodel.sensor import Levels
from noisemodel.streams import stream

Split = Literal["train", "validation"]

# Above this a highlight's noise is cut by the white level [fraction of white].
HIGHEST_VALID = 0.95
# Distance kept from the lower end of the clip range: 2 ADC steps, where one is known (not for levels 0 and 1).
_LOW_STEPS, _LOW_FRACTION = 2.0, 1e-3
_VALIDATION_SHARE = 8


Batch = Crops  # what a sampler draws


@final
class CropSampler:
    """Draws crops uniformly over bursts, places and frames; it keeps no state between batches.

    Args:
        burst_set: scenes and darks are used; flats too without ground truth, or when there is no scene.
        crop: height and width in pixels of a plane.
        frames: most frames per sample; no more than the shortest burst has.
        batch_size: samples of the global batch.
        seed: of the run.
        split: "train", or "validation": the last eighth of the rows (at least ``crop``), where the frames have
            2 * crop rows or more; smaller frames serve both.
        include_darks: whether dark bursts are drawn as well.
    Raises: InputError if the crop is larger than a frame, some bursts have ground truth and others do not, or a
        burst holds NaN, contradicts the levels or is mostly saturated.
    """

    def __init__(
        self,
        burst_set: BurstSet,
        *,
        crop: int,
        frames: int,
        batch_size: int,
        seed: int,
        split: Split = "train",
        include_darks: bool = True,
    ) -> None:
        """Check every burst that will be drawn, in one pass over its frames."""
        self.bursts = _used(burst_set, include_darks)
        self.centred = not self.bursts[0].has_truth
        if min(batch_size, crop) < 1 or frames < 1 + self.centred:
            least = "2 frames (without ground truth the reference is their mean)" if self.centred else "1 frame"
            raise InputError(f"need crop and batch size >= 1 and {least}, got {crop}, {batch_size} and {frames}")
        for burst in self.bursts:
            height, width = burst.shape[2:]
            if crop > min(height, width):
                raise InputError(
                    f"crop {crop} is larger than {burst.path}: {height}x{width} per plane; give a smaller --crop_size"
                )
        self.crop, self.batch_size, self.seed, self.split = crop, batch_size, seed, split
        self.frames = min([frames, *(burst.shape[0] for burst in self.bursts)])
        self._summaries = [burst.summary() for burst in self.bursts]

    def batch(self, step: int, purpose: str = "train", rows: slice | None = None) -> Batch:
        """The batch of a step: the same bits for the same (seed, purpose, step).

        Args:
            step: number of the batch.
            purpose: name of the random stream, e.g. "train" or "validation".
            rows: samples of the global batch to read (a rank's share); all by default.
        Returns: the batch, equal to the same rows of the global one.
        """
        generator = stream(self.seed, purpose, step)
        places = torch.rand(self.batch_size, 3, generator=generator, dtype=torch.float64)
        longest = max(burst.shape[0] for burst in self.bursts)
        order = torch.rand(self.batch_size, longest, generator=generator, dtype=torch.float64)
        chosen = range(self.batch_size)[rows or slice(None)]
        samples = [self._sample(places[i], order[i]) for i in chosen]
        files = tuple(str(self.bursts[_scaled(places[i][0], len(self.bursts))].path) for i in chosen)
        frames, reference, clean, valid, origin = (torch.stack(parts) for parts in zip(*samples, strict=True))
        return Batch(frames, reference, clean, valid, origin, self.centred, files=files)

    def _sample(self, place: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One sample from its three numbers (burst, row, column) in [0, 1) and the order of its frames."""
        index = _scaled(place[0], len(self.bursts))
        burst, summary = self.bursts[index], self._summaries[index]
        count, _, height, width = burst.shape
        first, end = self._row_range(height)
        top = first + _scaled(place[1], end - first - self.crop + 1)
        left = _scaled(place[2], width - self.crop + 1)
        rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
        chosen = torch.argsort(order[:count])[: self.frames]
        frames = burst.read(chosen.tolist(), rows, columns)  # (T, C, h, w)
        if not burst.has_truth:
            frames = frames - summary.offsets[chosen].view(-1, 1, 1, 1)
            reference = frames.mean(dim=0, keepdim=True)
        else:
            reference = burst.read_truth(rows, columns).unsqueeze(0)
        clean = reference
        if burst.kind == "dark" and not burst.has_truth:
            clean = torch.zeros_like(reference)  # what a dark shows is offset, not light: no shot noise
        row, column = burst.origin
        origin = torch.tensor([row + burst.pixel_step * top, column + burst.pixel_step * left], dtype=torch.int64)
        return frames, reference, clean, _valid(reference, burst.levels), origin

    def _row_range(self, height: int) -> tuple[int, int]:
        """First and last + 1 row of a plane that this split may read."""
        if height < 2 * self.crop:
            return 0, height
        border = height - max(height // _VALIDATION_SHARE, self.crop)
        return (0, border) if self.split == "train" else (border, height)


def _used(burst_set: BurstSet, include_darks: bool) -> tuple[Burst, ...]:
    """The bursts that are drawn: all with ground truth, or all without."""
    scenes = burst_set.scenes if burst_set.scenes and burst_set.has_truth else burst_set.scenes + burst_set.flats
    used = scenes + (burst_set.darks if include_darks else ())
    if not used:
        raise InputError(f"data set {burst_set.name} has dark bursts only; record scenes, or include the darks")
    without = [burst for burst in used if not burst.has_truth]
    if 0 < len(without) < len(used):
        raise InputError(
            f"{len(without)} of {len(used)} bursts have no ground truth, such as {without[0].path}; "
            "keep bursts with and without it in different data sets"
        )
    return used


def _scaled(uniform: Tensor, count: int) -> int:
    """A number in [0, 1) as an index 0..count-1."""
    return min(int(float(uniform) * count), count - 1)


def _valid(reference: Tensor, levels: Levels) -> Tensor:
    """Where the reference keeps clear of both ends of the clip range."""
    low = levels.clip_range[0] + min(_LOW_STEPS * levels.adc_step, _LOW_FRACTION)
    return (reference <= HIGHEST_VALID) & (reference > low)
