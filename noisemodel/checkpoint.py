"""Our checkpoint: one safetensors file with weights, config and provenance. Nothing in it can run code."""

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import noisemodel
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.iso_law import LOG, IsoLaw
from noisemodel.legacy import chosen_checkpoint, is_published, read_published
from noisemodel.legacy_generator import LegacyGenerator
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Levels
from noisemodel.tensor_file import read_tensor_file

FILE_NAME = "model.safetensors"
FORMAT = "noisemodel-1"
LONGEST_NAME = 60  # characters that a temporary file takes of a name: the whole may be as long as a name can be
# Start value of a map over the sensor -> its tensor.
MAPS = {
    "fixed1_pattern": "fixed1.pattern",
    "learnedfixed_pattern": "learnedfixed.pattern",
    "prnu_map": "prnu.unit_map",
    "readmap_map": "readmap.unit_map",
}


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it, and rename it into place; clean up on failure.

    What is there and no file (/dev/stdout, a pipe) is written to as it is, and never replaced.
    Raises: OSError that names ``path`` where it cannot be written; whatever ``write`` raises beside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file() and not path.is_dir():
        write(path)
        return
    temporary = path.with_name(f".{path.name[:LONGEST_NAME]}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _about(path, temporary, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _about(path: Path, temporary: Path, error: Exception) -> Exception:
    """The error of a failed write with the name that the user knows, in place of a temporary file's or none."""
    if isinstance(error, SafetensorError):  # it tells the number in words, beside a temporary name of its own
        number = re.search(r"os error (\d+)", str(error))
        return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error
    if isinstance(error, OSError) and error.errno is not None and error.filename in (None, temporary, str(temporary)):
        return OSError(error.errno, error.strerror, str(path))
    return error


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(model: NoiseGenerator | PhysicalNoise, path: str | Path, **provenance: Any) -> Path:
    """Write weights, config and ``provenance`` (JSON-able) to ``path``, or to ``path``/model.safetensors.

    Returns: the file written. Written to a temporary file, synced and renamed: never half a file.
    Raises: InputError for a model of the published scripts, whose laws our format cannot hold.
    """
    if isinstance(model, PhysicalNoise):
        model = NoiseGenerator(model)
    if isinstance(model, LegacyGenerator):
        raise InputError(f"{model.file} has laws of its own, which our format cannot hold; convert it with convert.py")
    path = _own_file(path)
    metadata = {
        "format": FORMAT,
        "config": json.dumps(model.config()),
        "provenance": json.dumps({"noisemodel": noisemodel.__version__, "torch": torch.__version__, **provenance}),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    return path


def load(path: str | Path, *, iso: float | None = None) -> NoiseGenerator:
    """Read a model that `save` wrote: the file, or the run folder that holds model.safetensors. On the CPU.

    A run folder of the published starlight script, or a .pt file in it, gives a `LegacyGenerator` with its old laws.

    Args:
        path: the file or folder.
        iso: as `NoiseGenerator.at_iso`. Without it, a model with a law against ISO has the parameters of its ISO0, and
            a warning says so.
    Raises: InputError if the file is missing, damaged, or of another format, or has no law to give ``iso``.
    """
    file, model = checkpoint_file(path), read_model(path)
    if iso is not None:
        try:
            return model.at_iso(iso)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    if model.iso_law is not None:
        LOG.warning(f"{file} follows a law against ISO; no ISO is given: parameters of ISO {model.iso_law.iso0:g}")
    return model


def read_model(path: str | Path) -> NoiseGenerator:
    """The model of a file or run folder as it is; args and errors as `load`."""
    if _is_published(path):
        return read_published(path)
    file = checkpoint_file(path)
    metadata, tensors = _read(file)
    try:
        model = build(json.loads(metadata["config"]), tensors)
        model.load_state_dict(tensors)
        _check_values(model)
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:  # also InputError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: weights and config do not fit together ({reason}); save the model again") from error
    return model.eval()


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Who made a checkpoint, from what, with which options and results, as given to `save`."""
    file = checkpoint_file(path)
    if _is_published(path):
        return {"program": "published starlight script", "file": file.name}
    try:
        return dict(json.loads(_read(file)[0]["provenance"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: its provenance cannot be read ({error}); save the model again") from error


def checkpoint_file(path: str | Path) -> Path:
    """The file that ``path`` (a file or a run folder) means: a safetensors file, or a published run's chosen .pt."""
    return chosen_checkpoint(Path(path)) if _is_published(path) else _own_file(path)


def _own_file(path: str | Path) -> Path:
    """The safetensors file that ``path`` means."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def _is_published(path: str | Path) -> bool:
    """Whether ``path`` means a published checkpoint: a .pt file, or a run folder that holds no model of ours."""
    return not _own_file(path).is_file() and is_published(Path(path))


def _read(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of our format."""
    if not file.is_file():
        raise InputError(f"{file}: no such checkpoint; give a run folder or a .safetensors file")
    return read_tensor_file(file, FORMAT, what="a noise model of this program", remedy="use a backup or train again")


def build(config: dict[str, Any], tensors: dict[str, Tensor]) -> NoiseGenerator:
    """A generator of ``config``; maps take their shape from ``tensors``, whose values the caller loads."""
    physical = dict(config["physical"])
    levels = physical["levels"]
    start: dict[str, Any] = {
        f"{word}_{argument}": value
        for word, options in physical["options"].items()
        for argument, value in options.items()
    }
    for argument, name in MAPS.items():
        if f"physical.components.{name}" in tensors:
            start[argument] = tensors[f"physical.components.{name}"]
    model = PhysicalNoise.from_noiselist(
        physical["noiselist"],
        layout=physical["layout"],
        levels=levels and Levels(levels["black_dn"], levels["white_dn"], levels["clip"]),
        sensor_size=physical["sensor_size"] and tuple(physical["sensor_size"]),
        **start,
    )
    model.hold_exactly(physical["fixed"])
    _check_claimed_network(config, tensors)
    generator = NoiseGenerator(
        model,
        config["network"],
        channels=config["channels"],
        unet_opts=config["unet_opts"],
        unet_width=config["unet_width"],
    )
    if config.get("iso_law") is not None:
        generator.iso_law = IsoLaw.from_config(config["iso_law"])
    return generator


def _check_values(model: NoiseGenerator) -> None:
    """Raise InputError for a parameter that is not finite: a finite logarithm may be one."""
    for parameter in model.physical.parameters_table():
        if isinstance(parameter.value, float) and not math.isfinite(parameter.value):
            raise InputError(f"{parameter.name} is {parameter.value}")


def _check_claimed_network(config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Compare with the weights before a network of any claimed size is built; raises InputError."""
    if (first := tensors.get("network.enter.body.0.weight")) is None:
        return
    claimed = config["unet_width"], config["channels"] * (2 if config["network"] == "Unet_cat" else 1)
    if tuple(first.shape[:2]) != claimed:
        raise InputError(f"a network of width and inputs {claimed}, weights of {tuple(first.shape[:2])}")
