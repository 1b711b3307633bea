"""A denoiser: a network, what it was built for, and its file. Nothing in the file can run code."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import noisemodel
from denoisers.networks import SRResNet, UNet
from noisemodel.checkpoint import FILE_NAME, checkpoint_file, write_atomically
from noisemodel.errors import InputError
from noisemodel.sensor import Levels
from noisemodel.tensor_file import read_tensor_file

FORMAT = "denoiser-1"
MOST_FRAMES = 64
# Layout -> the channels it can have.
LAYOUTS = {"srgb": (1, 3), "planes": (1, 3), "mosaic": (4,)}


@dataclass(frozen=True)
class DenoiserSettings:
    """What a denoiser is built from, and which images it is for.

    Args:
        method: how it was trained, e.g. "n2n".
        network: a row of `NETWORKS`.
        channels: of an image.
        layout: a row of `LAYOUTS`: "srgb" is gamma pictures, the others linear.
        frames: of the clip that one image is made from; 1 for single images.
        width: of the network.
        norm: "group", "batch" or "none", where the network has a choice.
        levels: of the raw data it was trained on.
        cfa: colours of a mosaic by position, e.g. "RGGB".
        extra: what only this network needs (JSON-able); "amplify" is a gain that `Denoiser.denoise` applies before the
            network and takes back after it, for low light.
    Raises: InputError for what no denoiser has.
    """

    method: str
    network: str
    channels: int
    layout: str
    frames: int = 1
    width: int = 48
    norm: str = "group"
    levels: Levels | None = None
    cfa: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names and numbers."""
        if self.network not in NETWORKS:
            raise InputError(f"unknown network {self.network!r}; known: {', '.join(NETWORKS)}")
        if self.layout not in LAYOUTS:
            raise InputError(f"unknown layout {self.layout!r}; known: {', '.join(LAYOUTS)}")
        if self.channels not in LAYOUTS[self.layout]:
            wanted = " or ".join(map(str, LAYOUTS[self.layout]))
            raise InputError(f'layout "{self.layout}" has {wanted} channels, got {self.channels}; change one of them')
        if not isinstance(self.extra, dict):
            raise InputError(f"extra holds settings by name, got {type(self.extra).__name__}; train again")
        gain = self.extra.get("amplify", 1.0)
        if not isinstance(gain, int | float) or not 0 < gain < float("inf"):
            raise InputError(f"amplify must be a positive number, got {gain!r}; train again")
        if self.width < 1 or not 1 <= self.frames <= MOST_FRAMES:
            got = f"{self.width} and {self.frames}"
            raise InputError(f"width must be at least 1, frames from 1 to {MOST_FRAMES}, got {got}")


def _unet(settings: DenoiserSettings, generator: torch.Generator) -> nn.Module:
    """Lehtinen's U-Net."""
    return UNet(settings.channels, settings.width, generator=generator)


def _srresnet(settings: DenoiserSettings, generator: torch.Generator) -> nn.Module:
    """SRResNet; ``extra`` may say the number of blocks."""
    blocks = int(settings.extra.get("blocks", 16))
    return SRResNet(settings.channels, settings.width, blocks, settings.norm, generator=generator)


def _from(module: str, function: str) -> Callable[[DenoiserSettings, torch.Generator], nn.Module]:
    """A builder in a module that is imported when it is first needed."""
    return lambda settings, generator: getattr(import_module(module), function)(settings, generator=generator)


# Name -> function of (settings, generator) that gives a network whose forward denoises images of any size.
NETWORKS: dict[str, Callable[[DenoiserSettings, torch.Generator], nn.Module]] = {
    "unet": _unet,
    "srresnet": _srresnet,
    "video": _from("denoisers.video", "build_video"),
    "ntgan": _from("denoisers.ntgan_networks", "build_ntgan"),
}


