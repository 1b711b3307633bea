"""A model in the formats of others: NoiseProfile pairs, darktable's JSON, ELD's layout, with what is lost in words."""

import io
import json
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from noisemodel.claims import check_plain_file
from noisemodel.components import NoiseComponent
from noisemodel.components.white import tukey_lambda_variance
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.physical import PhysicalNoise
from noisemodel.sources_published import ELD_PROFILE, white_of_eld

GAUSSIAN_LAMBDA = 0.1349  # the Tukey-lambda law that is nearest to a Gaussian
K_SLACK = 1e-6  # relative: K is written and given in decimals
NO_ROWS_DN = 1e-6  # stands for no row noise, which a law of logarithms cannot say
COLOURS = 3
# White words that an offset O can hold, with what is lost of each.
IN_OFFSET = {
    "read": "",
    "readtl": "readtl: its tails; its variance is in O",
    "readmap": "readmap: that pixels differ; the mean variance is in O",
    "uniform": "uniform: its shape; its variance is in O, and whoever rounds counts that twice",
}


@final
@dataclass(frozen=True)
class Export:
    """What a file of others says, and what it does not.

    Args:
        content: the file.
        lost: one line for each thing that the format cannot hold.
    """

    content: bytes
    lost: tuple[str, ...]


@final
@dataclass(frozen=True)
class Target:
    """What a format needs to be told besides the model: the camera's maker and model, and the ISO of the model.

    ``iso`` is for a model of one setting; one with a law against ISO is written at the ISOs it was fitted to.
    """

    maker: str | None = None
    camera: str | None = None
    iso: float | None = None


def pair_of(physical: PhysicalNoise) -> tuple[tuple[float, float], list[str]]:
    """(S, O) of var = S x + O: the shot gain, and the variance of all white noise in the dark; and what is lost.

    Raises: InputError if the model has neither.
    """
    dark = torch.zeros(1, 4 if physical.layout == "mosaic" else 1, 1, 1)
    slope, offset, lost = 0.0, 0.0, []
    for component in physical.each():
        if component.name == "shot":
            slope = float(component.stored("gain").detach())
        elif component.name in IN_OFFSET:
            offset += _dark_variance(component, dark)
            lost += [IN_OFFSET[component.name]] if IN_OFFSET[component.name] else []
        else:
            lost.append(_left_out(component))
    if slope == 0 and offset == 0:
        raise InputError(f"{physical.noiselist} has neither shot nor read noise, all that the format can hold")
    return (slope, offset), lost


def _dark_variance(component: NoiseComponent, dark: torch.Tensor) -> float:
    if component.name == "readmap":
        return float(component.stored("std").detach()) ** 2
    return float(component.variance(dark).detach().double().mean())


def _left_out(component: NoiseComponent) -> str:
    """What a component that has no place in a format added at half of the white level."""
    grey = torch.full((1, 4 if component.layout == "mosaic" else 1, 2, 2), 0.5)
    std = math.sqrt(float(component.variance(grey).detach().double().mean()))
    return f"{component.name}: left out" + (f", std {std:.3g} of white at half of white" if std else "")


def at_isos(model: NoiseGenerator, target: Target) -> dict[float | None, PhysicalNoise]:
    """ISO -> the model there: the ISOs of its law, or the one that ``target`` names (None without)."""
    if model.iso_law is not None and target.iso is None:
        return {iso: model.at_iso(iso).physical for iso in model.iso_law.isos}
    return {target.iso: (model if model.iso_law is None else model.at_iso(float(target.iso or 0))).physical}


def as_profile(model: NoiseGenerator, target: Target) -> Export:
    """The pairs of a DNG's tag 51041 as JSON, ``{"noise_profile": [[S, O]], ...}``; read as the source profile:FILE.

    With a law against ISO, ``by_iso`` has a pair for each, and the first line is that of its ISO0.
    """
    found = {iso: pair_of(physical) for iso, physical in at_isos(model, target).items()}
    lost = _first_of(found)[1] + _beside(model)
    (pair, _) = found[target.iso] if target.iso in found else pair_of(model.physical)
    content: dict[str, Any] = {"noise_profile": [list(pair)], "unit": "fraction of white: var = S x + O", "lost": lost}
    if len(found) > 1:
        content["by_iso"] = [{"iso": iso, "noise_profile": [list(of)]} for iso, (of, _) in found.items()]
    return Export(_json(content), tuple(lost))


def as_darktable(model: NoiseGenerator, target: Target) -> Export:
    """darktable's noiseprofiles.json with one camera: a = S and b = O, the same in all colours, for each ISO.

    Raises: InputError without maker, camera and, for a model of one setting, ISO.
    """
    if not target.maker or not target.camera or (target.iso is None and model.iso_law is None):
        raise InputError("darktable's profiles are found by camera and ISO; give --maker, --camera and --iso")
    found = {iso: pair_of(physical) for iso, physical in at_isos(model, target).items()}
    if not all(slope > 0 for (slope, _), _ in found.values()):
        raise InputError("darktable's profiles need shot noise (a > 0), which this model has not; calibrate the gain")
    lost = [*_first_of(found)[1], *_beside(model)]
    lost.append("colours: ours has one gain for all, so red, green and blue get the same")
    profiles = [
        {"name": f"{target.camera} iso {iso:g}", "iso": iso, "a": [slope] * COLOURS, "b": [offset] * COLOURS}
        for iso, ((slope, offset), _) in found.items()
    ]
    camera = {"comment": "exported", "model": target.camera, "profiles": profiles}
    content = {"version": 0, "noiseprofiles": [{"maker": target.maker, "models": [camera]}]}
    return Export(_json(content), tuple(lost))


