"""What a noise model is worth: one denoiser trained on each kind of noise, tested where the clean image is known.

python benchmarks/noise_worth.py --images CBSD68 --frames IMX541 -o OUT
Camera "imx541": clean pictures + Poisson photons + REAL dark frames of an exposure that no training has seen. Camera
"rows": a simulated camera, written in numpy, whose row noise is twice its read noise. Same network, crops and seeds for
every kind of noise. A run that was stopped goes on. About 30 minutes on one core.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # datasets/ is not installed: scripts run from a clone

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.stats
import torch
from noise_worth_cameras import KINDS, REFERENCE, Camera, imx541, rows
from PIL import Image
from torch import Tensor

import noisemodel
from denoisers import DenoiserSettings, build_denoiser
from denoisers.pairs import Pair
from denoisers.synthesised import SynthesisedPairs, SynthesisOptions
from denoisers.training import DenoiserTraining, TrainingOptions
from noisemodel.evaluation.figure_style import CLOSED_FORM, FLOOR, GENERATED, styled, write_png
from noisemodel.evaluation.psnr_ssim import psnr
from noisemodel.lightning_parts import run_fit
from noisemodel.noise_source import NoiseSource

PEAK_E = 40.0  # electrons of a picture's white: read noise of 2 e- and photon noise matter alike
CROP, BATCH, WIDTH, RATE = 64, 4, 16, 1e-3
TEST_IMAGES, TEST_DRAWS = 8, 2
FIELDS = ("camera", "noise", "seed", "image", "psnr_db")


def read_pictures(folder: Path) -> list[Tensor]:
    """(3, H, W) uint8 each, in a fixed shuffled order."""
    files = sorted(folder.glob("*.png"))
    pictures = [torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()).movedim(-1, 0) for file in files]
    order = torch.randperm(len(pictures), generator=noisemodel.stream(0, "pictures"))
    return [pictures[i] for i in order]


def pairs_of(camera: Camera, pictures: Sequence[Tensor], source: NoiseSource, seed: int, test: bool) -> Any:
    light = PEAK_E * camera.gain
    options = SynthesisOptions(light=f"{light:.8g},{light:.8g}", amplify=1 / light)
    training, held = pictures[TEST_IMAGES:], pictures[:TEST_IMAGES] if test else []
    return SynthesisedPairs(
        training, held, source, layout="planes", channels=1, crop=CROP, batch_size=BATCH, seed=seed, options=options,
        sensor_size=camera.bursts.sensor_size,
    )  # fmt: skip


def test_set(camera: Camera, pictures: Sequence[Tensor]) -> list[Pair]:
    """The same pairs for every training."""
    return [
        pair
        for draw in range(TEST_DRAWS)
        for pair in pairs_of(camera, pictures, camera.test, 1000 + draw, True).validation()
    ]


def mean_of_training(camera: Camera, pictures: Sequence[Tensor]) -> float:
    """Mean of the clean training pictures [fraction of their white]."""
    source = pairs_of(camera, pictures, camera.test, 0, False)
    return float(torch.stack([source.pairs(step, slice(0, BATCH)).target.mean() for step in range(50)]).mean())


def train(source: SynthesisedPairs, steps: int, seed: int) -> Callable[[Tensor], Tensor]:
    settings = DenoiserSettings("supervised", "unet", 1, "planes", width=WIDTH)
    denoiser = build_denoiser(settings, generator=noisemodel.stream(seed, "weights"))
    options = TrainingOptions(num_steps=steps, batch_size=BATCH, learning_rate=RATE, average_beta=0.99, seed=seed)
    training = DenoiserTraining(denoiser, source, options)
    run_fit(training, [])
    return training.trained().network.eval()


@torch.no_grad()
def score(denoise: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> list[float]:
    """PSNR of the clipped estimate of each pair [dB]; the peak is the picture's white."""
    return [float(psnr(denoise(pair.noisy).clamp(0, 1), pair.target.clamp(0, 1))) for pair in pairs]


def run_all(cameras: Sequence[Camera], pictures: Sequence[Tensor], table: Path, steps: int, seeds: int) -> None:
    """Every (seed, camera, noise) that the table does not hold yet."""
    done = {(row["camera"], row["noise"], int(row["seed"])) for row in read_table(table)}
    tests = {camera.name: test_set(camera, pictures) for camera in cameras}
    jobs = [(seed, camera, kind) for seed in range(seeds) for camera in cameras for kind in ("noisy", *KINDS)]
    for seed, camera, kind in jobs:
        if (camera.name, kind, seed) in done or (kind == "true" and camera.true is None):
            continue
        begin, test = time.monotonic(), tests[camera.name]
        if kind == "noisy":
            values = score(lambda noisy: noisy, test)
        else:
            mean_signal = PEAK_E * camera.gain * mean_of_training(camera, pictures)
            source = KINDS[kind][1](camera, mean_signal)
            values = score(train(pairs_of(camera, pictures, source, seed, False), steps, seed), test)
        with table.open("a", newline="") as file:
            lines = csv.writer(file)
            lines.writerows([camera.name, kind, seed, i, f"{value:.4f}"] for i, value in enumerate(values))
        spent = time.monotonic() - begin
        print(f"{camera.name} seed {seed} {kind}: {np.mean(values):.3f} dB, {spent:.0f} s", flush=True)


