"""Noisy against clean targets at equal training: PSNR gaps of the five corruptions, with intervals over seeds.

python benchmarks/noise2noise.py -o FOLDER [--data FOLDER_OF_IMAGES] [--budgets 100,400,1600,6400] [--seeds 3]

A gap compares two networks with the same start weights, crops, input noise, loss and learning rate; they differ in
their targets alone. Finished runs are kept in runs.csv: start the command again to go on.
"""

import argparse
import copy
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # scripts run from a clone

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch import Tensor

from denoisers.corruption import Corruption
from denoisers.losses import weighed_loss
from denoisers.picture_pairs import PairSettings, PicturePairs
from denoisers.trained import Denoiser, DenoiserSettings, build_denoiser
from denoisers.training import BETAS, channels_last, follow, learning_rate
from denoisers.validation import mean_psnr, noisy_psnr
from noisemodel.checkpoint import write_atomically
from noisemodel.streams import stream
from train_denoiser_pictures import PictureSet, read_pictures

KINDS = ("gaussian", "poisson", "bernoulli", "impulse", "impulse/0.5", "text")  # published amounts, or KIND/AMOUNT
OTHER_LOSSES = (("text", "l2"), ("impulse", "l2"))  # with noisy targets, beside the loss that fits
MORE_HELD_OUT = 5  # images of a folder, beside the last tenth
FIELDS = ("kind", "targets", "loss", "budget", "seed", "psnr", "noisy_psnr", "seconds")


class Run(NamedTuple):
    """What one network is trained with."""

    kind: str
    targets: str
    loss: str
    budget: int
    seed: int


def law_of(kind: str) -> Corruption:
    """The corruption that a row of `KINDS` means."""
    name, _, amount = kind.partition("/")
    return Corruption(name, float(amount) if amount else None)


def plan(budgets: Sequence[int], seeds: int, kinds: Sequence[str]) -> list[Run]:
    """All runs of the kinds, short ones first."""
    found = []
    for budget in sorted(budgets):
        for seed in range(seeds):
            for kind in kinds:
                loss = law_of(kind).kind.loss
                found += [Run(kind, targets, loss, budget, seed) for targets in ("clean", "noisy")]
            found += [Run(kind, "noisy", loss, budget, seed) for kind, loss in OTHER_LOSSES if kind in kinds]
    return found


def train(run: Run, pictures: PictureSet, options: argparse.Namespace) -> tuple[Denoiser, PicturePairs]:
    """The averaged network after ``run.budget`` steps of Adam with the published ramp-down."""
    law = law_of(run.kind)
    settings = PairSettings(options.batch_size, options.crop_size, 3, run.seed)
    targets = None if run.targets == "clean" else law
    source = PicturePairs(pictures.train, pictures.held_out, law, targets, settings)
    asked = DenoiserSettings("n2n", "unet", 3, "srgb", width=options.width)
    denoiser = build_denoiser(asked, generator=stream(run.seed, "weights"))
    denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(denoiser).requires_grad_(False).eval()
    optimiser = torch.optim.Adam(denoiser.parameters(), betas=BETAS)
    for step in range(run.budget):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, run.budget, options.learning_rate)
        pair = source.pairs(step, slice(None))
        estimate: Tensor = denoiser(channels_last(pair.noisy))
        total, weight = weighed_loss(run.loss, estimate, pair.target, pair.mask, progress=step / run.budget)
        optimiser.zero_grad()
        (total / weight.clamp(min=1)).backward()
        optimiser.step()
        follow(average, denoiser, 0.99, step)
    return average, source


def read_runs(file: Path) -> dict[Run, dict[str, float]]:
    """Finished runs."""
    if not file.exists():
        return {}
    with file.open(newline="") as handle:
        return {
            Run(r["kind"], r["targets"], r["loss"], int(r["budget"]), int(r["seed"])): {
                name: float(r[name]) for name in FIELDS[5:]
            }
            for r in csv.DictReader(handle)
        }


def write_runs(file: Path, runs: dict[Run, dict[str, float]]) -> None:
    """All finished runs, as CSV."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as handle:
            table = csv.writer(handle)
            table.writerow(FIELDS)
            table.writerows([*run, *(f"{found[name]:.4f}" for name in FIELDS[5:])] for run, found in runs.items())

    write_atomically(file, write)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval (Student's t over seeds); nan for a single value."""
    n = len(values)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else float("nan")
    return float(np.mean(values)), half


