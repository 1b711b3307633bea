"""images.png: clean, real and generated with one stretch, crops in the dark and in the light, and residuals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from noisemodel.evaluation.figure_style import RESIDUAL_MAP, signal_text, styled, without_axes
from noisemodel.evaluation.recording import Pair
from noisemodel.sensor import unpack_mosaic
from noisemodel.sensor.rendering import plane_colours, render, stretch_of

ZOOM = 64  # side of the crops [sensor pixels]
MARGIN = 4  # plane pixels around a crop that demosaicing sees
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
            pictures, drawn = pictures_of(pair, region, cfa), []
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
    """The whole picture, a dark square and the brightest one without saturated pixels; (C, h, w) each."""
    height, width = clean.shape[-2:]
    side = min(ZOOM // (2 if layout == "mosaic" else 1), height, width)
    whole = Region("whole crop", slice(0, height), slice(0, width), True)
    step = max(side // 2, 1)
    signal = clean.mean(dim=0, keepdim=True)
    means, peaks = (pool(signal, side, step)[0] for pool in (avg_pool2d, max_pool2d))
    usable = avg_pool2d(valid.float().mean(dim=0, keepdim=True), side, step)[0]
    usable = usable >= min(0.999, float(usable.max()))
    found = [whole]
    for title, score, quantile in (("dark part", peaks, 0.0), ("bright part", means, 1.0)):
        distance = (score - score[usable].quantile(quantile)).abs()
        place = int(torch.where(usable, distance, torch.inf).argmin())
        top, left = (step * index for index in divmod(place, means.shape[1]))
        found.append(Region(title, slice(top, top + side), slice(left, left + side), False))
    return found


def pictures_of(pair: Pair, region: Region, cfa: str | None) -> list[np.ndarray]:
    """Clean, real and generated rendered with one stretch, then both residuals [fraction of white]."""
    at = pair.recording
    wide, inner = _with_margin(region, at.reference.shape)
    reference, real, generated = (_cut(x, wide) for x in (at.reference[0], pair.real[0], pair.generated[0]))
    stretch = stretch_of(_cut(at.reference[0] + pair.real[0], region), at.layout, cfa, from_black=region.from_black)
    images = (reference, reference + real, reference + generated)
    shown = [render(image, stretch, at.layout, cfa) for image in images]
    shown += [sensor_picture(residual, at.layout) for residual in (real, generated)]
    if plane_colours(at.layout, cfa, at.reference.shape[1]) is None and at.layout == "mosaic":  # rendered by cell
        return [picture[_whole(inner, 1 if i < 3 else 2)] for i, picture in enumerate(shown)]
    return [picture[_whole(inner, 2 if at.layout == "mosaic" else 1)] for picture in shown]


def _with_margin(region: Region, shape: Sequence[int]) -> tuple[Region, tuple[slice, slice]]:
    """The region with a margin, and where in it (in plane pixels) the region itself lies."""
    wide, inner = [], []
    for part, length in ((region.rows, shape[-2]), (region.columns, shape[-1])):
        start, stop = max(part.start - MARGIN, 0), min(part.stop + MARGIN, length)
        wide.append(slice(start, stop))
        inner.append(slice(part.start - start, part.stop - start))
    return Region(region.title, wide[0], wide[1], region.from_black), (inner[0], inner[1])


def _whole(inner: tuple[slice, slice], step: int) -> tuple[slice, slice]:
    """Plane pixels as picture pixels."""
    return slice(step * inner[0].start, step * inner[0].stop), slice(step * inner[1].start, step * inner[1].stop)


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
    return f"{region.title}\n{rows}×{columns} px, mean {signal_text(mean)}"


def _residual_scale(figure: Figure, drawn: AxesImage, ax: Axes) -> None:
    """The colour bar that both residuals of a row share."""
    bar = figure.colorbar(drawn, ax=ax, shrink=0.9, aspect=16, pad=0.03, extend="both")
    bar.set_label("residual [DN]")
    bar.outline.set_visible(False)
