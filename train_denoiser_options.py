"""The options of train_denoiser.py, which of them a method uses, and what is built from them."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datasets import load_bursts
from denoisers.burst_pairs import BurstPairs
from denoisers.corruption import CORRUPTIONS, Corruption
from denoisers.losses import LOSSES
from denoisers.networks import NORMS
from denoisers.ntgan_levels import BLOCK
from denoisers.ntgan_training import NtganOptions
from denoisers.pairs import PairSource
from denoisers.picture_pairs import CameraCorruption, Corrupting, PairSettings, PicturePairs
from denoisers.synthesised import SynthesisedPairs, SynthesisOptions, sensor_window
from denoisers.trained import NETWORKS, DenoiserSettings, build_denoiser
from denoisers.training import DenoiserTraining, TrainingOptions
from noisemodel.checkpoint import read_model
from noisemodel.commandline import REQUIRED, option
from noisemodel.errors import InputError
from noisemodel.noise_source import NoiseSource
from noisemodel.sources import open_source
from noisemodel.streams import stream
from train_denoiser_ntgan import build_ntgan_run
from train_denoiser_pictures import PictureSet, read_noisy_pictures, read_pictures

BURSTS = "bursts:"
VIDEO_FRAMES = 5
WIDTHS = {"unet": 48, "srresnet": 64, "video": 32, "ntgan": 64}
BLOCKS = 16


@dataclass(frozen=True)
class DenoiserOptions(TrainingOptions, SynthesisOptions, NtganOptions):
    """Everything that ``train_denoiser.py`` can be told."""

    method: str = option("n2n", "n2n (noisy targets), n2c (clean targets), ntgan (noisy images) or supervised")
    output_directory: Path = option(REQUIRED, "the run's folder", aliases=("-o",))
    data: Path | None = option(None, "folder of images; without it embedded pictures")
    corruption: str | None = option(None, f"n2n, n2c, ntgan: {', '.join(CORRUPTIONS)}; without it and --noise gaussian")
    amount: float | None = option(None, "p of the corruption's law; without it the published one")
    font: Path | None = option(None, "corruption text: a .ttf or .otf file; without it DejaVu Sans")
    noise: str | None = option(None, "noise of a camera: a model, KIND:ARGUMENT, or bursts:FOLDER of real bursts")
    network: str | None = option(None, "unet (default), srresnet, or video (5 frames: supervised, or n2n on bursts)")
    width: int | None = option(None, f"channels of the network; without it {WIDTHS['unet']} (unet)")
    norm: str | None = option(None, f"srresnet: {', '.join(NORMS)}; without it group")
    blocks: int | None = option(None, f"srresnet: residual blocks; without it {BLOCKS}")
    loss: str | None = option(None, f"{', '.join(LOSSES)}; without it the one that fits the noise")
    channels: int | None = option(None, "1 (grey) or 3 (colour); without it 3; mosaics have 4")
    crop_size: int = option(64, "height and width of the crops [px]; 0: whole images (n2n and n2c on pictures)")
    layout: str | None = option(
        None, "supervised, bursts: mosaic or planes; without it as the noise model or the files"
    )
    cfa: str | None = option(None, "supervised, bursts: colours of a mosaic by position, e.g. RGGB")
    black_level: float | None = option(None, "bursts: value of no light [DN]; without it as the files say")
    white_level: float | None = option(None, "bursts: value of the white level [DN]; without it as the files say")
    max_time: float | None = option(None, "minutes after which the run saves and ends")
    resume: bool = option(False, "go on with the run in the folder")
    overwrite: bool = option(False, "replace the run in the folder")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    gpus: int | None = option(None, "GPUs of each node; 0 is the CPU; without it one, if there is one", aliases=("-g",))
    nodes: int = option(1, "machines that train together", aliases=("-n",))
    nr: int = option(0, "number of this machine, 0 .. nodes - 1", aliases=("-nr",))

    def __post_init__(self) -> None:
        """Refuse what makes no run, and options that would have no effect."""
        TrainingOptions.__post_init__(self)
        SynthesisOptions.__post_init__(self)
        self.check_ntgan()
        if self.method not in METHODS:
            close = difflib.get_close_matches(self.method, METHODS, n=1)
            did = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"unknown method {self.method!r} (known: {', '.join(METHODS)}){did}")
        for name, known in (("network", NETWORKS), ("loss", LOSSES), ("norm", NORMS)):
            if (given := getattr(self, name)) is not None and given not in known:
                raise InputError(f"unknown --{name} {given!r}; known: {', '.join(known)}")
        for name in ("width", "blocks"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise InputError(f"--{name} must be at least 1, got {number}; leave it out for the default")
        if self.max_time is not None and not self.max_time >= 0:
            raise InputError(f"--max_time must be at least 0, got {self.max_time}")
        can_have = (1, 3, 4) if self.method == "supervised" else (1, 3)
        if self.channels is not None and self.channels not in can_have:
            said = " or ".join(map(str, can_have))
            raise InputError(f"--channels must be {said} for method {self.method}, got {self.channels}")
        _refuse_unused(self)

    @property
    def from_bursts(self) -> Path | None:
        """The folder of real bursts that is trained on."""
        return Path(self.noise.removeprefix(BURSTS)) if self.noise and self.noise.startswith(BURSTS) else None

    @property
    def corruption_law(self) -> Corruption:
        """The published corruption."""
        return Corruption(self.corruption or "gaussian", self.amount, self.font)


def _given(options: DenoiserOptions) -> set[str]:
    """Names of the options that are not at their defaults."""
    return {f.name for f in dataclasses.fields(options) if getattr(options, f.name) != f.default}


def _refuse_unused(options: DenoiserOptions) -> None:
    """Raise InputError for an option that the run would not look at, and for those that exclude each other."""
    given, method = _given(options), METHODS[options.method]
    every = set().union(*(row.uses for row in METHODS.values()))
    if unused := sorted(given & (every - method.uses)):
        raise InputError(f"--{', --'.join(unused)}: not used by method {options.method}; leave it out")
    for name, wanted in (("norm", "srresnet"), ("blocks", "srresnet"), ("motion", "video")):
        if name in given and (options.network or "unet") != wanted:
            raise InputError(f"--{name}: only --network {wanted} has it; leave it out")
    if options.noise is not None and (clash := sorted(given & {"corruption", "amount", "font"})):
        raise InputError(f"--noise and --{', --'.join(clash)} exclude each other; leave one out")
    if options.font is not None and options.corruption != "text":
        raise InputError("--font: only --corruption text writes letters; leave it out")
    if options.from_bursts and (clash := sorted(given & {"data", "channels"})):
        raise InputError(f"--{', --'.join(clash)}: the images are the bursts of --noise; leave it out")
    of_bursts = {"black_level", "white_level"} | (set() if options.method == "supervised" else {"layout", "cfa"})
    if not options.from_bursts and (unused := sorted(given & of_bursts)):
        raise InputError(f"--{', --'.join(unused)}: only --noise {BURSTS}FOLDER has it; leave it out")
    if options.from_bursts and options.method != "n2n":
        raise InputError(f"--noise {BURSTS}FOLDER has no clean targets: use --method n2n, or synthesised noise")


class Built(NamedTuple):
    """What is trained, and a line on what it is trained on."""

    training: Any
    description: str


def build(options: DenoiserOptions, place: str) -> Built:
    """Open the data and build the networks of a run; noise is drawn on the device ``place`` where it can be."""
    return METHODS[options.method].build(options, place)


def _pictures(options: DenoiserOptions, place: str, *, clean_targets: bool) -> Built:
    """Noise2Noise and its clean rival: corrupted pictures, or frames of real bursts."""
    if options.from_bursts:
        return _bursts(options, options.from_bursts)
    channels = options.channels or 3
    pictures = read_pictures(options.data, channels)
    noise = _noise(options, place)
    targets = None if clean_targets else noise.targets
    pairs = _picture_pairs(options, place, pictures, noise, targets, channels)
    return Built(_training(options, pairs, noise.loss), f"{pictures.description}; noise: {noise.description}")


class _Noise(NamedTuple):
    """What corrupts inputs, what corrupts targets (never clipped), in words, and the loss that fits."""

    inputs: Corrupting
    targets: Corrupting
    description: str
    loss: str


def _noise(options: DenoiserOptions, place: str) -> _Noise:
    """A published corruption, or the noise of a camera on picture values."""
    if options.noise is None:
        law = options.corruption_law
        return _Noise(law, law, law.describe(), law.kind.loss)
    source = open_source(options.noise, layout="planes", open_bursts=load_bursts)
    unclipped = open_source(options.noise, layout="planes", open_bursts=load_bursts, exact=False)
    inputs, targets = (CameraCorruption(partial(_camera_noise, one, place)) for one in (source, unclipped))
    return _Noise(inputs, targets, source.describe(), "l2")


def _picture_pairs(
    options: DenoiserOptions, place: str, pictures: PictureSet, noise: _Noise, targets: Corrupting | None, channels: int
) -> PicturePairs:
    """Pairs of random crops."""
    settings = PairSettings(options.batch_size, options.crop_size, channels, options.seed, "srgb", place)
    return PicturePairs(pictures.train, pictures.held_out, noise.inputs, targets, settings, pictures.names)


def _ntgan(options: DenoiserOptions, place: str) -> Built:
    """Noise transference: pictures that are noisy already, or were made so once."""
    width = options.width or WIDTHS["ntgan"]
    if options.data is not None and not _given(options) & {"noise", "corruption", "amount"}:
        everything = read_noisy_pictures(options.data, BLOCK)
        run = build_ntgan_run(options, everything, (), None, width)
        return Built(run, f"{options.data}: {len(everything)} images, taken to be noisy; --corruption adds noise")
    pictures, noise = read_pictures(options.data, 3, BLOCK), _noise(options, "cpu")
    validation = _picture_pairs(options, place, pictures, noise, None, 3).validation()
    run = build_ntgan_run(options, pictures.train, validation, noise.inputs, width)
    return Built(run, f"{pictures.description}; noise, drawn once: {noise.description}")


def _camera_noise(source: NoiseSource, place: str, clean: Tensor, draws: torch.Generator) -> Tensor:
    """A draw at a random place of the sensor for each image, so that a fixed pattern is another in input and target."""
    if source.model is not None:
        source.model.to(place)
    window = sensor_window(source) or ((0, 4096), (0, 4096))
    places = [
        torch.randint(first, max(end - size, first) + 1, (len(clean),), generator=draws, device=clean.device)
        for (first, end), size in zip(window, clean.shape[-2:], strict=True)
    ]
    return source.draw(clean, generator=draws, origin=torch.stack(places, dim=1))


def _bursts(options: DenoiserOptions, folder: Path) -> Built:
    """Two frames of a static scene."""
    given = {name: getattr(options, name) for name in ("black_level", "white_level", "layout", "cfa")}
    found = load_bursts(folder, **given)
    still = [burst for burst in found.bursts if burst.kind != "dark"]
    pairs = BurstPairs(
        still,
        layout=found.layout,
        crop=options.crop_size,
        batch_size=options.batch_size,
        frames=VIDEO_FRAMES if options.network == "video" else 1,
        seed=options.seed,
    )
    more = {"levels": found.levels, "cfa": found.cfa}
    return Built(_training(options, pairs, "l2", **more), f"{folder}: {len(still)} static bursts")


def _supervised(options: DenoiserOptions, _: str) -> Built:
    """Clean pictures made raw, with the noise of a camera."""
    if options.noise is None:
        raise InputError("--method supervised needs --noise: a model, or e.g. poisson-gaussian:0.01,0.02")
    file = Path(options.noise)
    levels = read_model(file).physical.levels if file.exists() else None
    layout = options.layout or (read_model(file).physical.layout if file.exists() else "planes")
    if options.cfa is not None and layout != "mosaic":
        raise InputError(f"--cfa: only a mosaic has it, the layout is {layout}; leave it out, or give --layout mosaic")
    source = open_source(options.noise, layout=layout, cfa=options.cfa, open_bursts=load_bursts)
    channels = options.channels or (4 if layout == "mosaic" else 3)
    pictures = read_pictures(options.data, 1 if channels == 1 else 3)
    pairs = SynthesisedPairs(
        pictures.train,
        pictures.held_out,
        source,
        layout=layout,
        channels=channels,
        crop=options.crop_size,
        batch_size=options.batch_size,
        seed=options.seed,
        frames=VIDEO_FRAMES if options.network == "video" else 1,
        cfa=options.cfa,
        options=options,
    )
    extra = {} if options.amplify == 1 else {"amplify": options.amplify}
    built = _training(options, pairs, "l2", extra=extra, levels=levels, cfa=options.cfa)
    return Built(built, f"{pictures.description}; noise: {source.describe()}")


def _training(options: DenoiserOptions, pairs: PairSource, loss: str, **facts: Any) -> DenoiserTraining:
    """The network that the options ask for, and its training."""
    network = options.network or "unet"
    if (network == "video") != (pairs.frames > 1) or network == "ntgan":
        more = "" if network == "ntgan" else ", or clips: --noise bursts:FOLDER, or --method supervised"
        raise InputError(f"--network {network} does not fit --method {options.method}; use unet or srresnet{more}")
    extra = {**facts.pop("extra", {}), **({"blocks": options.blocks or BLOCKS} if network == "srresnet" else {})}
    settings = DenoiserSettings(
        method=options.method,
        network=network,
        channels=pairs.channels,
        layout=pairs.layout,
        frames=pairs.frames,
        width=options.width or WIDTHS[network],
        norm=options.norm or "group",
        extra=extra,
        **facts,
    )
    denoiser = build_denoiser(settings, generator=stream(options.seed, "weights"))
    return DenoiserTraining(denoiser, pairs, options, options.loss or loss)


class Method(NamedTuple):
    """A row of `METHODS`: what builds a run, and which of the options that not all methods have it looks at."""

    build: Callable[[DenoiserOptions, str], Built]
    uses: frozenset[str]


_FITTED = {"noise", "network", "width", "norm", "blocks", "loss", "channels"}
_CORRUPTED = frozenset(_FITTED | {"corruption", "amount", "font"})
_OF_BURSTS = frozenset({"layout", "cfa", "black_level", "white_level"})
_MADE = frozenset({"noise", "corruption", "amount", "font", "width"})
_NTGAN = {field.name for field in dataclasses.fields(NtganOptions)}
_SYNTHESIS = {field.name for field in dataclasses.fields(SynthesisOptions)}
METHODS: Mapping[str, Method] = {
    "n2n": Method(partial(_pictures, clean_targets=False), _CORRUPTED | _OF_BURSTS),
    "n2c": Method(partial(_pictures, clean_targets=True), _CORRUPTED),
    "ntgan": Method(_ntgan, _MADE | _NTGAN),
    "supervised": Method(_supervised, frozenset(_FITTED | _SYNTHESIS | {"layout", "cfa"})),
}
