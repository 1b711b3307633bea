"""Arrays of MATLAB files of version 5, loaded by scipy after their tags were checked.

scipy looks a tag's type up without asking whether there is such a type: a damaged tag ends the process. (MATLAB,
"MAT-File Level 5 File Format"; scipy.io.matlab._mio5_utils.)
"""

import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, final

import scipy.io

from noisemodel.claims import check_plain_file

HEADER, TAG = 128, 8  # bytes
INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 2, 5, 6, 14, 15
NUMBERS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)
TEXTS = (*NUMBERS, 16, 17, 18)
CELL, STRUCT, TEXT, NUMERIC = 1, 2, 4, range(6, 16)  # classes of arrays
COMPLEX = 1 << 11
DEEPEST = 32
AT_ONCE = 1 << 20


def load_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The named variables of a MAT file, those that are there.

    Raises: OSError, ValueError or whatever scipy raises on a damaged file; it does not crash.
    """
    check_plain_file(path)
    with path.open("rb") as file:
        _check_file(file, names)
    return dict(scipy.io.loadmat(path, variable_names=tuple(names)))


def mat_variables(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and class of every variable of a MAT file, without its values; raises as `load_mat`."""
    check_plain_file(path)
    with path.open("rb") as file:
        _check_file(file, ())
    return [(name, tuple(map(int, shape)), kind) for name, shape, kind in scipy.io.whosmat(path)]


class _Source(Protocol):
    """Bytes of one variable."""

    def take(self, count: int) -> bytes:
        """The next bytes, just so many; raises ValueError at the end."""

    def skip(self, count: int) -> None:
        """Pass over bytes; raises ValueError at the end."""


@final
class _Stored:
    """Bytes of a file up to the end of a variable."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        """From where the file stands."""
        self.file, self.left = file, count

    def take(self, count: int) -> bytes:
        self._lower(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._lower(count)
        self.file.seek(count, os.SEEK_CUR)

    def _lower(self, count: int) -> None:
        if count > self.left:
            raise ValueError(f"a part of {count} bytes where {self.left} are left")
        self.left -= count


@final
class _Packed:
    """What a variable unpacks to, a piece at a time."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        """From where the file stands."""
        self.source, self.unpack, self.ready = _Stored(file, count), zlib.decompressobj(), b""

    def take(self, count: int) -> bytes:
        while len(self.ready) < count:
            self._more()
        taken, self.ready = self.ready[:count], self.ready[count:]
        return taken

    def skip(self, count: int) -> None:
        while len(self.ready) < count:
            count -= len(self.ready)
            self.ready = b""
            self._more()
        self.ready = self.ready[count:]

    def _more(self) -> None:
        packed = self.unpack.unconsumed_tail or self.source.take(min(AT_ONCE, self.source.left))
        made = self.unpack.decompress(packed, AT_ONCE)
        if not made and not self.source.left and not self.unpack.unconsumed_tail:
            raise ValueError("a packed part ends too early")
        self.ready += made


def _check_file(file: BinaryIO, names: Sequence[str]) -> None:
    """Go over the variables; those that are not asked for are passed over, as scipy does."""
    head = file.read(HEADER)
    if len(head) < HEADER or 0 in head[:4]:
        return  # version 4, or no MAT file: scipy tells
    size, order = os.fstat(file.fileno()).st_size, "<" if head[126:] == b"IM" else ">"
    while len(tag := file.read(TAG)) == TAG:
        kind, count = struct.unpack(f"{order}II", tag)
        begin = file.tell()
        if kind not in (MATRIX, COMPRESSED) or not 0 < count <= size - begin:
            raise ValueError(f"a variable of type {kind} and {count} bytes")
        source: _Source = _Stored(file, count) if kind == MATRIX else _Packed(file, count)
        if kind == COMPRESSED and struct.unpack(f"{order}II", source.take(TAG))[0] != MATRIX:
            raise ValueError("a packed part that is no array")
        _check_array(source, order, names, 0)
        file.seek(begin + count)


def _check_array(source: _Source, order: str, names: Sequence[str] | None, depth: int) -> None:
    """One array, from behind its tag: flags, sizes, name, values; of one that is not asked for only the name."""
    kind, count, flags = struct.unpack(f"{order}IIII", source.take(16))[:3]
    if (kind, count) != (UINT32, 8) or depth > DEEPEST:
        raise ValueError("an array without flags")
    sizes = _element(source, order, (INT32, UINT32), 4 * 32)
    name = _element(source, order, (INT8, UINT8), 4096).decode("latin1")
    if names is not None and name not in names:
        return
    items = math.prod(struct.unpack(f"{order}{len(sizes) // 4}I", sizes))
    array = flags & 0xFF
    if array in NUMERIC or array == TEXT:
        for _ in range(2 if flags & COMPLEX and array != TEXT else 1):
            _element(source, order, NUMBERS if array != TEXT else TEXTS)
    elif array in (CELL, STRUCT):
        for _ in range(items if array == CELL else items * _fields(source, order)):
            kind, count = struct.unpack(f"{order}II", source.take(TAG))
            if kind != MATRIX:
                raise ValueError(f"a cell of type {kind}")
            if count:
                _check_array(source, order, None, depth + 1)
    else:
        raise ValueError(f"{name!r} is of class {array}, which is not read")


def _fields(source: _Source, order: str) -> int:
    """How many fields a struct has."""
    length = _element(source, order, (INT32,), 4)
    names = _element(source, order, (INT8, UINT8), 1 << 20)
    (each,) = struct.unpack(f"{order}i", length)
    if each < 1:
        raise ValueError(f"names of {each} letters")
    return len(names) // each


def _element(source: _Source, order: str, kinds: Sequence[int], most: int | None = None) -> bytes:
    """Check the tag of one element; its bytes where there may be ``most``, else it is passed over."""
    tag = source.take(TAG)
    kind, count = struct.unpack(f"{order}II", tag)
    small = kind >> 16
    if small:
        kind, count = kind & 0xFFFF, small
    if kind not in kinds or small > 4 or (most is not None and count > most):
        raise ValueError(f"an element of type {kind} and {count} bytes")
    if small:
        return tag[4 : 4 + small]
    padding = -count % 8
    if most is None:
        source.skip(count)
    value = b"" if most is None else source.take(count)
    if padding:
        source.skip(padding)
    return value
