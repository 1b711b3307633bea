"""Run folders of the published NR-GAN script (Kaneko & Harada 2020): args.txt, net*_iter_N.pth and *_params.pkl."""

import ast
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from noisemodel.claims import check_plain_file
from noisemodel.errors import InputError
from noisemodel.families import FAMILIES
from noisemodel.legacy_weights import load_weights
from noisemodel.plain_pickle import LARGEST_BYTES, load_plain_pickle
from nrgan.models import LearnedNoise, NoiseModel, NoiseSettings, build_noise, check_model
from nrgan.networks import LATENT, RESIDUAL, SIZES, Critic, ImageGenerator

LOG = logging.getLogger("noisemodel")
ARGS = "args.txt"
LONGEST_VALUE = 200  # characters
LARGEST = 1024  # channels or pixels
CHECKPOINT = re.compile(r"netG_iter_(\d+)(\..+)?\.pth")
# --dataset -> options that tell its rows apart, and rows by their values; a value that is not there is None.
DATASETS: dict[str, tuple[tuple[str, ...], dict[tuple[Any, ...], str]]] = {
    "CIFAR10": ((), {(): "cifar10"}),
    "CIFAR10AG": (
        ("noise_scale", "noise_scale_high"),
        {(25, None): "cifar10ag25", (5, 50): "cifar10ag5-50"},
    ),
    "CIFAR10LG": (
        ("noise_scale", "noise_scale_high", "patch_size", "patch_max_size"),
        {(25, None, 16, None): "cifar10lg25p16", (25, None, 8, 24): "cifar10lg25p8-24"},
    ),
    "CIFAR10U": (("noise_scale", "noise_scale_high"), {(50, None): "cifar10u50"}),
    "CIFAR10MIX": (
        ("noise_scale_list", "mixture_rate_list"),
        {((15, 25, 50), (0.7, 0.2, 0.1)): "cifar10mix"},
    ),
    "CIFAR10BG": (("noise_scale", "noise_scale_high", "kernel_size"), {(25, None, 5): "cifar10bg25k5"}),
    "CIFAR10ABG": (("noise_scale", "noise_scale_high", "kernel_size"), {(25, None, 5): "cifar10abg25k5"}),
    "CIFAR10MG": (
        ("multi_noise_scale", "multi_noise_scale_high"),
        {(25, None): "cifar10mg25", (5, 50): "cifar10mg5-50"},
    ),
    "CIFAR10AMG": (
        ("noise_scale", "multi_noise_scale", "noise_scale_high", "multi_noise_scale_high"),
        {(5, 25, None, None): "cifar10amg5_25", (25, 25, None, None): "cifar10amg25_25"},
    ),
    "CIFAR10P": (("noise_lam", "noise_lam_high"), {(30, None): "cifar10p30", (10, 50): "cifar10p10-50"}),
    "CIFAR10PG": (
        ("noise_lam", "noise_scale", "noise_lam_high", "noise_scale_high"),
        {(30, 5, None, None): "cifar10pg30_5", (30, 25, None, None): "cifar10pg30_25"},
    ),
}
SWITCHES = ("gn_train", "noise_measure", "implicit", "rotation", "channel_shuffle", "color_inversion")
# (prior, implicit, rotation, channel_shuffle, color_inversion) -> model; "relation" is the data's own prior.
MODELS_BY_SWITCH = {
    ("additive_gaussian", False, False, False, False): "sinrgan1",
    (None, False, True, True, True): "sinrgan2",
    ("relation", False, False, False, False): "sdnrgan1",
    ("additive_gaussian", True, False, False, False): "sdnrgan2",
    (None, True, False, False, True): "sdnrgan3",
}
PRIORS = {"multiplicative_gaussian": "multiplicative", "poisson": "poisson"}  # -> the relation of the data


class Published(NamedTuple):
    """What a run of NR-GAN holds, as our networks: G_x, the noise model, what they are, and their step."""

    image: ImageGenerator
    noise: NoiseModel
    settings: NoiseSettings
    step: int


def is_published(path: Path) -> bool:
    """Whether a path is a run folder of the published NR-GAN, or one of its .pth files."""
    if path.suffix == ".pth":
        return True
    return (path / ARGS).is_file() and any(CHECKPOINT.fullmatch(file.name) for file in path.iterdir())


