"""Pairs of noisy and clean image files in folders."""

from pathlib import Path
from typing import NamedTuple

from denoisers.files import SUFFIXES, by_number
from noisemodel.errors import InputError

# Endings of file names, noisy and clean: PolyU and CC15 have the first.
ENDINGS = (("_real", "_mean"), ("_noisy", "_clean"), ("_noisy", "_gt"))
FOLDERS = ("noisy", "clean")


class Files(NamedTuple):
    """One pair."""

    name: str
    noisy: Path
    clean: Path


def find_pairs(folder: Path, truth: Path | None = None) -> list[Files]:
    """Pairs of a folder, sorted by name.

    Args:
        folder: holds files NAME_real.* and NAME_mean.* (or another row of `ENDINGS`); or folders noisy/ and clean/ with
            files of the same names; or, with ``truth``, the noisy files.
        truth: the clean files, of the same names (types may differ).
    Raises: InputError if there is no pair, or a noisy file has none or several clean ones.
    """
    for path in (folder, truth):
        if path is not None and not path.is_dir():
            raise InputError(f"no such folder: {path}; --pairs and --truth are folders")
    if truth is None and all((folder / name).is_dir() for name in FOLDERS):
        folder, truth = (folder / name for name in FOLDERS)
    found = _by_name(folder, truth) if truth is not None else _by_ending(folder)
    if not found:
        raise InputError(
            f"{folder} holds no pairs: files NAME_real and NAME_mean, folders noisy/ and clean/, or give --truth FOLDER"
        )
    return found


def _files(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted((file for file in files if not file.name.startswith(".")), key=by_number)


def _by_name(folder: Path, truth: Path) -> list[Files]:
    """Files of the same place and name in two folders."""
    clean: dict[str, list[Path]] = {}
    for file in _files(truth):
        clean.setdefault(_name(file, truth), []).append(file)
    return [_pair(_name(file, folder), file, clean.get(_name(file, folder), []), truth) for file in _files(folder)]


def _by_ending(folder: Path) -> list[Files]:
    """Files whose names differ in their endings only."""
    names = {_name(file, folder): file for file in _files(folder)}
    for noisy, clean in ENDINGS:
        starts = [name.removesuffix(noisy) for name in names if name.endswith(noisy)]
        partners = [[names[start + clean]] if start + clean in names else [] for start in starts]
        if any(partners):
            pairs = zip(starts, partners, strict=True)
            return [_pair(start, names[start + noisy], partner, folder) for start, partner in pairs]
    return []


def _pair(name: str, noisy: Path, clean: list[Path], where: Path) -> Files:
    if len(clean) != 1:
        raise InputError(f"{noisy} must have one clean partner in {where}, got {len(clean)}; names must match")
    return Files(name, noisy, clean[0])


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()
