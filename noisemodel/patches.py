"""Batches of crops as training reads them, and their cutting into patches."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Crops(NamedTuple):
    """N crops of T frames [fraction of white].

    frames: (N, T, C, h, w) recorded; without ground truth, less each frame's offset.
    reference: (N, 1, C, h, w) what residuals are taken from: ground truth, or the mean over the T frames.
    clean: (N, 1, C, h, w) what the noise law is conditioned on: the reference, 0 in a dark burst.
    valid: (N, 1, C, h, w) bool, False where the reference is saturated or clipped.
    origin: (N, 2) int64, sensor pixel (row, column) of each crop.
    centred: whether the reference is the burst's own mean, so that what is constant over the burst cancels.
    iso: (N,) sensitivity of each crop, where a batch holds several.
    files: where the crops come from, for messages.
    """

    frames: Tensor
    reference: Tensor
    clean: Tensor
    valid: Tensor
    origin: Tensor
    centred: bool
    iso: Tensor | None = None
    files: tuple[str, ...] = ()

    @property
    def residual(self) -> Tensor:
        """(frames - reference) * valid."""
        return (self.frames - self.reference) * self.valid

    def to(self, device: torch.device | str) -> "Crops":
        """The same crops on ``device``."""
        moved: dict[str, Any] = {name: v.to(device) for name, v in self._asdict().items() if isinstance(v, Tensor)}
        return self._replace(**moved)


class CropSource(Protocol):
    """Where batches come from: stateless, so that a step's batch is the same whenever it is asked for."""

    def batch(self, step: int, purpose: str = ..., rows: slice | None = ...) -> Crops:
        """Samples ``rows`` of the global batch of ``step``."""


def cut(values: Tensor, size: int) -> Tensor:
    """(N, T, C, h, w) -> (N P, T, C, size, size): non-overlapping patches, row by row; what is left over is dropped."""
    n, t, c, h, w = values.shape
    rows, columns = h // size, w // size
    grid = values[..., : rows * size, : columns * size].reshape(n, t, c, rows, size, columns, size)
    return grid.permute(0, 3, 5, 1, 2, 4, 6).reshape(n * rows * columns, t, c, size, size)


def cut_crops(crops: Crops, size: int, pixel_step: int) -> Crops:
    """Every patch as a crop of its own, at its own place on the sensor.

    Args:
        crops: N crops.
        size: of a patch, in plane pixels.
        pixel_step: sensor pixels from one plane pixel to the next: 2 on a mosaic.
    """
    frames, reference, clean, valid, origin, centred, iso, files = crops
    rows, columns = frames.shape[-2] // size, frames.shape[-1] // size
    steps = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    places = (steps.reshape(-1, 2) * size * pixel_step).to(origin.device)
    origin = (origin.unsqueeze(1) + places).reshape(-1, 2)
    frames, reference, clean, valid = (cut(whole, size) for whole in (frames, reference, clean, valid))
    iso = None if iso is None else iso.repeat_interleave(rows * columns)
    return Crops(frames, reference, clean, valid, origin, centred, iso, files)