def as_eld(model: NoiseGenerator, target: Target) -> Export:
    """ELD's parameter file (Wei 2020): log(scale) = slope log(K) + bias, K in 14-bit DN per electron; a pickled dict.

    Through the ISOs of a law by least squares; a model of one setting gives slope 0 at its own K.
    Raises: InputError without shot or read noise.
    """
    places = [_eld_place(physical) for physical in at_isos(model, target).values()]
    lost = [*_eld_lost(model.physical), *_beside(model)]
    log_k = np.log([place["K"] for place in places])
    laws = {}
    for name in ("g_scale", "G_scale", "R_scale"):
        y = np.log([place[name] for place in places])
        slope, bias = np.polyfit(log_k, y, 1) if np.ptp(log_k) > 0 else (0.0, float(y.mean()))
        sigma = float((y - slope * log_k - bias).std())
        laws[name] = {"slope": float(slope), "bias": float(bias), "sigma": sigma}
    gains = np.exp(log_k)
    found = {
        "Kmin": float(gains.min() * (1 - K_SLACK)),
        "Kmax": float(gains.max() * (1 + K_SLACK)),
        "G_shape": np.array([place["lambda"] for place in places]),
        "color_bias": np.zeros((len(places), 4)),
        ELD_PROFILE: laws,
    }
    lost.append("what holds K: " + ", ".join(f"{gain:.9g}" for gain in gains) + " DN/e- of 14 bits")
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(np.array(found, dtype=object), file, protocol=3)
    return Export(file.getvalue(), tuple(lost))


def _eld_place(physical: PhysicalNoise) -> dict[str, float]:
    """K, the three scales [DN of 14 bits] and lambda of one setting."""
    values = {parameter.name: parameter.value for parameter in physical.parameters_table()}
    if "shot.gain" not in values or not values.keys() & {"read.std", "readtl.scale", "readmap.std"}:
        raise InputError(f"ELD's files hold shot and read noise, {physical.noiselist} has not both; calibrate them")
    white = white_of_eld(physical.levels)
    shape = values.get("readtl.lambda", GAUSSIAN_LAMBDA)
    unit = _tukey_std(shape)
    read = math.hypot(
        values.get("readtl.scale", 0.0) * unit, values.get("read.std", 0.0), values.get("readmap.std", 0.0)
    )
    row = values.get("row1.std", 0.0)
    return {
        "K": values["shot.gain"] * white,
        "G_scale": read / unit * white,
        "R_scale": max(row * white, NO_ROWS_DN),
        "g_scale": math.hypot(read, row) * white,
        "lambda": shape,
    }


def _eld_lost(physical: PhysicalNoise) -> list[str]:
    words = list(physical.components)
    said = {
        "read": f"read: Gaussian, becomes Tukey-lambda of {GAUSSIAN_LAMBDA:g} and the same variance",
        "readmap": "readmap: that pixels differ; the mean variance is kept, as Tukey-lambda",
        "uniform": "uniform: its width; readers take one step of their own DN",
    }
    kept = {"shot", "readtl", "row1"}
    lost = [said.get(word) or _left_out(physical.component(word)) for word in words if word not in kept]
    return lost + ([] if "row1" in words else [f"no row noise: written as {NO_ROWS_DN:g} DN"])


def _tukey_std(shape: float) -> float:
    """Std of the unit Tukey-lambda law."""
    return float(tukey_lambda_variance(torch.tensor(shape, dtype=torch.float64)).sqrt())


def _beside(model: NoiseGenerator) -> list[str]:
    """What is lost beside the components."""
    return [f"{model.kind}: the network is left out"] if model.network is not None else []


def _first_of(found: Mapping[Any, Any]) -> Any:
    return next(iter(found.values()))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


FORMATS: dict[str, Callable[[NoiseGenerator, Target], Export]] = {
    "profile": as_profile,
    "darktable": as_darktable,
    "eld": as_eld,
}


def export(model: NoiseGenerator, kind: str, target: Target | None = None) -> Export:
    """A model as a file of others; raises InputError for an unknown format or a model that it cannot hold."""
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}; known: {', '.join(FORMATS)}")
    return FORMATS[kind](model, target or Target())


def read_profile_json(path: Path) -> tuple[tuple[float, float], ...]:
    """The pairs (S, O) of a file that `as_profile` wrote; raises InputError for another one."""
    check_plain_file(path)
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["noise_profile"]
        return tuple((float(slope), float(offset)) for slope, offset in pairs)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path} has no noise_profile of pairs ({error}); export it with convert.py") from error
