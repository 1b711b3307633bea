"""Large images piece by piece: overlapping tiles whose results fade into each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.errors import InputError

GRID = 32  # tiles begin at multiples of it, where networks with five halvings see the same pixels as in the whole image
TILE, OVERLAP = 640, 128
BLEND = 4  # a quarter of an overlap is faded, in its middle; what lies outside is thrown away


@dataclass(frozen=True)
class Span:
    """One tile's range along an axis, and how much of each of its pixels is taken."""

    start: int
    stop: int
    weight: Tensor  # (stop - start,)


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Ranges of at most ``tile`` pixels that cover ``length``; their weights add up to 1 everywhere.

    Neighbours share ``overlap`` pixels: the outer 3/8 at either end count nothing, for the network saw no context;
    over the quarter between them the weight falls as (1 + cos) / 2.

    Args:
        length: of the axis.
        tile: a multiple of `GRID`, at least twice the overlap; 0 takes the axis whole.
        overlap: a multiple of `GRID`.
    """
    if not tile or length <= tile:
        return [Span(0, length, torch.ones(length))]
    step = tile - overlap
    count = -(-(length - overlap) // step)
    rise = _rise(overlap)
    found = []
    for number in range(count):
        start, stop = number * step, min(number * step + tile, length)
        weight = torch.ones(stop - start)
        if number > 0:
            weight[:overlap] = rise
        if number < count - 1:
            weight[stop - start - overlap :] = 1 - rise
        found.append(Span(start, stop, weight))
    return found


def _rise(overlap: int) -> Tensor:
    """0 over 3/8 of the overlap, then (1 - cos) / 2 over a quarter, then 1."""
    blend = max(overlap // BLEND, 1)
    place = torch.arange(overlap, dtype=torch.float64) + 0.5 - (overlap - blend) / 2
    return ((1 - torch.cos(torch.pi * (place / blend).clamp(0, 1))) / 2).float()


def check_tiles(tile: int, overlap: int) -> tuple[int, int]:
    """Tile and overlap as they may be used; raises InputError that says what would do."""
    if tile == 0:
        return 0, 0
    if tile < 0 or tile % GRID:
        raise InputError(f"--tile must be a multiple of {GRID}, or 0 for the whole image at once, got {tile}")
    if overlap < GRID or overlap % GRID or 2 * overlap > tile:
        raise InputError(
            f"--overlap must be a multiple of {GRID} and at most half of --tile {tile}, got {overlap}; "
            f"--tile 0 takes the whole image at once"
        )
    return tile, overlap


@torch.no_grad()
def denoise_tiled(
    denoise: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    device: torch.device | str | None = None,
    done: Callable[[int], object] = lambda pixels: None,
) -> Tensor:
    """``denoise(image)`` with the memory of one tile: sum over tiles of weight * denoise(tile).

    The same as the whole image at once (to rounding) where 3/8 of the overlap exceed the network's receptive field,
    and the network has no statistics over the image (group norm, channel attention); else close to it.

    Args:
        denoise: (N, C, h, w) or (N, T, C, h, w) -> (N, C, h, w), of any size.
        image: (N, C, H, W) or (N, T, C, H, W).
        tile, overlap: pixels of planes, multiples of `GRID`; tile 0 takes the image at once.
        device: where ``denoise`` runs; the image and the result stay where the image is.
        done: told how many pixels of the result are finished.
    Returns: (N, C, H, W), float32.
    """
    tile, overlap = check_tiles(tile, overlap)
    rows, columns = (spans(length, tile, overlap) for length in image.shape[-2:])
    found = torch.zeros(len(image), *image.shape[-3:])  # (N, C, H, W)
    pixels = image.shape[-2] * image.shape[-1]
    for number, (row, column) in enumerate(_product(rows, columns), 1):
        piece = image[..., row.start : row.stop, column.start : column.stop]
        clean = denoise(piece.to(device) if device is not None else piece).to(found)
        if len(rows) > 1:
            clean = clean * row.weight.unsqueeze(-1)
        if len(columns) > 1:
            clean = clean * column.weight
        found[..., row.start : row.stop, column.start : column.stop] += clean
        tiles = len(rows) * len(columns)
        done(pixels * number // tiles - pixels * (number - 1) // tiles)
    return found


def _product(rows: Sequence[Span], columns: Sequence[Span]) -> list[tuple[Span, Span]]:
    return [(row, column) for row in rows for column in columns]
