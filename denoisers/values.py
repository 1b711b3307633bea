"""From pixel values to the signals a denoiser knows, and back to the file's own type of values."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from denoisers.files import OpenFile
from denoisers.trained import DenoiserSettings
from noisemodel.errors import InputError
from noisemodel.images import Array
from noisemodel.sensor import Levels, pack_mosaic, unpack_mosaic
from noisemodel.synthesis import Scale, choose_scale


@final
@dataclass(frozen=True, eq=False)
class Values:
    """How the pages of one file become (C, h, w) fractions of white, and how a result becomes a page again.

    Args:
        file: what is read and written.
        scale: black and white of its values; the highest black level, where positions of a mosaic differ.
        mosaic: whether a page of one channel is packed into four planes by position.
        below: (2, 2) the highest black level minus that of each position [DN]; None where all are the same.
        shift: rows and columns put before a mosaic, so that its colours begin as the denoiser's do.
    """

    file: OpenFile
    scale: Scale
    mosaic: bool = False
    below: Tensor | None = None
    shift: tuple[int, int] = (0, 0)

    def signal(self, page: Array) -> Tensor:
        """x = (value - black) / (white - black), (C, h, w) float32; alpha left out, a mosaic packed.

        An odd mosaic is extended by reflection, which keeps its colours in their places.
        Raises: InputError for NaN, and for values far above the white level.
        """
        light = self._planes(page)[: self.file.image.channels]
        values = torch.from_numpy(np.array(light, np.float32, order="C"))
        if self.below is not None:
            values += _tiled(self.below, *values.shape[-2:])
        try:
            signal = self.scale.to_signal(values)
        except InputError as error:
            raise InputError(f"{self.file.image.path}: {error}") from error
        return pack_mosaic(self._even(signal[0])) if self.mosaic else signal

    def page(self, signal: Tensor, page: Array) -> Array:
        """The page whose light is ``signal``: integers rounded and clipped to their range, floats neither."""
        image = self.file.image
        if self.mosaic:
            height, width = page.shape if image.channel_axis is None else self._planes(page).shape[-2:]
            top, left = self.shift
            signal = unpack_mosaic(signal)[None, top : top + height, left : left + width]
        values = signal * (self.scale.white - self.scale.black) + self.scale.black
        if self.below is not None:
            values = values - _tiled(self.below, *values.shape[-2:])
        if image.dtype.kind != "f":
            values = values.round_().clamp_(0, np.iinfo(image.dtype).max)
        whole = self._planes(page).copy()
        whole[: image.channels] = values.numpy()
        return np.ascontiguousarray(
            whole[0] if image.channel_axis is None else np.moveaxis(whole, 0, image.channel_axis)
        )

    def _planes(self, page: Array) -> Array:
        """(C + alpha, H, W), a view."""
        axis = self.file.image.channel_axis
        return page[None] if axis is None else np.moveaxis(page, axis, 0)

    def _even(self, mosaic: Tensor) -> Tensor:
        """Reflect rows and columns: as many before as the shift says, and to an even size."""
        for axis, before in enumerate(self.shift):
            size = mosaic.shape[axis]
            place = torch.arange(-before, size + (size + before) % 2).abs()
            mosaic = mosaic.index_select(axis, torch.minimum(place, 2 * size - 2 - place).clamp_min(0))
        return mosaic


def values_of(
    file: OpenFile, settings: DenoiserSettings, *, values: str = "auto", levels: Levels | None = None
) -> Values:
    """What the values of ``file`` mean to a denoiser.

    Args:
        file: an opened file.
        settings: of the denoiser.
        values: "auto", "dn" or "full_scale", as `noisemodel.synthesis.choose_scale`.
        levels: given by the user; else a raw file's own, else the denoiser's.
    Raises: InputError if the file is not of the kind that the denoiser was trained on.
    """
    _check_kind(file, settings)
    image, mosaic = file.image, settings.layout == "mosaic" and file.image.channels == 1
    if file.raw is not None:
        black = torch.tensor(file.raw.black_dn).reshape(2, 2)
        own = levels or file.raw.levels
        scale = Scale(own.black_dn, own.white_dn, why="the raw file's levels" if levels is None else "DN")
        below = None if levels or bool((black == black.max()).all()) else black.max() - black
        return Values(file, scale, True, below, _shift(file.raw.cfa, settings, image.path))
    linear = settings.layout != "srgb"
    raw = linear and file.suffix != ".png" and not image.alpha
    known = levels or (settings.levels if linear else None)
    if linear and values == "auto" and known is None and image.dtype.kind != "f":
        raise InputError(
            f"{image.path} holds {image.dtype} and the denoiser knows no levels; "
            "give --black_level and --white_level, or --values full_scale"
        )
    asked = "dn" if levels is not None and values == "auto" else values
    return Values(file, choose_scale(image.dtype, values=asked, levels=known, raw=raw), mosaic)


def _check_kind(file: OpenFile, settings: DenoiserSettings) -> None:
    """Refuse pictures for a denoiser of raw, and the other way round."""
    image, kinds = file.image, {"srgb": "pictures", "planes": "linear images", "mosaic": "raw mosaics"}
    trained = f"the denoiser was trained on {kinds[settings.layout]} of {settings.channels} channel(s)"
    if file.raw is not None and settings.layout != "mosaic":
        raise InputError(f"{image.path} is a raw file, {trained}; use one of layout mosaic, or develop the file")
    if settings.layout == "mosaic":
        if image.channels not in (1, 4) or (file.suffix == ".png" and image.channels != 1):
            raise InputError(f"{image.path} is a picture, {trained}; give it raw, or use a denoiser of layout srgb")
    elif image.channels != settings.channels:
        raise InputError(f"{image.path} has {image.channels} channel(s), {trained}; convert it, or use another one")


def _shift(cfa: str, settings: DenoiserSettings, path: Path) -> tuple[int, int]:
    """Rows and columns to put before a mosaic of ``cfa``, so that it begins as the denoiser's."""
    if settings.cfa is None or settings.cfa == cfa:
        return 0, 0
    cells = np.array(list(cfa)).reshape(2, 2)
    for shift in ((0, 1), (1, 0), (1, 1)):
        if "".join(np.roll(cells, shift, (0, 1)).ravel()) == settings.cfa:
            return shift
    raise InputError(f"the colours of {path} are {cfa}, the denoiser was trained on {settings.cfa}; use another one")


def _tiled(cell: Tensor, height: int, width: int) -> Tensor:
    """A 2x2 cell repeated to (H, W)."""
    return cell.repeat(-(-height // 2), -(-width // 2))[:height, :width]
