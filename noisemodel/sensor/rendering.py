"""Raw planes as pictures for the eye: white balance, one stretch for all, demosaicing, sRGB curve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.sensor.mosaic import check_layout, unpack_mosaic

Picture = np.ndarray[Any, Any]

PERCENTILES = (0.5, 99.5)
FLAT = 0.25  # a picture whose spread is below this share of its brightness is stretched over its spread alone
BALANCE_LIMITS = (0.25, 4.0)
COLOURS = "RGB"


@dataclass(frozen=True)
class Stretch:
    """What turns a signal into brightness: (gain x - low) / (high - low), the same for every picture it is used on.

    low, high: shown as black and white [fraction of white, after white balance].
    balance: gains of red, green and blue.
    """

    low: float
    high: float
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)


def stretch_of(
    image: Tensor, layout: str, cfa: str | None = None, *, balance: bool = True, from_black: bool = True
) -> Stretch:
    """Choose a stretch from an image: 0 to its 99.5th percentile, or its own percentiles where it is nearly flat.

    Args:
        image: (C, h, w) planes [fraction of white].
        layout: "mosaic" or "planes".
        cfa: colours of a mosaic by position, e.g. "RGGB"; None is shown in grey.
        balance: whether to make the mean grey (grey world), where there are colours.
        from_black: False takes the image's own percentiles in any case, for crops in which noise is looked at.
    """
    gains = _grey_world(image, layout, cfa) if balance else (1.0, 1.0, 1.0)
    low, high = np.percentile(_balanced(image, layout, cfa, gains).numpy(), PERCENTILES).tolist()
    if from_black and high - low > FLAT * abs(high):
        low = min(low, 0.0)
    return Stretch(low, max(high, low + 1e-6), gains)


def render(
    image: Tensor, stretch: Stretch, layout: str, cfa: str | None = None, *, demosaic: str = "bilinear"
) -> Picture:
    """One picture for the eye; two images rendered with one ``stretch`` may be compared by eye.

    Args:
        image: (C, h, w) planes [fraction of white].
        stretch: from `stretch_of`.
        layout, cfa: as `stretch_of`.
        demosaic: "bilinear" (keeps the grain of the noise) or "menon2007".
    Returns: (H, W) grey or (H, W, 3) colour in [0, 1], sRGB-coded. A mosaic of unknown colours is averaged by cell.
    Raises: InputError for an unknown demosaicing method.
    """
    if demosaic not in DEMOSAIC:
        raise InputError(f"unknown demosaicing {demosaic!r}; known: {', '.join(DEMOSAIC)}")
    planes = _balanced(image, layout, cfa, stretch.balance)
    colours = plane_colours(layout, cfa, len(planes))
    if colours and layout == "mosaic":
        picture = DEMOSAIC[demosaic](unpack_mosaic(planes).numpy(), colours)
    elif colours:
        picture = planes.movedim(0, -1).numpy()
    else:
        picture = planes.mean(dim=0).numpy()
    return srgb_curve((picture - stretch.low) / (stretch.high - stretch.low))


def srgb_curve(linear: Picture) -> Picture:
    """The sRGB transfer curve (IEC 61966-2-1), clipped to [0, 1]."""
    x = np.clip(linear, 0.0, 1.0)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def plane_colours(layout: str, cfa: str | None, channels: int) -> str | None:
    """The colour of each plane, e.g. "RGGB", "RGB"; None where they are not known to be red, green and blue."""
    if check_layout(layout) == "mosaic":
        return cfa if cfa is not None and len(cfa) == channels and set(cfa) == set(COLOURS) else None
    return COLOURS if channels == 3 else None


def _balanced(image: Tensor, layout: str, cfa: str | None, gains: tuple[float, float, float]) -> Tensor:
    """Planes times the gain of their colour, (C, h, w)."""
    colours = plane_colours(layout, cfa, len(image))
    if colours is None:
        return image
    return image * torch.tensor([gains[COLOURS.index(c)] for c in colours]).view(-1, 1, 1)


def _grey_world(image: Tensor, layout: str, cfa: str | None) -> tuple[float, float, float]:
    """Gains that make the mean of every colour that of green, within limits; 1 where there is no light to judge by."""
    colours = plane_colours(layout, cfa, len(image))
    if colours is None:
        return 1.0, 1.0, 1.0
    planes = image.mean(dim=(-2, -1)).tolist()
    means = [np.mean([mean for mean, c in zip(planes, colours, strict=True) if c == colour]) for colour in COLOURS]
    if min(means) < 1e-3:
        return 1.0, 1.0, 1.0
    red, blue = (float(np.clip(means[1] / means[i], *BALANCE_LIMITS)) for i in (0, 2))
    return red, 1.0, blue


def _bilinear(mosaic: Picture, cfa: str) -> Picture:
    from colour_demosaicing import demosaicing_CFA_Bayer_bilinear  # a second to import

    return np.asarray(demosaicing_CFA_Bayer_bilinear(mosaic, cfa))


def _menon2007(mosaic: Picture, cfa: str) -> Picture:
    from colour_demosaicing import demosaicing_CFA_Bayer_Menon2007

    return np.asarray(demosaicing_CFA_Bayer_Menon2007(mosaic, cfa))


DEMOSAIC: dict[str, Callable[[Picture, str], Picture]] = {"bilinear": _bilinear, "menon2007": _menon2007}
