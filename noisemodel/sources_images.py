"""A source of noise for image files: a model of ours, or any ``KIND:ARGUMENT``, opened in each image's own layout."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, final

from noisemodel.checkpoint import checkpoint_file, load
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.noise_source import ModelSource, NoiseSource
from noisemodel.quantities import in_unit
from noisemodel.sensor import Levels
from noisemodel.sources import OpenBursts, is_kind, open_source
from noisemodel.sources_darks import DarksSource
from noisemodel.synthesis import model_for

Noise = NoiseGenerator | NoiseSource
CFA = re.compile(r"[RGBCMYW]{4}")


@final
@dataclass(frozen=True)
class ImageOptions:
    """What a command line says of the noise of its images.

    Args:
        levels: black and white level, where given.
        layout: "mosaic" or "planes" for a KIND:ARGUMENT; None: a mosaic for raw (1 or 4 channels, no PNG), else planes.
        cfa: colours by position from the images' corner.
        exact: see `open_source`.
        iso: of a model with a law against ISO.
        param: NAME=VALUE, parameters changed.
        per_channel: see `model_for`.
        device: where a model draws.
        open_bursts: see `open_source`.
    """

    levels: Levels | None = None
    layout: str | None = None
    cfa: str | None = None
    exact: bool = False
    iso: float | None = None
    param: Sequence[str] = ()
    per_channel: bool = False
    device: str = "cpu"
    open_bursts: OpenBursts | None = field(default=None, repr=False)


@final
class ImageNoise:
    """Noise by the shape of an image.

    Args:
        text: a run folder, a .safetensors file, or KIND:ARGUMENT.
        options: see `ImageOptions`.
    Raises: InputError for what does not fit together; a KIND:ARGUMENT is opened when an image needs it.
    """

    def __init__(self, text: str, options: ImageOptions) -> None:
        """Load a model; look at the text of a KIND."""
        self.text, self.options = text, options
        self._said: dict[str, str] = {}
        self._opened = cache(self._open)
        self._suited = cache(self._fitting)
        self.record = cache(self._record)
        self._model = None if is_kind(text) else self._loaded()
        if options.cfa is not None and not CFA.fullmatch(options.cfa):
            raise InputError(f"--cfa must be 4 colour letters such as RGGB, BGGR, GRBG, GBRG, got {options.cfa!r}")
        if self._model is None:
            given = [f"--{name}" for name in ("iso", "per_channel") if getattr(options, name)]
            if given:
                raise InputError(f"{' and '.join(given)}: for a learned model; {text} has no use for it, leave it away")
        else:
            given = [f"--{name}" for name in ("layout", "cfa") if getattr(options, name)]
            if given:
                raise InputError(f"{' and '.join(given)}: a model has its own; leave it away")

    def of_image(self, channels: int, *, raw: bool) -> Noise:
        """What adds noise to an image of ``channels`` (without opacity); ``raw`` if it may be a sensor's mosaic."""
        return self._suited(channels, self.layout(raw=raw))

    def levels(self, *, raw: bool) -> Levels | None:
        """Black and white level of the noise itself, where it has any."""
        noise = self._opened(self.layout(raw=raw))
        if isinstance(noise, DarksSource):
            return noise.darks.levels
        return noise.physical.levels if isinstance(noise, NoiseGenerator) else None

    def layout(self, *, raw: bool) -> str:
        """The layout that an image's noise is opened in, for `record`."""
        if self._model is not None:
            return self._model.physical.layout
        return self.options.layout or ("mosaic" if raw else "planes")

    def _open(self, layout: str) -> Noise:
        """The noise in one layout; a source that is one model as that model, so that all options hold for it."""
        if self._model is not None:
            return self._model
        o = self.options
        source = open_source(
            self.text, levels=o.levels, layout=layout, cfa=o.cfa, exact=o.exact, open_bursts=o.open_bursts
        )
        self._said[layout] = source.describe()
        if isinstance(source, ModelSource):
            self._said[layout] = self.text if o.param else self._said[layout]
            return self._prepared(source.model)
        if o.param:
            raise InputError(f"--param: {self.text} has no one set of parameters; leave it away")
        return source

    def _fitting(self, channels: int, layout: str) -> Noise:
        noise = self._opened(layout)
        if isinstance(noise, NoiseGenerator):
            return model_for(noise, channels, per_channel=self.options.per_channel)
        return noise

    def _loaded(self) -> NoiseGenerator:
        """The model of a checkpoint; without levels of its own it takes those of the command line."""
        model = load(Path(self.text), iso=self.options.iso)
        model.physical.levels = model.physical.levels or self.options.levels
        return self._prepared(model)

    def _prepared(self, model: NoiseGenerator) -> NoiseGenerator:
        """The model with its changed parameters, on its device."""
        for assignment in sorted(self.options.param, key=lambda text: not text.startswith("shot.gain")):
            try:  # the gain first: electrons are converted with it
                model.physical.fix(assignment)
            except InputError as error:
                raise InputError(f"--param: {error}") from error
        return model.to(self.options.device)

    def _record(self, layout: str) -> dict[str, Any]:
        """What the noise is, for the JSON beside an image."""
        noise = self._opened(layout)
        model = noise if isinstance(noise, NoiseGenerator) else None
        file = checkpoint_file(self.text) if self._model is not None else _file_in(self.text)
        said = None if file is None else {"path": str(file.resolve()), "sha256": _sha256(file)}
        return {
            "noise": self._said.get(layout, self.text),
            "device": _device_of(model),
            "checkpoint" if self._model is not None else "file": said,
            "model": None if model is None else model.config(),
            "parameters": [] if model is None else _parameters(model),
        }


def _parameters(model: NoiseGenerator) -> list[dict[str, Any]]:
    """Every parameter in its own unit, DN and electrons."""
    levels, table = model.physical.levels, model.physical.parameters_table()
    gain = next((parameter.value for parameter in table if parameter.name == "shot.gain"), None)
    return [
        {
            "name": parameter.name,
            "value": parameter.value,
            "unit": parameter.unit,
            "dn": in_unit(parameter, "DN", levels, gain),
            "electrons": in_unit(parameter, "e-", levels, gain),
        }
        for parameter in table
    ]


def _file_in(text: str) -> Path | None:
    """The file that a KIND:ARGUMENT names before its other fields, if it names one."""
    argument = text.partition(":")[2]
    places = (Path(argument.rsplit(",", count)[0]) for count in (0, 1, 2))
    return next((place for place in places if place.is_file()), None)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _device_of(model: NoiseGenerator | None) -> str:
    tensors = [] if model is None else list(model.state_dict().values())
    return tensors[0].device.type if tensors else "cpu"
