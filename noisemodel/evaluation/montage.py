"""Crops spread over a large frame, judged as one recording: what is read does not grow with the frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from noisemodel.calibration.moments import HIGHEST_VALID
from noisemodel.errors import InputError
from noisemodel.evaluation.baselines import NoiseSource
from noisemodel.evaluation.recording import ReadableBurst, Recording

TILE = 64  # sensor pixels; crops are whole multiples, so that no patch of a KLD lies across two crops
Places = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Montage:
    """Crops of one frame, one below the other.

    whole: all of them as one recording with T = 1, for metrics that know no neighbours beyond a crop.
    pieces: each crop at its own place on the sensor: noise is drawn on these.
    """

    whole: Recording
    pieces: tuple[Recording, ...]

    @property
    def residual(self) -> Tensor:
        """Real residuals, (1, C, crops * h, w)."""
        return self.whole.residual(self.whole.frames)

    def drawn(self, source: NoiseSource, *, generator: torch.Generator) -> Tensor:
        """Residuals of a source, each crop drawn at its own origin, (1, C, crops * h, w)."""
        frames = [source.draw(piece, generator=generator) for piece in self.pieces]
        return self.whole.residual(torch.cat(frames, dim=-2))


class Lazy(Sequence[Recording]):
    """Recordings that are read when they are asked for, and not kept."""

    def __init__(self, readers: Sequence[Callable[[], Recording]]) -> None:
        """Take what reads each."""
        self.readers = readers

    def __len__(self) -> int:
        return len(self.readers)

    @overload
    def __getitem__(self, index: int) -> Recording: ...
    @overload
    def __getitem__(self, index: slice) -> "Lazy": ...
    def __getitem__(self, index: int | slice) -> "Recording | Lazy":
        return Lazy(self.readers[index]) if isinstance(index, slice) else self.readers[index]()


def crop_places(
    shape: Sequence[int], *, step: int, side: int, count: int, generator: torch.Generator
) -> tuple[Places, tuple[int, int]]:
    """Corners of at most ``count`` random crops that do not overlap, and their size, in plane pixels.

    A grid of crops is put at a random place of the frame; ``count`` of its cells are taken. An axis that is shorter
    than ``side`` is cut to a multiple of 64 sensor pixels, or taken whole where it has fewer.

    Args:
        shape: of the burst; its last two numbers are the height and width of the planes.
        step: sensor pixels from one plane pixel to the next.
        side: of a crop [sensor pixels].
        count: most crops.
        generator: the stream to draw places from.
    """
    lengths = [int(length) for length in shape[-2:]]
    size = [min(side // step, max(length * step // TILE * TILE // step, 1)) for length in lengths]
    size = [length if length * step < TILE else part for length, part in zip(lengths, size, strict=True)]
    cells = [length // part for length, part in zip(lengths, size, strict=True)]
    slack = [length - part * n for length, part, n in zip(lengths, size, cells, strict=True)]
    first = [int(torch.randint(free + 1, (), generator=generator)) for free in slack]
    chosen = torch.randperm(cells[0] * cells[1], generator=generator)[:count].sort().values.tolist()
    places = [(first[0] + cell // cells[1] * size[0], first[1] + cell % cells[1] * size[1]) for cell in chosen]
    return places, (size[0], size[1])


def read_montage(burst: ReadableBurst, frame: int, places: Places, size: tuple[int, int]) -> Montage:
    """Read the crops of one frame and of its ground truth, and nothing else.

    Raises: InputError if the file cannot be read, or holds NaN or infinite values.
    """
    pieces = tuple(_piece(burst, frame, place, size) for place in places)
    names = ("frames", "reference", "valid")
    frames, reference, valid = (torch.cat([getattr(piece, name) for piece in pieces], dim=-2) for name in names)
    first = pieces[0]
    joined = (frames, reference, reference, valid)
    whole = Recording(first.name, first.kind, first.layout, first.levels, *joined, origin=first.origin, centred=False)
    if not bool(valid.any()):
        raise InputError(
            f"{burst.path}: no pixel of {len(pieces)} crops lies between the black level and 95 % of white"
        )
    return Montage(whole, pieces)


def _piece(burst: ReadableBurst, frame: int, place: tuple[int, int], size: tuple[int, int]) -> Recording:
    """One crop of one frame beside its ground truth."""
    rows, columns = (slice(start, start + length) for start, length in zip(place, size, strict=True))
    frames, reference = burst.read([frame], rows, columns), burst.read_truth(rows, columns).unsqueeze(0)
    if not (bool(torch.isfinite(frames).all()) and bool(torch.isfinite(reference).all())):
        raise InputError(
            f"{burst.path} holds NaN or infinite values, in the noisy or in the clean frame; fetch it again"
        )
    origin = (burst.origin[0] + burst.pixel_step * place[0], burst.origin[1] + burst.pixel_step * place[1])
    low = burst.levels.clip_range[0] + min(2 * burst.levels.adc_step, 1e-3)
    valid = (reference <= HIGHEST_VALID) & (reference > low)
    facts = (burst.name, burst.kind, burst.layout, burst.levels)
    return Recording(*facts, frames, reference, reference, valid, origin, centred=False)
