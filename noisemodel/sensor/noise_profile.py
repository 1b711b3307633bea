"""The noise that a DNG states of itself: tag 51041, NoiseProfile."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.sensor.raw_tags import read_tags

DNG_COLOURS = "RGBCMYW"  # the numbers of CFAPattern and CFAPlaneColor (DNG 1.7, TIFF/EP)


@final
@dataclass(frozen=True)
class NoiseProfile:
    """var = S x + O with x the fraction of white: the NoiseProfile tag of DNG 1.7, once or per colour.

    S is the shot gain [white fraction per electron], O the variance in the dark [fraction of white, squared].
    The maker states it, nobody measured it for this file: fit, and show the tag beside the fit.

    Args:
        pairs: (S, O), one for all colours or one per colour.
        colours: the colour of each pair where there are several, e.g. "RGB".
    Raises: InputError for another number of pairs, a number that is not finite, or S < 0. O < 0 is kept as stated.
    """

    pairs: tuple[tuple[float, float], ...]
    colours: str = "RGB"

    def __post_init__(self) -> None:
        """Check the numbers."""
        count = len(self.pairs)
        if count != 1 and count != len(self.colours):
            raise InputError(f"a noise profile has 1 or {len(self.colours)} pairs (S, O), got {count}; fit the noise")
        if not all(math.isfinite(value) for pair in self.pairs for value in pair) or min(s for s, _ in self.pairs) < 0:
            raise InputError(f"a noise profile has finite S >= 0 and O, got {self.pairs}; fit the noise instead")

    @property
    def per_colour(self) -> bool:
        """Whether colours differ."""
        return len(set(self.pairs)) > 1

    def of_colours(self, colours: str) -> tuple[tuple[float, float], ...]:
        """(S, O) of each plane, from its colour, e.g. of "RGGB".

        Raises: InputError for a colour that the profile does not state.
        """
        if len(self.pairs) == 1:
            return self.pairs * len(colours)
        if missing := sorted(set(colours) - set(self.colours)):
            raise InputError(f"the noise profile states {self.colours}, not {', '.join(missing)}; give the right --cfa")
        return tuple(self.pairs[self.colours.index(colour)] for colour in colours)

    def mean(self, colours: str | None = None) -> tuple[float, float]:
        """(S, O) averaged over ``colours`` (of planes: green counts twice in "RGGB"), by default over the pairs.

        Planes of one mean exposure then have the right variance on average, and each colour the wrong one.
        """
        pairs = self.pairs if colours is None else self.of_colours(colours)
        return sum(s for s, _ in pairs) / len(pairs), sum(o for _, o in pairs) / len(pairs)

    def variance(self, signal: Tensor, colours: str) -> Tensor:
        """S max(x, 0) + max(O, 0) of planes (..., C, h, w) [fraction of white] with the given colours, same shape."""
        pairs = torch.tensor(self.of_colours(colours), dtype=signal.dtype, device=signal.device)
        slope, offset = pairs.clamp_min(0).view(-1, 2, 1, 1).unbind(1)
        return slope * signal.clamp_min(0) + offset


def parse_noise_profile(value: Any, plane_colours: Any = None) -> NoiseProfile:
    """The profile in the value of tag 51041: S, O once or for each colour plane.

    Args:
        value: 2 numbers or 2 for each colour.
        plane_colours: value of tag 50710 (CFAPlaneColor), the order of the colours; red, green, blue without it.
    Raises: InputError as `NoiseProfile`.
    """
    try:
        numbers = [float(number) for number in value]
        colours = "".join(
            DNG_COLOURS[number] for number in bytes(plane_colours if plane_colours is not None else b"\0\1\2")
        )
    except (TypeError, ValueError, LookupError) as error:
        raise InputError(f"the NoiseProfile tag cannot be read ({value!r}); fit the noise instead") from error
    if len(numbers) % 2:
        raise InputError(f"the NoiseProfile tag holds pairs (S, O), got {len(numbers)} numbers; fit the noise instead")
    return NoiseProfile(tuple(zip(numbers[::2], numbers[1::2], strict=True)), colours)


def read_noise_profile(path: str | Path) -> NoiseProfile | None:
    """The NoiseProfile (tag 51041) of a DNG; None where it has none.

    Raises: InputError if the file is missing or cannot be opened, or the tag makes no sense.
    """
    path = Path(path)
    try:
        tags = read_tags(path)
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error
    if "noise_profile" not in tags:
        return None
    try:
        return parse_noise_profile(tags["noise_profile"], tags.get("cfa_plane_colours"))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_cfa(path: Path) -> str | None:
    """Colours by position that a DNG's tag 33422 states, e.g. "RGGB"; None where it states no 2x2 mosaic."""
    pattern = read_tags(path).get("cfa_pattern")
    try:
        colours = "".join(DNG_COLOURS[number] for number in bytes(pattern or b""))
    except (TypeError, ValueError, LookupError):
        return None
    return colours if len(colours) == 4 else None
