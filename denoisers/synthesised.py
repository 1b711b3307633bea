"""Pairs with synthesised camera noise: clean pictures -> linear raw -> noise of any source, for images and clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from denoisers.pairs import Pair
from denoisers.still_clips import cut_clip, draw_cut, middle_cut
from denoisers.unprocess import (
    Camera,
    check_channels,
    clean_planes,
    draw_camera,
    middle_camera,
    parse_light,
    picture_step,
)
from noisemodel.commandline import option
from noisemodel.errors import InputError
from noisemodel.noise_source import NoiseSource
from noisemodel.sources_darks import DarksSource
from noisemodel.streams import stream

BLOCK = 8  # samples whose noise is drawn together: a process draws only the blocks that it needs
UNKNOWN_SENSOR = (4096, 4096)  # [sensor px]; where nothing depends on the place but a phase
VALIDATION_SHARE, MOST_VALIDATION = 10, 8
VALIDATION_SIZE = 256  # largest height and width of a validation image, in pixels of a plane
VALIDATION_SPEED = 2  # of validation clips [picture px per frame]


@dataclass(frozen=True)
class SynthesisOptions:
    """What training on synthesised noise can be told."""

    linear: bool = option(False, "clean images are linear light already; sRGB pictures are unprocessed to raw")
    light: str = option("0.1,1", "LOW,HIGH: what full white of a picture becomes [fraction of white], log-uniform")
    amplify: float = option(1.0, "digital gain before the network, for low light: about 1 / HIGH of --light")
    motion: int = option(4, "of clips made from pictures: fastest pan [pixels per frame]; 0 for static clips")

    def __post_init__(self) -> None:
        """Check the figures."""
        parse_light(self.light)
        if not 0 < self.amplify < float("inf"):
            raise InputError(
                f"--amplify must be a positive number, got {self.amplify}; 1 leaves the images as they are"
            )
        if self.motion < 0:
            raise InputError(f"--motion must be at least 0, got {self.motion}")


Window = tuple[tuple[int, int], tuple[int, int]]


def sensor_window(source: NoiseSource) -> Window | None:
    """(first, end) sensor rows and columns for which a source has noise; None where any place will do.

    Raises: InputError if dark frames have no place in common.
    """
    if isinstance(source, DarksSource):
        spans = []
        for axis in (0, 1):
            bursts = source.darks.bursts
            step = 2 if source.darks.shot.layout == "mosaic" else 1
            first = max(burst.origin[axis] for burst in bursts)
            end = min(burst.origin[axis] + step * burst.shape[2 + axis] for burst in bursts)
            if first >= end:
                raise InputError(f"the dark frames of {source.text} have no place in common; use darks of one window")
            spans.append((first, end))
        return spans[0], spans[1]
    if source.model is None:
        return None
    physical = source.model.physical
    sizes = [physical.sensor_size] if physical.sensor_size is not None else []
    sizes += [(t.shape[-2], t.shape[-1]) for t in (*physical.buffers(), *physical.parameters()) if t.ndim == 3]
    if not sizes:
        return None
    return (0, min(rows for rows, _ in sizes)), (0, min(columns for _, columns in sizes))


def hold_out(images: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Training and validation images: the last tenth (1 at least, 8 at most) is for validation.

    Raises: InputError for fewer than two images.
    """
    if len(images) < 2:
        raise InputError(f"one clean image is needed for training and one for validation, got {len(images)} in all")
    count = min(max(len(images) // VALIDATION_SHARE, 1), MOST_VALIDATION)
    return list(images[:-count]), list(images[-count:])


@final
class SynthesisedPairs:
    """noisy = amplify * (x + noise(x, place)), target = amplify * x, x = exposure * unprocess(picture).

    A batch is a pure function of (seed, step). Places on the sensor are drawn uniformly where the source has noise, so
    that what is fixed on the sensor stays at its place. A clip is one draw of the source: what is static or constant
    over a burst (fixed pattern, rowt, colt) is the same in its frames although the picture moves, the rest is new in
    each. The target is never clipped.

    Args:
        images: clean pictures (C, H, W), uint8 or float in [0, 1], C = 1 or 3, of any size; linear images may be packed
            (C = 4). Smaller ones than the crop are reflected at their borders.
        validation: the same, for `validation`.
        source: adds the noise.
        layout, channels: "mosaic" with 4, "planes" with 1 (mono) or 3.
        crop: height and width of a crop, in pixels of a plane.
        batch_size: samples of the global batch.
        seed: of everything that is drawn.
        frames: 1, or T of clips; the target is the middle frame.
        cfa: colours of the mosaic by position; None is RGGB.
        options: light, gain, motion.
        sensor_size: (rows, columns) [sensor px] of places; None is where the source has noise.
    Raises: InputError for images that fit no layout, or a sensor smaller than the crop.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        validation: Sequence[Tensor],
        source: NoiseSource,
        *,
        layout: str,
        channels: int,
        crop: int,
        batch_size: int,
        seed: int,
        frames: int = 1,
        cfa: str | None = None,
        options: SynthesisOptions | None = None,
        sensor_size: tuple[int, int] | None = None,
    ) -> None:
        """Check images and places; nothing is drawn."""
        self.options = options or SynthesisOptions()
        if not images or min(crop, batch_size) < 1 or frames < 1 or frames % 2 == 0:
            raise InputError(
                f"need clean images, crop and batch size >= 1 and an odd number of frames; got {len(images)} images, "
                f"{crop}, {batch_size} and {frames}"
            )
        pictures = {image.shape[0] if image.ndim == 3 else 0 for image in (*images, *validation)}
        check_channels(layout, channels, pictures, self.options.linear)
        if source.layout != layout:
            raise InputError(f'the noise has layout "{source.layout}", the pairs "{layout}"; open the noise in it')
        _check_values([*images, *validation])
        self.images, self.clean_validation, self.source = list(images), list(validation), source
        self.layout, self.channels, self.frames, self.cfa = layout, channels, frames, cfa
        self.crop, self.batch_size, self.seed = crop, batch_size, seed
        self.amplify, self.light = self.options.amplify, parse_light(self.options.light)
        self.pixel_step = 2 if layout == "mosaic" else 1
        (count,) = pictures
        self.picture_step = picture_step(layout, count)
        self.colour_sites = self.options.linear and layout == "mosaic" and count != 3  # turning would swap colours
        self.window = _window(source, sensor_size)
        self._places((crop, crop))

    def pairs(self, step: int, rows: slice) -> Pair:
        """``rows`` of the global batch of ``step``; other rows cost at most the rest of a block of 8."""
        wanted = range(self.batch_size)[rows]
        if not wanted:
            raise InputError(f"no rows {rows} in a batch of {self.batch_size}; use a larger batch")
        first, end = min(wanted) // BLOCK * BLOCK, min(-(-(max(wanted) + 1) // BLOCK) * BLOCK, self.batch_size)
        blocks = [self._block(step, i, min(i + BLOCK, end)) for i in range(first, end, BLOCK)]
        noisy, clean = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        chosen = torch.tensor([i - first for i in wanted], device=noisy.device)
        return self._pair(noisy[chosen], clean[chosen])

    def validation(self) -> list[Pair]:
        """The middle of each validation image, up to 256 pixels, with the middle camera and always the same noise."""
        return [self._validation_pair(i) for i in range(len(self.clean_validation))]

    def _block(self, step: int, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Samples first..end - 1 of the batch: noisy and clean, (n, T, C, h, w)."""
        generator = stream(self.seed, "synthesised", step, first)
        side = self.crop * self.picture_step
        cut = draw_cut(
            [(image.shape[1], image.shape[2]) for image in self.images],
            end - first,
            side,
            frames=self.frames,
            motion=self.options.motion if self.frames > 1 else 0,
            step=2 if self.colour_sites and self.picture_step == 2 else 1,
            generator=generator,
        )
        camera = draw_camera(end - first, self.light, generator=generator)
        origin = self._origin(end - first, (self.crop, self.crop), generator)
        turned = not self.colour_sites
        clips = [cut_clip(self.images, cut, i, (side, side), turned=turned) for i in range(end - first)]
        clean = self._clean(torch.stack(clips), camera)
        return self._noisy(clean, origin, "noise", step, first), clean

    def _validation_pair(self, i: int) -> Pair:
        """One validation image."""
        images = self.clean_validation
        (low, high), (left, right) = self.window
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        limits = (VALIDATION_SIZE, (high - low) // self.pixel_step, (right - left) // self.pixel_step)
        h = min(sizes[i][0] // self.picture_step, limits[0], limits[1])
        w = min(sizes[i][1] // self.picture_step, limits[0], limits[2])
        size = (h * self.picture_step, w * self.picture_step)
        if not h * w:
            raise InputError(f"a validation image is only {sizes[i][0]}x{sizes[i][1]} pixels; leave it out")
        speed = min(VALIDATION_SPEED, self.options.motion // 2 * 2)
        cut = middle_cut(sizes, i, size, self.frames, speed)
        clean = self._clean(cut_clip(images, cut, 0, size, turned=False)[None], middle_camera(1, self.light))
        places = stream(self.seed, "synthesised", "validation place", i)
        noisy = self._noisy(clean, self._origin(1, (h, w), places), "validation", i)
        return self._pair(noisy, clean)

    def _clean(self, clips: Tensor, camera: Camera) -> Tensor:
        linear = self.options.linear
        return clean_planes(clips, camera, layout=self.layout, channels=self.channels, cfa=self.cfa, linear=linear)

    def _noisy(self, clean: Tensor, origin: Tensor, *purpose: str | int) -> Tensor:
        """One draw of the source for (n, T, C, h, w)."""
        generator = stream(self.seed, "synthesised", *purpose, device=clean.device)
        return self.source.draw(clean, generator=generator, origin=origin.to(clean.device))

    def _pair(self, noisy: Tensor, clean: Tensor) -> Pair:
        """Amplified; images without the axis of frames."""
        target = self.amplify * clean[:, self.frames // 2]
        noisy = self.amplify * noisy
        return Pair(noisy if self.frames > 1 else noisy[:, 0], target)

    def _origin(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Uniform places, (N, 2) [sensor px]."""
        (low, high), (left, right) = self._places(size)
        extent = torch.tensor([high - low, right - left]) // self.pixel_step + 1
        places = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * extent).long()
        return torch.tensor([low, left]) + places * self.pixel_step

    def _places(self, size: tuple[int, int]) -> Window:
        """First and last sensor row and column at which a crop of ``size`` may begin, all even on a mosaic."""
        found = []
        for (first, end), length in zip(self.window, size, strict=True):
            last = end - length * self.pixel_step
            if last < first:
                raise InputError(
                    f"a crop of {length} pixels needs {length * self.pixel_step} of the sensor, the noise is known for "
                    f"{end - first}; use a smaller crop"
                )
            found.append((first, first + (last - first) // self.pixel_step * self.pixel_step))
        return found[0], found[1]


def _window(source: NoiseSource, sensor_size: tuple[int, int] | None) -> Window:
    """Where places are drawn: what is asked for, within what the source has."""
    known = sensor_window(source)
    if sensor_size is None:
        return known or ((0, UNKNOWN_SENSOR[0]), (0, UNKNOWN_SENSOR[1]))
    if known is None:
        return (0, sensor_size[0]), (0, sensor_size[1])
    (low, high), (left, right) = known
    return (low, min(high, sensor_size[0])), (left, min(right, sensor_size[1]))


def _check_values(images: Sequence[Tensor]) -> None:
    """Raise InputError for what is neither 8 bit nor fractions."""
    for image in images:
        if 0 in image.shape:
            raise InputError(f"a clean image is empty, {tuple(image.shape)}; leave it out")
        if image.dtype == torch.uint8:
            continue
        low, high = (float(v) for v in image.aminmax()) if image.is_floating_point() else (-1.0, -1.0)
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(
                f"clean images are uint8 or floats in [0, 1], got {image.dtype} {low:g}..{high:g}; divide by the white"
            )
