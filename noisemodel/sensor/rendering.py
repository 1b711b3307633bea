"""Raw planes as pictures for the eye: white balance, one stretch for all, demosaicing, sRGB curve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.sensor.mosaic import check_layout, unpack_mosaic

if TYPE_CHECKING:
    from noisemodel.sensor.raw import RawImage

Picture = np.ndarray[Any, Any]

PERCENTILES = (0.5, 99.5)
FLAT = 0.25  # a picture whose spread is below this share of its brightness is stretched over its spread alone
BALANCE_LIMITS = (0.25, 4.0)
COLOURS = "RGB"
BORDER = 6  # pixels that a demosaicing method looks around itself, at most


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
        demosaic: one of `DEMOSAIC`.
    Returns: (H, W) grey or (H, W, 3) colour in [0, 1], sRGB-coded. A mosaic of unknown colours is averaged by cell.
    Raises: InputError for an unknown demosaicing method.
    """
    method = demosaicing(demosaic)
    planes = _balanced(image, layout, cfa, stretch.balance)
    colours = plane_colours(layout, cfa, len(planes))
    if colours and layout == "mosaic":
        picture = method(unpack_mosaic(planes).numpy(), colours)
    elif colours:
        picture = planes.movedim(0, -1).numpy()
    else:
        picture = planes.mean(dim=0).numpy()
    return srgb_curve((picture - stretch.low) / (stretch.high - stretch.low))


def develop(
    planes: Tensor,
    cfa: str,
    *,
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0),
    colour_matrix: Picture | None = None,
    demosaic: str = "menon2007",
    brightness: float = 1.0,
) -> Picture:
    """A mosaic as a camera shows it: white balance, clip at the white level, demosaicing, colour matrix, sRGB curve.

    White-balanced values are clipped at the white level of the least sensitive colour, so that blown lights are white.

    Args:
        planes: (4, h, w) by position [fraction of white], black subtracted.
        cfa: colours by position; red, green and blue.
        white_balance: gains of red, green and blue.
        colour_matrix: (3, 3), white-balanced camera RGB to linear sRGB; None leaves the camera's own colours.
        demosaic: one of `DEMOSAIC`.
        brightness: factor on linear light, before it is clipped.
    Returns: (2h, 2w, 3) in [0, 1], sRGB-coded.
    Raises: InputError for colours other than red, green and blue, or an unknown demosaicing method.
    """
    method = demosaicing(demosaic)
    if len(planes) != 4 or plane_colours("mosaic", cfa, 4) is None:
        raise InputError(f"colours are made from 4 planes of R, G and B, got {len(planes)} planes of {cfa!r}")
    balanced = _balanced(planes, "mosaic", cfa, white_balance).clamp(max=min(white_balance))
    linear = method(unpack_mosaic(balanced).numpy(), cfa) * (brightness / min(white_balance))
    return srgb_curve(linear if colour_matrix is None else np.clip(linear, 0.0, 1.0) @ colour_matrix.T)


def develop_raw(raw: "RawImage", *, demosaic: str = "menon2007", brightness: float = 1.0) -> Picture:
    """A raw frame with its own black levels, white balance and colour matrix; see `develop`.

    A file without white balance gets the grey world's; one without matrix keeps the camera's colours.
    """
    planes = raw.planes()
    return develop(
        planes,
        raw.cfa,
        white_balance=raw.white_balance or _grey_world(planes, "mosaic", raw.cfa),
        colour_matrix=raw.colour_matrix,
        demosaic=demosaic,
        brightness=brightness,
    )


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


def demosaicing(name: str) -> Callable[[Picture, str], Picture]:
    """The function (mosaic (H, W), cfa) -> (H, W, 3) of a method; raises InputError for an unknown name.

    The mosaic is first extended by reflection about its outer pixels, which keeps the colours in their places: left
    alone, the library's bilinear method makes the border up to 1.5 times as bright.
    """
    if name not in DEMOSAIC:
        raise InputError(f"unknown demosaicing {name!r}; known: {', '.join(DEMOSAIC)}")

    def demosaic(mosaic: Picture, cfa: str) -> Picture:
        import colour_demosaicing  # a second to import

        height, width = mosaic.shape
        margin = min(BORDER, (min(height, width) - 1) // 2 * 2)  # even, so that the first pixel keeps its colour
        extended = np.pad(mosaic, margin, mode="reflect")
        picture = np.asarray(getattr(colour_demosaicing, DEMOSAIC[name])(extended, cfa))
        return picture[margin : margin + height, margin : margin + width]

    return demosaic


# bilinear keeps the grain of the noise; malvar2004 (Malvar 2004) and menon2007 (Menon 2007) keep edges.
DEMOSAIC = {
    "bilinear": "demosaicing_CFA_Bayer_bilinear",
    "menon2007": "demosaicing_CFA_Bayer_Menon2007",
    "malvar2004": "demosaicing_CFA_Bayer_Malvar2004",
}