class Denoiser(nn.Module):
    """A network with its settings.

    Args:
        settings: what it is for.
        network: its forward takes (N, C, H, W), or (N, T, C, H, W) where ``frames`` > 1, and gives (N, C, H, W).
    """

    def __init__(self, settings: DenoiserSettings, network: nn.Module) -> None:
        """Keep both."""
        super().__init__()
        self.settings, self.network = settings, network

    def forward(self, images: Tensor) -> Tensor:
        """The network alone: with gradients, in the mode that it is in, at its own scale."""
        return self.network(images)

    @torch.no_grad()
    def denoise(self, images: Tensor) -> Tensor:
        """Estimate the clean images, unclipped.

        Args:
            images: (N, C, H, W) of any size, or (N, T, C, H, W) where ``settings.frames`` > 1 [fraction of white].
        Returns: (N, C, H, W); of a clip the middle frame.
        Raises: InputError for another number of axes, channels or frames.
        """
        asked = self.settings
        inner = (asked.frames, asked.channels) if asked.frames > 1 else (asked.channels,)
        if images.ndim != 3 + len(inner) or images.shape[1:-2] != inner or 0 in images.shape:
            wanted = ", ".join(["N", *map(str, inner), "H", "W"])
            raise InputError(f"the denoiser takes ({wanted}), got {tuple(images.shape)}; use images of its kind")
        training = self.training
        self.eval()
        try:
            gain = float(asked.extra.get("amplify", 1.0))
            found: Tensor = self.network(images * gain) / gain
        finally:
            self.train(training)
        return found


def build_denoiser(settings: DenoiserSettings, *, generator: torch.Generator) -> Denoiser:
    """A new denoiser with weights drawn from ``generator`` (on the CPU); torch's own stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return Denoiser(settings, NETWORKS[settings.network](settings, generator))


def save_denoiser(denoiser: Denoiser, path: str | Path, **provenance: Any) -> Path:
    """Write weights, settings and ``provenance`` (JSON-able) to ``path``, or to ``path``/model.safetensors.

    Returns: the file written; it is whole or not there.
    """
    file = checkpoint_file(path)
    metadata = {
        "format": FORMAT,
        "settings": json.dumps(asdict(denoiser.settings)),
        "provenance": json.dumps({"noisemodel": noisemodel.__version__, "torch": torch.__version__, **provenance}),
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in denoiser.network.state_dict().items()}
    write_atomically(file, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    return file


def load_denoiser(path: str | Path) -> Denoiser:
    """Read a denoiser that `save_denoiser` wrote: the file, or the run folder that holds it. On the CPU.

    Raises: InputError if the file is missing, damaged, or of another format.
    """
    file = checkpoint_file(path)
    metadata, tensors = _read(file)
    try:
        settings = settings_from(json.loads(metadata["settings"]))
        denoiser = build_denoiser(settings, generator=torch.Generator())
        denoiser.network.load_state_dict(tensors)
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:  # also InputError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file}: weights and settings do not fit together ({reason}); train again") from error
    return denoiser.requires_grad_(False).eval()


def denoiser_provenance(path: str | Path) -> dict[str, Any]:
    """Who made a denoiser, from what, with which options, as given to `save_denoiser`."""
    file = checkpoint_file(path)
    try:
        return dict(json.loads(_read(file)[0]["provenance"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: its provenance cannot be read ({error}); train again") from error


def settings_from(config: Mapping[str, Any]) -> DenoiserSettings:
    """Settings from what JSON holds of them."""
    levels = config["levels"]
    known = levels and Levels(levels["black_dn"], levels["white_dn"], levels["clip"] and tuple(levels["clip"]))
    return DenoiserSettings(**{**config, "levels": known})


def _read(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of our format."""
    if not file.is_file():
        raise InputError(f"{file}: no such denoiser; give a run folder with {FILE_NAME}, or a .safetensors file")
    return read_tensor_file(file, FORMAT, what="a denoiser of this program", remedy="train again")