def read_published(path: str | Path) -> Published:
    """Read a run of NR-GAN: the averaged generators of its last step, or those of a netG_iter_N.pth. On the CPU.

    Raises: InputError if something is missing, damaged, or of a network that ours is not.
    """
    file = chosen_checkpoint(Path(path))
    args = _read_args(file.parent / ARGS)
    params = read_params(file.parent / "netG_params.pkl")
    dataset, model = dataset_of(args), model_of(args)
    _check_params(params, file)
    size, planes, channels = (_whole(params, key, file) for key in ("image_size", "image_channels", "channels"))
    if size not in SIZES:
        raise InputError(f"{file.parent / 'netG_params.pkl'}: image_size {size}; known: {', '.join(map(str, SIZES))}")
    settings = NoiseSettings(dataset, model, size=size, planes=planes, channels=channels)
    check_model(dataset, model)
    image = ImageGenerator(size=size, planes=planes, channels=channels, generator=torch.Generator())
    _load(image, file)
    noise = build_noise(settings, seed=0)
    if isinstance(noise, LearnedNoise):
        of_noise = read_params(file.parent / "netGn_params.pkl")
        _check_params({**of_noise, "latent_dim": of_noise.get("latent_dim", 0) // (2 if args["implicit"] else 1)}, file)
        _load(noise.network, file.with_name(file.name.replace("netG_", "netGn_", 1)))
    step = int(_match(file)[1])
    return Published(image.requires_grad_(False), noise.requires_grad_(False), settings, step)


def read_critic(path: str | Path) -> Critic:
    """The critic of a run of NR-GAN at its last step, or at that of a netG_iter_N.pth; raises as `read_published`."""
    file = chosen_checkpoint(Path(path))
    params = read_params(file.parent / "netD_params.pkl")
    if params.get("pooling") != "mean":
        raise InputError(f"{file.parent}: a critic with pooling {params.get('pooling')!r} cannot be read, only mean")
    _check_params({**params, "latent_dim": LATENT}, file)
    planes, channels = (_whole(params, key, file) for key in ("image_channels", "channels"))
    critic = Critic(planes, channels=channels, generator=torch.Generator())
    _load(critic, file.with_name(file.name.replace("netG_", "netD_", 1)))
    return critic.requires_grad_(False)


def chosen_checkpoint(path: Path) -> Path:
    """The netG_iter_N.pth itself; of a folder the one of most steps."""
    if path.suffix == ".pth":
        _match(path)
        return path
    found = [(int(m[1]), m[0]) for file in path.iterdir() if (m := CHECKPOINT.fullmatch(file.name)) and not m[2]]
    if not found:
        raise InputError(f"{path} has no netG_iter_N.pth; name a run folder of NR-GAN")
    step, name = max(found)
    LOG.warning(f"{path}: reading {name}, a run of the published NR-GAN at step {step}")
    return path / name


def _match(path: Path) -> "re.Match[str]":
    found = CHECKPOINT.fullmatch(path.name)
    if found is None:
        raise InputError(f"{path} is no netG_iter_N.pth; name the image generator, the rest is beside it")
    return found


def read_params(path: Path) -> dict[str, Any]:
    """A network's settings from its *_params.pkl, without running code; raises InputError for anything but a dict."""
    check_plain_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; it lies beside the networks of a run") from error
    found = load_plain_pickle(data, str(path))
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, not the settings of a network; get it again")
    return found


def dataset_of(args: Mapping[str, Any]) -> str:
    """Our name of the data set that the arguments name.

    Amounts that have no name of ours get the first row of their kind, and a warning: a learned noise model needs but
    the relation of noise to signal. Raises: InputError for an unknown kind.
    """
    kind = args.get("dataset")
    if kind not in DATASETS:
        raise InputError(f"{ARGS}: data set {kind!r} is not known; known: {', '.join(DATASETS)}")
    options, rows = DATASETS[kind]
    values = tuple(tuple(v) if isinstance(v := args.get(option), list) else v for option in options)
    if values in rows:
        return rows[values]
    nearest = next(iter(rows.values()))
    said = ", ".join(f"{option} {value}" for option, value in zip(options, values, strict=True))
    if args.get("noise_measure"):
        raise InputError(
            f"{ARGS}: AmbientGAN on {kind} with {said} has no noise family of ours; known: {rows.values()}"
        )
    LOG.warning(
        f"{kind} with {said} has no name here; called {nearest}, of which only the relation to the signal is used"
    )
    return nearest


def model_of(args: Mapping[str, Any]) -> str:
    """The row of `nrgan.models.MODELS` that the arguments mean; raises InputError for a combination that is none."""
    if not args.get("gn_train"):
        return "ambientgan" if args.get("noise_measure") else "gan"
    prior = args.get("prior")
    if prior in PRIORS:
        relation = FAMILIES[dataset_of(args)].relation
        if PRIORS[prior] != relation:
            raise InputError(f"{ARGS}: prior {prior} on data whose noise is {relation!r} is none of our models")
        prior = "relation"
    switches = (prior, *(bool(args.get(name)) for name in SWITCHES[2:]))
    if switches not in MODELS_BY_SWITCH or args.get("noise_measure"):
        said = ", ".join(f"{name} {args.get(name)}" for name in ("prior", *SWITCHES[1:]))
        raise InputError(f"{ARGS}: {said} is none of our models; known: gan, ambientgan, sinrgan1-2, sdnrgan1-3")
    return MODELS_BY_SWITCH[switches]


def _read_args(path: Path) -> dict[str, Any]:
    """``NAME VALUE`` by line; values are Python's literals, or text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; it lies beside the networks of a run") from error
    except ValueError as error:
        raise InputError(f"{path} is no text ({error}); get it again") from error
    found = {name: _literal(text) for name, _, text in (line.partition(" ") for line in lines)}
    return {**dict.fromkeys(SWITCHES, False), **found}


def _literal(text: str) -> Any:
    if len(text) > LONGEST_VALUE:
        return text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.strip()


def _check_params(params: Mapping[str, Any], file: Path) -> None:
    """Raise InputError where the published network had settings that ours has not."""
    for key, ours in (("residual_factor", RESIDUAL), ("latent_dim", LATENT)):
        if params.get(key) != ours:
            raise InputError(f"{file.parent}: {key} {params.get(key)!r} cannot be read; ours is {ours}")


def _whole(params: Mapping[str, Any], key: str, file: Path) -> int:
    value = params.get(key)
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise InputError(
            f"{file.parent}: {key} must be a whole number up to {LARGEST}, got {value!r}; get the run again"
        )
    return value


def _load(network: nn.Module, file: Path) -> None:
    """Published names have ".conv" between a layer and its weights, once or twice; ours have not."""
    weights: dict[str, Tensor] = {}
    for name, value in load_weights(file).items():
        weights[".".join(part for part in name.split(".") if part != "conv")] = value
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: not the network that its params name ({reason}); take both from one run") from error
