"""CIFAR-10's official python batches (Krizhevsky 2009), read without running what a pickle asks for."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.plain_pickle import ALLOWED, check_memo

FOLDER = "cifar-10-batches-py"
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
SHAPE = (3, 32, 32)
VALUES = 3 * 32 * 32
CLASSES = 10
LARGEST_BYTES = 1 << 26  # an official batch has 31 MB


class _Unpickler(pickle.Unpickler):
    """Builds inert stand-ins for numpy's arrays, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a global; raises UnpicklingError for one that no batch needs."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def is_cifar(path: Path) -> bool:
    """Whether a folder holds any of CIFAR-10's batches, or the folder that does."""
    return any((folder / name).is_file() for folder in (path, path / FOLDER) for name in sum(BATCHES.values(), ()))


def read_cifar(path: Path, split: str) -> tuple[Tensor, Tensor, str]:
    """Read the training or the test batches of a folder, in the official order.

    Args:
        path: the folder of the batches, or the one it lies in.
        split: "train" (those of the five batches that are there) or "test".
    Returns: images (N, 3, 32, 32) uint8, labels (N,) int64 from 0 to 9, and a line that says what was read.
    Raises: InputError where no batch of the split is there, or one is damaged or something else; none of it is run.
    """
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    names = [name for name in BATCHES[split] if (folder / name).is_file()]
    if not names:
        raise InputError(f"{path} has no {split} batch of CIFAR-10 ({BATCHES[split][0]}); give its {FOLDER} folder")
    parts = [_read_batch(folder / name) for name in names]
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return images, labels, f"CIFAR-10, {split}: {len(names)} of {len(BATCHES[split])} batches, {len(images)} images"


def _read_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of one batch."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{path} is larger than the {LARGEST_BYTES} bytes of any batch; fetch CIFAR-10 again")
    try:
        check_memo(data)
        return _batch(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except Exception as error:  # a damaged pickle raises anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no CIFAR-10 batch ({said}); nothing of it was run, fetch it again") from error


def _batch(read: Any) -> tuple[Tensor, Tensor]:
    """Check what a batch holds; raises ValueError, or anything where the parts are of other types."""
    if not isinstance(read, dict):
        raise ValueError(f"it holds a {type(read).__name__}")
    fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in read.items()}
    if "data" not in fields or "labels" not in fields:
        raise ValueError(f"it has {', '.join(map(str, fields)) or 'nothing'}, not data and labels")
    _version, shape, kind, fortran, data = fields["data"].state
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)  # how Python 2 wrote bytes
    if kind.code not in ("u1", "B") or fortran or len(shape) != 2 or shape[1] != VALUES:
        raise ValueError(f"an array of {kind.code} and shape {tuple(shape)}, not of bytes and (N, {VALUES})")
    labels = list(fields["labels"])
    if len(data) != shape[0] * VALUES or len(labels) != shape[0] or not labels:
        raise ValueError(f"{len(data)} bytes and {len(labels)} labels for {shape[0]} images")
    if not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise ValueError(f"labels outside 0..{CLASSES - 1}")
    images = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(-1, *SHAPE).copy())
    return images, torch.tensor(labels)
