"""Evidence from a real sensor (Sony IMX541): row noise reproduced, and the physics that the model lacks.

python benchmarks/imx541.py FRAMES -o docs/results/imx541
Fits one dark and three exposures, looks at the others; prints tables and draws missing_physics.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import argparse

import numpy as np
import torch

import noisemodel
from datasets import BurstSet, load_bursts
from noisemodel.calibration import Evidence, calibrate
from noisemodel.evaluation.figure_style import FLOOR, GENERATED, REAL, styled, write_png
from noisemodel.physical import PhysicalNoise

HELD_OUT = ("dark_exp001757us", "bright_exp000522us")
GROUPS = {"rows 0 and 1 of 4": (0, 1), "rows 2 and 3 of 4": (2, 3)}


def frames_dn(data: BurstSet, name: str) -> np.ndarray:
    """(T, H, W) of one burst [DN], black level still in."""
    (burst,) = (b for b in data.bursts if b.name == name)
    return burst.source.read(range(burst.shape[0]), slice(None), slice(None)).astype(np.float64)


def row_profile(frames: np.ndarray) -> np.ndarray:
    """(T, H) row means less the burst's and each frame's mean, scaled to the variance of single frames."""
    rows = (frames - frames.mean(axis=0)).mean(axis=2)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows * (len(rows) / (len(rows) - 1)) ** 0.5


def row_figures(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Per frame: lag-1 and lag-2 correlation, and the power in two bands of the periodogram [DN^2]."""
    power = 2 * np.abs(np.fft.rfft(rows, axis=1)) ** 2 / rows.shape[1] ** 2
    square = (rows**2).mean(axis=1)
    return {
        "lag-1 correlation": (rows[:, 1:] * rows[:, :-1]).mean(axis=1) / square,
        "lag-2 correlation": (rows[:, 2:] * rows[:, :-2]).mean(axis=1) / square,
        "band 20 +- 3 cycles [DN^2]": power[:, 17:24].sum(axis=1),
        "band 40 +- 4 cycles [DN^2]": power[:, 36:45].sum(axis=1),
        "row std [DN]": square**0.5,
    }


def generated_rows(physical: PhysicalNoise, height: int, width: int, unit: float, draws: int = 50) -> np.ndarray:
    """Row profiles of draws of the model in the dark, 8 frames each [DN]."""
    rows = []
    for draw in range(draws):
        dark = torch.zeros(1, 8, 1, height, 32)
        with torch.no_grad():
            parts = physical.parts(dark, generator=noisemodel.stream(draw, "rows"))
        lines = parts["rowspectrum"][0, :, 0, :, 0].double().numpy()
        white = physical.variance(dark[:, :1]).mean() - physical.component("rowspectrum").variance(dark[:, :1]).mean()
        noise = np.random.default_rng(draw).standard_normal(lines.shape) * float(white.detach() / width) ** 0.5
        profile = (lines + noise) * unit
        profile -= profile.mean(axis=0)
        profile -= profile.mean(axis=1, keepdims=True)
        rows.append(profile * (8 / 7) ** 0.5)
    return np.concatenate(rows)


def print_rows(data: BurstSet, physical: PhysicalNoise) -> None:
    """Row noise of both darks and of the model that was fitted to the first."""
    names = [burst.name for burst in data.darks]
    real = [row_figures(row_profile(frames_dn(data, name))) for name in names]
    made = row_figures(generated_rows(physical, *data.sensor_size, data.levels.range_dn))
    print(
        "| dark row noise | " + " | ".join(names) + " | model | model off by (standard errors of real against real) |"
    )
    print("|---|---|---|---|---|")
    for key in made:
        means = [values[key].mean() for values in real]
        errors = [values[key].std(ddof=1) / len(values[key]) ** 0.5 for values in real]
        spread = float(np.hypot(*errors))
        off = (made[key].mean() - means[1]) / max(spread, abs(means[0] - means[1]) / 2**0.5)
        cells = [f"{m:.4g} ± {e:.2g}" for m, e in zip(means, errors, strict=True)]
        print(f"| {key} | {cells[0]} | {cells[1]} | {made[key].mean():.4g} | {off:+.1f} |")


def missing_physics(data: BurstSet, out: Path) -> None:
    """What no word says: variance over signal by exposure and row group, and codes in the dark by row group."""
    evidence = Evidence(data.bursts, data.levels)
    read = evidence.line.intercept.value * data.levels.range_dn**2
    ratios: dict[str, list[tuple[float, float, float]]] = {name: [] for name in GROUPS}
    for burst in data.scenes:
        frames = frames_dn(data, burst.name) - data.levels.black_dn
        frames -= frames.mean(axis=(1, 2), keepdims=True) - frames.mean()
        variance, signal = frames.var(axis=0, ddof=1), frames.mean(axis=0)
        for name, phases in GROUPS.items():
            rows = np.isin(np.arange(len(signal)) % 4, phases)
            of_signal = (variance[rows] - read) / signal[rows]
            ratios[name].append((signal[rows].mean(), of_signal.mean(), of_signal.std() / of_signal.size**0.5))
    print(
        "\n| (variance - read variance) / signal [DN/e-] | " + " | ".join(f"{r[0]:.0f} DN" for r in ratios[name]) + " |"
    )
    print("|---|" + "---|" * len(data.scenes))
    for name, values in ratios.items():
        print(f"| {name} | " + " | ".join(f"{v:.4f} ± {e:.4f}" for _, v, e in values) + " |")
    with styled("What the model lacks: the converter's own steps, and two groups of rows", (10.0, 4.2)) as figure:
        left, right = figure.subplots(1, 2)
        for (name, values), colour in zip(ratios.items(), (REAL, GENERATED), strict=True):
            x, y, e = np.array(values).T
            left.errorbar(x, y, 1.96 * e, fmt="o-", ms=4, color=colour, label=name)
        left.set(xscale="log", xlabel="signal [DN]", ylabel="variance from light / signal [DN/e-]")
        left.legend()
        frames = frames_dn(data, data.darks[0].name).astype(int)
        codes = np.arange(7, 15)
        for (name, phases), colour in zip(GROUPS.items(), (REAL, GENERATED), strict=True):
            rows = np.isin(np.arange(frames.shape[1]) % 4, phases)
            share = np.bincount(frames[:, rows].ravel().clip(max=63), minlength=64) / frames[:, rows].size
            whole = np.bincount(frames.ravel().clip(max=63), minlength=64) / frames.size
            right.plot(codes, (share / whole)[codes], "o-", ms=4, color=colour, label=name)
        right.axhline(1, color=FLOOR)
        right.set(xlabel="code in the dark [DN]", ylabel="frequency over that of all rows")
    write_png(figure, out / "missing_physics.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = load_bursts(options.frames, black_level=10.3, white_level=4095)
    found = calibrate(data.without(HELD_OUT).bursts, data.levels, sensor_size=data.sensor_size)
    print(f"fitted without {', '.join(HELD_OUT)}: {found.physical.noiselist}\n")
    print_rows(data, found.physical)
    missing_physics(data, options.out)


if __name__ == "__main__":
    main()
