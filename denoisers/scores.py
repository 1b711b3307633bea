"""Tables, files and pictures of how well denoisers did."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy import stats
from torch import Tensor

from denoisers.trained import DenoiserSettings
from noisemodel.evaluation.figure_style import styled, without_axes
from noisemodel.images import Array
from noisemodel.sensor.rendering import Stretch, render, stretch_of

HEADINGS = ("method", "protocol", "images", "PSNR [dB]", "gain [dB]", "SSIM")
SIDE = 128  # of the crops shown
NOISY = "noisy"


class Score(NamedTuple):
    """Figures of one method on one image under one protocol."""

    method: str
    protocol: str
    image: str
    psnr: float
    ssim: float


def mean_and_error(values: Array) -> tuple[float, float]:
    """Mean, and t_0.975 std / sqrt(n), half the 95 % interval; NaN for one value."""
    count = len(values)
    if count < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5)


def rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """Cells of the table: a row per method and protocol, several pages of an image averaged first."""
    groups: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for score in scores:
        images = groups.setdefault((score.method, score.protocol), {})
        images.setdefault(score.image, []).append((score.psnr, score.ssim))
    means = {key: np.array([np.mean(found, axis=0) for found in images.values()]) for key, images in groups.items()}
    found: list[tuple[str, ...]] = []
    for (method, protocol), values in means.items():
        with np.errstate(invalid="ignore"):  # a noisy image that is the clean one: infinity less infinity
            gain = values[:, 0] - means[NOISY, protocol][:, 0]
        cells = [_cell(*mean_and_error(column), digits) for column, digits in ((values[:, 0], 2), (values[:, 1], 4))]
        gained = "" if method == NOISY else _cell(*mean_and_error(gain), 2)
        found.append((method, protocol, str(len(values)), cells[0], gained, cells[1]))
    return found


def _cell(mean: float, error: float, digits: int) -> str:
    return f"{mean:.{digits}f}" + (f" +- {error:.{digits}f}" if math.isfinite(error) else "")


def scores_table(scores: Sequence[Score]) -> Table:
    """For the terminal."""
    table = Table(title="denoising", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in rows(scores):
        table.add_row(*row)
    return table


def markdown_text(scores: Sequence[Score], about: Sequence[str]) -> str:
    """The same as Markdown, with the protocol."""
    lines = ["# Denoising", "", *(f"- {line}" for line in about), ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows(scores))]
    return "\n".join(lines) + "\n"


def csv_text(scores: Sequence[Score]) -> str:
    """A row per method, protocol and image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "protocol", "image", "psnr_db", "ssim"])
    writer.writerows([*score[:3], f"{score.psnr:.5f}", f"{score.ssim:.6f}"] for score in scores)
    return text.getvalue()


def shown_crop(images: Sequence[Tensor]) -> list[Tensor]:
    """The same crop of images (1, C, h, w), where the last, clean one has most detail, (C, <= 128, <= 128) each."""
    clean = images[-1][0]
    height, width = (min(SIDE, length) for length in clean.shape[-2:])
    places = [(y, x) for y in _starts(clean.shape[-2], height) for x in _starts(clean.shape[-1], width)]
    y, x = max(
        places, key=lambda at: float(clean[:, at[0] : at[0] + height, at[1] : at[1] + width].std(dim=(1, 2)).sum())
    )
    return [image[0, :, y : y + height, x : x + width] for image in images]


def _starts(length: int, side: int) -> list[int]:
    return list(range(0, length - side + 1, max(1, side // 2)))


def crops_figure(crops: Sequence[Sequence[Tensor]], titles: Sequence[str], settings: DenoiserSettings) -> Figure:
    """A row per image, a column per method: pictures as they are, raw and linear images at the clean one's stretch."""
    size = (1.9 * len(titles) + 0.3, 2.0 * len(crops) + 0.7)
    with styled("Noisy, denoised, clean", size) as figure:
        axes = figure.subplots(len(crops), len(titles), squeeze=False)
        for row, images in zip(axes, crops, strict=True):
            for ax, title, image in zip(row, titles, _pictures(images, settings), strict=True):
                ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                without_axes(ax)
                if ax in axes[0]:
                    ax.set_title(title)
    return figure


def _pictures(images: Sequence[Tensor], settings: DenoiserSettings) -> list[Array]:
    if settings.layout == "srgb":
        pictures = [image.movedim(0, -1).clamp(0, 1).numpy() for image in images]
        return [picture[..., 0] if picture.shape[-1] == 1 else picture for picture in pictures]
    stretch: Stretch = stretch_of(images[-1], settings.layout, settings.cfa)
    return [render(image, stretch, settings.layout, settings.cfa) for image in images]
