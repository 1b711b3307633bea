"""Letters over images: a glyph atlas drawn once, then pasted at random places by one scatter for a whole batch."""

import math
import string
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from noisemodel.errors import InputError

LETTERS = string.ascii_letters
SIZES = (10, 14, 20, 28)  # of the font [px]
CHUNK = 1 << 21  # inked pixels of letters that are scattered at a time
NONE = 1 << 40  # the number of no letter
PACKAGED = "fonts/ttf/DejaVuSans.ttf"  # in matplotlib's data


class Atlas(NamedTuple):
    """The inked pixels of every letter at every size.

    Attributes:
        rows, columns: (P,) place of every inked pixel in its letter's box.
        start, inked: (A,) where a letter's pixels begin, and how many there are.
        height, width: of the largest box [px].
    """

    rows: Tensor
    columns: Tensor
    start: Tensor
    inked: Tensor
    height: int
    width: int

    def to(self, device: torch.device | str) -> "Atlas":
        """The same on another device."""
        rows, columns, start, inked = (x.to(device) for x in (self.rows, self.columns, self.start, self.inked))
        return Atlas(rows, columns, start, inked, self.height, self.width)


@lru_cache(maxsize=8)
def glyph_atlas(font: Path | None = None, device: str = "cpu") -> Atlas:
    """Draw `LETTERS` at all `SIZES`.

    Args:
        font: a TrueType or OpenType file; None for DejaVu Sans, which comes with matplotlib.
        device: where the atlas is kept.
    Raises: InputError if the font is missing or damaged.
    """
    file = Path(matplotlib.get_data_path()) / PACKAGED if font is None else font
    if not file.is_file():
        raise InputError(f"no such font: {file}; name a .ttf or .otf file with --font")
    places: list[tuple[np.ndarray, ...]] = []
    try:
        for size in SIZES:
            face = ImageFont.truetype(str(file), size)
            places += [found for letter in LETTERS if len((found := _ink(letter, face))[0])]
    except OSError as error:
        raise InputError(f"{file} is no font that can be read ({error}); name another with --font") from error
    if not places:
        raise InputError(f"the font {file} has no letters; name another with --font")
    count = torch.tensor([len(rows) for rows, _ in places])
    rows, columns = (torch.from_numpy(np.concatenate(axis)) for axis in zip(*places, strict=True))
    atlas = Atlas(rows, columns, count.cumsum(0) - count, count, int(rows.max()) + 1, int(columns.max()) + 1)
    return atlas.to(device)


def _ink(letter: str, face: ImageFont.FreeTypeFont) -> tuple[np.ndarray, ...]:
    """Rows and columns of the inked pixels of a letter."""
    left, top, right, bottom = (int(value) for value in face.getbbox(letter))
    if right <= left or bottom <= top:
        return np.nonzero(np.zeros((1, 1)))
    box = Image.new("1", (right - left, bottom - top))
    ImageDraw.Draw(box).text((-left, -top), letter, fill=1, font=face)
    return np.nonzero(np.asarray(box))


def write_text(clean: Tensor, coverage: Tensor, atlas: Atlas, *, generator: torch.Generator) -> Tensor:
    """Paste letters of random kind, place and colour, each under those before it, until enough is covered.

    Letter m of an image counts where no earlier letter lies; the number of letters is the one whose covered share is
    nearest to ``coverage``. Colours are U(0, 1) in each channel.

    Args:
        clean: (N, C, H, W) [fraction of white].
        coverage: (N,) shares of the pixels in [0, 1).
        atlas: from `glyph_atlas`, on the device of ``clean``.
        generator: of the same device.
    Returns: (N, C, H, W).
    """
    first, chosen = _first_letters(clean, coverage, atlas, generator)
    covered = first < chosen[:, None]  # (N, H W)
    letters = int(chosen.max())
    if letters == 0:
        return clean.clone()
    images, channels = clean.shape[:2]
    colours = torch.rand((images, channels, letters), generator=generator, device=clean.device, dtype=clean.dtype)
    index = first.clamp(max=letters - 1)[:, None].expand(-1, channels, -1)
    painted = torch.where(covered[:, None], colours.gather(2, index), clean.flatten(2))
    return painted.view_as(clean)


def _first_letters(clean: Tensor, coverage: Tensor, atlas: Atlas, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The number of the first letter on every pixel, (N, H W), and how many letters each image takes, (N,)."""
    images, _, height, width = clean.shape
    most = float(coverage.max())
    if not (float(coverage.min()) >= 0 and most < 1):
        raise InputError(f"text can cover a share in [0, 1), got {coverage.min():g} to {most:g}")
    first = torch.full((images, height * width + 1), NONE, device=clean.device)  # the last column: outside the image
    ink = float(atlas.inked.float().mean())
    needed = -math.log1p(-most) * (height + atlas.height) * (width + atlas.width) / ink  # letters, on the average
    letters = max(1, min(int(1.1 * needed) + 8, int(CHUNK / (images * ink))))
    total = 0
    while True:
        _scatter(first, (height, width), total, letters, atlas, generator)
        total += letters
        shares = _shares(first[:, :-1], total)  # (N, total + 1)
        if bool((shares[:, -1] >= coverage).all()):
            return first[:, :-1], (shares - coverage[:, None]).abs().argmin(1)


def _shares(first: Tensor, total: int) -> Tensor:
    """(N, total + 1): the share of pixels that the first 0, 1 .. ``total`` letters cover."""
    fresh = torch.zeros((len(first), total + 2), device=first.device)  # pixels that letter m - 1 is the first on
    place = (first + 1).clamp(max=total + 1)
    fresh.scatter_add_(1, place, torch.ones_like(place, dtype=fresh.dtype))
    return fresh[:, :-1].cumsum(1) / first.shape[1]


def _scatter(
    first: Tensor, size: tuple[int, int], total: int, letters: int, atlas: Atlas, generator: torch.Generator
) -> None:
    """Lower ``first`` to the numbers ``total`` .. ``total + letters`` - 1 of letters at random places."""
    images, device = len(first), first.device
    pasted = (images, letters)
    glyph = torch.randint(len(atlas.inked), pasted, generator=generator, device=device).flatten()
    corner = [
        torch.randint(1 - box, length, pasted, generator=generator, device=device).flatten()
        for box, length in zip((atlas.height, atlas.width), size, strict=True)
    ]
    count = atlas.inked[glyph]
    owner = torch.repeat_interleave(count)  # (inked pixels,) which letter
    ink = torch.arange(len(owner), device=device) - (count.cumsum(0) - count - atlas.start[glyph])[owner]
    row, column = corner[0][owner] + atlas.rows[ink], corner[1][owner] + atlas.columns[ink]
    inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    place = torch.where(inside, row * size[1] + column, size[0] * size[1]) + owner // letters * first.shape[1]
    first.view(-1).scatter_reduce_(0, place, total + owner % letters, "amin")
