"""Camera noise as a step of somebody else's training: a transform of images, samples and batches."""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from noisemodel.checkpoint import load
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.networks import reflect_to_multiple
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Origin, pack_mosaic, unpack_mosaic
from noisemodel.streams import stream
from noisemodel.synthesis import decode_srgb, encode_srgb, model_for

Value = float | tuple[float, float] | Tensor
Model = NoiseGenerator | PhysicalNoise | str | Path


@final
class CameraNoise:
    """noisy = clean + noise of a camera, of tensors (C, H, W), (N, C, H, W) or (N, T, C, H, W), or of samples.

    A sample (tuple, list, dict, nested as you like) is treated as torchvision's v2 transforms do: if it holds
    ``tv_tensors.Image`` or ``Video``, these get noise; else its first tensor does; everything else passes unchanged. A
    ``Video`` (..., T, C, H, W) is a burst, whose static terms are the same in all frames. torchvision is not needed.

    Which numbers are drawn: ``seed=None`` takes a new seed from torch's own generator at each call, as torchvision
    does: DataLoader workers differ, and ``torch.manual_seed`` repeats everything. With ``seed`` the n-th call of a
    process or worker draws from ``stream(seed, "CameraNoise", worker's seed, n)``; a loader with a seeded ``generator``
    then repeats everything, whatever else draws numbers. A call with ``generator=`` draws from that.

    Args:
        model: a noise model, or the path of one; it is copied, and gets no gradient.
        exact: Poisson photons, rounded and clipped by the model's levels, as a camera records; else the unclipped law.
        seed: see above.
        iso: of a model with a law against ISO.
        params: parameter -> value, (N,) values, or (low, high), between which each image gets its own, log-uniform.
        srgb: images are display-encoded: decode, add noise to linear light, encode.
        per_channel: let a mosaic model treat each colour of a picture as a sensor (approximate).
        origin: sensor pixel (row, column) of the images' corner.
        validate: whether images that hold NaN or infinite values are refused; None: those on the CPU. On a GPU the
            answer is waited for at each call, so that the work behind it does not run ahead.
    Raises: InputError for a model that cannot be read, an unknown parameter, a value that no law allows, or an empty
        range.
    """

    def __init__(
        self,
        model: Model,
        *,
        exact: bool = False,
        seed: int | None = None,
        iso: float | None = None,
        params: Mapping[str, Value] | None = None,
        srgb: bool = False,
        per_channel: bool = False,
        origin: Origin = (0, 0),
        validate: bool | None = None,
    ) -> None:
        """Read or copy the model, and check the parameters' names."""
        self.model = _own(model, iso)
        self.exact, self.seed, self.srgb, self.per_channel, self.origin = exact, seed, srgb, per_channel, origin
        self.params, self.calls, self.validate = dict(params or {}), 0, validate
        known = [parameter.name for parameter in self.model.physical.parameters_table()]
        for name, value in self.params.items():
            if name not in known:
                raise InputError(f"unknown parameter {name!r}; known: {', '.join(known)}")
            if isinstance(value, tuple) and not (len(value) == 2 and 0 < value[0] <= value[1]):
                raise InputError(f"the range of {name} must be (low, high) with 0 < low <= high, got {value}")
            lowest = -0.5 if name.endswith(".lambda") else 0.0
            given = torch.as_tensor(value, dtype=torch.float64)
            if not bool((given.isfinite() & (given >= lowest)).all()):
                raise InputError(f"{name} must be finite and at least {lowest:g}, got {value}; give another value")

    def __call__(self, *inputs: Any, generator: torch.Generator | None = None) -> Any:
        """Add noise to the images among ``inputs``; several inputs are one sample, as (image, label).

        Args:
            inputs: tensors [fraction of white, floating point], or samples that hold them.
            generator: where to draw from instead of the transform's own streams, on the images' device.
        Returns: what was given, noisy.
        Raises: InputError for integer images, other shapes, NaN (see ``validate``), or a sample without an image.
        """
        sample = inputs if len(inputs) != 1 else inputs[0]
        images = _images(sample)
        if not images:
            raise InputError("no tensor in the sample; convert images to tensors first, e.g. with v2.ToImage()")
        # All images of a sample draw from one stream, in their order.
        draws = generator or self._stream(images[0].device)
        noisy = {id(image): self._noisy(image, draws) for image in images}
        return _replaced(sample, noisy)

    def __repr__(self) -> str:
        """The noise words and what was set."""
        words = "_".join(self.model.physical.components)
        return f"CameraNoise({words}, exact={self.exact}, seed={self.seed}, params={self.params})"

    def _stream(self, device: torch.device) -> torch.Generator:
        """The numbers of the next call."""
        if self.seed is None:
            seed = int(torch.empty((), dtype=torch.int64).random_())
            return stream(seed, "CameraNoise", device=device)
        worker = get_worker_info()
        self.calls += 1
        return stream(
            self.seed, "CameraNoise", "main" if worker is None else worker.seed, self.calls - 1, device=device
        )

    def _noisy(self, image: Tensor, draws: torch.Generator) -> Tensor:
        """One image, batch or burst, as the type it came in."""
        clean = _plain(image)
        if not clean.is_floating_point():
            raise InputError(f"images must be floats in [0, 1], got {clean.dtype}; use v2.ToDtype(float32, scale=True)")
        if self.validate or (self.validate is None and clean.device.type == "cpu"):
            _refuse_nan(clean)
        batch = _with_batch(clean, video=type(image).__name__ == "Video")
        self.model.to(batch.device)
        signal = decode_srgb(batch) if self.srgb else batch
        with torch.set_grad_enabled(torch.is_grad_enabled() and batch.requires_grad):
            noisy = self._drawn(signal, draws)
        noisy = (encode_srgb(noisy) if self.srgb else noisy).reshape(clean.shape)
        wrap = getattr(sys.modules.get("torchvision.tv_tensors"), "wrap", None)
        return wrap(noisy, like=image) if wrap is not None and type(image) is not Tensor else noisy

    def _drawn(self, signal: Tensor, draws: torch.Generator) -> Tensor:
        """(N, C, H, W) or (N, T, C, H, W) of linear light; a mosaic of one channel is packed for the draw."""
        height, width = signal.shape[-2:]
        packs = self.model.physical.layout == "mosaic" and signal.shape[-3] == 1
        planes = pack_mosaic(reflect_to_multiple(signal, 2).squeeze(-3)) if packs else signal
        model = model_for(self.model, planes.shape[-3], per_channel=self.per_channel and planes.shape[-3] == 3)
        params = {name: _each(value, planes, draws) for name, value in self.params.items()}
        if self.exact:
            noisy = model.simulate(planes, generator=draws, origin=self.origin, params=params)
        else:
            noisy = model.measure(planes, generator=draws, origin=self.origin, params=params).noisy
        return unpack_mosaic(noisy).unsqueeze(-3)[..., :height, :width] if packs else noisy


