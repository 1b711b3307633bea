"""SIDD's validation and benchmark blocks, and the file that its benchmark takes."""

import base64
import binascii
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datasets.mat5 import Array, array_shapes, mapped_array
from noisemodel.errors import InputError

Kind = Literal["raw", "srgb"]

# Kind -> (ending of the file names, number of axes, dtype).
KINDS: dict[str, tuple[str, int, type[np.generic]]] = {"raw": ("Raw", 4, np.float32), "srgb": ("Srgb", 5, np.uint8)}
_HEADER = "ID,BLOCK"


def validation_blocks(root: str | Path, kind: str) -> tuple[Array, Array]:
    """Noisy and clean validation blocks, memory-mapped: raw (40, 32, 256, 256) float32, or sRGB (..., 3) uint8.

    The MAT files are unpacked into the cache once.

    Args:
        root: folder of ``ValidationNoisyBlocksRaw.mat`` and the others, or one above it.
        kind: "raw" or "srgb".
    Raises: InputError if a file is missing, damaged or of another shape, or the two differ in shape.
    """
    noisy, clean = _blocks(Path(root), "ValidationNoisy", kind), _blocks(Path(root), "ValidationGt", kind)
    if noisy.shape != clean.shape:
        raise InputError(f"noisy and clean {kind} validation blocks in {root} differ: {noisy.shape}, {clean.shape}")
    return noisy, clean


def benchmark_blocks(root: str | Path, kind: str) -> Array:
    """Noisy benchmark blocks, as `validation_blocks`; nobody has the clean ones."""
    return _blocks(Path(root), "BenchmarkNoisy", kind)


def write_submission(path: str | Path, blocks: Iterable[Array]) -> None:
    """Write ``SubmitRaw.csv`` or ``SubmitSrgb.csv``: columns ID and BLOCK, the base64 of each block's bytes.

    Args:
        path: the file.
        blocks: denoised blocks in the order of the benchmark's, float32 (n, n) or uint8 (n, n, 3); axes before these
            are taken apart, so that the array (40, 32, 256, 256) will do, or a generator of any part of it.
    Raises: InputError if a block has another type or shape than the first, or holds NaN.
    """
    path, count, first = Path(path), 0, ""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"{_HEADER}\n")
        for part in blocks:
            for block in _single(np.asarray(part)):
                found = f"{block.dtype} {block.shape}"
                first = first or found
                if found != first:
                    raise InputError(f"block {count} of a submission is {found}, those before it are {first}")
                if block.dtype.kind == "f" and not np.isfinite(block).all():
                    raise InputError(f"block {count} of a submission holds NaN or infinite values; check the denoiser")
                file.write(f"{count},{base64.b64encode(np.ascontiguousarray(block).tobytes()).decode('ascii')}\n")
                count += 1


def read_submission(path: str | Path) -> Array:
    """The blocks of a submission, raw (N, n, n) float32 or sRGB (N, n, n, 3) uint8, told apart by their size in bytes.

    Raises: InputError if the file is missing, or is no such table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    blocks: list[Array] = []
    with path.open(encoding="ascii", errors="replace") as file:
        if (header := file.readline().strip()) != _HEADER:
            raise InputError(f"{path} must begin with {_HEADER}, got {header[:40]!r}; is it a submission?")
        for number, line in enumerate(file):
            identity, _, text = line.strip().partition(",")
            if identity != str(number):
                raise InputError(f"row {number} of {path} must have ID {number}, got {identity[:20]!r}; write it again")
            block = _decoded(text)
            if block is None or (blocks and block.shape != blocks[0].shape):
                raise InputError(f"BLOCK {number} of {path} is not the bytes of a block; write it again")
            blocks.append(block)
    if not blocks:
        raise InputError(f"{path} has no blocks; write it again")
    return np.stack(blocks)


def _single(part: Array) -> Iterable[Array]:
    """The blocks in an array."""
    axes = {"float32": 2, "uint8": 3}.get(part.dtype.name)
    if (
        axes is None
        or part.ndim < axes
        or (axes == 3 and part.shape[-1] != 3)
        or part.shape[-axes] != part.shape[1 - axes]
    ):
        raise InputError(
            f"blocks are float32 (n, n) or uint8 (n, n, 3), got {part.dtype} {part.shape}; keep the input's"
        )
    return part.reshape(-1, *part.shape[-axes:])


def _decoded(text: str) -> Array | None:
    """A block from its base64; n is told by its length, for 4 n^2 = 3 m^2 has no whole solution."""
    try:
        block = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    for dtype, size, channels in ((np.float32, 4, ()), (np.uint8, 3, (3,))):
        side = math.isqrt(len(block) // size)
        if side and side * side * size == len(block):
            return np.frombuffer(block, np.dtype(dtype).newbyteorder("<")).reshape(side, side, *channels).astype(dtype)
    return None


def _blocks(root: Path, stem: str, kind: str) -> Array:
    """Map the blocks of one file."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of blocks {kind!r}; known: {', '.join(KINDS)}")
    ending, axes, dtype = KINDS[kind]
    key = f"{stem}Blocks{ending}"
    path = _found(root, f"{key}.mat")
    shape = array_shapes(path).get(key)
    if shape is not None and (len(shape) != axes or (axes == 5 and shape[-1] != 3)):
        raise InputError(f"{key} in {path} must have {axes} axes, such as (40, 32, 256, 256), got shape {shape}")

    blocks = mapped_array(path, key)
    if blocks.dtype != dtype:
        raise InputError(f"{key} in {path} must be {np.dtype(dtype)}, got {blocks.dtype}; fetch the file again")
    return blocks


def _found(root: Path, name: str) -> Path:
    """The file of that name in a folder, or in a folder in it."""
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; it should hold {name}")
    found: Any = [*root.glob(name), *sorted(root.glob(f"*/{name}"))]
    if not found:
        raise InputError(f"no {name} in {root}; fetch it from SIDD's site")
    return Path(found[0])
