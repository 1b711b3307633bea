"""Noise parameters that others measured: ELD's laws of five cameras, darktable's profiles of some 300."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from noisemodel.claims import check_plain_file
from noisemodel.errors import InputError
from noisemodel.plain_pickle import load_plain_npy
from noisemodel.sensor import Levels
from noisemodel.sensor.noise_profile import NoiseProfile

ELD_BITS = 14
ELD_RANGE_DN = 16383 - 800  # white minus black of ELD's release, for all its cameras
ELD_PROFILE = "Profile-1"  # the one that ELD's release draws from


@final
@dataclass(frozen=True)
class EldNoise:
    """Noise of an ELD camera at one system gain, in 14-bit DN.

    Args:
        gain_dn: K, DN per electron.
        scale_dn: of the Tukey-lambda read noise.
        shape: lambda of the read noise.
        row_std_dn: of the row noise.
        gaussian_std_dn: of the one Gaussian that ELD fits to all of it instead.
    """

    gain_dn: float
    scale_dn: float
    shape: float
    row_std_dn: float
    gaussian_std_dn: float

    def start_values(self, levels: Levels | None) -> dict[str, float]:
        """Start values of ``shot_readtl_row1_uniform`` [fraction of white]; see `white_of_eld`."""
        white = white_of_eld(levels)
        start = {
            "shot_gain": self.gain_dn / white,
            "readtl_scale": self.scale_dn / white,
            "readtl_lambda": self.shape,
            "row1_std": self.row_std_dn / white,
        }
        if levels is not None and not levels.rounding:  # fractions are on no grid: ELD's own step stands for it
            start["uniform_width"] = 1 / white
        return start


def white_of_eld(levels: Levels | None) -> float:
    """White - black in ELD's DN, which have 14 bits.

    A fraction of white is the same in every unit; data of n bits, 2^n > white, have DN of 2^(14 - n) of ELD's. Without
    levels, it is ELD's own 15583.
    """
    return ELD_RANGE_DN if levels is None else levels.range_dn * 2.0 ** (ELD_BITS - _bits(levels.white_dn))


def _bits(white_dn: float) -> int:
    """The n with 2^(n-1) <= white < 2^n; 0 for a white level of 1 (fractions)."""
    return math.frexp(white_dn)[1] if white_dn > 1 else 0


def read_eld(path: Path, gain_dn: float) -> EldNoise:
    """The laws log(scale) = slope log(K) + bias of an ELD parameter file at K (Wei 2020), without its scatter.

    ``G_scale`` is the scale of Tukey-lambda read noise, ``R_scale`` the std of row noise, ``g_scale`` the std of the
    one Gaussian that stands for both. lambda is the mean of ``G_shape``, of which ELD draws one at random.

    Args:
        path: a .npy file of ELD's release, a pickled dict; it is read without running code.
        gain_dn: K [DN per electron, 14 bits].
    Raises: InputError if the file is another one, or K is outside of what was measured.
    """
    found = load_plain_npy(path)
    try:
        lowest, highest = float(found["Kmin"]), float(found["Kmax"])
        laws = {name: (float(law["slope"]), float(law["bias"])) for name, law in found[ELD_PROFILE].items()}
        shape = float(np.mean(found["G_shape"]))
        at = {name: math.exp(slope * math.log(gain_dn) + bias) for name, (slope, bias) in laws.items()}
        noise = EldNoise(gain_dn, at["G_scale"], shape, at["R_scale"], at["g_scale"])
        if not all(map(math.isfinite, astuple(noise))):
            raise ValueError("numbers that are not finite")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} has no ELD parameters ({type(error).__name__}: {error}); name another file"
        ) from error
    if not lowest <= gain_dn <= highest:
        raise InputError(f"K = {gain_dn:g} is outside of {path.name}: {lowest:.4g} to {highest:.4g} DN/e-")
    return noise


@final
@dataclass(frozen=True)
class DarktableNoise:
    """Profile of a camera at an ISO: var = a x + b of red, green and blue.

    Args:
        camera: maker and model.
        iso: the ISO asked for.
        profile: (a, b) per colour.
        between: the measured ISOs it comes from, one or two.
    """

    camera: str
    iso: float
    profile: NoiseProfile
    between: tuple[float, ...]


def read_darktable(path: Path, camera: str, iso: float) -> DarktableNoise:
    """The profile of a camera at an ISO from darktable's noiseprofiles.json.

    Between two measured ISOs, with t the place of log ISO between theirs: log a is linear in t (a grows with ISO by a
    power), b is linear in t (it may be negative). Entries that darktable skips, and those with a <= 0, are left out;
    of several at one ISO the first counts, as in darktable.

    Args:
        path: the JSON file.
        camera: model, or maker and model, in any case, e.g. "EOS 5D Mark II".
        iso: within what was measured.
    Raises: InputError that names near cameras or the measured ISOs.
    """
    cameras = _cameras(path)
    name = _chosen_camera(cameras, camera, path)
    entries: dict[float, Mapping[str, Any]] = {}
    for entry in sorted(cameras[name], key=lambda entry: entry["iso"]):
        if not entry.get("skip") and min(entry["a"]) > 0:
            entries.setdefault(float(entry["iso"]), entry)
    if not entries:
        raise InputError(f"{path.name} has no usable profile of {name}; choose another camera")
    isos = list(entries)
    if not isos[0] <= iso <= isos[-1]:
        near = isos[:3] if iso < isos[0] else isos[-3:]
        said = ", ".join(f"{value:g}" for value in near)
        raise InputError(
            f"{path}: ISO {iso:g} of {name} was not measured ({isos[0]:g} to {isos[-1]:g}); the nearest are {said}"
        )
    below, above = max(i for i in isos if i <= iso), min(i for i in isos if i >= iso)
    t = 0.0 if below == above else math.log(iso / below) / math.log(above / below)
    low, high = entries[below], entries[above]
    slopes = [a ** (1 - t) * c**t for a, c in zip(low["a"], high["a"], strict=True)]
    offsets = [(1 - t) * b + t * d for b, d in zip(low["b"], high["b"], strict=True)]
    profile = NoiseProfile(tuple(zip(slopes, offsets, strict=True)), "RGB")
    return DarktableNoise(name, iso, profile, tuple(dict.fromkeys((below, above))))


def _cameras(path: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Entries of every camera, by maker and model; raises InputError for another file."""
    check_plain_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); name darktable's noiseprofiles.json") from error
    try:
        cameras: dict[str, list[Mapping[str, Any]]] = {}
        for maker in found["noiseprofiles"]:
            for model in maker["models"]:
                cameras.setdefault(f"{maker['maker']} {model['model']}", []).extend(model["profiles"])
        for entry in (entry for entries in cameras.values() for entry in entries):
            numbers = (*entry["a"], *entry["b"], entry["iso"])
            if (
                len(entry["a"]) != 3
                or len(numbers) != 7
                or not entry["iso"] > 0
                or not all(map(math.isfinite, numbers))
            ):
                raise ValueError(f"entry {entry.get('name')!r}")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} has no noise profiles ({reason}); name darktable's noiseprofiles.json") from error
    return cameras


def _chosen_camera(cameras: Mapping[str, Any], wanted: str, path: Path) -> str:
    """The maker and model that ``wanted`` means, by the whole name or by the model alone."""
    words = {name.casefold(): name for name in cameras}
    by_model: dict[str, list[str]] = {}
    for name in cameras:
        model = name.casefold().partition(" ")[2]
        by_model.setdefault(model, []).append(name)
    key = " ".join(wanted.casefold().split())
    if key in words:
        return words[key]
    if len(by_model.get(key, ())) == 1:
        return by_model[key][0]
    close = difflib.get_close_matches(key, [*words, *by_model], n=6, cutoff=0.5)
    close += [name for name in words if key and key in name]
    near = list(dict.fromkeys(name for word in close for name in ([words[word]] if word in words else by_model[word])))
    raise InputError(
        f"{path.name} has no camera {wanted!r}; near are: {', '.join(near[:5]) or 'none'} (of {len(cameras)} cameras)"
    )
