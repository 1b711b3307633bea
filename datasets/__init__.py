"""Where images come from: files read by crop, bursts of a camera, and the embedded simulated camera."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.bursts import Burst, BurstSet, Summary, load_bursts
from datasets.frames import Frames, open_frames
from datasets.sampling import Batch, CropSampler
from datasets.simulated import SimulatedCamera, simulated_bursts
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
    "load_bursts",
    "load_dataset",
    "open_frames",
    "simulated_bursts",
]


@dataclass(frozen=True)
class DataOptions:
    """What a command line says about its data; None is "not said".

    Args:
        data_root: folder of the data set.
        black_level, white_level: [DN].
        layout: "mosaic" or "planes".
        cfa: e.g. "RGGB".
        seed: of simulated data.
    """

    data_root: str | Path | None = None
    black_level: float | None = None
    white_level: float | None = None
    layout: str | None = None
    cfa: str | None = None
    seed: int = 0


def _simulated(options: DataOptions) -> BurstSet:
    """The embedded data set; it has levels and a mosaic of its own."""
    names = ("data_root", "black_level", "white_level", "layout", "cfa")
    given = ", ".join(f"--{name}" for name in names if getattr(options, name) is not None)
    if given:
        raise InputError(f"the simulated camera takes no {given}; use --dataset bursts for recorded frames")
    return simulated_bursts(seed=options.seed)


def _bursts(options: DataOptions) -> BurstSet:
    """A folder of recorded bursts."""
    if options.data_root is None:
        raise InputError("--dataset bursts needs --data_root, a folder of bursts")
    return load_bursts(
        options.data_root,
        black_level=options.black_level,
        white_level=options.white_level,
        layout=options.layout,
        cfa=options.cfa,
    )


DATASETS: dict[str, Callable[[DataOptions], BurstSet]] = {"simulated": _simulated, "bursts": _bursts}


def load_dataset(name: str, options: DataOptions) -> BurstSet:
    """Load a data set by its name in `DATASETS`.

    Raises: InputError for an unknown name, or whatever is wrong with the data.
    """
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name](options)
