"""Noisy versions of clean images: pixel values to signals, noise, and back to the same type of values."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from noisemodel.checkpoint import build
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.legacy_generator import LegacyGenerator
from noisemodel.networks import reflect_to_multiple
from noisemodel.noise_source import NoiseSource
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Levels, Origin, pack_mosaic, unpack_mosaic
from noisemodel.streams import stream

Array = np.ndarray[Any, np.dtype[Any]]
BRIGHTEST_FLOAT = 2.0  # floats above this are hardly fractions of the white level
RAW = "give the raw mosaic (1 channel or 4 packed planes)"


@final
@dataclass(frozen=True)
class Scale:
    """What pixel values mean: x = (value - black) / (white - black), of decoded values with ``srgb``.

    Args:
        black, white: the values of no light and of the white level.
        srgb: values are display-encoded (IEC 61966-2-1) between black and white.
        brightest: the signal above which the scale must be wrong.
        why: where the scale comes from, for people.
    """

    black: float
    white: float
    srgb: bool = False
    brightest: float = math.inf
    why: str = "given"

    def to_signal(self, values: Tensor) -> Tensor:
        """Fraction of the white level; raises InputError for NaN, and for values far above the white level."""
        if not bool(torch.isfinite(values).all()):
            raise InputError("it holds NaN or infinite values; repair these pixels first")
        x = (values - self.black) / (self.white - self.black)
        if float(x.max()) > self.brightest:
            raise InputError(
                f"values reach {float(values.max()):g}, but the white level would be {self.white:g} ({self.why}); "
                "give --black_level and --white_level, or say what values mean by --values full_scale|dn"
            )
        return decode_srgb(x) if self.srgb else x

    def add(self, values: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """Noisy values; without ``srgb`` the clean values themselves plus noise, so that nothing else changes."""
        if not self.srgb:
            return values + (self.white - self.black) * noise
        return self.black + (self.white - self.black) * encode_srgb(signal + noise)


def decode_srgb(code: Tensor) -> Tensor:
    """Code c to linear light: c / 12.92 up to 0.04045, else ((c + 0.055) / 1.055)^2.4 (IEC 61966-2-1)."""
    return torch.where(code <= 0.04045, code / 12.92, ((code.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def encode_srgb(light: Tensor) -> Tensor:
    """Linear light x to code: 12.92 x up to 0.0031308 (negative light too), else 1.055 x^(1/2.4) - 0.055."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp_min(0.003) ** (1 / 2.4) - 0.055)


def choose_scale(
    dtype: np.dtype[Any], *, values: str = "auto", levels: Levels | None = None, raw: bool = False, srgb: bool = False
) -> Scale:
    """What values of ``dtype`` mean.

    Args:
        dtype: of the image.
        values: "dn": (DN - black) / (white - black) of ``levels``; "full_scale": 0..255, 0..65535, or 0..1 for floats;
            "auto": dn for uint16 that may be ``raw`` where there are levels, else full_scale.
        levels: of the camera.
        raw: whether the image may be raw: one channel or 4 packed planes, and no PNG.
        srgb: values are display-encoded.
    Raises: InputError for dn without levels, or together with ``srgb``.
    """
    guessed = values == "auto"
    if values == "dn" or (guessed and not srgb and raw and levels is not None and dtype == np.uint16):
        if levels is None:
            raise InputError("values in DN need levels, and the model has none; give --black_level and --white_level")
        if srgb:
            raise InputError("values in DN are linear; leave --srgb away, or say --values full_scale")
        why = "16-bit data taken as raw DN of the model's levels" if guessed else "DN"
        return Scale(levels.black_dn, levels.white_dn, False, 1.0 if guessed else math.inf, why)
    if dtype.kind == "f":
        return Scale(0.0, 1.0, srgb, BRIGHTEST_FLOAT if guessed else math.inf, "floats taken as fractions of white")
    return Scale(0.0, float(np.iinfo(dtype).max), srgb, why=f"full scale of {dtype.newbyteorder('=')}")


def model_for(model: NoiseGenerator, channels: int, *, per_channel: bool = False) -> NoiseGenerator:
    """The model that may add noise to an image of ``channels``: itself, or with ``per_channel`` its "planes" twin.

    The twin of a mosaic model takes each colour of a picture for a sensor of its own that has all pixels: an
    approximation, since demosaicing mixes and correlates the noise of neighbours.
    Raises: InputError if the model has no law for such an image.
    """
    mosaic = model.physical.layout == "mosaic"
    if per_channel and not mosaic:
        raise InputError("--per_channel is for a mosaic model; this one knows whole planes, leave it away")
    if mosaic and channels not in (1, 4):
        if not per_channel:
            raise InputError(f"it has {channels} channels, the model is one of a mosaic; {RAW}, or say --per_channel")
        if isinstance(model, LegacyGenerator):
            raise InputError(
                f"it has {channels} channels, and --per_channel is for models of ours: this one is of the published "
                f"scripts; convert it first: python convert.py {model.file} --out FOLDER"
            )
        if model.network is not None:
            raise InputError(f"it has {channels} channels, the model's network knows only a mosaic; {RAW}")
        return _planes_twin(model)
    needed = 4 if mosaic else channels
    if model.network is not None and model.channels != needed:
        raise InputError(f"it has {channels} channels, the model's network was made for {model.channels}; convert it")
    return model


def _planes_twin(model: NoiseGenerator) -> NoiseGenerator:
    """The same components and parameters with layout "planes"."""
    config, weights = model.config(), model.state_dict()
    twin = build({**config, "physical": {**config["physical"], "layout": "planes"}}, weights)
    twin.load_state_dict(weights)
    return twin.to(_device(model)).eval()


def _device(model: NoiseGenerator) -> torch.device:
    return next((value.device for value in model.state_dict().values()), torch.device("cpu"))


