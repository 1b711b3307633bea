"""Row noise with a spectrum: rowspectrum, and rowparity, the same of two readout chains in opposite phase."""

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from noisemodel.components.base import NoiseComponent, Params
from noisemodel.errors import InputError
from noisemodel.sensor import Crop

HALF = 0.5  # highest frequency of a row profile [cycles per row]
BINS = 16
SMALLEST_SHARE = 1e-9  # of a bin in the smooth part: a logarithm cannot hold 0
Lines = Sequence[tuple[float, ...]]  # (frequency, std, jitter) or (frequency, std, jitter, steady)
FACTS = ("freq", "jitter", "steady")  # of a line: numbers that are not trained


def spectrum_edges(bins: int, lowest: float) -> Tensor:
    """Edges of ``bins`` bins over 0..1/2 that are log-spaced from both ends, where row spectra rise.

    Args:
        bins: how many, from 2.
        lowest: width of the first bin, which starts at 0, and of the last, which ends at 1/2 [cycles per row].
    Returns: (bins + 1,) float64.
    """

    def rising(count: int) -> Tensor:
        ends = torch.logspace(math.log10(lowest), math.log10(HALF / 2), count, dtype=torch.float64)
        return torch.cat([torch.zeros(1, dtype=torch.float64), ends[:-1], ends.new_tensor([HALF / 2])])

    low, high = rising(bins - bins // 2), rising(bins // 2)
    return torch.cat([low, (HALF - high.flip(0))[1:]])


def bin_overlaps(length: int, edges: Tensor) -> Tensor:
    """How much of FFT frequency j's cell [(j - 1/2) / L, (j + 1/2) / L] lies in each bin, (L // 2 + 1, K).

    The sum over j is the bin's width, so that power is exact at any length.
    """
    centre = torch.arange(length // 2 + 1, dtype=torch.float64, device=edges.device).unsqueeze(1)
    low, high = (centre - 0.5) / length, (centre + 0.5) / length
    return (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp(min=0)


class SpectralRows(NoiseComponent):
    """Gaussian process along the sensor row r, new in every frame, constant along the row but for a sign.

    Smooth part of one-sided density S(f) = std^2 share_k / width_k in bin k [white^2 per cycle/row], with
    share = softmax(shape); plus lines a cos 2 pi (f + d) r + b sin 2 pi (f + d) r with d ~ N(0, jitter^2) and
    a + i b = s (sqrt(1 - m) (n1 + i n2) + sqrt(2 m) exp(i phi)) per frame, n1, n2 ~ N(0, 1), phi even over a turn: the
    share m of a line's power is steady and comes with a random phase only, as mains or a clock does. Variance
    std^2 + sum of s^2. Planes that cross a sensor row share it.

    The smooth part is drawn at twice the height of the sensor and cut: a circular draw of the crop itself would tie
    its first row to its last.
    """

    alternates: ClassVar[bool]  # times (-1)^column

    def __init__(
        self,
        layout: str,
        std: float = 1e-3,
        psd: Sequence[float] | Tensor | None = None,
        edges: Sequence[float] | Tensor | None = None,
        lines: Lines = (),
        sensor_size: tuple[int, int] | None = None,
    ) -> None:
        """Start at ``std`` [fraction of white], the law's own std without its lines.

        Args:
            layout: "mosaic" or "planes".
            std: of the smooth part.
            psd: (K,) density per bin in any scale: it says the shape; without it white.
            edges: (K + 1,) from 0 to 1/2 [cycles per row]; without them `spectrum_edges`.
            lines: (frequency [cycles per row], std [fraction of white], jitter [cycles per row]) of each, and its
                steady share m where that is not 0.
            sensor_size: (rows, columns) [sensor pixels].
        Raises: InputError for a missing sensor size or values that the law does not allow.
        """
        if sensor_size is None:
            raise InputError(f"{self.name} needs sensor_size=(rows, columns): it is drawn over all rows of the sensor")
        stds = {f"line{i}": float(line[1]) for i, line in enumerate(_checked_lines(lines, self.name), start=1)}
        super().__init__(layout, {"std": float(std), **stds})
        self.height = sensor_size[0]
        self.edges = _checked_edges(edges, psd, self.height, self.name)
        self.shape = nn.Parameter(_share(psd, self.edges, self.name).log().float())
        self.numbers: dict[str, float] = {}
        self.units = {"std": "white"}
        for i, (freq, _, jitter, *steady) in enumerate(lines, start=1):
            self.units |= {f"line{i}": "white", f"freq{i}": "cycles/px", f"jitter{i}": "cycles/px", f"steady{i}": "1"}
            for key, value in zip(FACTS, (freq, jitter, *(steady or [0.0])), strict=True):
                self.store(f"{key}{i}", float(value))
        self.fixed |= set(self.numbers)  # frequency, jitter and steady share are measured, not trained

    @property
    def lines(self) -> tuple[tuple[float, float, float, float], ...]:
        """(frequency [cycles per row], std [fraction of white], jitter [cycles per row], steady share) of each line."""
        return tuple(
            (
                self.numbers[f"freq{i}"],
                float(self.stored(f"line{i}").detach()),
                self.numbers[f"jitter{i}"],
                self.numbers[f"steady{i}"],
            )
            for i in range(1, self.line_count + 1)
        )

    @property
    def line_count(self) -> int:
        """How many lines there are."""
        return len(self.numbers) // len(FACTS)

    def stored(self, key: str) -> Tensor:
        """exp(log std), or one of the `FACTS` of a line."""
        return torch.tensor(self.numbers[key], dtype=torch.float64) if key in self.numbers else super().stored(key)

    def store(self, key: str, value: float) -> None:
        """Set a std, a line's frequency in (0, 0.5], its jitter in [0, 0.5] or its steady share in [0, 1]."""
        if key not in self.units or key in self.log:
            super().store(key, value)
        elif key.startswith("steady"):
            if not 0 <= value <= 1:
                raise InputError(f"{self.name}.{key} is a share of a line's power in [0, 1], got {value}")
            self.numbers[key] = float(value)
        elif not 0 <= value <= HALF or (value == 0 and key.startswith("freq")):
            allowed = "(0, 0.5]" if key.startswith("freq") else "[0, 0.5]"
            raise InputError(f"{self.name}.{key} must lie in {allowed} cycles per row, got {value}")
        else:
            self.numbers[key] = float(value)

    def options(self) -> dict[str, object]:
        """Bins and lines."""
        return {"edges": list(self.edges), "lines": [list(line) for line in self.lines]}

    def psd(self, frequency: Tensor) -> Tensor:
        """S(f) of the smooth part [fraction of white, squared, per cycle/row] at ``frequency`` [cycles per row]."""
        edges = torch.tensor(self.edges, dtype=torch.float64, device=self.shape.device)
        density = self.stored("std").square() * self.shape.softmax(0) / edges.diff()
        frequency = frequency.to(edges)
        inside = (frequency >= 0) & (frequency <= HALF)
        return torch.where(inside, density[torch.bucketize(frequency, edges[1:-1], right=True)], 0.0)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return sum((self.value(key, params).square() for key in self.log), burst.new_zeros(()))

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        n, t = burst.shape[:2]
        rows = crop.rows.unsqueeze(1)  # (N or 1, 1, C or 1, H)
        profile = self._unit_profile(burst, max(self.height, crop.sensor_extent[0]), generator)  # (N, T, rows)
        shape = (n, t, *rows.shape[2:])
        noise = profile.unsqueeze(2).expand(*shape[:3], -1).gather(-1, rows.expand(shape))
        noise = self.value("std", params) * noise.unsqueeze(-1)  # (N, T, C or 1, H, 1)
        for i in range(1, self.line_count + 1):
            noise = noise + self.value(f"line{i}", params) * self._unit_line(i, burst, rows, generator)
        if not self.alternates:
            return noise
        columns = crop.columns if crop.layout == "planes" else crop.columns[..., :1]  # a plane has one parity
        return noise * (1 - 2 * (columns % 2)).to(burst.dtype)[:, None, :, None]

    def _unit_profile(self, burst: Tensor, rows: int, generator: torch.Generator) -> Tensor:
        """Smooth part of variance 1 over the sensor, (N, T, 2 rows): the sum of sqrt(power_j) (a cos + b sin)."""
        length = 2 * rows
        edges = torch.tensor(self.edges, dtype=torch.float64, device=burst.device)
        power = bin_overlaps(length, edges) @ (self.shape.double().softmax(0) / edges.diff())  # (rows + 1,)
        draws = torch.randn(
            (*burst.shape[:2], rows + 1, 2), generator=generator, device=burst.device, dtype=burst.dtype
        )
        halves = torch.full((rows + 1, 2), 0.5, dtype=burst.dtype, device=burst.device)
        halves[[0, -1]] = halves.new_tensor([1.0, 0.0])  # frequencies 0 and 1/2 are real and not doubled
        amplitude = power.sqrt().to(burst.dtype).unsqueeze(-1) * halves
        return torch.fft.irfft(torch.view_as_complex(draws * amplitude), n=length, norm="forward")

    def _unit_line(self, i: int, burst: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Line i at std 1: a cos + b sin of 2 pi (f + d) r, (N, T, C or 1, H, 1); whole turns taken off."""
        shape, steady = (3, *burst.shape[:2], 1, 1), self.numbers[f"steady{i}"]
        a, b, d = torch.randn(shape, generator=generator, device=burst.device, dtype=burst.dtype)
        if steady:
            phase = torch.rand(a.shape, generator=generator, device=burst.device, dtype=burst.dtype) * (2 * math.pi)
            free, held = math.sqrt(1 - steady), math.sqrt(2 * steady)
            a, b = free * a + held * phase.cos(), free * b + held * phase.sin()
        turns = torch.frac((self.numbers[f"freq{i}"] + self.numbers[f"jitter{i}"] * d.double()) * rows)
        angle = (2 * math.pi * turns).to(burst.dtype)
        return (a * angle.cos() + b * angle.sin()).unsqueeze(-1)


def _checked_lines(lines: Lines, name: str) -> Lines:
    """Raise InputError unless every line is (frequency, std, jitter), with or without a steady share."""
    for line in lines:
        if len(tuple(line)) not in (3, 4):
            raise InputError(f"{name}_lines holds (frequency, std, jitter, steady) of each line, got {tuple(line)}")
    return lines


def _checked_edges(
    edges: Sequence[float] | Tensor | None, psd: Sequence[float] | Tensor | None, height: int, name: str
) -> tuple[float, ...]:
    """Edges that rise from 0 to 1/2; the usual ones where none are given."""
    if edges is None:
        bins = BINS if psd is None else len(psd)
        return tuple(spectrum_edges(bins, min(1 / height, 0.1)).tolist()) if bins > 1 else (0.0, HALF)
    values = [float(edge) for edge in edges]
    rising = len(values) > 1 and all(low < high for low, high in itertools.pairwise(values))
    if not rising or abs(values[0]) > 1e-9 or abs(values[-1] - HALF) > 1e-9:
        raise InputError(f"{name}_edges must rise from 0 to 0.5 cycles per row, got {values[:3]} ... {values[-1:]}")
    return (0.0, *values[1:-1], HALF)


def _share(psd: Sequence[float] | Tensor | None, edges: tuple[float, ...], name: str) -> Tensor:
    """Share of the variance in each bin, (K,), from a density in any scale; white without one."""
    width = torch.tensor(edges, dtype=torch.float64).diff()
    density = torch.ones_like(width) if psd is None else torch.as_tensor(psd, dtype=torch.float64)
    if density.shape != width.shape:
        raise InputError(f"{name}_psd must have one value per bin ({len(width)}), got shape {tuple(density.shape)}")
    if not bool(torch.isfinite(density).all()) or bool((density < 0).any()) or not bool(density.any()):
        raise InputError(f"{name}_psd must be finite, not negative, and not all 0; floor estimates at a small share")
    share = density * width / (density * width).sum()
    return share.clamp_min(SMALLEST_SHARE)


@final
class RowSpectrum(SpectralRows):
    """Row noise with a spectrum: one Gaussian process along the sensor rows, constant along each row."""

    name = "rowspectrum"
    alternates = False


@final
class RowParity(SpectralRows):
    """A row process times (-1)^column: two readout chains, of even and odd sensor columns, in opposite phase.

    With a `RowSpectrum` r and an independent a of this law, even columns see r + a and odd ones r - a. Where both have
    one law, the chains are independent of each other.
    """

    name = "rowparity"
    alternates = True
