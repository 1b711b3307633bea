"""The scene instances of a SIDD tree: found once, kept in the cache, and looked at again where a folder has changed."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from datasets.cache import cache_folder
from datasets.sidd_splits import chosen
from noisemodel.errors import InputError

# 0001_001_S6_00100_00060_3200_L = instance, scene, phone, ISO, 1/shutter, illuminant [K], brightness.
_FOLDER = re.compile(r"(\d{4})_(\d{3})_([A-Z0-9]{2})_(\d{5})_(\d{5})_(\d{4,5})_([A-Z])")
_FILE = re.compile(r"(?:\d{4}_)?(NOISY|GT|METADATA)_(RAW|SRGB)_(\d{3})\.(?:mat|png)", re.IGNORECASE)
_DEEPEST = 3
# A folder that changed so shortly before it was listed may change again without a new time stamp [ns].
_RACY_NS = 2_000_000_000
_VERSION = 1


@dataclass(frozen=True)
class Instance:
    """One scene, recorded by one phone with one setting.

    Args:
        id: of the scene instance, 1..200.
        scene: of the scene, 1..10.
        phone: SIDD's code, e.g. "S6".
        iso: sensitivity.
        shutter: 1 / exposure time [1/s].
        illuminant: colour temperature [K].
        brightness: "L" low, "N" normal, "H" high.
        folder: where its files lie.
        frames: numbers of its noisy images, such as 10, 11.
    """

    id: int
    scene: int
    phone: str
    iso: int
    shutter: int
    illuminant: int
    brightness: str
    folder: Path
    frames: tuple[int, ...]

    def file(self, kind: str, frame: int, space: str = "RAW") -> Path:
        """The path of an image or metadata file, in the layout that is on disk.

        Args:
            kind: "NOISY", "GT" or "METADATA".
            frame: one of ``frames``.
            space: "RAW" or "SRGB".
        Returns: the file that is there; where none is, the name that it would have.
        """
        endings = ("PNG", "png") if space == "SRGB" and kind != "METADATA" else ("MAT", "mat")
        stem = f"{kind}_{space}_{frame:03d}"
        numbered = f"{self.id:04d}_{kind}_{space}"
        places = [self.folder / numbered, self.folder, self.folder / f"{kind}_{space}"]
        names = [f"{prefix}{stem}.{ending}" for ending in endings for prefix in (f"{self.id:04d}_", "")]
        found = (place / name for place in places for name in names if (place / name).is_file())
        return next(found, self.folder / names[0])


def find_instances(
    root: str | Path,
    *,
    cameras: Sequence[str] = (),
    iso: Sequence[int] = (),
    split: str | Path | None = None,
    part: str | None = None,
    cache: bool = True,
) -> list[Instance]:
    """The scene instances below a folder, by id.

    Args:
        root: the folder of the scene folders, or one above it.
        cameras: phones, e.g. "S6"; all without.
        iso: sensitivities; all without.
        split: "noiseflow", "holdout", a file of training ids, or None.
        part: "train" or "test" of the split, or None for both.
        cache: keep the index in the cache folder; folders that have changed since are listed again.
    Raises: InputError if there is no such folder, nothing in it, or nothing that was asked for.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no such folder: {root}; --data_root is the folder of SIDD's scene folders")
    everything = _listed(root.resolve(), cache)
    if not everything:
        raise InputError(f"no SIDD scene folders such as 0001_001_S6_00100_00060_3200_L with frames in {root}")
    for name, asked, known in (
        ("cameras", cameras, {i.phone for i in everything}),
        ("iso", iso, {i.iso for i in everything}),
    ):
        if missing := [str(wanted) for wanted in asked if wanted not in known]:
            raise InputError(f"no --{name} {','.join(missing)} in {root}; there are {_names(known)}")
    ids = chosen({i.id for i in everything}, split, part)
    found = [i for i in everything if i.id in ids and i.phone in (cameras or (i.phone,)) and i.iso in (iso or (i.iso,))]
    if not found:
        side = f" in {part or 'split'} {split}" if split else ""
        groups = _names({f"{i.phone}/{i.iso}" for i in everything if i.id in ids}) or "none"
        raise InputError(f"no instance of {root} is left{side}; those of the split are {groups}; ask for one of them")
    return found


def _names(values: set[Any]) -> str:
    """Values in order, for messages."""
    return ", ".join(map(str, sorted(values)))


def _listed(root: Path, cache: bool) -> list[Instance]:
    """Every instance with a frame, by id; only folders with a new time stamp are listed."""
    file = cache_folder() / f"sidd-{blake2b(str(root).encode(), digest_size=16).hexdigest()}.json"
    known = _stored(file) if cache else {}
    index = {name: _current(Path(name), known.get(name)) for name in _scene_folders(root)}
    if cache and index != known:
        _store(file, index)
    instances = [_instance(Path(name), entry["frames"]) for name, entry in index.items() if entry["frames"]]
    return sorted(instances, key=lambda instance: (instance.id, str(instance.folder)))


def _scene_folders(folder: Path, depth: int = 0) -> Iterator[str]:
    """Scene folders in ``folder`` and some levels below, such as ``Data/``."""
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        if _FOLDER.fullmatch(entry.name):
            if entry.is_dir():
                yield entry.path
        elif depth < _DEEPEST and entry.is_dir():
            yield from _scene_folders(Path(entry.path), depth + 1)


def _current(folder: Path, known: Any) -> dict[str, Any]:
    """The entry of a scene folder: what is known of it, unless it or a folder in it has changed."""
    if known is not None:
        with suppress(OSError):
            if known["stamps"] and all(os.stat(name).st_mtime_ns == stamp for name, stamp in known["stamps"].items()):
                return dict(known)
    listed_at, frames, stamps, pending = time.time_ns(), set(), {}, [str(folder)]
    while pending:
        place = pending.pop()
        stamp = os.stat(place).st_mtime_ns
        stamps[place] = stamp if stamp < listed_at - _RACY_NS else -1
        with os.scandir(place) as entries:
            for entry in entries:
                match = _FILE.fullmatch(entry.name)
                if match and match[1].upper() == "NOISY":
                    frames.add(int(match[3]))
                elif not match and entry.is_dir():
                    pending.append(entry.path)
    return {"stamps": stamps, "frames": sorted(frames)}


def _instance(folder: Path, frames: Sequence[int]) -> Instance:
    """What the folder's name says."""
    match = _FOLDER.fullmatch(folder.name)
    assert match is not None
    instance, scene, phone, iso, shutter, illuminant, brightness = match.groups()
    numbers = (int(iso), int(shutter), int(illuminant))
    return Instance(int(instance), int(scene), phone, *numbers, brightness, folder, tuple(frames))


def _stored(file: Path) -> dict[str, Any]:
    """The index in the cache; {} where there is none, or it is damaged."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["version"] != _VERSION:
            return {}
        return {
            str(name): {"stamps": dict(entry["stamps"]), "frames": [int(frame) for frame in entry["frames"]]}
            for name, entry in stored["folders"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _store(file: Path, index: dict[str, Any]) -> None:
    """Write the index whole; a folder that cannot be written only costs the listing again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(suffix=".part", dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"version": _VERSION, "folders": index}, stream)
        os.replace(temporary, file)