@torch.no_grad()
def draw_frames(
    model: NoiseGenerator,
    clean: Tensor,
    *,
    frames: int,
    generator: Callable[[str | int], torch.Generator],
    exact: bool = False,
    origin: Origin = (0, 0),
) -> Iterator[Tensor]:
    """Noise of T frames of one static scene, with the law of ``model.measure`` of a burst, one frame at a time.

    What is constant over a burst is drawn once from ``generator("static")``, the rest of frame t from ``generator(t)``:
    memory does not grow with T, and frame t is the same whatever T is.

    Args:
        clean: (N, C, H, W) [fraction of white].
        frames: T.
        generator: gives the stream of a name.
        exact: laws, rounding and clipping of ``model.simulate``.
        origin: sensor pixel (row, column) of the corner.
    Yields: noisy - clean of each frame, (N, C, H, W).
    """
    physical = model.physical
    signal = model.before(clean)
    still = [component for component in physical.each() if component.static]
    moving = PhysicalNoise([c for c in physical.each() if not c.static], layout=physical.layout, levels=physical.levels)
    static, draws = torch.zeros(()).to(clean), generator("static")
    for component in still:
        static = static + component.sample(signal, generator=draws, origin=origin)
    for frame in range(frames):
        if exact:
            noise = moving.exact_noise(signal, generator=generator(frame), origin=origin)
        else:
            noise = moving.measure(signal, generator=generator(frame), origin=origin).noise
        noisy = model.after(clean, signal + static + noise)
        yield (physical.levels.record(noisy) if exact and physical.levels else noisy) - clean


def synthesize_frames(
    model: NoiseGenerator | NoiseSource,
    image: Array,
    scale: Scale,
    *,
    seed: int,
    purpose: tuple[str | int, ...],
    frames: int = 1,
    exact: bool = False,
    origin: tuple[int, int] = (0, 0),
    channel_axis: int | None = None,
    alpha: bool = False,
) -> Iterator[Array]:
    """Noisy frames of one image, of its own shape and type: integers rounded and clipped to their range, floats not.

    Args:
        model: from `noisemodel.load`; noise is drawn on its device. See `model_for`. Or a source, opened with the laws
            that are wanted: ``exact`` then has no meaning, and noise is drawn on the CPU.
        image: (H, W), (H, W, C) or (C, H, W) of uint8, uint16, float32 or float64. With a mosaic model, C is 4 (packed
            planes) or 1 (the mosaic itself; odd sizes are extended by reflection for the draw, and cropped).
        scale: what its values mean.
        seed, purpose: name the noise: ``stream(seed, *purpose, "static" or frame)``.
        frames: how many; static terms are the same in all.
        exact: laws, rounding and clipping of ``model.simulate``, before the rounding of integers.
        origin: sensor pixel (row, column) of the image's corner.
        channel_axis: 0, -1, or None without one.
        alpha: the last channel is opacity, and passes unchanged.
    Raises: InputError for values that are not finite, and where the model has no law for the image.
    """
    planes = np.moveaxis(image, channel_axis, 0) if channel_axis is not None else image[None]
    light = planes[: len(planes) - alpha]
    device = _device(model) if isinstance(model, NoiseGenerator) else torch.device("cpu")
    work = np.float64 if image.dtype == np.float64 else np.float32
    values = torch.from_numpy(np.array(light, work, order="C")).unsqueeze(0).to(device)  # (1, C, H, W)
    signal = scale.to_signal(values).float()
    layout = model.physical.layout if isinstance(model, NoiseGenerator) else model.layout
    to_model, from_model = _mosaic_maps(layout, *values.shape[1:])
    clean = to_model(signal)
    named = partial(_stream_of, seed, purpose, device)
    drawn: Iterator[Tensor]
    if isinstance(model, NoiseGenerator):
        drawn = draw_frames(model, clean, frames=frames, generator=named, exact=exact, origin=origin)
    else:
        drawn = (noisy - clean for noisy in model.frames(clean, frames=frames, generator=named, origin=origin))
    for noise in drawn:
        noisy = scale.add(values, signal, from_model(noise))[0]
        whole = np.empty_like(planes)
        whole[: len(light)] = _as_stored(noisy, image.dtype)
        whole[len(light) :] = planes[len(light) :]
        yield np.moveaxis(whole, 0, channel_axis) if channel_axis is not None else whole[0]


def _stream_of(seed: int, purpose: tuple[str | int, ...], device: torch.device, name: str | int) -> torch.Generator:
    """The stream of a frame, or of what is constant over a burst."""
    return stream(seed, *purpose, name, device=device)


def synthesize_array(
    model: NoiseGenerator | NoiseSource, image: Array, scale: Scale, *, seed: int = 0, **options: Any
) -> Array:
    """One noisy version of ``image``; options as `synthesize_frames`."""
    (noisy,) = synthesize_frames(model, image, scale, seed=seed, **{"purpose": ("synthesize",), **options})
    return noisy


def _mosaic_maps(
    layout: str, channels: int, height: int, width: int
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """To the planes the model knows, and back: packs a one-channel mosaic; reflection keeps the colours' order."""
    if layout == "planes" or channels != 1:
        return lambda x: x, lambda x: x
    return (
        lambda x: pack_mosaic(reflect_to_multiple(x, 2)[:, 0]),
        lambda x: unpack_mosaic(x).unsqueeze(1)[..., :height, :width],
    )


def _as_stored(values: Tensor, dtype: np.dtype[Any]) -> Array:
    """Values in the file's type: rounded and clipped to what an integer can hold."""
    if dtype.kind != "f":
        values = values.round_().clamp_(0, np.iinfo(dtype).max)
    return values.cpu().numpy().astype(dtype)
