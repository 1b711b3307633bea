"""Run folders of the published starlight script, read with the laws they were trained with (Monakhova, CVPR 2022)."""

import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from noisemodel.components import FixedPattern, LearnedFixedPattern, NoiseComponent
from noisemodel.errors import InputError
from noisemodel.generator import NETWORKS
from noisemodel.legacy_generator import PLANES, SWAP, LegacyGenerator
from noisemodel.legacy_network import OldUnet
from noisemodel.legacy_terms import OldPeriodic, OldRow, OldShotRead, OldTemporalRow, OldUniform
from noisemodel.legacy_weights import load_weights
from noisemodel.mat_tags import load_mat, mat_variables
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import unpack_mosaic

LOG = logging.getLogger("noisemodel")
ARGS = "args.txt"
PATTERN_FILE, PATTERN_KEY, PATTERN_DN = "fixed_pattern_noise.mat", "mean_pattern", 65536.0
LARGEST_PATTERN = 1 << 28  # values
NUMBER = r"([-+0-9.eEnaif]+)"
BEST = re.compile(rf"bestgenerator(\d+)_KLD{NUMBER}\.pt")
LATEST = re.compile(r"generatorcheckpoint(\d+)_.*\.pt")
NET = "net."


class Term(NamedTuple):
    """A row of `TERMS`: parts of the noiselist that have to be there, what is built, its keys and their tensors."""

    needs: tuple[str, ...]
    build: type[Any]
    keys: dict[str, str]


# In the order of the published draws. Words were matched as parts of the noiselist: "threadless" has "read" in it.
TERMS = (
    Term(("shot", "read"), OldShotRead, {"slope": "shot_noise", "offset": "read_noise"}),
    Term(("read",), OldShotRead, {"offset": "read_noise"}),
    Term(("uniform",), OldUniform, {"width": "uniform_noise"}),
    Term(("row1",), OldRow, {"std": "row_noise"}),
    Term(("rowt",), OldTemporalRow, {"std": "row_noise_temp"}),
)
TENSORS = {
    "shot": "shot_noise",
    "read": "read_noise",
    "row1": "row_noise",
    "rowt": "row_noise_temp",
    "uniform": "uniform_noise",
    "learnedfixed": "fixednoiset",
    "periodic": "periodic_params",
}


def is_published(path: Path) -> bool:
    """Whether a path is a checkpoint of a published script (.pt), or a run folder of one (args.txt)."""
    return path.suffix == ".pt" or (path / ARGS).is_file()


def chosen_checkpoint(path: Path) -> Path:
    """The file itself; of a folder the best generator (lowest KLD), or the one of the last epoch.

    A KLD of 0 or below is left for the last: the published one was 0 where histograms had nothing in common.
    Raises: InputError if the folder has none.
    """
    if path.suffix == ".pt":
        if not path.is_file():
            raise InputError(f"{path}: no such checkpoint; give a run folder or a file in it")
        return path
    names = [file.name for file in path.iterdir()]
    best = [(_kld(float_of(m[2])), -int(m[1]), m[0]) for name in names if (m := BEST.fullmatch(name))]
    if best:
        return path / min(best)[2]
    latest = [(int(m[1]), m[0]) for name in names if (m := LATEST.fullmatch(name))]
    if not latest and any(name.startswith("netG_iter_") for name in names):
        raise InputError(
            f"{path} is a run of NR-GAN, which makes images; open it with nrgan, or convert it (convert.py)"
        )
    if not latest:
        raise InputError(f"{path} has no bestgenerator*.pt or generatorcheckpoint*.pt; name another run folder")
    return path / max(latest)[1]


def float_of(text: str) -> float:
    """A number, or NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _kld(value: float) -> float:
    return value if value > 0 else math.inf


def read_published(path: str | Path, *, pattern: Path | None = None) -> LegacyGenerator:
    """Read a run of the published starlight script: its args.txt and the best or the last generator. On the CPU.

    Args:
        path: the run folder, or a .pt file in it.
        pattern: fixed_pattern_noise.mat for ``fixed1``, which checkpoints do not hold; by default the one in the run
            folder, or in one of the two above it or their ``data``.
    Raises: InputError if something is missing, damaged, or of another network.
    """
    path = Path(path)
    file = chosen_checkpoint(path)
    args = _read_args(file.parent / ARGS)
    noiselist, network = str(args.get("noiselist", "")), str(args.get("network", ""))
    if network not in NETWORKS:
        raise InputError(f"{file.parent / ARGS}: network {network!r} cannot be read; known: {', '.join(NETWORKS)}")
    weights = load_weights(file)
    net = None
    if network != "noUnet":
        net = OldUnet(PLANES * (2 if network == "Unet_cat" else 1), PLANES, str(args.get("unet_opts", "")))
        own = {name.removeprefix(NET): weights.pop(name) for name in list(weights) if name.startswith(NET)}
        _load(net, own, file)
    _check_names(weights, noiselist, file)
    terms = list(_terms(noiselist, weights, file, pattern))
    model = LegacyGenerator(PhysicalNoise(terms, layout="mosaic"), network, net, args, file)
    if path != file:
        LOG.warning(
            f"{path}: reading {file.name}, a run of the published script with its own laws (see docs/legacy.md)"
        )
    return model.requires_grad_(False).eval()


def _read_args(path: Path) -> dict[str, Any]:
    """The arguments of a run; raises InputError for another file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot open {path}: {error.strerror}; a published .pt needs its args.txt beside it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); a run of the starlight script has one") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, not the arguments of a run; name another folder")
    return found


