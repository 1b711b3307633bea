"""Pickles of numbers, texts, containers and numpy arrays; anything else is refused, so reading one runs no code.

The pickle's instructions only build stand-ins. An array is made from a stand-in's dtype, shape and bytes after their
sizes were checked, so numpy's own unpickling, which trusts its input, is not used either.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from noisemodel.claims import check_plain_file, shortened
from noisemodel.errors import InputError

LARGEST_BYTES = 1 << 26
NUMBERS = frozenset("?bhilqBHILQefd") | {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)} | {"b1"}


def check_memo(data: bytes) -> None:
    """Raise UnpicklingError for a pickle that numbers what it holds beyond its own bytes.

    Python makes room for all smaller numbers, up to 32 GB of it.
    """
    for code, argument, _ in pickletools.genops(data or b"."):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(data):
            raise pickle.UnpicklingError(f"it has {len(data)} bytes, and a part of number {argument}")


class _DType:
    """Stand-in for a numpy dtype: its code and byte order."""

    def __init__(self, code: object = None, *_flags: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """The dtype; raises ValueError unless it is of real numbers."""
        if self.code not in NUMBERS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"an array of {self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """Stand-in for a numpy array."""

    def __init__(self, *_arguments: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)

    def value(self) -> Any:
        """The array; one of objects (as numpy saves a dict) becomes what it holds."""
        _version, shape, kind, fortran, data = self.state
        if isinstance(kind, _DType) and kind.code in ("O", "O8") and tuple(shape) == ():
            return _plain(data[0])
        return _from_bytes(kind, tuple(shape), data, "F" if fortran else "C")


class _Scalar:
    """Stand-in for a numpy scalar."""

    def __init__(self, kind: object = None, data: object = b"") -> None:
        self.kind, self.data = kind, data

    def value(self) -> Any:
        """The number."""
        return _from_bytes(self.kind, (), self.data, "C").item()


class _ArrayClass:
    """Stand-in for the class numpy.ndarray, which pickles name and do not call."""


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    """How protocol 2 writes bytes: text in Latin-1."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): _ArrayClass,
    ("numpy", "dtype"): _DType,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _Scalar))
    },
}


class _Unpickler(pickle.Unpickler):
    """Builds stand-ins for what is allowed, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a global; raises UnpicklingError for one that is not allowed."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a number, text or array")
        return ALLOWED[module, name]


def load_plain_pickle(data: bytes, what: str) -> Any:
    """Read a pickle that holds only dicts, lists, tuples, texts, numbers and numpy arrays of real numbers.

    Args:
        data: the pickle.
        what: its name in errors.
    Raises: InputError if it is larger than 64 MiB, damaged, or names anything else: nothing of it was run.
    """
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{what} has {len(data)} bytes, more than the {LARGEST_BYTES} of any parameter file; check it")
    try:
        check_memo(data)
        return _plain(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except Exception as error:  # a damaged pickle raises anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} is not a plain pickle ({said}); it was not read, get it from its makers") from error


def load_plain_npy(path: Any) -> Any:
    """What a .npy file with one pickled object holds, such as a dict of parameters, without running code.

    Raises: InputError if the file cannot be read or holds anything but plain data.
    """
    check_plain_file(Path(path))
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version of the format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    except Exception as error:  # numpy reads a header as Python's text
        raise InputError(f"{path} is no .npy file ({shortened(error)}); get it from its makers") from error
    if not dtype.hasobject or shape != ():
        raise InputError(f"{path} holds an array of {dtype}, not one pickled dict of parameters; name another file")
    return load_plain_pickle(data, str(path))


def _from_bytes(kind: object, shape: tuple[Any, ...], data: object, order: Any) -> np.ndarray[Any, Any]:
    """An array of checked size; raises ValueError where shape, type and bytes do not agree."""
    dtype = kind.dtype() if isinstance(kind, _DType) else None
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    if dtype is None or not isinstance(data, bytes) or len(sizes) != len(shape):
        raise ValueError("an array that is not made of bytes")
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(sizes, order=order).astype(dtype.newbyteorder("="))


def _plain(value: Any) -> Any:
    """The data with every stand-in replaced; raises ValueError for what is no plain data."""
    if isinstance(value, _Array | _Scalar):
        return value.value()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise ValueError(f"it holds a {type(value).__name__}")
