"""A folder of recorded bursts as a data set."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from datasets.burst import Burst, BurstSet, Kind, Summary
from datasets.formats import Facts
from datasets.frames import FORMATS, Frames, open_frames, open_numbered
from datasets.recognised import dataset_in
from datasets.stored import facts_beside
from datasets.tiff import TIFF_SUFFIXES, is_single_page, numbered_series
from noisemodel.errors import InputError
from noisemodel.sensor import Levels
from noisemodel.sensor.mosaic import check_layout

__all__ = ["Burst", "BurstSet", "Kind", "Summary", "load_bursts"]

_KINDS: tuple[Kind, ...] = ("dark", "flat")
_CFA = re.compile(r"[RGBWCMY]{4}")


class _Found(NamedTuple):
    """Files of one burst."""

    name: str
    kind: Kind
    files: list[Path]


def load_bursts(
    root: str | Path,
    *,
    black_level: float | None = None,
    white_level: float | None = None,
    layout: str | None = None,
    cfa: str | None = None,
) -> BurstSet:
    """Find and open the bursts in a folder: one per file, or per series of numbered single-page .tif.

    Darks lie in a folder ``darks/`` or have names that start with ``dark``; flats likewise; the rest are scenes.
    What is not given is taken from the files, then from ``levels.json`` beside them, then from the one in ``root``.

    Args:
        root: the folder; its sub-folders are searched too.
        black_level, white_level: [DN].
        layout: "planes" (mono or RGB, the default) or "mosaic".
        cfa: colours of a mosaic by position, e.g. "RGGB".
    Raises: InputError if nothing is found, a file is not a burst, levels are missing, contradictory or contradict
        the data, or the bursts differ in layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; name a folder of bursts")
    found = list(_search(root, root))
    if not found:
        raw = "; it holds raw files: say --dataset raw" if dataset_in(root) == "raw" else ""
        raise InputError(f"no bursts in {root}; supported are {', '.join(FORMATS)} and numbered single-page .tif{raw}")
    given = {"black_level": black_level, "white_level": white_level, "layout": layout, "cfa": cfa}
    opened = [(item, _open(item.files)) for item in found]
    facts = _common_facts({key: value for key, value in given.items() if value is not None}, root, opened)
    try:
        stated = Levels(float(facts["black_level"]), float(facts["white_level"]))
        arranged = check_layout(str(facts.get("layout", "planes")))
        colours = _checked_cfa(facts.get("cfa"), arranged)
    except InputError as error:
        raise InputError(f"{root}: {error}") from error
    levels = _widened(stated, [frames for _, frames in opened])
    bursts = tuple(Burst(item.name, item.kind, frames, arranged, levels) for item, frames in opened)
    burst_set = BurstSet(root.resolve().name, levels, arranged, colours, bursts)
    for burst in burst_set.bursts:
        burst.frame(0)
    return burst_set


def _widened(levels: Levels, bursts: Iterable[Frames]) -> Levels:
    """Levels whose clip range holds what the first frames hold.

    Codes of a camera end at 0 DN; numbers below it say that the black level was subtracted and nothing was cut there.
    """
    lowest = min(float(frames.read([0], slice(None), slice(None)).min()) for frames in bursts)
    low, high = levels.clip_range
    if lowest >= 0 or levels.to_fraction(torch.tensor(lowest)) >= low:
        return levels
    return Levels(levels.black_dn, levels.white_dn, clip=(low - 1.0, high))


def _open(files: list[Path]) -> Frames:
    """One file of frames, or numbered files of one frame."""
    return open_numbered(files) if len(files) > 1 else open_frames(files[0])


def _search(folder: Path, root: Path) -> Iterator[_Found]:
    """Bursts in a folder, then in its sub-folders, by name."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file()]
    for file in files:
        if file.suffix.lower() in FORMATS and file.suffix.lower() not in TIFF_SUFFIXES:
            yield _named(file.with_suffix(""), root, [file])
    for stem, series in numbered_series([file for file in files if file.suffix.lower() in TIFF_SUFFIXES]).items():
        if len(series) > 1 and is_single_page(series[0]):
            yield _named(folder / stem, root, series)
        else:
            yield from (_named(file.with_suffix(""), root, [file]) for file in series)
    for entry in entries:
        if entry.is_dir():
            yield from _search(entry, root)


def _named(place: Path, root: Path, files: list[Path]) -> _Found:
    """Name a burst by its place below the root; its kind is said by the innermost name that says one."""
    parts = place.relative_to(root).parts
    kinds = [kind for part in reversed(parts) for kind in _KINDS if part.lower().startswith(kind)]
    return _Found("/".join(parts) or root.resolve().name, kinds[0] if kinds else "scene", files)


def _common_facts(given: Facts, root: Path, opened: Iterable[tuple[_Found, Frames]]) -> Facts:
    """Levels, layout and cfa: the same for all bursts.

    Raises: InputError if levels are missing, or stored facts that are not given differ between bursts.
    """
    beside = facts_beside(root)
    common: Facts = {}
    for index, (item, frames) in enumerate(opened):
        facts = {**beside, **frames.stored, **given}
        missing = [name for name in ("black_level", "white_level") if name not in facts]
        if missing:
            raise InputError(
                f"{' and '.join(missing)} of {frames.path} unknown; give --black_level and --white_level in DN, "
                f"or store them in {root / 'levels.json'}"
            )
        for name in sorted({*facts, *common}) if index else ():
            if facts.get(name) != common.get(name):
                raise InputError(
                    f"{name} of {item.name} is {facts.get(name)}, of the bursts before it {common.get(name)}; "
                    f"give --{name}, or keep them in different folders"
                )
        common = facts
    return common


def _checked_cfa(cfa: float | str | None, layout: str) -> str | None:
    """Four colour letters by position, upper case.

    Raises: InputError for anything but a 2x2 mosaic, or a layout without one.
    """
    if cfa is None:
        return None
    known = "RGGB, BGGR, GRBG, GBRG"
    letters = str(cfa).upper()
    if not _CFA.fullmatch(letters):
        raise InputError(f"cfa must be 4 colour letters such as {known}, got {cfa!r}; X-Trans is not supported")
    if layout != "mosaic":
        raise InputError(f'cfa {letters} needs layout "mosaic", got "{layout}"; give --layout mosaic or leave cfa out')
    return letters
