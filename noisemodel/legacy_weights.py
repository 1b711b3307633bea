"""Weights that the published scripts saved with torch.save, read without running what a pickle asks for."""

import io
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from noisemodel.claims import check_plain_file
from noisemodel.errors import InputError

WRAPPER = "module."  # before every name where the network was wrapped for several GPUs
ASKED = re.compile(r"(?:GLOBAL|global|call|type)\s+:?\s*`?([a-z_]\w*(?:\.\w+)+)", re.IGNORECASE)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a state dict in a .pt or .pth file, zipped or in the format of torch 1.3; on the CPU.

    A leading ``module.`` is taken off the names.
    Raises: InputError if the file cannot be read, holds anything but named tensors of finite numbers, or asks for code.
    """
    check_plain_file(path)
    try:
        held = io.BytesIO(path.read_bytes())  # a file makes room for any length that a pickle claims
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged pickles, which are refused below
            found = torch.load(held, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(
            f"{path} holds no plain weights ({_reason(error)}); nothing of it was run, get it again"
        ) from error
    if not isinstance(found, dict) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path} holds no weights by name, got a {type(found).__name__}; give a saved state dict")
    tensors = {str(name).removeprefix(WRAPPER): value.detach() for name, value in found.items()}
    for name, value in tensors.items():
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{path}: {name} holds {value.dtype} or values that are not finite; use another checkpoint"
            )
    return tensors


def _reason(error: Exception) -> str:
    """What is wrong in a few words; torch's own advice, to run the file, is not for files that one was sent."""
    if asked := ASKED.search(str(error)):
        return f"it asks for {asked[1]}"
    return type(error).__name__
