"""What data a run is trained on, told by names, sizes and a sample of the content: enough to refuse other data."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1 << 16  # bytes that are read at a place
MOST_BLOCKS, MOST_FILES, LEAST_BLOCKS = 192, 64, 3  # 12 MB are read of whatever size: data up to that are read whole
NOT_DATA = (".md", ".log")
RUN_MARKS = {".lock", "resume.ckpt"}  # in the folder of a run, which may lie among its data


def fingerprint(path: Path) -> dict[str, Any] | None:
    """Files, bytes and a digest of the data at ``path``, the same wherever they lie and whenever they were copied.

    The digest is over the relative name and size of every file, and over blocks of at most 64 of them, spread evenly:
    another file, name or size always shows, an edit of the same size in large data only where a block lies.

    Args:
        path: a file, or a folder whose hidden files, notes and run folders are left out, as are links to folders.
    Returns: None where nothing is there, or it cannot be listed: whoever reads the data says so.
    """
    try:
        found = [(name, file, file.stat().st_size) for name, file in data_files(path)]
    except OSError:
        return None
    if not found:
        return None
    digest = blake2b(digest_size=16)
    for name, _, size in found:
        digest.update(f"{name}\x1f{size}\x1e".encode("utf-8", "surrogateescape"))
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), MOST_FILES)).round().astype(int))
    for place in places:
        for block in _blocks(found[place][1], max(LEAST_BLOCKS, MOST_BLOCKS // len(places))):
            digest.update(block)
    return {"files": len(found), "bytes": sum(size for *_, size in found), "digest": digest.hexdigest()}


def in_words(found: dict[str, Any]) -> str:
    """A fingerprint for a message."""
    files = "1 file" if found["files"] == 1 else f"{found['files']} files"
    return f"{files}, {found['bytes']} bytes, digest {str(found['digest'])[:6]}"


def data_files(path: Path) -> list[tuple[str, Path]]:
    """Relative name -> file, by name; that of a single file is its ending.

    Left out are hidden files, notes, links to folders and run folders inside ``path``, whose pictures are results.
    """
    if not path.is_dir():
        return [(path.suffix, path)] if path.is_file() else []
    found = []
    for folder, inner, names in os.walk(path):
        if RUN_MARKS.intersection(names) and Path(folder) != path:
            inner.clear()
            continue
        inner[:] = [name for name in inner if not name.startswith(".")]
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            if file.suffix.lower() not in NOT_DATA and file.is_file():
                found.append((file.relative_to(path).as_posix(), file))
    return sorted(found)


def _blocks(file: Path, count: int) -> Iterator[bytes]:
    """``count`` blocks of a file, spread evenly, or all of a small one; nothing of one that cannot be read."""
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            whole = size <= count * BLOCK
            starts = range(0, size, BLOCK) if whole else np.linspace(0, size - BLOCK, count).astype(int).tolist()
            for start in starts:
                stream.seek(start)
                yield stream.read(BLOCK)
    except OSError:
        return
