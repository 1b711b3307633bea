"""Frames in TIFF files: many pages in one file, or numbered files with a page each."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from datasets.formats import Facts, check_stack, reading
from datasets.stacks import JoinedStack, MappedStack, PagedStack, Stack, byte_size
from noisemodel.claims import check_claim, cut
from noisemodel.errors import InputError

TIFF_SUFFIXES = (".tif", ".tiff")
_NUMBERED = re.compile(r"(?P<stem>.*?)[_\-. ]?(?P<number>\d+)")


def open_tiff(path: Path, key: str | None) -> tuple[Stack, Facts]:
    """A multi-page TIFF, memory-mapped where its pages are one block, else read page by page."""
    stack = _tiff_stack(path)
    check_stack(stack.shape, stack.dtype, path)
    return stack, {}


def numbered_series(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files by the stem before their number, each group in the order of its numbers.

    ``scene_0001.tif, scene_0002.tif`` give {"scene": [...]}; a name without a number is a group of its own.
    """
    series: dict[str, list[tuple[int, str, Path]]] = {}
    for file in files:
        match = _NUMBERED.fullmatch(file.stem)
        stem, number = (match["stem"], int(match["number"])) if match else (file.stem, 0)
        series.setdefault(stem, []).append((number, file.name, file))
    return {stem: [file for _, _, file in sorted(group)] for stem, group in sorted(series.items())}


def is_single_page(path: Path) -> bool:
    """Whether a TIFF holds one frame.

    Raises: InputError if it cannot be read.
    """
    with reading(path), _strictly(path) as tif:
        return len(tif.pages) == 1 and len(tif.series) == 1 and _arranged(tif.series[0], path)[0][0] == 1


def joined_files(files: Sequence[Path]) -> Stack:
    """One burst from single-page TIFF files, a frame each.

    Raises: InputError if they differ in size or dtype, or one holds several frames.
    """
    parts = []
    for file in files:
        with reading(file):
            parts.append(_tiff_stack(file))
        if parts[-1].shape[0] != 1:
            raise InputError(f"{file} has {parts[-1].shape[0]} pages among numbered files of one page; separate them")
        _check_equal(parts[0], parts[-1], str(files[0]))
    stack = JoinedStack.of(parts)
    check_stack(stack.shape, stack.dtype, files[0])
    return stack


def _check_equal(first: Stack, other: Stack, where: str) -> None:
    """Frames of one burst have one size and one dtype."""
    if first.shape[1:] != other.shape[1:] or first.dtype != other.dtype:
        raise InputError(
            f"frames of unequal size in {other.path}: {other.shape[1:]} {other.dtype}, but {first.shape[1:]} "
            f"{first.dtype} in {where}; keep frames of one size and type together"
        )


def _tiff_stack(path: Path) -> Stack:
    """All pages of a file; (1, H, W) or (1, C, H, W) for a single one."""
    with _strictly(path) as tif:
        parts = [_series_stack(tif, series, path) for series in tif.series]
        for part in parts:
            _check_equal(parts[0], part, "its first page")
        return parts[0] if len(parts) == 1 else JoinedStack.of(parts)


def _series_stack(tif: tifffile.TiffFile, series: Any, path: Path) -> Stack:
    """One series of pages of equal shape."""
    shape, channels_last = _arranged(series, path)
    dtype = np.dtype(series.dtype)
    if series.dataoffset is not None and series.keyframe.is_memmappable:
        needed = series.dataoffset + byte_size(shape, dtype)
        if tif.filehandle.size < needed:
            raise InputError(f"{path} is truncated: {tif.filehandle.size} bytes of {needed}; copy it again")
        dtype = dtype.newbyteorder(tif.byteorder)
        return MappedStack(path, shape, dtype, path, series.dataoffset, channels_last=channels_last)
    for page in series.pages:
        ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=0) > tif.filehandle.size:
            raise InputError(f"{path} is truncated: page {page.index} reaches beyond its end; copy it again")
    check_claim(byte_size(shape, dtype), sum(sum(page.databytecounts) for page in series.pages), path)
    pages = np.array([page.index for page in series.pages]).reshape(shape[0], -1)
    return PagedStack(path, shape, dtype, tuple(map(tuple, pages.tolist())), channels_last)


def _arranged(series: Any, path: Path) -> tuple[tuple[int, ...], bool]:
    """(T, H, W) or (T, C, H, W) of a series, and whether its samples (S) come last in the file."""
    axes, shape = series.axes, tuple(int(n) for n in series.shape)
    channels_last = axes.endswith("YXS")
    if not channels_last and not axes.endswith("YX"):
        raise InputError(f"pages of {path} must be images (axes YX), got axes {axes}; save them as plain pages")
    image = 3 if channels_last or axes.endswith("SYX") else 2
    lead, size = shape[:-image], shape[-image:]
    if channels_last:
        size = (size[2], *size[:2])
    return (*(lead or (1,)), *size), channels_last


@contextmanager
def _strictly(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF with all its pages found; what tifffile only logs (a cut chain of pages) is an error here."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    log = tifffile.logger()
    log.addHandler(handler)
    try:
        with tifffile.TiffFile(path) as tif:
            if len(tif.pages) == 0 or complaints:
                cause = cut(" ".join(complaints or ["no pages"]))
                raise InputError(f"{path} is damaged: {cause}; copy or write it again")
            yield tif
    finally:
        log.removeHandler(handler)