def gaps(runs: dict[Run, dict[str, float]], kind: str, budget: int, loss: str | None = None) -> list[float]:
    """PSNR with clean targets less PSNR with noisy ones, seed by seed [dB]."""
    fit = law_of(kind).kind.loss
    seeds = sorted({run.seed for run in runs if run.budget == budget})
    found = [(runs.get(Run(kind, "clean", fit, budget, s)), runs.get(Run(kind, "noisy", loss or fit, budget, s)))
             for s in seeds]  # fmt: skip
    return [clean["psnr"] - noisy["psnr"] for clean, noisy in found if clean and noisy]


def report(runs: dict[Run, dict[str, float]], folder: Path, words: str) -> None:
    """Markdown table and picture of what is finished."""
    budgets = sorted({run.budget for run in runs})
    lines = [words, "", "| corruption | loss | steps | noisy image [dB] | clean targets [dB] | noisy targets [dB] "
             "| gap [dB], 95 % over seeds |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    rows = [(kind, law_of(kind).kind.loss) for kind in KINDS] + list(OTHER_LOSSES)
    for kind, loss in rows:
        for budget in budgets:
            if not (found := gaps(runs, kind, budget, loss)):
                continue
            fit = law_of(kind).kind.loss
            clean = [f for r, f in runs.items() if r[:4] == (kind, "clean", fit, budget)]
            noisy = [f for r, f in runs.items() if r[:4] == (kind, "noisy", loss, budget)]
            mean, half = interval(found)
            means = [np.mean([f[name] for f in part])
                     for part, name in ((clean, "noisy_psnr"), (clean, "psnr"), (noisy, "psnr"))]  # fmt: skip
            lines.append(f"| {kind} | {loss} | {budget} | " + " | ".join(f"{m:.2f}" for m in means)
                         + f" | {mean:+.3f} ± {half:.3f} |")  # fmt: skip
    write_atomically(folder / "noise2noise.md", lambda file: file.write_text("\n".join(lines) + "\n"))
    figure = Figure(figsize=(7, 4.5), layout="constrained", dpi=120)
    axis = figure.subplots()
    for number, kind in enumerate(KINDS):
        points = [(b * 1.03**number, *interval(found)) for b in budgets if (found := gaps(runs, kind, b))]
        if points:
            steps, means_, halves = zip(*points, strict=True)
            axis.errorbar(steps, means_, halves, marker="o", capsize=3, linewidth=1, label=kind)
    axis.axhline(0.1, color="grey", linestyle=":", linewidth=1)
    axis.axhline(0.0, color="grey", linewidth=0.5)
    axis.set(xscale="log", xlabel="training steps", ylabel="PSNR, clean less noisy targets [dB]")
    axis.set_xticks(budgets, [str(b) for b in budgets])
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper")
    write_atomically(folder / "noise2noise.png", lambda file: figure.savefig(file, format="png"))


def main() -> None:
    """Train what is not yet in runs.csv, and report after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--budgets", default="100,400,1600,6400")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of corruption, published amounts or KIND/AMOUNT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--crop_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pictures = read_pictures(options.data, 3)
    name = "embedded pictures" if options.data is None else options.data.name
    if options.data is not None:
        more = pictures.train[-MORE_HELD_OUT:]
        pictures = pictures._replace(train=pictures.train[:-MORE_HELD_OUT], held_out=[*more, *pictures.held_out])
    words = (
        f"U-Net of width {options.width}, {options.batch_size} RGB crops of {options.crop_size} px a step, Adam "
        f"{options.learning_rate:g} with ramp-down, averages. {name}: {len(pictures.train)} images to train on, "
        f"{len(pictures.held_out)} for validation, at p / 2 of each law (Poisson: p)."
    )
    file = options.output / "runs.csv"
    for run in plan([int(word) for word in options.budgets.split(",")], options.seeds, options.kinds.split(",")):
        runs = read_runs(file)
        if run in runs:
            continue
        begin = time.monotonic()
        average, source = train(run, pictures, options)
        pairs = source.validation()
        took = time.monotonic() - begin
        runs[run] = {"psnr": mean_psnr(average, pairs), "noisy_psnr": noisy_psnr(pairs), "seconds": took}
        write_runs(file, runs)
        report(runs, options.output, words)
        print(f"{' '.join(map(str, run))}: {runs[run]['psnr']:.2f} dB in {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
