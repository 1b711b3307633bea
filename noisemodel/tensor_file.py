"""Reading a safetensors file of ours: its format is checked before its tensors are read. Nothing in it can run code."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from noisemodel.claims import check_finite, check_plain_file, shortened
from noisemodel.errors import InputError


def read_tensor_file(file: Path, expected: str, *, what: str, remedy: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file, on the CPU.

    Args:
        file: the file.
        expected: the entry ``format`` of its metadata.
        what: such a file in words, e.g. "a noise model of this program".
        remedy: what to do about a damaged one.
    Raises: InputError if the file is damaged, of another format, or holds weights that are not finite.
    """
    check_plain_file(file)
    try:
        with safe_open(file, "pt") as handle:
            metadata = dict(handle.metadata() or {})
            if (found := metadata.get("format")) != expected:
                raise InputError(f"{file}: not {what} (format {found!r}, not {expected!r})")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: damaged or not a safetensors file ({shortened(error)}); {remedy}") from error
    check_finite(tensors, file)
    return metadata, tensors
