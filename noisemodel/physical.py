"""PhysicalNoise: a sum of independent components."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from noisemodel.components import COMPONENTS, NoiseComponent, Parameter, Params, as_burst, parse_noiselist, safe_sqrt
from noisemodel.components.base import per_image
from noisemodel.components.start_values import CONTEXT, START
from noisemodel.errors import InputError
from noisemodel.pieces import Piece, each_in_threads, pieces
from noisemodel.quantities import parse_assignment, scale_of
from noisemodel.sensor import Crop, Levels, Origin
from noisemodel.sensor.mosaic import check_layout

LARGEST = 0.2  # a noise parameter above so much of the white level was meant in DN


class Measurement(NamedTuple):
    """What a noisy look at a clean image gives: ``noisy = clean + noise``, unclipped."""

    noisy: Tensor
    noise: Tensor
    latent: Tensor | None = None
    scale: Tensor | None = None


class PhysicalNoise(nn.Module):
    """noise = sum of independent components; the camera records clip(round(clean + noise)).

    Args:
        components: one of each word, in the noiselist's order.
        layout: "mosaic" (4 packed planes) or "planes" (mono, RGB).
        levels: black, white and clip range, where known.
        sensor_size: (rows, columns) in sensor pixels, where known.
    """

    def __init__(
        self,
        components: list[NoiseComponent],
        *,
        layout: str = "mosaic",
        levels: Levels | None = None,
        sensor_size: tuple[int, int] | None = None,
    ) -> None:
        """Join ``components``; `from_noiselist` is the usual way."""
        super().__init__()
        self.layout, self.levels, self.sensor_size = check_layout(layout), levels, sensor_size
        self.components = nn.ModuleDict({component.name: component for component in components})

    @classmethod
    def from_noiselist(
        cls,
        noiselist: str,
        *,
        layout: str = "mosaic",
        levels: Levels | None = None,
        sensor_size: tuple[int, int] | None = None,
        **start: Any,
    ) -> "PhysicalNoise":
        """Build the model of a noiselist, e.g. ``shot_read_row1``.

        Args:
            noiselist: words joined with "_".
            layout: "mosaic" or "planes"; whether 4 planes are a mosaic is said, never guessed.
            levels: with them, ``uniform`` is the ADC step and fixed, and `simulate` rounds and clips.
            sensor_size: (rows, columns) [sensor pixels], for maps and for row noise with a spectrum.
            start: start values [fractions of white], e.g. shot_gain, read_std, periodic_std=(s0, s1, s2); see `START`.
        Raises: InputError for a wrong word, an unknown start value, or one whose word is not in the list.
        """
        words = parse_noiselist(noiselist)
        if "learnedfixed" in words and "fixed1_pattern" in start:
            start["learnedfixed_pattern"] = start.pop("fixed1_pattern")
        context = {"levels": levels, "sensor_size": sensor_size}
        arguments: dict[str, dict[str, Any]] = {word: {k: context[k] for k in CONTEXT.get(word, ())} for word in words}
        for key, value in start.items():
            if key not in START:
                raise InputError(f"unknown start value {key!r}; known: {', '.join(START)}")
            word, argument = START[key]
            if word not in words:
                raise InputError(f"start value {key!r} is for {word!r}, which is not in noiselist {noiselist!r}")
            arguments[word][argument] = value
        components = [COMPONENTS[word](layout, **arguments[word]) for word in words]
        return cls(components, layout=layout, levels=levels, sensor_size=sensor_size)

    @property
    def noiselist(self) -> str:
        """The words, joined with "_"."""
        return "_".join(self.components)

    def each(self) -> Iterator[NoiseComponent]:
        """The components, in the noiselist's order."""
        return iter(cast("list[NoiseComponent]", list(self.components.values())))

    def component(self, word: str) -> NoiseComponent:
        """One component by its word; raises InputError if the model has none such."""
        if word not in self.components:
            raise InputError(f"the model has no {word!r}; it has: {', '.join(self.components)}")
        return cast(NoiseComponent, self.components[word])

    def parameters_table(self) -> list[Parameter]:
        """Every physical parameter, in the noiselist's order."""
        return [parameter for component in self.each() for parameter in component.parameters_table()]

    def assign(self, assignment: str) -> tuple[str, str]:
        """Set a parameter: ``NAME=VALUE`` in DN, electrons or its own unit, e.g. ``shot.gain=0.42DN``.

        Returns: the component's word and the parameter's key.
        """
        name, value, unit = parse_assignment(assignment)
        known = {parameter.name: parameter for parameter in self.parameters_table()}
        if name not in known:
            raise InputError(f"cannot set {name!r}; this model has: {', '.join(known)}")
        gain = known["shot.gain"].value if "shot.gain" in known else None
        if not unit and known[name].unit.startswith("white") and value > LARGEST:
            raise InputError(
                f"{name}={value:g} is {value:.0%} of the white level; write {name}={value:g}DN if DN is meant"
            )
        word, key = name.split(".")
        self.component(word).store(key, value * scale_of(name, known[name].unit, unit, self.levels, gain))
        return word, key

    def fix(self, assignment: str) -> None:
        """Set a parameter as `assign` does, and hold it: it takes no gradient from now on."""
        word, key = self.assign(assignment)
        self.component(word).fix(key)

    def hold_exactly(self, names: list[str]) -> None:
        """Hold the parameters of ``names`` and free all others that may be free."""
        for component in self.each():
            component.fixed = {key for key in component.units if f"{component.name}.{key}" in names}
            for parameter in component.parameters_table():
                key = parameter.name.split(".")[1]
                if (leaf := component.leaf(key)) is not None:
                    leaf.requires_grad_(key not in component.fixed)

    def parts(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> dict[str, Tensor]:
        """One draw of every component, word -> noise of the shape of ``clean``; the sum has the law of `measure`."""
        params = self._check_params(params, clean)
        return {
            component.name: component.sample(clean, generator=generator, origin=origin, params=params)
            for component in self.each()
        }

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Measurement:
        """noisy = clean + noise, differentiable, unclipped.

        Independent white Gaussian terms share one draw, since variances add. The same stream gives the same bits with
        and without gradients.

        Args:
            clean: (N, C, H, W) or (N, T, C, H, W) [fraction of white].
            generator: the stream to draw from, on the device of ``clean``.
            origin: sensor pixel (row, column) of the crop's corner; (N, 2) for one per sample.
            params: parameter name -> (N,) values that vary by image.
        """
        params = self._check_params(params, clean)
        burst, crop = as_burst(clean, self.layout, origin)
        lines = self._sum_by_shape(
            [c._sample(burst, crop, params, generator) for c in self.each() if not c.white], burst
        )
        places = pieces(burst, generator)
        if torch.is_grad_enabled():
            drawn = [self._white_noise(burst[at], crop, at, params, draws) for at, draws in places]
            noise = torch.cat([piece.reshape(-1, *burst.shape[2:]) for piece in drawn]).reshape(burst.shape)
            noise = sum(lines, noise)
            return Measurement((burst + noise).reshape(clean.shape), noise.reshape(clean.shape))
        noise, noisy = (torch.empty(burst.shape, dtype=burst.dtype, device=burst.device) for _ in range(2))

        @torch.no_grad()
        def fill(at: Piece, draws: torch.Generator) -> None:
            piece = self._white_noise(burst[at], crop, at, params, draws, out=noise[at])
            for line in lines:
                piece.add_(line.expand(burst.shape)[at])
            torch.add(burst[at], piece, out=noisy[at])

        each_in_threads(fill, places)
        return Measurement(noisy.view(clean.shape), noise.view(clean.shape))

    def _white_noise(
        self,
        burst: Tensor,
        crop: Crop,
        at: Piece,
        params: Params,
        generator: torch.Generator,
        out: Tensor | None = None,
    ) -> Tensor:
        """Noise independent from pixel to pixel of one piece of a burst: one normal draw, plus what is not Gaussian."""
        here = None if params is None else {name: value[at[0]] for name, value in params.items()}
        crop = _crop_of_piece(crop, at, burst)
        gaussian = [c._variance(burst, crop, here) for c in self.each() if c.white_gaussian]
        piece = torch.empty(burst.shape, dtype=burst.dtype, device=burst.device) if out is None else out
        if gaussian:
            std = safe_sqrt(sum(gaussian[1:], gaussian[0]))
            piece.normal_(generator=generator)
            piece = piece * std if out is None else piece.mul_(std)
        else:
            piece.zero_()
        for component in self.each():
            if component.white and not component.white_gaussian:
                piece = piece.add_(component._sample(burst, crop, here, generator))
        return piece

    @staticmethod
    def _sum_by_shape(terms: list[Tensor], burst: Tensor) -> list[Tensor]:
        """Add up terms that vary along the same axes, so that row terms stay one value a row."""
        groups: dict[tuple[bool, bool], Tensor] = {}
        for term in terms:
            term = term.expand(*(1,) * (5 - term.ndim), *term.shape)
            kind = (term.shape[-2] == 1 < burst.shape[-2], term.shape[-1] == 1 < burst.shape[-1])
            groups[kind] = groups[kind] + term if kind in groups else term
        return list(groups.values())

    def exact_noise(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """One draw of the exact laws, no gradient; ``uniform`` is left out where `simulate` will really round."""
        params = self._check_params(params, clean)
        noise = torch.zeros_like(clean)
        for component in self.each():
            if component.name != "uniform" or self.levels is None or not self.levels.rounding:
                noise += component.simulate(clean, generator=generator, origin=origin, params=params)
        return noise

    @torch.no_grad()
    def simulate(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """What a camera records: exact laws, then rounded on the DN grid and clipped (without levels: neither)."""
        noisy = clean + self.exact_noise(clean, generator=generator, origin=origin, params=params)
        return noisy if self.levels is None else self.levels.record(noisy)

    def mean(self, clean: Tensor, *, origin: Origin = (0, 0)) -> Tensor:
        """Mean of the noise over repeated draws, shape of ``clean``: what the fixed pattern and the gain map add."""
        return sum((c.mean(clean, origin=origin) for c in self.each()), torch.zeros_like(clean))

    def variance(self, clean: Tensor, *, origin: Origin = (0, 0), params: Params = None) -> Tensor:
        """Variance of the noise over repeated draws, shape of ``clean``: the sum of the components' variances."""
        params = self._check_params(params, clean)
        parts = (c.variance(clean, origin=origin, params=params) for c in self.each())
        return sum(parts, torch.zeros_like(clean))

    def _check_params(self, params: Params, clean: Tensor) -> Params:
        """``params`` in the type of ``clean``; refuses names that no component has, and what is not one per image."""
        known = [f"{c.name}.{key}" for c in self.each() for key in c.units if c.leaf(key) is not None]
        for name in params or {}:
            if name not in known:
                raise InputError(f"unknown parameter {name!r} in params; this model can vary: {', '.join(known)}")
        return per_image(params, clean)

    def config(self) -> Mapping[str, Any]:
        """What, beside the weights, is needed to build this model again (JSON-able)."""
        levels = self.levels
        return {
            "noiselist": self.noiselist,
            "layout": self.layout,
            "levels": levels and {"black_dn": levels.black_dn, "white_dn": levels.white_dn, "clip": levels.clip},
            "sensor_size": self.sensor_size and list(self.sensor_size),
            "options": {c.name: c.options() for c in self.each() if c.options()},
            "fixed": [p.name for p in self.parameters_table() if p.fixed],
        }


def _crop_of_piece(crop: Crop, at: Piece, piece: Tensor) -> Crop:
    """Where a piece of a burst lies: the origins of its samples, where each has its own."""
    assert isinstance(crop.origin, Tensor)
    n, t, c, h, w = piece.shape
    return Crop(crop.layout, (n, t, c, h, w), crop.origin[at[0]] if len(crop.origin) > 1 else crop.origin, crop.device)
