"""Noise2Noise's pairs: two corruptions of the same crop of a picture, or one and the clean crop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from denoisers.borders import reflect_to
from denoisers.corruption import Corrupted
from denoisers.pairs import Pair
from noisemodel.errors import InputError
from noisemodel.streams import stream

VALIDATION_SEED = 0  # the same validation noise whatever the seed of a run, so that runs compare
Draw = Callable[[Tensor, torch.Generator], Tensor]


class Corrupting(Protocol):
    """What makes noisy images of clean ones; `denoisers.corruption.Corruption` is one."""

    @property
    def typical(self) -> float | None:
        """The level to validate at."""

    def draw(self, clean: Tensor, *, generator: torch.Generator, level: float | None = None) -> Corrupted:
        """Corrupt (N, C, H, W)."""


@final
@dataclass(frozen=True, eq=False)
class CameraCorruption:
    """The noise of a camera's model as a corruption; ``level`` has no meaning, a model has its own.

    Args:
        draw_noisy: of (clean, generator), e.g. of an open noise source.
    """

    draw_noisy: Draw
    typical: float | None = None

    def draw(self, clean: Tensor, *, generator: torch.Generator, level: float | None = None) -> Corrupted:
        """Corrupt (N, C, H, W)."""
        return Corrupted(self.draw_noisy(clean, generator))


@final
@dataclass(frozen=True)
class PairSettings:
    """How pairs are cut and drawn.

    Args:
        batch_size: of the global batch.
        crop_size: height and width of the crops [px]; 0 takes whole images.
        channels: 1 or 3.
        seed: of places and noise.
        layout: of the images, see `PairSource`.
        device: where the noise is drawn and the pairs are.
    Raises: InputError for numbers that make no batch.
    """

    batch_size: int
    crop_size: int = 128
    channels: int = 3
    seed: int = 0
    layout: str = "srgb"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.batch_size < 1 or self.crop_size < 0:
            raise InputError(
                f"need a batch of at least 1 and crops of at least 0 px, got {self.batch_size} and {self.crop_size}"
            )


class PicturePairs:
    """A `PairSource` of pictures.

    Args:
        images: (C, H, W) each, uint8 or fractions of white, of any sizes; for training.
        held_out: likewise, for validation.
        inputs: corrupts the input.
        targets: corrupts the target; None for clean targets.
        settings: see `PairSettings`.
        names: of ``images``, for messages.
    Raises: InputError where there are no images, or of another number of channels.
    """

    frames = 1

    def __init__(
        self,
        images: Sequence[Tensor],
        held_out: Sequence[Tensor],
        inputs: Corrupting,
        targets: Corrupting | None,
        settings: PairSettings,
        names: Sequence[str] = (),
    ) -> None:
        """Keep everything; nothing is drawn yet."""
        if not len(images):
            raise InputError("there are no images to train on; give a folder of some")
        self.images, self.held_out, self.settings, self.names = images, held_out, settings, names
        self.inputs, self.targets = inputs, targets
        self.channels, self.layout = settings.channels, settings.layout

    def pairs(self, step: int, rows: slice) -> Pair:
        """Draw the global batch of ``step``, and give its ``rows``."""
        asked = self.settings
        draws = stream(asked.seed, "crops", step)
        chosen = torch.randint(len(self.images), (asked.batch_size,), generator=draws).tolist()
        clean, inside = crops([self.images[i] for i in chosen], asked.crop_size, generator=draws)
        if clean.shape[1] != self.channels:
            raise InputError(f"images have {clean.shape[1]} channels, the denoiser {self.channels}; change one of them")
        clean = clean.to(asked.device)
        noisy = self.inputs.draw(clean, generator=stream(asked.seed, "input", step, device=asked.device)).noisy
        target, mask = clean, None
        if self.targets is not None:
            draws = stream(asked.seed, "target", step, device=asked.device)
            target, mask = self.targets.draw(clean, generator=draws)
        if inside is not None:
            inside = inside.to(asked.device)
            mask = inside if mask is None else mask * inside
        files = tuple(self.names[i] for i in chosen) if self.names else ()
        return Pair(noisy[rows], target[rows], None if mask is None else mask[rows], files[rows])

    def validation(self) -> Sequence[Pair]:
        """One pair a held-out image, at the typical level of the corruption, with the clean image."""
        pairs = []
        for number, image in enumerate(self.held_out):
            clean = as_fractions(image)[None].to(self.settings.device)
            draws = stream(VALIDATION_SEED, "validation", number, device=self.settings.device)
            noisy = self.inputs.draw(clean, generator=draws, level=self.inputs.typical).noisy
            pairs.append(Pair(noisy, clean))
        return pairs


def as_fractions(image: Tensor) -> Tensor:
    """float32; 8-bit values are divided by 255."""
    return image.float() / 255.0 if image.dtype == torch.uint8 else image.float()


def crops(images: Sequence[Tensor], size: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """A crop of each image at a random place inside it, mirrored left to right or not.

    Args:
        images: (C, H, W) each, of any size; smaller ones are reflected to ``size``.
        size: height and width [px]; 0 takes whole images, which are reflected to the largest of them.
        generator: of the places.
    Returns: (N, C, h, w) fractions of white; and (N, 1, h, w), 1 inside each image, where whole ones differ in size.
    Raises: InputError for images of different numbers of channels.
    """
    if len({len(image) for image in images}) > 1:
        raise InputError("images of one batch differ in channels; make them all grey, or all colour")
    places = torch.rand((len(images), 3), generator=generator).tolist()
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = (size, size) if size else sizes.amax(0).tolist()
    cut = []
    for image, (down, right, mirror) in zip(images, places, strict=True):
        top = int(down * (max(image.shape[-2] - height, 0) + 1))
        left = int(right * (max(image.shape[-1] - width, 0) + 1))
        crop = reflect_to(as_fractions(image[:, top : top + height, left : left + width]), height, width)
        cut.append(crop.flip(-1) if mirror < 0.5 and (size or image.shape[-1] == width) else crop)
    if size or bool((sizes == sizes[0]).all()):
        return torch.stack(cut), None
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    inside = (rows < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])  # (N, h, w)
    return torch.stack(cut), inside[:, None].float()
