"""The starlight data set (Monakhova 2022), as its users have it on disk: ``data/paired_data``.

https://github.com/monakhova/starlight_denoising. Files hold planes R, G, B, NIR last; here they come in positional
order, R, G, NIR, B. Long recordings are cut into bursts of 16 consecutive frames.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
import torch
from torch import Tensor

from datasets.burst import Burst, BurstSet
from datasets.cache import unpacked
from datasets.frames import Frames
from datasets.mat5 import array_shapes, read_arrays
from datasets.mat_errors import Complain, complain_by
from datasets.stacks import JoinedStack, ReadCrop, Stack
from noisemodel.claims import listed
from noisemodel.errors import InputError
from noisemodel.sensor import Levels, unpack_mosaic

Array = np.ndarray[Any, Any]

BURST = 16
WHITE_DN = 65536.0
LEVELS = Levels(0.0, WHITE_DN, clip=(0.0, 1.0))
CFA = "RGNB"  # N is near infrared
# The files' planes lie at (0,0), (0,1), (1,1), (1,0) of a cell: these are the ones at (0,0), (0,1), (1,0), (1,1).
_POSITIONAL = (0, 1, 3, 2)
PATTERN_FILE, PATTERN_KEY = "fixed_pattern_noise.mat", "mean_pattern"


@final
@dataclass(frozen=True)
class PlanesLast(Stack):
    """Part of an array (T, H, W, 4) or (H, W, 4), as frames (T, 4, H, W) [DN]; unpacked into the cache when first read.

    Args:
        key: the array's name.
        dn: what 1 in the file is worth [DN].
        first: the file's frame that is frame 0 here.
        gain: the array, under this name, that the mean over T is multiplied by, ...
        gain_power: ... to this power; with a gain there is one frame, the ground truth.
    """

    key: str
    dn: float
    first: int = 0
    gain: str | None = None
    gain_power: int = 1

    @contextmanager
    def opened(self) -> Iterator[ReadCrop]:
        """Map the unpacked copy."""
        copy = unpacked(self.path, f"{self.key}\x1f{self.dn}\x1f{self.gain}\x1f{self.gain_power}", self._write)
        block = np.load(copy, mmap_mode="r", allow_pickle=False)
        yield lambda frame, rows, columns: block[self.first + frame, :, rows, columns]

    def _write(self, file: BinaryIO) -> None:
        """The whole array in positional order, float32."""
        frames = read_arrays(self.path, self.key)[self.key].astype(np.float32)
        frames = frames.reshape(-1, *frames.shape[-3:])
        if self.gain is not None:
            gain = float(read_arrays(self.path, self.gain)[self.gain].ravel()[0])
            if not (np.isfinite(gain) and gain > 0):
                raise InputError(f"{self.gain} in {self.path} must be positive, got {gain}")
            frames = frames.mean(axis=0, keepdims=True, dtype=np.float64) * gain**self.gain_power
        planes = np.moveaxis(frames[..., _POSITIONAL], -1, -3) * self.dn
        np.save(file, np.ascontiguousarray(planes, np.float32), allow_pickle=False)


def load_starlight(
    root: str | Path, part: str, *, skip_bad_files: bool = False, warn: Callable[[str], None] | None = None
) -> BurstSet:
    """Open one part of the data set as bursts of four planes with ground truth.

    Args:
        root: ``data/paired_data``.
        part: "color" (stills), "gray" or "newcalib" (grey and coloured backgrounds), as in the published scripts.
        skip_bad_files: warn of bad files and go on without them.
        warn: takes one line for each recording left out; without it they go to stderr.
    Returns: the bursts, with ``fixed_pattern_noise.mat`` of ``root`` or the folder above as ``measured_pattern``.
    Raises: InputError if nothing is found, or a file is missing, damaged or of the wrong kind.
    """
    root = Path(root)
    if part not in STARLIGHT_PARTS:
        raise InputError(f"unknown part {part!r} of the starlight data set; known: {', '.join(STARLIGHT_PARTS)}")
    folder, find = STARLIGHT_PARTS[part]
    if not (root / folder).is_dir():
        raise InputError(f"no folder {root / folder}; --data_root is the folder that holds {folder}")
    complain = complain_by(skip_bad_files, warn)
    bursts = tuple(find(root / folder, complain))
    if not bursts:
        raise InputError(f"no recordings in {root / folder}; is the data set complete?")
    return BurstSet(part, LEVELS, "mosaic", CFA, _of_full_length(bursts, warn), measured_pattern=load_pattern_of(root))


def load_pattern_of(root: str | Path) -> Tensor | None:
    """The measured fixed pattern beside the data, (rows, columns) in sensor pixels [fraction of white]; None without.

    Raises: InputError if the file is damaged, or holds no ``mean_pattern`` (H, W, 4).
    """
    paths = [folder / PATTERN_FILE for folder in (Path(root), Path(root).resolve().parent)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    pattern = read_arrays(path, PATTERN_KEY)[PATTERN_KEY]
    _check_planes(pattern.shape, (3,), PATTERN_KEY, path)
    planes = np.moveaxis(pattern[..., _POSITIONAL], -1, 0).astype(np.float32) / WHITE_DN
    return unpack_mosaic(torch.from_numpy(np.ascontiguousarray(planes)))


def _stills(folder: Path, complain: Complain) -> Iterator[Burst]:
    """``NAME.mat``: noisy_list (T, H, W, 4), gt_list (T', H, W, 4), fractions; clean = mean(gt_list) / alpha."""
    for path in sorted(folder.glob("*.mat")):
        try:
            shapes = array_shapes(path)
            noisy, truth = (_shape(shapes, key, (4, 3), path) for key in ("noisy_list", "gt_list"))
            _held(shapes, "alpha", path)
            frames = [
                PlanesLast(path, (1, *noisy[1:]), np.dtype(np.float32), "noisy_list", WHITE_DN, first=t)
                for t in range(noisy[0])
            ]
            yield from _cut(path.stem, frames, _truth(path, "gt_list", truth, WHITE_DN, -1))
        except InputError as error:
            complain(error)


def _grey(folder: Path, complain: Complain) -> Iterator[Burst]:
    """``noisyS_N.mat``: noisy (H, W, 4); ``gtS.mat``: gt (H, W, 4) and alpha, fractions; clean = gt / alpha."""
    series: dict[str, list[Path]] = {}
    for path in folder.glob("noisy*_*.mat"):
        series.setdefault(path.stem.removeprefix("noisy").split("_")[0], []).append(path)
    for name, files in sorted(series.items()):
        try:
            truth = _single(folder, f"gt{name}")
            shape = _shape(array_shapes(truth), "gt", (3,), truth)
            frames = _frames(files, "noisy", WHITE_DN)
            yield from _cut(f"noisy{name}", frames, _truth(truth, "gt", shape, WHITE_DN, -1))
        except InputError as error:
            complain(error)


def _coloured(folder: Path, complain: Complain) -> Iterator[Burst]:
    """``SCENE/sequence*_N.mat``: gt_label (H, W, 4); ``clean*.mat``: gt_label, alpha; in DN; clean = gt_label alpha."""
    for scene in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        try:
            truth = _single(scene, "clean")
            shapes = array_shapes(truth)
            gain = "alpha" if "alpha" in shapes else None
            frames = _frames(list(scene.glob("sequence*.mat")), "gt_label", 1.0)
            yield from _cut(
                scene.name, frames, _truth(truth, "gt_label", _shape(shapes, "gt_label", (3,), truth), 1.0, 1, gain)
            )
        except InputError as error:
            complain(error)


# Published word of --dataset -> (folder, what finds its bursts).
STARLIGHT_PARTS: dict[str, tuple[str, Callable[[Path, Complain], Iterator[Burst]]]] = {
    "color": ("stillpairs_mat", _stills),
    "gray": ("graybackground_mat", _grey),
    "newcalib": ("colorbackground_mat", _coloured),
}


def _frames(files: Sequence[Path], key: str, dn: float) -> list[PlanesLast]:
    """One frame per file, in the order of the numbers at the ends of their names."""
    numbered = []
    for path in files:
        end = path.stem.split("_")[-1]
        if not end.isdigit():
            raise InputError(f"{path} has no number at its end; frames are named such as sequence_12.mat")
        shape = _shape(array_shapes(path), key, (3,), path)
        numbered.append((int(end), PlanesLast(path, shape, np.dtype(np.float32), key, dn)))
    if not numbered:
        raise InputError("no frames beside the clean image; is the data set complete?")
    return [frame for _, frame in sorted(numbered, key=lambda item: item[0])]


def _truth(path: Path, key: str, shape: tuple[int, ...], dn: float, power: int, gain: str | None = "alpha") -> Frames:
    """The ground truth: the mean of an array times alpha to a power."""
    stack = PlanesLast(path, (1, *shape[1:]), np.dtype(np.float32), key, dn, gain=gain, gain_power=power)
    return Frames(path, stack, {})


def _cut(name: str, frames: Sequence[PlanesLast], truth: Frames) -> Iterator[Burst]:
    """Bursts of 16 consecutive frames; one of fewer where there are no more. Their files are unpacked here.

    Raises: InputError if frames and ground truth differ in size, or one is damaged.
    """
    corner = (slice(0, 1), slice(0, 1))
    for frame in frames:
        if frame.shape[1:] != truth.shape[1:]:
            raise InputError(
                f"{frame.path} has planes {frame.shape[1:]}, {truth.path} {truth.shape[1:]}; keep both alike"
            )
    for first in range(0, max(len(frames) - BURST, 0) + 1, BURST):
        stack = JoinedStack.of(list(frames[first : first + BURST]))
        label = name if len(frames) < 2 * BURST else f"{name}/{first:04d}"
        burst = Burst(label, "scene", Frames(stack.path, stack, {}), "mosaic", LEVELS, truth_source=truth)
        burst.read(range(burst.shape[0]), *corner)
        burst.read_truth(*corner)
        yield burst


def _of_full_length(bursts: tuple[Burst, ...], warn: Callable[[str], None] | None) -> tuple[Burst, ...]:
    """Bursts of 16 frames, where there are any: samples have as many frames as the shortest burst."""
    longest = max(burst.shape[0] for burst in bursts)
    for burst in bursts:
        if burst.shape[0] < longest:
            cause = InputError(f"{burst.path} has {burst.shape[0]} frames, others {longest}")
            complain_by(True, warn)(cause)
    return tuple(burst for burst in bursts if burst.shape[0] == longest)


def _held(shapes: dict[str, tuple[int, ...]], key: str, path: Path) -> tuple[int, ...]:
    """The shape of an array that must be there."""
    if key not in shapes:
        raise InputError(f"no array {key!r} in {path}; it holds {listed(shapes)}")
    return shapes[key]


def _shape(shapes: dict[str, tuple[int, ...]], key: str, axes: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """(T, 4, H, W) of an array with planes last; `_check_planes` says what it may be."""
    shape = _held(shapes, key, path)
    _check_planes(shape, axes, key, path)
    *lead, height, width, planes = shape
    return (*(lead or (1,)), planes, height, width)


def _check_planes(shape: tuple[int, ...], axes: tuple[int, ...], key: str, path: Path) -> None:
    """Raise InputError unless a shape is (H, W, 4), or (T, H, W, 4) where ``axes`` has 4."""
    if len(shape) not in axes or shape[-1] != 4 or 0 in shape:
        raise InputError(f"{key} in {path} must be (..., H, W, 4), got shape {shape}; fetch the file again")


def _single(folder: Path, stem: str) -> Path:
    """The first MAT file of a folder whose name begins with a stem and does not go on with a digit."""
    found = [path for path in sorted(folder.glob(f"{stem}*.mat")) if not path.name[len(stem)].isdigit()]
    if not found:
        raise InputError(f"no ground truth {stem}*.mat in {folder}; is the data set complete?")
    return found[0]
