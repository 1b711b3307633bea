"""Models of NR-GAN on A, G, I and two simulated sensors at a budget of two CPU cores: train all, then judge all.

python benchmarks/nrgan_comparison.py CIFAR_FOLDER RUNS_FOLDER [--steps 1000] [--models gan,...] [--device cpu]
python benchmarks/nrgan_comparison.py CIFAR_FOLDER RUNS_FOLDER --evaluate OUTPUT [--samples 5000]

Training: runs that are complete are left alone, broken-off ones are resumed. Judging: runs whose last snapshot is in
OUTPUT/RUN.csv are left alone; then comparison.csv, comparison.md, comparison.png (curves) and samples.png are written
of all that are there.
"""

import argparse
import csv
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch

from evaluate_nrgan import NrGanEvaluation, device_of, judge_run
from noisemodel import stream
from noisemodel.evaluation.command_output import consoles
from noisemodel.evaluation.figure_style import styled, without_axes, write_png
from nrgan.evaluation.run_data import read_run
from nrgan.evaluation.tables import csv_text
from nrgan.figures import NOISE_RANGE, grid
from nrgan.snapshots import Samples, load_snapshot

SIX = ("gan", "ambientgan", "sinrgan1", "sinrgan2", "sdnrgan2", "physnrgan")
MODELS = (*SIX[:4], "sdnrgan1", *SIX[4:])
# Data set -> models, seeds.
PLAN: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "sensor": (MODELS, (0, 1)),
    "sensor5-25": (("sdnrgan1", "sdnrgan2", "physnrgan"), (0,)),
    "cifar10ag25": (SIX, (0, 1)),
    "cifar10bg25k5": (SIX, (0,)),
    "cifar10mg25": (SIX, (0,)),
}
WIDTH, BATCH = 24, 16
# A narrow network takes larger steps; after 1,000 of them an average with 0.999 would still hold a third of the start.
FASTER = ("--g_lr", "1e-3", "--d_lr", "1e-3", "--model_average_beta", "0.99")
COLOURS = dict(zip(MODELS, ("#999999", "#000000", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00"), strict=True))
CLEAN, NOISY = "fd_cifar_features_clean", "fd_cifar_features_noisy"
# Column of the table -> figure of evaluate.py nrgan, of the last snapshot.
FIGURES = {
    "clean, last": CLEAN,
    "noisy, last": NOISY,
    "noise std [1/255]": "noise_std_255",
    "lag 1": "lag1_across",
    "variance slope": "variance_slope",
    "spectrum [dB]": "spectrum_rms_db",
    "high-pass std of clean [1/255]": "high_pass_std_255",
}
ACROSS = 10  # images of a row of samples.png

Row = dict[str, str]


def run_folder(runs: Path, dataset: str, model: str, seed: int) -> Path:
    """Where a run lies."""
    return runs / f"{dataset}_{model}_{seed}"


def train(data: Path, folder: Path, dataset: str, model: str, seed: int, steps: int, more: list[str]) -> None:
    """Train one run to its end, from where it stands."""
    if (folder / "snapshots" / f"step_{steps:06d}.safetensors").is_file():
        return
    command = [
        sys.executable, str(ROOT / "train_nrgan.py"), dataset, model, str(folder), "--data", str(data),
        "--num_iterations", str(steps), "--g_channels", str(WIDTH), "--d_channels", str(WIDTH),
        "--batch_size", str(BATCH), "--data_seed", str(seed), "--model_seed", str(seed),
        "--snapshot_interval", "250", "--visualize_interval", "0", "--checkpoint_interval", "250", *FASTER, *more,
    ]  # fmt: skip
    command += ["--resume"] if (folder / "resume.ckpt").is_file() else ["--overwrite"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"OMP_NUM_THREADS": "1", **os.environ})


def evaluate(data: Path, folder: Path, output: Path, samples: int, device: str) -> None:
    """Judge the snapshots of one run, unless they are judged; all runs share one classifier in ``output``."""
    file = output / f"{folder.name}.csv"
    last = read_run(folder, data).snapshots[-1]
    if file.is_file() and int(rows_of(file)[-1]["step"]) >= int(last.stem.removeprefix("step_")):
        return
    options = NrGanEvaluation(
        run=folder, data=data, features=output / "features.safetensors", samples=samples, device=device
    )
    reference, judged, about = judge_run(options, consoles()[0])
    file.write_text(csv_text(judged, reference))
    (output / "protocol.txt").write_text("\n".join(about[1:]) + "\n")


def rows_of(file: Path) -> list[Row]:
    """The rows of a CSV."""
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def gather(output: Path) -> list[Row]:
    """The rows of all runs that are judged, each with its seed."""
    found = []
    for dataset, (models, seeds) in PLAN.items():
        for model in models:
            for seed in seeds:
                file = run_folder(output, dataset, model, seed).with_suffix(".csv")
                found += [{"seed": str(seed), **row} for row in rows_of(file)] if file.is_file() else []
    return found


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """All rows with all columns."""
    with file.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def chosen(rows: Sequence[Row], dataset: str, model: str, **marks: str) -> list[Row]:
    """The rows of a data set and model with these marks, one per seed, or one per seed and step."""
    return [
        row
        for row in rows
        if (row["dataset"], row["model"]) == (dataset, model) and all(row[k] == v for k, v in marks.items())
    ]


def cell(rows: Sequence[Row], figure: str) -> str:
    """Mean over seeds, and the range where there are several; a dash without a figure."""
    values = [float(row[figure]) for row in rows if row.get(figure)]
    if not values:
        return "-"
    mean = f"{math.fsum(values) / len(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} … {max(values):.3g})"


def markdown_text(rows: Sequence[Row], protocol: Sequence[str]) -> str:
    """A table per data set, then the amounts of the physical model."""
    lines = ["# Models of NR-GAN at equal steps", "", *(f"- {line}" for line in protocol)]
    lines += ["- mean over seeds (lowest … highest of them)"]
    for dataset in PLAN:
        models = [model for model in MODELS if chosen(rows, dataset, model)]
        if not models:
            continue
        headings = ["model", "seeds", "clean, best", "at step", *FIGURES]
        lines += ["", f"## {dataset}", "", *(f"| {' | '.join(c)} |" for c in (headings, ["---"] * len(headings)))]
        data = chosen(rows, dataset, models[0], step="data")
        lines.append(f"| data | | | | {' | '.join(cell(data, figure) for figure in FIGURES.values())} |")
        for model in models:
            best, last = (chosen(rows, dataset, model, **{mark: "1"}) for mark in ("best", "last"))
            steps = ", ".join(row["step"] for row in best)
            cells = [model, str(len(last)), cell(best, CLEAN), steps, *(cell(last, f) for f in FIGURES.values())]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *amounts_text(rows)]) + "\n"


