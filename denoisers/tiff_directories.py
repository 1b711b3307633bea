"""EXIF and GPS directories of TIFF files, which tifffile reads but does not write: taken along entry by entry."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965  # tags that point to a directory (EXIF 2.32, 4.6.3)
MAKER_NOTE = 37500  # left out: what it points to is found from its place in the file, and it has moved
MOST = 1 << 12  # entries that are read of a directory
LARGEST = 1 << 20  # bytes of a directory that are kept; more would not be EXIF
UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
PAIRS = (5, 10)  # rationals: two units each
LONG, IFD8 = 4, 18
BEYOND = (struct.error, OSError, OverflowError, ValueError)  # what reading at a place outside the file raises
POINTERS = {LONG: "I", 13: "I", 16: "Q", IFD8: "Q"}  # types of a place in the file, and how many bytes it has


class Entry(NamedTuple):
    """A tag: number, type, how many of the type, and their bytes in little-endian order, or a directory."""

    code: int
    kind: int
    values: int
    content: "bytes | Directory"


Directory = tuple[Entry, ...]


class _Layout(NamedTuple):
    """How directories stand in a file: byte order; formats of numbers of entries and of offsets."""

    order: str
    entries: str
    offset: str

    def read(self, file: BinaryIO, number: str) -> int:
        """The next number."""
        form = self.order + number
        return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])

    @property
    def head(self) -> int:
        """Bytes of an entry before its value."""
        return struct.calcsize(f"{self.order}HH{self.offset}")

    @property
    def width(self) -> int:
        """Bytes of a value, or of the place where a longer one is."""
        return struct.calcsize(self.order + self.offset)

    def row(self, code: int, kind: int, count: int, value: bytes) -> bytes:
        """An entry as it stands in the file."""
        return struct.pack(f"{self.order}HH{self.offset}", code, kind, count) + value.ljust(self.width, b"\0")

    def pointer(self, code: int, place: int) -> bytes:
        """An entry that points to a directory."""
        return self.row(code, LONG if self.offset == "I" else IFD8, 1, struct.pack(self.order + self.offset, place))


def read_directories(path: Path) -> dict[int, Directory]:
    """EXIF and GPS directories of a TIFF file, or of a raw file that is one, by the tag that points to them.

    Entries that lie outside the file, or are of unknown type, cannot be kept and are left out.
    """
    with path.open("rb") as file:
        end, layout = file.seek(0, 2), _layout(file)
        if layout is None:
            return {}
        found: dict[int, Directory] = {}
        try:
            file.seek(layout.read(file, layout.offset))
            for code, kind, _, place in list(_entries(file, layout)):
                if code in (EXIF, GPS) and kind in POINTERS:
                    file.seek(place)
                    found[code] = _directory(file, layout, layout.read(file, POINTERS[kind]), end, code)
        except BEYOND:  # the first directory is cut short
            return {}
        return {code: directory for code, directory in found.items() if directory}


def write_directories(path: Path, directories: Mapping[int, Directory]) -> None:
    """Add directories behind the end of a TIFF file, with the first page's own once more, which points to them."""
    if not directories:
        return
    with path.open("r+b") as file:
        layout = _layout(file)
        assert layout is not None
        start = file.tell()
        file.seek(layout.read(file, layout.offset))
        rows = {}
        for code, _, _, place in list(_entries(file, layout)):
            file.seek(place - layout.head)
            rows[code] = file.read(layout.head + layout.width)
        following = layout.read(file, layout.offset)
        for code, directory in directories.items():
            rows[code] = layout.pointer(code, _append(file, layout, directory))
        at = _append_rows(file, layout, [rows[code] for code in sorted(rows)], following)
        file.seek(start)
        file.write(struct.pack(layout.order + layout.offset, at))


def _layout(file: BinaryIO) -> _Layout | None:
    """From the header; None if it is no TIFF. The file then stands at the offset of the first directory."""
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None or len(word := file.read(2)) < 2:
        return None
    (version,) = struct.unpack(f"{order}H", word)
    if version == 43:
        file.seek(8)
    return {42: _Layout(order, "H", "I"), 43: _Layout(order, "Q", "Q")}.get(version)


def _entries(file: BinaryIO, layout: _Layout) -> Iterator[tuple[int, int, int, int]]:
    """(code, type, count, place of the value) of the directory that the file stands at."""
    count, first = layout.read(file, layout.entries), file.tell()
    for number in range(min(count, MOST)):
        file.seek(first + number * (layout.head + layout.width))
        code, kind, values = struct.unpack(f"{layout.order}HH{layout.offset}", file.read(layout.head))
        yield code, kind, values, file.tell()


def _directory(file: BinaryIO, layout: _Layout, at: int, end: int, owner: int) -> Directory:
    """The directory at a place of the file, with the one that an EXIF directory points to."""
    found: list[Entry] = []
    room = LARGEST
    try:
        file.seek(at)
        for code, kind, count, place in _entries(file, layout):
            size = UNITS.get(kind, 0) * count * (2 if kind in PAIRS else 1)
            file.seek(place)
            start = place if size <= layout.width else layout.read(file, layout.offset)
            if code == MAKER_NOTE or not 0 < size <= room or start + size > end:
                continue
            room -= size
            file.seek(start)
            if code != INTEROPERABILITY:
                found.append(Entry(code, kind, count, _ordered(file.read(size), kind, layout.order)))
            elif owner == EXIF and kind in POINTERS:
                inner = _directory(file, layout, layout.read(file, POINTERS[kind]), end, code)
                found += [Entry(code, LONG, 1, inner)] if inner else []
    except BEYOND:  # it reaches beyond the end of the file
        pass
    return tuple(found)


def _ordered(content: bytes, kind: int, order: str) -> bytes:
    """From or to little-endian order."""
    return content if order == "<" else np.frombuffer(content, f"u{UNITS[kind]}").byteswap().tobytes()


def _append(file: BinaryIO, layout: _Layout, directory: Directory) -> int:
    """Write a directory, what its entries hold first, and give its place back."""
    rows = []
    for entry in sorted(directory, key=lambda entry: entry.code):
        if isinstance(entry.content, tuple):
            rows.append(layout.pointer(entry.code, _append(file, layout, entry.content)))
            continue
        value = _ordered(entry.content, entry.kind, layout.order)
        if len(value) > layout.width:
            at = _aligned_end(file)
            file.write(value)
            value = struct.pack(layout.order + layout.offset, at)
        rows.append(layout.row(entry.code, entry.kind, entry.values, value))
    return _append_rows(file, layout, rows, 0)


def _append_rows(file: BinaryIO, layout: _Layout, rows: Sequence[bytes], following: int) -> int:
    """Write entries as a directory, and the place of the one that follows it."""
    at = _aligned_end(file)
    file.write(struct.pack(layout.order + layout.entries, len(rows)))
    file.writelines([*rows, struct.pack(layout.order + layout.offset, following)])
    return at


def _aligned_end(file: BinaryIO) -> int:
    """Go to the end, at an even place as TIFF asks for."""
    end = file.seek(0, 2)
    file.write(b"\0" * (end % 2))
    return end + end % 2