def _own(model: Model, iso: float | None) -> NoiseGenerator:
    """A copy that is not trained any more."""
    if isinstance(model, str | Path):
        found = load(model, iso=iso)
    else:
        found = copy.deepcopy(NoiseGenerator(model) if isinstance(model, PhysicalNoise) else model)
        found = found if iso is None else found.at_iso(iso)
    return found.requires_grad_(False).eval()


def _each(value: Value, signal: Tensor, draws: torch.Generator) -> Tensor:
    """A parameter's (N,) values: one for all, given, or low (high / low)^u with u ~ U(0, 1)."""
    count = len(signal)
    if isinstance(value, tuple):
        low, high = value
        share = torch.rand(count, generator=draws, device=draws.device).to(signal)
        return low * (high / low) ** share
    values = torch.as_tensor(value).to(signal)
    if values.ndim > 1 or values.numel() not in (1, count):
        raise InputError(f"parameters have one value, or one for each of {count} images, got {tuple(values.shape)}")
    return values.expand(count)


def _with_batch(image: Tensor, video: bool) -> Tensor:
    """(N, C, H, W) or (N, T, C, H, W)."""
    if video and image.ndim >= 4:
        return image.reshape(-1, *image.shape[-4:])
    if image.ndim == 3:
        return image.unsqueeze(0)
    if image.ndim in (4, 5):
        return image
    raise InputError(f"images are (C, H, W), (N, C, H, W) or (N, T, C, H, W), got {tuple(image.shape)}; add the axes")


def _refuse_nan(image: Tensor) -> None:
    """Raise InputError for NaN and infinity: they show in the sum, which is quicker than a look at each value."""
    total = image.detach().sum(dtype=torch.promote_types(image.dtype, torch.float32))
    if not bool(total.isfinite()) and (bad := int((~image.isfinite()).sum())):
        got = f"{bad} of {image.numel()} values"
        raise InputError(f"images must be finite, got NaN or infinity in {got}; repair them, or say validate=False")


def _plain(image: Tensor) -> Tensor:
    return image.as_subclass(Tensor)


def _images(sample: Any) -> list[Tensor]:
    """The tensors of a sample that are images."""
    tensors = _tensors(sample)
    marked = [t for t in tensors if type(t).__module__.startswith("torchvision.tv_tensors")]
    named = [tensor for tensor in marked if type(tensor).__name__ in ("Image", "Video")]
    return named or [tensor for tensor in tensors if type(tensor).__module__.partition(".")[0] == "torch"][:1]


def _tensors(sample: Any) -> list[Tensor]:
    """All tensors, in the order in which they stand."""
    if isinstance(sample, Tensor):
        return [sample]
    parts = sample.values() if isinstance(sample, Mapping) else sample if isinstance(sample, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _replaced(sample: Any, noisy: Mapping[int, Tensor]) -> Any:
    """The sample with other images; containers are new, of the same types."""
    if isinstance(sample, Tensor):
        return noisy.get(id(sample), sample)
    if isinstance(sample, dict):
        found = copy.copy(sample)
        found.update({name: _replaced(part, noisy) for name, part in sample.items()})
        return found
    if isinstance(sample, tuple | list):
        parts = [_replaced(part, noisy) for part in sample]
        return type(sample)(*parts) if hasattr(sample, "_fields") else type(sample)(parts)
    return sample
