"""Folders of raw files as bursts: one folder is one static burst, each file a frame."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, final

import numpy as np

from datasets.burst import Burst, BurstSet, Kind
from datasets.cache import unpacked
from datasets.formats import reading
from datasets.frames import Frames
from datasets.stacks import JoinedStack, ReadCrop, Stack
from noisemodel.claims import cut
from noisemodel.errors import InputError
from noisemodel.sensor import Levels
from noisemodel.sensor.noise_profile import NoiseProfile, read_noise_profile
from noisemodel.sensor.raw import RAW_SUFFIXES, RawImage, read_raw

KINDS: tuple[Kind, ...] = ("dark", "flat")
CFA = re.compile(r"[RGBWCMYE]{4}")
PIXELS, FACTS = "raw mosaic 1", "raw facts 1"  # the number changes with what is cached


class RawFacts(NamedTuple):
    """What the frames of one data set share.

    black: by position [DN]; size: (rows, columns).
    """

    camera: str
    iso: float | None
    cfa: str
    size: tuple[int, int]
    black: tuple[float, ...]
    white: float


@final
@dataclass(frozen=True)
class RawStack(Stack):
    """One raw frame, unpacked and memory-mapped: min(DN + raised_p, ceiling) of each position p of the 2x2 cells.

    Args:
        file: the unpacked codes, a .npy of the whole active area.
        raised: added to the codes of positions (0,0), (0,1), (1,0), (1,1) [DN].
        ceiling: the white level where codes are raised; None leaves the codes as they are.
    """

    file: Path
    raised: tuple[int, ...] = (0, 0, 0, 0)
    ceiling: int | None = None

    def opened(self) -> AbstractContextManager[ReadCrop]:
        """Map the file."""
        codes = np.load(self.file, mmap_mode="r", allow_pickle=False)

        def read(frame: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
            crop = codes[rows, columns]
            if self.ceiling is None:
                return np.asarray(crop)
            first = (rows.start or 0, columns.start or 0)
            cell = np.roll(np.array(self.raised, np.int32).reshape(2, 2), (-first[0], -first[1]), axis=(0, 1))
            shift = np.tile(cell, [(size + 1) // 2 for size in crop.shape])[: crop.shape[0], : crop.shape[1]]
            return np.minimum(crop + shift, self.ceiling).astype(np.uint16)

        return nullcontext(read)


def load_raw_bursts(
    root: str | Path,
    *,
    black_level: float | None = None,
    white_level: float | None = None,
    cfa: str | None = None,
) -> BurstSet:
    """Find and open the bursts of raw files in a folder: one per folder with raw files, each file a frame.

    Darks lie in folders whose names start with ``dark``, flats with ``flat``; the rest are scenes. What is not given is
    taken from the files. Each file is decoded once and its codes are kept in the cache (2 bytes a pixel), from which
    crops are read; the last row or column of an odd size is left out.

    Where the black level differs by position, codes are raised to the highest of the four: DN + (max black - black_p),
    at most the white level. They stay whole numbers, a DN keeps its size, and everything lies within the clip range of
    the one pair of levels. A black level that is given holds for all positions, and no code is changed.

    Args:
        root: the folder; its sub-folders are searched too.
        black_level, white_level: [DN].
        cfa: colours by position, e.g. "RGGB".
    Raises: InputError if nothing is found, a file cannot be decoded, a burst has one frame, or a file differs in
        camera, ISO, CFA, size or levels; it names the file.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; --data_root is a folder of bursts of raw files")
    folders = list(_folders(root))
    if not folders:
        raise InputError(f"no raw files in {root}; read are {', '.join(RAW_SUFFIXES)}")
    given: dict[str, Any] = {
        "black": None if black_level is None else (float(black_level),) * 4,
        "white": None if white_level is None else float(white_level),
        "cfa": None if cfa is None else _checked_cfa(cfa),
    }
    given = {name: value for name, value in given.items() if value is not None}
    known: list[tuple[Path, RawFacts]] = []
    for file in (file for _, files in folders for file in files):
        facts = _cached_facts(file)._replace(**given)
        _check_same(known[0] if known else (file, facts), (file, facts))
        known.append((file, facts))
    return _burst_set(root, folders, known[0][1])