def _load(net: OldUnet, weights: dict[str, Tensor], file: Path) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: its network is not the one of args.txt ({reason}); check unet_opts") from error


def _check_names(weights: dict[str, Tensor], noiselist: str, file: Path) -> None:
    """Raise InputError unless the file holds just what the noiselist names."""
    wanted = {tensor for word, tensor in TENSORS.items() if word in noiselist}
    if weights.keys() != wanted:
        wrong = ", ".join(sorted(weights.keys() ^ wanted)) or "nothing"
        raise InputError(f"{file} and noiselist {noiselist!r} of args.txt do not fit: {wrong}; take both from one run")


def _terms(noiselist: str, weights: dict[str, Tensor], file: Path, pattern: Path | None) -> Iterator[NoiseComponent]:
    """The terms in the order of the published draws; ``shot`` without ``read`` adds nothing."""
    built: set[type[Any]] = set()
    for needs, build, keys in TERMS:
        if build not in built and all(word in noiselist for word in needs):
            built.add(build)
            yield build("mosaic", {key: _number(weights[tensor], tensor, file) for key, tensor in keys.items()})
    if "learnedfixed" in noiselist:
        yield LearnedFixedPattern("mosaic", _by_position(weights["fixednoiset"].squeeze(0), file))
    elif "fixed1" in noiselist:
        yield FixedPattern("mosaic", read_pattern(pattern or _find_pattern(file)))
    if "periodic" in noiselist:
        if weights["periodic_params"].shape != (3,):
            raise InputError(f"{file}: periodic_params has shape {tuple(weights['periodic_params'].shape)}, not (3,)")
        yield OldPeriodic("mosaic", {f"p{i}": float(value) for i, value in enumerate(weights["periodic_params"])})


def _number(value: Tensor, name: str, file: Path) -> float:
    if value.numel() != 1:
        raise InputError(f"{file}: {name} has shape {tuple(value.shape)}, not one number; use another checkpoint")
    return float(value)


def _by_position(planes: Tensor, file: Path) -> Tensor:
    """Published planes (4, h, w) -> sensor pixels (2h, 2w)."""
    if planes.ndim != 3 or len(planes) != PLANES:
        raise InputError(f"{file}: a fixed pattern has 4 planes, got shape {tuple(planes.shape)}")
    return unpack_mosaic(planes[SWAP])


def _find_pattern(file: Path) -> Path:
    places = [folder / inner for folder in file.resolve().parents[:3] for inner in ("", "data")]
    found = next((place / PATTERN_FILE for place in places if (place / PATTERN_FILE).is_file()), None)
    if found is None:
        raise InputError(
            f"{file} needs {PATTERN_FILE} for fixed1, which checkpoints do not hold; put it into {file.parent}"
        )
    return found


def read_pattern(path: Path) -> Tensor:
    """``mean_pattern`` (h, w, 4) of a MAT file, 16-bit DN, as sensor pixels (2h, 2w) [fraction of white]."""
    try:
        shapes = {name: shape for name, shape, _ in mat_variables(path)}
        if math.prod(shapes.get(PATTERN_KEY, ())) > LARGEST_PATTERN:
            raise ValueError(f"{PATTERN_KEY} of shape {shapes[PATTERN_KEY]}")
        found = load_mat(path, [PATTERN_KEY])[PATTERN_KEY]
        if not np.isfinite(found := np.asarray(found)).all():
            raise ValueError("it holds NaN or infinite values")
        planes = np.moveaxis(found.astype(np.float32), -1, 0) / PATTERN_DN
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    except Exception as error:  # a damaged MAT file raises anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} holds no {PATTERN_KEY} of numbers ({said}); get it again") from error
    return _by_position(torch.from_numpy(np.ascontiguousarray(planes)), path)