def amounts_text(rows: Sequence[Row]) -> list[str]:
    """physnrgan's parameters beside the truth, per data set, seed and parameter."""
    lines = ["", "## Amounts that physnrgan found, last snapshot: median (5 % … 95 % of images)", ""]
    lines += ["| data set | seed | parameter | true | found | off |", "|---|---|---|---|---|---|"]
    for dataset in PLAN:
        for last in chosen(rows, dataset, "physnrgan", last="1"):
            (data,) = chosen(rows, dataset, "physnrgan", step="data", seed=last["seed"])
            for name in ("shot.gain", "read.std"):
                low, middle, high = (float(last[f"{name} {at}"]) for at in ("5%", "50%", "95%"))
                truth = data.get(f"{name} 50%")
                off = f"{middle / float(truth) - 1:+.1%}" if truth and float(truth) else "-"
                found = f"{middle:.4g} ({low:.4g} … {high:.4g})"
                lines.append(f"| {dataset} | {last['seed']} | {name} | {truth or '-'} | {found} | {off} |")
    return lines


def draw_curves(rows: Sequence[Row], file: Path) -> None:
    """Distance of clean images and std of the noise over steps; a line per seed, the truth dashed."""
    datasets = [dataset for dataset in PLAN if any(row["dataset"] == dataset for row in rows)]
    with styled("Models of NR-GAN at equal steps", (3.6 * len(datasets), 6.4)) as figure:
        axes = figure.subplots(2, len(datasets), squeeze=False, sharex=True)
        for column, dataset in enumerate(datasets):
            for ax, name in zip(axes[:, column], (CLEAN, "noise_std_255"), strict=True):
                for model in MODELS:
                    for seed in sorted({row["seed"] for row in chosen(rows, dataset, model)}):
                        line = [row for row in chosen(rows, dataset, model, seed=seed) if row["step"] != "data"]
                        points = [(int(row["step"]), float(row[name])) for row in line if row.get(name)]
                        label = model if seed == "0" else None
                        ax.plot(*zip(*points, strict=True), "o-", ms=3, color=COLOURS[model], label=label)
                data = [float(row[name]) for row in rows if row["dataset"] == dataset and row["step"] == "data"]
                ax.axhline(data[0], color="#0072B2", ls="--", lw=1.2)
                ax.set_title(f"{dataset}: {'clean distance' if name == CLEAN else 'noise std [1/255]'}", loc="left")
            axes[0, column].set_yscale("log")
            axes[1, column].set_xlabel("step")
        axes[0, 0].legend()
    write_png(figure, file)