def _burst_set(root: Path, folders: Sequence[tuple[Path, list[Path]]], facts: RawFacts) -> BurstSet:
    """The bursts with their common facts, of each its first frame checked."""
    try:
        levels = Levels(max(facts.black), facts.white)
    except InputError as error:
        raise InputError(f"{folders[0][1][0]}: {error}; give --black_level and --white_level") from error
    bursts = tuple(
        Burst(*_name_and_kind(folder, root), Frames(files[0], _stack(files, facts), {}), "mosaic", levels)
        for folder, files in folders
    )
    stated = _stated_noise(folders[0][1][0])
    burst_set = BurstSet(root.resolve().name, levels, "mosaic", facts.cfa, bursts, stated_noise=stated)
    for burst in burst_set.bursts:
        burst.frame(0)
    return burst_set


def _stated_noise(file: Path) -> NoiseProfile | None:
    """The NoiseProfile of a DNG; None without one, or where its tag makes no sense: the frames are good in any case."""
    try:
        return read_noise_profile(file)
    except InputError:
        return None


def _stack(files: Sequence[Path], facts: RawFacts) -> Stack:
    """The frames of one burst."""
    shape = (1, *(2 * (size // 2) for size in facts.size))
    raised = tuple(round(max(facts.black) - black) for black in facts.black)
    ceiling = int(facts.white) if any(raised) else None
    return JoinedStack.of(
        [RawStack(file, shape, np.dtype(np.uint16), _pixels(file), raised, ceiling) for file in files]
    )


def _folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Folders that hold raw files, with them; sorted by name, hidden ones passed over.

    Raises: InputError for a folder with one raw file.
    """
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.suffix.lower() in RAW_SUFFIXES and entry.is_file()]
    if len(files) == 1:
        raise InputError(f"{files[0]} is the only raw file in its folder; a burst needs at least 2 frames of one scene")
    if files:
        yield folder, files
    for entry in entries:
        if entry.is_dir():
            yield from _folders(entry)


def _name_and_kind(folder: Path, root: Path) -> tuple[str, Kind]:
    """A burst's place below the root; its kind is said by the innermost name that says one."""
    parts = folder.relative_to(root).parts or (root.resolve().name,)
    kinds = [kind for part in reversed(parts) for kind in KINDS if part.lower().startswith(kind)]
    return "/".join(parts), kinds[0] if kinds else "scene"


def _check_same(first: tuple[Path, RawFacts], other: tuple[Path, RawFacts]) -> None:
    """Raise InputError that names the file whose facts differ from the first one's."""
    for name, was, found in zip(RawFacts._fields, first[1], other[1], strict=True):
        if was != found:
            here, there = cut(str(found)), cut(str(was))
            raise InputError(f"{name} of {other[0]} is {here}, of {first[0]} {there}; keep them in different folders")


def _cached_facts(file: Path) -> RawFacts:
    """Facts of a file; decoded once, then from the cache."""
    with reading(file):
        facts: dict[str, Any] = json.loads(bytes(np.load(_unpacked(file)[0], allow_pickle=False)))
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    return RawFacts(**values)


def _pixels(file: Path) -> Path:
    """The unpacked codes of a file."""
    with reading(file):
        return _unpacked(file)[1]


def _unpacked(file: Path) -> tuple[Path, Path]:
    """The cached facts and codes of a raw file, which is decoded if one of them is not there."""
    decoded: list[RawImage] = []

    def raw() -> RawImage:
        if not decoded:
            decoded.append(read_raw(file))
        return decoded[0]

    def write_facts(target: BinaryIO) -> None:
        text = json.dumps(_facts(raw())._asdict()).encode()
        np.save(target, np.frombuffer(text, np.uint8), allow_pickle=False)

    def write_pixels(target: BinaryIO) -> None:
        np.save(target, raw().mosaic, allow_pickle=False)

    return unpacked(file, FACTS, write_facts), unpacked(file, PIXELS, write_pixels)


def _facts(raw: RawImage) -> RawFacts:
    """What must agree between frames."""
    height, width = raw.mosaic.shape
    camera = " ".join(name for name in (raw.make, raw.model) if name) or "unknown"
    return RawFacts(camera, raw.iso, raw.cfa, (height, width), raw.black_dn, raw.white_dn)


def _checked_cfa(cfa: str) -> str:
    """Four colour letters, upper case; raises InputError for anything else."""
    if not CFA.fullmatch(cfa.upper()):
        raise InputError(f"cfa must be 4 colour letters such as RGGB, BGGR, GRBG, GBRG, got {cfa!r}")
    return cfa.upper()
