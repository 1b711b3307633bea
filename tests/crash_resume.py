"""Kill training programs at random moments and resume them: are the final weights those of an undisturbed run?

python tests/crash_resume.py FOLDER [--programs nrgan,noisemodel,denoiser] [--seeds 20]

Each run is a process of its own, killed by SIGKILL from outside; the seed draws the moment. Prints a line per seed;
exit code 1 if any run differs by a bit.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import training_runs  # noqa: E402

import train_denoiser  # noqa: E402
import train_gan_noisemodel  # noqa: E402
import train_nrgan  # noqa: E402

STEPS = 10
Main = Callable[[list[str]], int]


def nrgan_words(place: Path, out: Path) -> list[str]:
    """Tiny NR-GAN, a state after every second step."""
    return [
        "cifar10ag25", "sinrgan2", str(out), "--batch_size", "4", "--g_channels", "4", "--d_channels", "4", "--device",
        "cpu", "--checkpoint_interval", "2", "--snapshot_interval", "3", "--num_iterations", str(STEPS), "--data",
        str(place / "images.npy"),
    ]  # fmt: skip


def noise_words(place: Path, out: Path) -> list[str]:
    """Tiny noise model with a U-Net."""
    return training_runs.words_of(out, place / "bursts", f"--num_iter {STEPS} --noiselist shot_read --network Unet")


def denoiser_words(place: Path, out: Path) -> list[str]:
    """Tiny Noise2Noise."""
    return [
        "--method", "n2n", "-o", str(out), "--num_steps", str(STEPS), "--width", "4", "--batch_size", "2",
        "--crop_size", "32", "--device", "cpu", "--checkpoint_interval", "2", "--validation_interval", "5",
        "--average_beta", "0.9",
    ]  # fmt: skip


PROGRAMS: dict[str, tuple[Main, Callable[[Path, Path], list[str]]]] = {
    "nrgan": (train_nrgan.main, nrgan_words),
    "noisemodel": (train_gan_noisemodel.main, noise_words),
    "denoiser": (train_denoiser.main, denoiser_words),
}


def started(main: Main, words: list[str]) -> int:
    """Run ``main`` in a process of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    code = 1
    try:
        sys.argv = ["program"]
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for the process; its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(run: Path) -> Any:
    """Weights, averages and optimisers at the end."""
    found = torch.load(run / "resume.ckpt", weights_only=True)
    return {name: found[name] for name in ("state_dict", "optimizer_states")}


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def try_program(name: str, place: Path, seeds: int) -> int:
    """Kill and resume ``seeds`` times; returns how many runs differ from the undisturbed one."""
    main, words_of = PROGRAMS[name]
    for whole in (place / f"{name}_first", place / f"{name}_whole"):  # the first also fills caches
        begin = time.monotonic()
        if code := ended(started(main, words_of(place, whole))):
            raise SystemExit(f"{name}: the undisturbed run ended with exit code {code}")
    lasts, expected, wrong = time.monotonic() - begin, state(whole), 0
    wrong += not same(state(place / f"{name}_first"), expected)
    for seed in range(seeds):
        out, kills, moment = place / f"{name}_{seed}", 0, random.Random(seed)
        words = words_of(place, out)
        for _ in range(1 + seed % 2):  # some are killed twice
            resume = ["--resume"] if (out / "resume.ckpt").is_file() else ["--overwrite"]
            child = started(main, [*words, *resume])
            time.sleep(moment.uniform(0, lasts))
            os.kill(child, signal.SIGKILL)
            kills += ended(child) == -signal.SIGKILL
        stands = "a state" if (out / "resume.ckpt").is_file() else "nothing yet"
        resume = ["--resume"] if stands == "a state" else ["--overwrite"]
        code = ended(started(main, [*words, *resume]))
        right = code == 0 and same(state(out), expected) and not list(out.glob(".*.tmp"))
        wrong += not right
        print(f"{name} seed {seed}: killed {kills}, found {stands}: {'same bits' if right else f'DIFFERS ({code})'}")
    return wrong


def main() -> int:
    """Exit code 1 if any run differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    os.environ["NOISEMODEL_CACHE"] = str(asked.folder / "cache")
    images = np.random.default_rng(0).integers(0, 255, (20, 3, 32, 32)).astype(np.uint8)
    np.save(asked.folder / "images.npy", images)
    if not (asked.folder / "bursts").is_dir():
        training_runs.write_bursts(asked.folder / "bursts")
    return int(sum(try_program(name, asked.folder, asked.seeds) for name in asked.programs.split(",")) > 0)


if __name__ == "__main__":
    sys.exit(main())
