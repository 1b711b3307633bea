"""Where images come from: files read by crop, bursts of a camera, and the embedded simulated camera."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets.asked import asked_cameras, asked_isos
from datasets.bursts import Burst, BurstSet, Summary, load_bursts
from datasets.frames import Frames, open_frames
from datasets.recognised import dataset_of
from datasets.sampling import Batch, CropSampler
from datasets.sidd import find_instances, load_sidd, load_sidd_group, read_metadata
from datasets.simulated import SimulatedCamera, simulated_bursts
from datasets.starlight import STARLIGHT_PARTS, load_starlight
from noisemodel.errors import InputError

__all__ = [
    "DATASETS",
    "Batch",
    "Burst",
    "BurstSet",
    "CropSampler",
    "DataOptions",
    "Frames",
    "SimulatedCamera",
    "Summary",
    "asked_cameras",
    "asked_isos",
    "dataset_of",
    "find_instances",
    "load_bursts",
    "load_dataset",
    "load_sidd",
    "load_sidd_group",
    "load_starlight",
    "open_frames",
    "read_metadata",
    "simulated_bursts",
]


# What a data set may know of its camera.
_FACTS = ("black_level", "white_level", "layout", "cfa")


@dataclass(frozen=True)
class DataOptions:
    """What a command line says about its data; None is "not said".

    Args:
        data_root: folder of the data set.
        black_level, white_level: [DN].
        layout: "mosaic" or "planes".
        cfa: e.g. "RGGB".
        seed: of simulated data.
        cameras: phones of SIDD, e.g. ("S6",).
        iso: sensitivities of SIDD.
        split: "noiseflow", "holdout" or a file of training ids; the training side is loaded.
        skip_bad_files: warn of bad files of SIDD and starlight, and go on without them.
    """

    data_root: str | Path | None = None
    black_level: float | None = None
    white_level: float | None = None
    layout: str | None = None
    cfa: str | None = None
    seed: int = 0
    cameras: tuple[str, ...] = ()
    iso: tuple[int, ...] = ()
    split: str | None = None
    skip_bad_files: bool = False


def _root(options: DataOptions, name: str, folder: str) -> Path:
    """The folder of a data set.

    Raises: InputError if it is not given.
    """
    if options.data_root is None:
        raise InputError(f"--dataset {name} needs --data_root, {folder}")
    return Path(options.data_root)


def _refuse(options: DataOptions, name: str, *known: str) -> None:
    """Raise InputError if something is given that the data set knows itself."""
    if given := ", ".join(f"--{option}" for option in known if getattr(options, option) is not None):
        raise InputError(f"{name} takes no {given}: it has its own; use --dataset bursts for recorded frames")


def _simulated(options: DataOptions) -> BurstSet:
    """The embedded data set; it has levels and a mosaic of its own."""
    _refuse(options, "the simulated camera", "data_root", *_FACTS)
    return simulated_bursts(seed=options.seed)


def _bursts(options: DataOptions) -> BurstSet:
    """A folder of recorded bursts."""
    return load_bursts(
        _root(options, "bursts", "a folder of bursts"),
        black_level=options.black_level,
        white_level=options.white_level,
        layout=options.layout,
        cfa=options.cfa,
    )


def _raw(options: DataOptions) -> BurstSet:
    """Folders of raw files."""
    from datasets.raw import load_raw_bursts

    return load_raw_bursts(
        _root(options, "raw", "a folder with a folder of raw files for each burst"),
        black_level=options.black_level,
        white_level=options.white_level,
        cfa=options.cfa,
    )


def _sidd(options: DataOptions) -> BurstSet:
    """One phone of SIDD at one ISO."""
    _refuse(options, "SIDD", *_FACTS)
    return load_sidd_group(
        _root(options, "sidd", "the folder of its scene folders"),
        cameras=options.cameras,
        iso=options.iso,
        split=options.split,
        part="train" if options.split is not None else None,
        skip_bad_files=options.skip_bad_files,
    )


def _starlight(part: str, options: DataOptions) -> BurstSet:
    """A part of the starlight data set."""
    _refuse(options, "the starlight data set", *_FACTS)
    return load_starlight(_root(options, part, "data/paired_data"), part, skip_bad_files=options.skip_bad_files)


DATASETS: dict[str, Callable[[DataOptions], BurstSet]] = {
    "simulated": _simulated,
    "bursts": _bursts,
    "raw": _raw,
    "sidd": _sidd,
    **{part: partial(_starlight, part) for part in STARLIGHT_PARTS},
}


def load_dataset(name: str, options: DataOptions) -> BurstSet:
    """Load a data set by its name in `DATASETS`.

    Raises: InputError for an unknown name, or whatever is wrong with the data.
    """
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name](options)