def read_table(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        table.write_text(",".join(FIELDS) + "\n")
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval over seeds (Student's t); nan for one seed."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)


def summary(rows: Sequence[dict[str, str]], camera: str) -> Iterator[tuple[str, tuple[float, float], dict[str, Any]]]:
    """(noise, PSNR, differences to the reference and to Poisson-Gaussian) with intervals over seeds, paired by seed."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row["camera"] == camera:
            found.setdefault(row["noise"], {}).setdefault(int(row["seed"]), []).append(float(row["psnr_db"]))
    means = {kind: {seed: float(np.mean(values)) for seed, values in by.items()} for kind, by in found.items()}
    for kind in ("noisy", *KINDS):
        if kind not in means:
            continue
        against = {}
        for other in (REFERENCE[camera], "poisson-gaussian"):
            common = sorted(set(means[kind]) & set(means.get(other, {})))
            if common and kind not in (other, "noisy"):
                against[other] = interval([means[kind][seed] - means[other][seed] for seed in common])
        yield kind, interval(list(means[kind].values())), against


def table_of(rows: Sequence[dict[str, str]], camera: str) -> list[str]:
    """The camera's results as Markdown."""
    others = (REFERENCE[camera], "poisson-gaussian")
    head = " | ".join(["", f"{camera}: trained with", "PSNR [dB]", *(f"less {other}" for other in others), ""]).strip()
    lines = ["", head, "|---|---|---|---|"]
    for kind, value, against in summary(rows, camera):
        words = KINDS[kind][0] if kind in KINDS else "(the noisy input)"
        cells = ["{:+.3f} ± {:.3f}".format(*against[other]) if other in against else "" for other in others]
        lines.append(f"| {words} | {value[0]:.2f} ± {value[1]:.2f} | {cells[0]} | {cells[1]} |")
    return lines


def draw(rows: Sequence[dict[str, str]], names: Sequence[str], path: Path) -> None:
    """Differences to each camera's reference, with their intervals."""
    with styled("What the noise model is worth: PSNR against the reference", (10.0, 3.6)) as figure:
        for camera, ax in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
            reference = REFERENCE[camera]
            shown = [(k, *against[reference]) for k, _, against in summary(rows, camera) if reference in against]
            for place, (kind, mean, half) in enumerate(reversed(shown)):
                colour = GENERATED if kind in ("calibrated", "learned") else CLOSED_FORM
                ax.errorbar(mean, place, xerr=half, fmt="o", color=colour)
            ax.set_yticks(range(len(shown)), [kind for kind, *_ in reversed(shown)])
            ax.axvline(0, color=FLOOR)
            ax.set(title=f"camera {camera}", xlabel=f"PSNR less that of '{reference}' [dB], 95 % over seeds")
    write_png(figure, path)


def report(table: Path, out: Path, names: Sequence[str], steps: int) -> None:
    """results.md and noise_worth.png."""
    rows = read_table(table)
    draw(rows, names, out / "noise_worth.png")
    about = (
        f"U-Net of width {WIDTH}, {steps} steps of {BATCH} crops of {CROP}x{CROP}, L2; white is {PEAK_E:g} e-; "
        f"{TEST_IMAGES} pictures x {TEST_DRAWS} draws; PSNR of the clipped float estimate, peak = white; "
        "intervals: 95 % over seeds, differences paired by seed."
    )
    lines = [about, *(line for camera in names for line in table_of(rows, camera))]
    (out / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def same_settings(out: Path, steps: int) -> None:
    """Stop where the table in ``out`` was made with other settings."""
    settings = f"{steps} {CROP} {BATCH} {WIDTH} {RATE} {PEAK_E} {TEST_IMAGES} {TEST_DRAWS}\n"
    file = out / "settings.txt"
    if file.exists() and file.read_text() != settings:
        raise SystemExit(f"{out} holds results of other settings ({file.read_text().strip()}); choose another folder")
    file.write_text(settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of clean .png pictures")
    parser.add_argument("--frames", type=Path, help="IMX541's frames; without them only the simulated camera")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    same_settings(options.out, options.steps)
    cameras = [rows(options.out)] + ([imx541(options.frames, options.out)] if options.frames else [])
    table = options.out / "results.csv"
    run_all(cameras, read_pictures(options.images), table, options.steps, options.seeds)
    report(table, options.out, [camera.name for camera in cameras], options.steps)


if __name__ == "__main__":
    main()
