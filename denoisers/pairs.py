"""What every denoiser is trained on: pairs of a noisy image and a target."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Pair(NamedTuple):
    """A batch of noisy images and what a denoiser should make of them, fractions of white.

    Attributes:
        noisy: (N, C, H, W), or (N, T, C, H, W) for clips.
        target: (N, C, H, W), clean or noisy, never clipped; of a clip the target of its middle frame.
        mask: (N, 1, H, W), 1 where the target counts, else 0; None where all of it does.
        files: what the images are called, for messages.
    """

    noisy: Tensor
    target: Tensor
    mask: Tensor | None = None
    files: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "Pair":
        """The same on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Pair(self.noisy.to(device), self.target.to(device), mask, self.files)


class PairSource(Protocol):
    """Where pairs come from.

    Attributes:
        channels: C.
        frames: T; 1 for single images.
        layout: "srgb" (gamma pictures, C = 1 or 3), "planes" (linear, C = 1 or 3) or "mosaic" (linear, packed, C = 4).
    """

    @property
    def channels(self) -> int: ...

    @property
    def frames(self) -> int: ...

    @property
    def layout(self) -> str: ...

    def pairs(self, step: int, rows: slice) -> Pair:
        """``rows`` of the global batch of ``step``: a pure function of the seed and the step."""

    def validation(self) -> Sequence[Pair]:
        """Fixed noisy images of any size, N = 1 each, with clean targets where these are known."""
