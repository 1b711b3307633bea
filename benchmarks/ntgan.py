"""NTGAN on synthetic camera noise and on real pictures, beside Noise2Noise and classical denoisers.

python benchmarks/ntgan.py --out FOLDER [--clean FOLDER] [--polyu FOLDER] [--cc15 FOLDER] [--curves FILE]

Without --clean the embedded pictures are used; --polyu and --cc15 hold pairs NAME_real and NAME_mean. A network that is
in the folder already is not trained again.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # scripts run from a clone

import numpy as np
import torch
from torch import Tensor

from denoisers.ntgan_camera import CameraLaw, camera_noise, demosaic, draw_cameras, mosaic
from denoisers.ntgan_levels import NoiseLevels, PictureLevels, measure_levels, measured_noise
from denoisers.ntgan_networks import corrected
from denoisers.ntgan_pairs import PairLaw, input_noise
from denoisers.ntgan_step import Rows
from denoisers.ntgan_training import NtganOptions, NtganTraining
from denoisers.pairs import Pair
from denoisers.response_curves import gamma_curve, load_response_curves
from denoisers.trained import Denoiser, DenoiserSettings, build_denoiser, load_denoiser, save_denoiser
from denoisers.training import DenoiserTraining, TrainingOptions
from noisemodel import stream
from noisemodel.evaluation.plain_denoisers import PLAIN_DENOISERS
from noisemodel.evaluation.psnr_ssim import psnr, ssim
from noisemodel.lightning_parts import ProgressLine, run_fit
from noisemodel.png import write_png
from train_denoiser_pictures import read_picture, read_pictures

BATCH, PATCH, WIDTH, CRITIC_WIDTH = 8, 64, 16, 16
SHOT_GAIN, READ_STD = 0.01, 0.02  # of the synthetic camera, in linear light
RATIO = 1.5
ZERO_SHARE = 0.8  # denoising learns faster with more of it; the transfer to M > 0 is not scored here
Estimate = Callable[[Tensor, int], Tensor]  # noisy (1, 3, H, W), its number -> denoised
Noise = Callable[[Tensor, int, Rows], list[Tensor]]  # clean crops, step, draws -> two draws of noise


class Scene(NamedTuple):
    """A noisy picture and its truth, (1, 3, H, W) in [0, 1]."""

    noisy: Tensor
    clean: Tensor


def synthetic(picture: Tensor, number: int, exposure: float = 1.0) -> Tensor:
    """One fixed noisy version: var = 0.01 I / E + (0.02 / E)^2 in light, gamma 2.2, RGGB, bilinear demosaicing, 8 bit.

    Not the law that NTGAN simulates: its signal-dependent std goes as I, here as sqrt(I).
    """
    curves, first = gamma_curve(), torch.zeros(1, dtype=torch.int64)
    light = curves.linear(picture[None], first)
    draws = torch.randn(light.shape, generator=stream(0, "synthetic", number))
    std = (SHOT_GAIN / exposure * light + (READ_STD / exposure) ** 2).sqrt()
    difference = curves.respond(light + std * draws, first) - picture
    red = torch.zeros(1, 2, dtype=torch.int64)
    return ((picture + demosaic(mosaic(difference, red), red)[0]).clamp(0, 1) * 255).round() / 255


def middle(picture: Tensor, side: int) -> Tensor:
    """(1, 3, side, side) of its middle, or as much as there is."""
    top, left = (max(size - side, 0) // 2 for size in picture.shape[-2:])
    return picture[None, :, top : top + side, left : left + side]


def places(pictures: Sequence[Tensor], step: int, purpose: str) -> list[tuple[int, int, int]]:
    """BATCH random pictures, by number, and places in them: top and left of a crop."""
    draws, found = stream(0, purpose, step), []
    for _ in range(BATCH):
        number = int(torch.randint(len(pictures), (), generator=draws))
        top, left = (int(torch.randint(s - PATCH + 1, (), generator=draws)) for s in pictures[number].shape[-2:])
        found.append((number, top, left))
    return found


def crops(pictures: Sequence[Tensor], step: int, purpose: str) -> Tensor:
    """(BATCH, 3, PATCH, PATCH) at random places of random pictures."""
    found = places(pictures, step, purpose)
    return torch.stack([pictures[n][:, top : top + PATCH, left : left + PATCH] for n, top, left in found])


class CleanPairs:
    """Noise2Noise pairs: two independent draws of a noise on clean crops."""

    channels, frames, layout = 3, 1, "srgb"

    def __init__(self, pictures: Sequence[Tensor], noise: Noise) -> None:
        self.pictures, self.noise = pictures, noise

    def pairs(self, step: int, rows: slice) -> Pair:
        """The same camera or picture twice."""
        clean = crops(self.pictures, step, "n2n crops")
        draws = Rows(BATCH, slice(0, BATCH), stream(0, "n2n noise", step))
        noisy, target = (clean + noise for noise in self.noise(clean, step, draws))
        return Pair(noisy.clamp(0, 1)[rows], target[rows])

    def validation(self) -> Sequence[Pair]:
        """None."""
        return ()


def simulated(law: CameraLaw) -> Noise:
    """That of simulated cameras, of mean 0."""

    def noise(clean: Tensor, _: int, draws: Rows) -> list[Tensor]:
        cameras = draw_cameras(law, draws)
        return [camera_noise(clean, cameras, law.curves, draws, centred=True) for _ in range(2)]

    return noise


def measured(noisy: Sequence[Tensor]) -> Noise:
    """That of random noisy pictures, see `denoisers.ntgan_levels`."""
    levels = PictureLevels(noisy)

    def noise(clean: Tensor, step: int, draws: Rows) -> list[Tensor]:
        chosen = torch.randint(len(noisy), (len(clean),), generator=stream(0, "n2n levels", step)).tolist()
        return [measured_noise(clean, levels(chosen), draws) for _ in range(2)]

    return noise


class Bench:
    """Trains what is not there yet, and scores."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        self.montage: list[Tensor] = []
        self.seconds: dict[str, float] = {}

    def training_options(self, steps: int) -> TrainingOptions:
        return TrainingOptions(num_steps=steps, batch_size=BATCH, learning_rate=1e-3, average_beta=0.99)

    def trained(self, name: str, build: Callable[[TrainingOptions], Any], steps: int) -> Denoiser:
        """From its file, or trained and written."""
        file = self.out / f"{name}.safetensors"
        if not file.exists():
            begin = time.monotonic()
            training = build(self.training_options(steps))
            run_fit(training, [ProgressLine(training.describe)])
            save_denoiser(training.trained(), file, steps=steps, seconds=round(time.monotonic() - begin))
        return load_denoiser(file)

    def ntgan(self, name: str, noisy: Sequence[Tensor], steps: int, **flags: Any) -> Denoiser:
        """Trained on noisy pictures alone."""
        asked = NtganOptions(critic_width=CRITIC_WIDTH, noise_ratio=RATIO, curves=self.options.curves, **flags)
        settings = DenoiserSettings("ntgan", "ntgan", 3, "srgb", width=WIDTH)

        found = PictureLevels(noisy)

        def images(step: int, rows: slice) -> Tensor:
            return crops(noisy, step, "crops")[rows]

        def levels(step: int, rows: slice) -> NoiseLevels:
            return found([number for number, *_ in places(noisy, step, "crops")[rows]])

        def build(training: TrainingOptions) -> NtganTraining:
            return NtganTraining(settings, images, asked, training, (), levels)

        return self.trained(name, build, steps)

    def noise2noise(self, name: str, clean: Sequence[Tensor], noise: Noise, steps: int) -> Denoiser:
        """The U-Net on clean pictures with a noise."""
        settings = DenoiserSettings("n2n", "unet", 3, "srgb", width=WIDTH)

        def build(training: TrainingOptions) -> DenoiserTraining:
            start = build_denoiser(settings, generator=stream(0, "weights"))
            return DenoiserTraining(start, CleanPairs(clean, noise), training)

        return self.trained(name, build, steps)

    def score(self, data: str, scenes: Sequence[Scene], methods: dict[str, Estimate]) -> None:
        """PSNR and SSIM of every method on every scene, clipped, in float."""
        shown = []
        for method, estimate in methods.items():
            for number, scene in enumerate(scenes):
                with torch.no_grad():
                    found = estimate(scene.noisy, number)
                found = torch.where(found.isfinite(), found, scene.noisy).clamp(0, 1)  # NLM where it finds no noise
                figures = {"psnr": float(psnr(found, scene.clean)), "ssim": float(ssim(found, scene.clean))}
                self.rows.append({"data": data, "method": method, "image": number, **figures})
                if number in (0, len(scenes) - 1):
                    shown.append(found[0, :, :128, :128])
        firsts, lasts = shown[::2], shown[1::2]
        for pictures, scene in ((firsts, scenes[0]), (lasts, scenes[-1])):
            self.montage.append(torch.cat([*pictures, scene.clean[0, :, :128, :128]], dim=2))
        self.write()

    def write(self) -> None:
        """CSV, Markdown and montage of what there is so far."""
        with (self.out / "ntgan.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        (self.out / "ntgan.md").write_text("\n".join(self.table()) + "\n")
        wide = max(row.shape[2] for row in self.montage)
        rows = [torch.nn.functional.pad(row, (0, wide - row.shape[2]), value=1.0) for row in self.montage]
        picture = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
        write_png(self.out / "ntgan.png", np.ascontiguousarray(picture))

    def table(self) -> list[str]:
        """Markdown: means over images; the gain over the noisy picture with its 95 % interval."""
        lines = ["| data | method | PSNR [dB] | gain [dB] | SSIM |", "|---|---|---|---|---|"]
        for data in dict.fromkeys(row["data"] for row in self.rows):
            here = [row for row in self.rows if row["data"] == data]
            noisy = np.array([row["psnr"] for row in here if row["method"] == "noisy"])
            for method in dict.fromkeys(row["method"] for row in here):
                found = np.array([(row["psnr"], row["ssim"]) for row in here if row["method"] == method])
                gain = found[:, 0] - noisy
                wide = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
                score = f"{found[:, 0].mean():.2f} | {gain.mean():+.2f} ± {wide:.2f} | {found[:, 1].mean():.4f}"
                lines.append(f"| {data} ({len(noisy)}) | {method} | {score} |")
        return lines


def plain(name: str) -> Estimate:
    """A classical denoiser."""
    return lambda noisy, _: torch.from_numpy(PLAIN_DENOISERS[name](noisy[0].permute(1, 2, 0).numpy())).permute(2, 0, 1)[
        None
    ]


CLASSICAL = {name: plain(name) for name in ("noisy", "nlm", "wavelet")}


def of(denoiser: Denoiser) -> Estimate:
    """One pass at level 0."""
    return lambda noisy, _: denoiser.denoise(noisy)


def with_correction(denoiser: Denoiser, *, noisier: bool) -> Estimate:
    """Noisier2Noise's formula on the picture as it is, or with noise added as in training."""
    law = PairLaw(CameraLaw(gamma_curve()), ratio=RATIO)

    def estimate(noisy: Tensor, number: int) -> Tensor:
        if noisier:
            draws = Rows(1, slice(0, 1), stream(0, "noisier", number))
            noisy = (noisy + input_noise(noisy, measure_levels(noisy), law, RATIO, draws)).clamp(0, 1)
        return corrected(denoiser.denoise(noisy), noisy, RATIO)

    return estimate


def on_synthetic(bench: Bench, train: Sequence[Tensor], test: Sequence[Tensor]) -> None:
    """Trained on pictures corrupted once, tested on others."""
    options = bench.options
    noisy = [synthetic(picture, number, options.exposure) for number, picture in enumerate(train)]
    scenes = []
    for number, picture in enumerate(test):
        made = synthetic(picture, len(train) + number, options.exposure)
        scenes.append(Scene(middle(made, options.side), middle(picture, options.side)))
    literal = bench.ntgan("literal", noisy, options.steps // 8, pairing="literal", refine_stages=0)
    first = bench.ntgan("unrefined", noisy, options.steps // 2, refine_stages=0, zero_share=ZERO_SHARE)
    full = bench.ntgan("transfer", noisy, options.steps, zero_share=ZERO_SHARE)
    methods = {
        **CLASSICAL,
        "ntgan, literal pairing": of(literal),
        "ntgan, unrefined": of(first),
        "... Noisier2Noise correction": with_correction(first, noisier=False),
        "... correction, noise added to the input": with_correction(first, noisier=True),
        "ntgan": of(full),
    }
    bench.score(f"synthetic camera, exposure {options.exposure:.2g}", scenes, methods)


def real_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """NAME_real and NAME_mean."""
    found = sorted(file for file in folder.iterdir() if file.stem.endswith("_real"))
    return [(file, file.with_name(file.name.replace("_real", "_mean"))) for file in found]


def read(file: Path) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return read_picture(file, 3).float() / 255


def on_real(bench: Bench, clean: Sequence[Tensor]) -> None:
    """Trained on the noisy pictures of every second PolyU pair, tested on the others and on CC15."""
    options = bench.options
    polyu = real_pairs(options.polyu)
    noisy = [read(file) for file, _ in polyu[::2]]
    full = bench.ntgan("polyu", noisy, options.steps, zero_share=ZERO_SHARE)
    law = CameraLaw(load_response_curves(options.curves) if options.curves else gamma_curve())
    noises = {"simulated camera noise": ("n2n", simulated(law)), "measured noise": ("n2n_measured", measured(noisy))}
    methods = dict(CLASSICAL)
    for word, (file, noise) in noises.items():
        methods[f"Noise2Noise, {word}"] = of(bench.noise2noise(file, clean, noise, options.steps))
    methods["ntgan"] = of(full)
    tests = {"PolyU": polyu[1::2], **({"CC15": real_pairs(options.cc15)} if options.cc15 else {})}
    for name, pairs in tests.items():
        scenes = [Scene(*(middle(read(file), options.side) for file in pair)) for pair in pairs]
        bench.score(name, scenes, methods)


def main() -> None:
    """Print the table and its protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    for name in ("--clean", "--polyu", "--cc15", "--curves"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--exposure", type=float, default=1.0, help="of the synthetic camera: less is noisier")
    parser.add_argument("--side", type=int, default=256, help="tested pictures are cut to so many pixels")
    options = parser.parse_args()
    bench = Bench(options)
    found = read_pictures(options.clean, 3)
    train, test = ([picture.float() / 255 for picture in part] for part in (found.train, found.held_out))
    if options.clean:  # a tenth is too few to test on
        train, test = train[: len(train) * 3 // 4], train[len(train) * 3 // 4 :] + test
    on_synthetic(bench, train, test)
    if options.polyu:
        on_real(bench, train)
    print("\n".join(bench.table()))
    print(
        f"\nPSNR and SSIM of the middle {options.side} px, float, clipped, mean over images; width {WIDTH}, "
        f"{options.steps} steps of {BATCH} patches of {PATCH} px (literal: 1/8, unrefined: half)"
    )


if __name__ == "__main__":
    main()
