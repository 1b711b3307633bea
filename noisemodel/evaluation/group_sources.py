"""Sources of noise for one phone and ISO: what its metadata claim, and a model clipped as the data are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from noisemodel.checkpoint import FILE_NAME, checkpoint_file, load
from noisemodel.errors import InputError
from noisemodel.evaluation.recording import Recording, generate
from noisemodel.generator import NoiseGenerator
from noisemodel.sensor.noise_profile import NoiseProfile


@final
@dataclass(frozen=True)
class ProfileNoise:
    """S Poisson(x+ / S) + x- + N(0, O), its own (S, O) for each plane; neither rounded nor clipped.

    pairs: (S, O) of each plane [fraction of white, squared]; O < 0 is taken as 0, S = 0 has no shot noise.
    """

    pairs: tuple[tuple[float, float], ...]

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        signal = recording.clean.expand(recording.frames.shape)
        slope, offset = torch.tensor(self.pairs).clamp_min(0).view(-1, 2, 1, 1).unbind(1)
        gain = slope.clamp_min(1e-12)
        photons = gain * torch.poisson(signal.clamp_min(0) / gain, generator=generator) + signal.clamp_max(0)
        lit = torch.where(slope > 0, photons, signal)
        return lit + offset.sqrt() * torch.randn(signal.shape, generator=generator)


@final
@dataclass(frozen=True, eq=False)
class ClippedModel:
    """A model's exact laws, clipped as the data are (SIDD: to [0, 1])."""

    model: NoiseGenerator

    def draw(self, recording: Recording, *, generator: torch.Generator) -> Tensor:
        return generate(self.model, recording, generator=generator).clamp(*recording.levels.clip_range)


def claimed_noise(pairs: Sequence[tuple[float, float]] | None, cfa: str | None) -> ProfileNoise | None:
    """The noise that metadata claim, as (S, O) once or for red, green and blue; None where they claim none.

    Raises: InputError for numbers that make no profile.
    """
    if not pairs or cfa is None:
        return None
    return ProfileNoise(NoiseProfile(tuple(pairs)).of_colours(cfa))


def model_of_group(path: Path, phone: str, iso: int) -> NoiseGenerator | None:
    """The model for one phone and ISO: the checkpoint itself, or the one in a folder named after them.

    A folder without a checkpoint of its own may hold run folders PHONE_ISO, PHONE/ISO or PHONE (S6_3200, S6/3200, S6).
    A model with a law against ISO is taken at the ISO.

    Returns: None where such a folder has none for this phone and ISO.
    Raises: InputError if there is no checkpoint at all, or it is damaged.
    """
    if path.is_dir() and not (path / FILE_NAME).is_file():
        if not any(path.rglob("*.safetensors")):
            raise InputError(f"{path}: no such checkpoint, nor run folders like S6_3200 in it; give a run folder")
        places = (path / f"{phone}_{iso}", path / phone / str(iso), path / phone)
        found = next((place for place in places if (place / FILE_NAME).is_file()), None)
        if found is None:
            return None
        path = found
    try:
        model = load(path, iso=iso)
    except InputError:  # it knows one setting only, or is no model, which is said here
        model = load(path)
    return model.requires_grad_(False).eval()


def named_checkpoints(paths: Sequence[Path]) -> dict[str, Path]:
    """A name for each checkpoint: its run folder's, or the file's own where it has one; numbered where they repeat."""
    found: dict[str, Path] = {}
    for path in paths:
        file = checkpoint_file(path.resolve())
        name = file.parent.name if file.name == FILE_NAME else file.stem
        count = sum(known == name or known.startswith(f"{name} (") for known in found)
        found[f"{name} ({count + 1})" if count else name] = path
    return found


def check_fit(name: str, model: NoiseGenerator, layout: str, channels: int) -> None:
    """Raise InputError where a model cannot make the noise of data of this layout and number of planes."""
    if model.physical.layout != layout:
        raise InputError(f"{name} is for {model.physical.layout}, the data is {layout}; give --layout or other data")
    if model.network is not None and model.channels != channels:
        raise InputError(f"{name} is for {model.channels} planes, the data has {channels}; give other data")
