"""Our fit in the terms of a DNG's NoiseProfile, var = S x + O for each colour, beside what the maker states."""

from dataclasses import dataclass
from typing import Any

from noisemodel.calibration.estimates import Estimate, total
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.photon_transfer import photon_transfer
from noisemodel.sensor.noise_profile import NoiseProfile
from noisemodel.sensor.rendering import plane_colours


@dataclass(frozen=True)
class ColourNoise:
    """var = S x + O of the pixels of one colour, x the fraction of white.

    colour: its letter, or "all" where colours are not known.
    slope: S [white/e-]; None where no light tells it.
    offset: O, everything that a pixel shows from frame to frame in the dark, lines included [white²].
    stated: S and O of the maker.
    """

    colour: str
    slope: Estimate | None
    offset: Estimate
    stated: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "colour": self.colour,
            "S": None if self.slope is None else self.slope.to_dict(),
            "O": self.offset.to_dict(),
            "stated": None if self.stated is None else {"S": self.stated[0], "O": self.stated[1]},
        }


def noise_by_colour(evidence: Evidence, cfa: str | None, stated: NoiseProfile | None) -> list[ColourNoise]:
    """S and O of each colour that has valid pixels, in the order of the planes; one row where colours are not known.

    Args:
        evidence: what was measured.
        cfa: colours of a mosaic by position.
        stated: what the maker says; its mean where colours are not known.
    """
    burst = evidence.moments[0].burst
    colours = plane_colours(burst.layout, cfa, burst.shape[1])
    lines = [part.scaled(1.0, "white²") for part in (evidence.rows, evidence.alternating, evidence.columns())]
    found = []
    for colour in dict.fromkeys(colours) if colours else ("all",):
        planes = [index for index, letter in enumerate(colours) if letter == colour] if colours else None
        if not evidence.has_levels(planes):
            continue
        line = photon_transfer(evidence.moments, plane=planes)
        dark = total([line.intercept.scaled(1.0, "white²"), *lines], "white, row and column variance in the dark")
        slope = line.gain.scaled(1.0, "white/e-") if evidence.lit and line.gain.value > 0 else None
        found.append(ColourNoise(colour, slope, dark, _stated(stated, colour)))
    return found


def _stated(profile: NoiseProfile | None, colour: str) -> tuple[float, float] | None:
    """(S, O) of one colour, as far as the profile has it."""
    if profile is None:
        return None
    if colour == "all":
        return profile.mean()
    known = len(profile.pairs) == 1 or colour in profile.colours
    return profile.of_colours(colour)[0] if known else None
