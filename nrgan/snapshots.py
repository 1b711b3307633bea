"""A trained NR-GAN as one safetensors file: the averaged generators and what they were built from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from noisemodel.checkpoint import build, write_atomically
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.tensor_file import read_tensor_file
from nrgan.legacy import is_published, read_published
from nrgan.models import NoiseModel, NoiseSettings, PhysicalNoiseModel, build_noise
from nrgan.networks import ImageGenerator
from nrgan.step import Networks, draw_noisy
from nrgan.units import NOISE_SCALE, to_unit

FORMAT = "nrgan-1"
PHYSICS = "noise.prior."  # before the names of a physical model's tensors


class Samples(NamedTuple):
    """(N, C, H, W) fractions of white: clean in [0, 1], noisy = clean + noise, unclipped."""

    clean: Tensor
    noise: Tensor
    noisy: Tensor


@dataclass
class NrGan:
    """Trained generators.

    Attributes:
        image: G_x.
        noise: the noise model.
        settings: what they were built from.
        step: how long they were trained.
    """

    image: ImageGenerator
    noise: NoiseModel
    settings: NoiseSettings
    step: int

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator) -> Samples:
        """Draw images and their noise, on the device of ``generator``, where the networks have to be."""
        made = draw_noisy(self.image, self.noise, count, generator=generator)
        noise = made.noise / NOISE_SCALE
        clean = to_unit(made.noisy - made.noise)
        return Samples(clean, noise, clean + noise)


def trained(networks: Networks, settings: NoiseSettings, step: int) -> NrGan:
    """The averages of ``networks``."""
    return NrGan(networks.image_average, networks.noise_average, settings, step)


def save_snapshot(gan: NrGan, path: Path, **provenance: Any) -> Path:
    """Write weights, settings and ``provenance`` (JSON-able); never half a file."""
    config: dict[str, Any] = {**gan.settings._asdict(), "start": None}
    if isinstance(gan.noise, PhysicalNoiseModel):
        config["start"] = NoiseGenerator(gan.noise.prior.physical).config()
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config),
        "provenance": json.dumps({"step": gan.step, **provenance}),
    }
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in _both(gan.image, gan.noise).state_dict().items()
    }
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    return path


def load_snapshot(path: str | Path) -> NrGan:
    """Read what `save_snapshot` wrote; of a run folder or its ``snapshots``, the latest. On the CPU.

    A run folder of the published script, or one of its netG_iter_N.pth, is read as well.
    Raises: InputError if there is none, or the file is damaged or of another format.
    """
    if is_published(Path(path)):
        return NrGan(*read_published(path))
    file = latest_snapshot(Path(path))
    metadata, tensors = read_tensor_file(file, FORMAT, what="a snapshot of NR-GAN", remedy="use another snapshot")
    try:
        config = json.loads(metadata["config"])
        if config["start"] is not None:
            physics = {k.removeprefix(PHYSICS): v for k, v in tensors.items() if k.startswith(PHYSICS)}
            config["start"] = build(config["start"], physics).physical
        settings = NoiseSettings(**config)
        _check_claimed_network(settings, tensors)
        image = ImageGenerator(
            size=settings.size, planes=settings.planes, channels=settings.channels, generator=torch.Generator()
        )
        noise = build_noise(settings, seed=0)
        _both(image, noise).load_state_dict(tensors)
        step = int(json.loads(metadata["provenance"])["step"])
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:  # also InputError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: weights and config do not fit together ({reason}); use another snapshot") from error
    return NrGan(image.requires_grad_(False), noise.requires_grad_(False), settings, step)


def _check_claimed_network(settings: NoiseSettings, tensors: Mapping[str, Tensor]) -> None:
    """Compare with the weights before networks of any claimed size are built; raises InputError."""
    claimed, held = (settings.planes, settings.channels), tuple(tensors["image.conv5.weight"].shape[:2])
    if claimed != held:
        raise InputError(f"networks of planes and width {claimed}, weights of {held}")


def snapshot_file(folder: Path, step: int) -> Path:
    """Where the snapshot of a step lies in a run folder."""
    return folder / "snapshots" / f"step_{step:06d}.safetensors"


def latest_snapshot(path: Path) -> Path:
    """``path`` itself, or the snapshot of most steps in a run folder or folder of snapshots."""
    if path.is_file():
        return path
    found = [*path.glob("snapshots/step_*.safetensors"), *path.glob("step_*.safetensors")]
    if not found:
        raise InputError(f"{path}: no snapshot here; give a run folder of train_nrgan.py or a .safetensors file")
    return max(found, key=lambda file: int(file.stem.removeprefix("step_")))


def _both(image: nn.Module, noise: nn.Module) -> nn.ModuleDict:
    """One module with the names that the file uses."""
    return nn.ModuleDict({"image": image, "noise": noise})
