"""images.png: clean, real and generated with one stretch, crops in the dark and in the light, and residuals."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from noisemodel.evaluation.figure_style import RESIDUAL_MAP, styled, without_axes
from noisemodel.evaluation.recording import Pair
from noisemodel.sensor import unpack_mosaic
from noisemodel.sensor.rendering import render, stretch_of

ZOOM = 64  # side of the crops [sensor pixels]
SCALE_PERCENTILE = 99.5


@dataclass(frozen=True)
class Region:
    """A rectangle of plane pixels, and how it is shown."""

    title: str
    rows: slice
    columns: slice
    from_black: bool


def images_panel(pair: Pair, *, cfa: str | None = None, note: str = "") -> Figure:
    """Clean, real, generated, and both residuals, of the whole crop and of a dark and a bright part."""
    at = pair.recording
    scale = at.levels.range_dn
    mean = f"mean of {len(at.frames)} frames" if at.centred else "clean (ground truth)"
    residual = "mean" if at.centred else "clean"
    titles = (mean, "real", "generated", f"real − {residual}", f"generated − {residual}")
    height, width = at.reference.shape[-2:]
    shape = min(max(height / width, 0.5), 1.5)
    with styled(f"Real and generated frames: {at.name}", (15.5, 2.95 * shape * 3 + 1.2), note) as figure:
        axes = figure.subplots(3, 5)
        for row, region in enumerate(regions(at.clean[0], at.valid[0], at.layout)):
            pictures, drawn = _pictures(pair, region, cfa), []
            for column, picture in enumerate(pictures):
                ax = axes[row, column]
                without_axes(ax)
                options = {"cmap": "gray", "vmin": 0, "vmax": 1}
                if column > 2:
                    limit = float(np.percentile(np.abs(pictures[3]), SCALE_PERCENTILE)) * scale
                    picture, options = picture * scale, {"cmap": RESIDUAL_MAP, "vmin": -limit, "vmax": limit}
                drawn.append(ax.imshow(picture, interpolation="antialiased" if row == 0 else "nearest", **options))
                if row == 0:
                    ax.set_title(titles[column])
            axes[row, 0].set_ylabel(_label(pair, region, cfa))
            _residual_scale(figure, drawn[-1], axes[row, -1])
    return figure


def regions(clean: Tensor, valid: Tensor, layout: str) -> list[Region]:
    """The whole picture, and its darkest and brightest square without saturated pixels, (C, h, w) each."""
    height, width = clean.shape[-2:]
    side = min(ZOOM // (2 if layout == "mosaic" else 1), height, width)
    whole = Region("whole crop", slice(0, height), slice(0, width), True)
    step = max(side // 2, 1)
    means, usable = (
        torch.nn.functional.avg_pool2d(x.float().mean(dim=0, keepdim=True), side, step)[0] for x in (clean, valid)
    )
    usable = usable >= min(0.999, float(usable.max()))
    found = [whole]
    for title, score in (("dark part", means), ("bright part", -means)):
        place = int(torch.where(usable, score, torch.inf).argmin())
        top, left = (step * index for index in divmod(place, means.shape[1]))
        found.append(Region(title, slice(top, top + side), slice(left, left + side), False))
    return found


def _pictures(pair: Pair, region: Region, cfa: str | None) -> list[np.ndarray]:
    """Clean, real and generated rendered with one stretch, then both residuals [fraction of white]."""
    at = pair.recording
    reference, real, generated = (_cut(x, region) for x in (at.reference[0], pair.real[0], pair.generated[0]))
    stretch = stretch_of(reference + real, at.layout, cfa, from_black=region.from_black)
    shown = [render(image, stretch, at.layout, cfa) for image in (reference, reference + real, reference + generated)]
    return shown + [sensor_picture(residual, at.layout) for residual in (real, generated)]


def sensor_picture(planes: Tensor, layout: str) -> np.ndarray:
    """(C, h, w) as one picture in sensor pixels; the mean of the planes where it is no mosaic."""
    return (unpack_mosaic(planes) if layout == "mosaic" else planes.mean(dim=0)).numpy()


def _cut(planes: Tensor, region: Region) -> Tensor:
    return planes[..., region.rows, region.columns]


def _label(pair: Pair, region: Region, cfa: str | None) -> str:
    """What is shown, its place and mean signal."""
    at = pair.recording
    mean = float(_cut(at.reference[0], region).mean()) * at.levels.range_dn
    step = 2 if at.layout == "mosaic" else 1
    rows, columns = ((s.stop - s.start) * step for s in (region.rows, region.columns))
    return f"{region.title}\n{rows}×{columns} px, mean {mean:.4g} DN"


def _residual_scale(figure: Figure, drawn: AxesImage, ax: object) -> None:
    """The colour bar that both residuals of a row share."""
    bar = figure.colorbar(drawn, ax=ax, shrink=0.9, aspect=16, pad=0.03, extend="both")
    bar.set_label("residual [DN]")
    bar.outline.set_visible(False)  # type: ignore[operator]