def draw_samples(runs: Path, output: Path, file: Path) -> None:
    """Of seed 0's last snapshots: two rows of clean images, one of noise, one of noisy images."""
    datasets = [d for d in PLAN if any(run_folder(output, d, m, 0).with_suffix(".csv").is_file() for m in MODELS)]
    with styled("Last snapshots, seed 0: clean, clean, noise, noisy", (4.2 * len(datasets), 11.5)) as figure:
        axes = figure.subplots(len(MODELS), len(datasets), squeeze=False)
        for j, dataset in enumerate(datasets):
            for ax, model in zip(axes[:, j], MODELS, strict=True):
                without_axes(ax)
                ax.set_title(f"{model} on {dataset}", loc="left")
                folder = run_folder(runs, dataset, model, 0)
                if (output / f"{folder.name}.csv").is_file():
                    drawn = load_snapshot(folder).sample(2 * ACROSS, generator=stream(0, "comparison"))
                    ax.imshow(sample_rows(drawn), interpolation="nearest")
    write_png(figure, file)


def sample_rows(drawn: Samples) -> object:
    """(H, W, 3): noise with mid-grey for 0, black and white at three of its stds."""
    noise = 0.5 + drawn.noise[:ACROSS] / (2 * NOISE_RANGE * max(float(drawn.noise.std()), 1e-6))
    return grid(torch.cat([drawn.clean, noise, drawn.noisy[:ACROSS]]), ACROSS)


def main() -> None:
    """Every run in turn; seed 0 of all data sets first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--evaluate", type=Path, metavar="OUTPUT")
    parser.add_argument("--samples", type=int, default=5000)
    asked = parser.parse_args()
    device_of(asked.device)
    for seed in (0, 1):
        for dataset, (models, seeds) in PLAN.items():
            for model in [m for m in models if m in asked.models.split(",")] if seed in seeds else ():
                begin = time.monotonic()
                folder = run_folder(asked.runs, dataset, model, seed)
                if asked.evaluate is None:
                    train(asked.data.resolve(), folder, dataset, model, seed, asked.steps, ["--device", asked.device])
                elif any(folder.glob("snapshots/step_*.safetensors")):
                    asked.evaluate.mkdir(parents=True, exist_ok=True)
                    evaluate(asked.data.resolve(), folder, asked.evaluate, asked.samples, asked.device)
                else:
                    continue
                print(f"{folder.name}: {time.monotonic() - begin:.0f} s", flush=True)
    if asked.evaluate is not None and (rows := gather(asked.evaluate)):
        write_csv(rows, asked.evaluate / "comparison.csv")
        protocol = (asked.evaluate / "protocol.txt").read_text().splitlines()
        (asked.evaluate / "comparison.md").write_text(markdown_text(rows, protocol))
        draw_curves(rows, asked.evaluate / "comparison.png")
        draw_samples(asked.runs, asked.evaluate, asked.evaluate / "samples.png")


if __name__ == "__main__":
    main()
