"""Camera response curves: what brightness a camera's processing makes of a scene's light, f(I) = B, from a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisemodel.claims import listed, npz_headers, shortened
from noisemodel.errors import InputError
from noisemodel.mat_tags import load_mat

Array = np.ndarray[Any, Any]
KNOTS = 1024
GAMMA = 2.2  # of the embedded default
SLOPE_LEFT = 1e-3  # share of the identity that is mixed in: without it flat parts of a curve had no inverse
# Names of the arrays that hold I and B, in the files that people have (DoRF, Grossberg & Nayar 2004).
KEYS = (("I", "B"), ("invI", "invB"))


@dataclass(frozen=True, eq=False)
class ResponseCurves:
    """Curves through knots, both ways by linear interpolation: exact inverses of each other.

    Args:
        light: (K, n) scene light I, from 0 to 1, rising.
        brightness: (K, n) B = f(I), from 0 to 1, rising.
    """

    light: Tensor
    brightness: Tensor

    def __len__(self) -> int:
        return len(self.light)

    def to(self, device: torch.device | str) -> "ResponseCurves":
        """The same on another device."""
        return ResponseCurves(self.light.to(device), self.brightness.to(device))

    def linear(self, images: Tensor, which: Tensor) -> Tensor:
        """I = f^-1(B) of each image by its own curve.

        Args:
            images: (N, ...) in [0, 1]; clipped to it.
            which: (N,) numbers of the curves.
        """
        return _interpolate(images, self.brightness[which], self.light[which])

    def respond(self, light: Tensor, which: Tensor) -> Tensor:
        """B = f(I), as `linear` backwards; light is clipped to [0, 1]."""
        return _interpolate(light, self.light[which], self.brightness[which])

    def slope(self, light: Tensor, which: Tensor, over: float = 0.01) -> Tensor:
        """df/dI by a central difference over ``over`` of white, inside [0, 1]."""
        low, high = (light - over / 2).clamp(min=0), (light + over / 2).clamp(max=1)
        return (self.respond(high, which) - self.respond(low, which)) / (high - low)


def _interpolate(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y at ``values``, row by row; values (N, ...), x and y (N, n) rising."""
    flat = values.flatten(1).clamp(0, 1)
    above = torch.searchsorted(x.contiguous(), flat.contiguous()).clamp(1, x.shape[1] - 1)
    x0, x1, y0, y1 = (knots.gather(1, place) for knots in (x, y) for place in (above - 1, above))
    return (y0 + (flat - x0) * (y1 - y0) / (x1 - x0)).view_as(values)


def gamma_curve(gamma: float = GAMMA) -> ResponseCurves:
    """B = I^(1 / gamma): the embedded default, knots at equal steps of B."""
    brightness = np.linspace(0, 1, KNOTS)[None]
    return curves_from(brightness**gamma, brightness, "the gamma curve")


def load_response_curves(path: Path) -> ResponseCurves:
    """Read curves from a file.

    .mat (v5) and .npz hold (K, n) arrays I and B, or invI and invB; .txt is the list of DoRF: six lines a curve (name,
    kind, "I =", values, "B =", values).

    Raises: InputError for a missing or damaged file, another format, or values that are no response curve.
    """
    if path.suffix not in READERS:
        raise InputError(f"{path}: response curves are read from {', '.join(READERS)}; convert the file")
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a file of response curves")
    try:
        light, brightness = READERS[path.suffix](path)
    except InputError:
        raise
    except Exception as error:  # readers of damaged files raise anything
        raise InputError(
            f"{path} is damaged or no file of response curves ({shortened(error)}); fetch it again"
        ) from error
    return curves_from(light, brightness, str(path))


def curves_from(light: Array, brightness: Array, what: str) -> ResponseCurves:
    """Check (K, n) arrays of I and B; 1e-3 of the identity is mixed into both, so that flat parts can be inverted."""
    try:
        light, brightness = (np.atleast_2d(np.asarray(values, np.float64)) for values in (light, brightness))
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: I and B must be numbers ({shortened(error)}); give curves") from error
    if light.shape != brightness.shape or light.ndim != 2 or light.shape[1] < 2:
        raise InputError(f"{what}: I and B must be (curves, points) alike, got {light.shape} and {brightness.shape}")
    for name, values in (("I", light), ("B", brightness)):
        if not (np.isfinite(values).all() and (np.diff(values, axis=1) >= 0).all()):
            raise InputError(f"{what}: {name} must not fall and must be finite; give curves from dark to bright")
        if not (np.allclose(values[:, 0], 0, atol=0.05) and np.allclose(values[:, -1], 1, atol=0.05)):
            ends = f"{values[:, 0].min():g} .. {values[:, -1].max():g}"
            raise InputError(f"{what}: {name} must run from 0 to 1, got {ends}; divide by its largest value")
    ramp = np.linspace(0, 1, light.shape[1])
    mixed = []
    for values in (light, brightness):
        values = (values - values[:, :1]) / (values[:, -1:] - values[:, :1])
        mixed.append(torch.from_numpy((1 - SLOPE_LEFT) * values + SLOPE_LEFT * ramp).float())
    return ResponseCurves(*mixed)


def _read_mat(path: Path) -> tuple[Array, Array]:
    """MATLAB v5."""
    return _by_name(path, load_mat(path, [name for names in KEYS for name in names]))


def _read_npz(path: Path) -> tuple[Array, Array]:
    """NumPy."""
    npz_headers(path)
    with np.load(path, allow_pickle=False) as held:
        return _by_name(path, dict(held))


def _by_name(path: Path, held: dict[str, Array]) -> tuple[Array, Array]:
    """I and B under one of their names."""
    for light, brightness in KEYS:
        if light in held and brightness in held:
            return held[light], held[brightness]
    found = listed(name for name in held if not name.startswith("_"))
    raise InputError(f"{path} must hold I and B, or invI and invB, got {found}; rename its arrays")


def _read_text(path: Path) -> tuple[Array, Array]:
    """DoRF's list."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    if not lines or len(lines) % 6:
        raise InputError(f"{path} must have six lines for each curve, got {len(lines)} lines; fetch it again")
    light, brightness = ([np.array(line.split(), float) for line in lines[first::6]] for first in (3, 5))
    return np.stack(light), np.stack(brightness)


READERS: dict[str, Callable[[Path], tuple[Array, Array]]] = {
    ".mat": _read_mat,
    ".npz": _read_npz,
    ".txt": _read_text,
}
