"""Adversarial training alone, from start values wrong by a factor of 3: does it find shot, read and row1?

python benchmarks/adversarial.py [seed ...]
"""

import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # datasets/ is not installed: scripts run from a clone

import noisemodel
from datasets import SimulatedCamera, simulated_bursts
from noisemodel.quantities import in_unit
from train_gan_noisemodel import TrainOptions, train_on

CAMERA = replace(SimulatedCamera(), rowt_std=0.0, periodic_std=(0.0, 0.0, 0.0), pattern_std=0.0)
FACTOR = 3.0


def run(seed: int, save_path: Path, **options: Any) -> list[tuple[str, float, float]]:
    """Train from gain x 3, read / 3, row1 x 3. Returns (parameter, true [DN], learned [DN])."""
    data = simulated_bursts(seed=seed, camera=CAMERA)
    true = dict(data.true_parameters or {})
    # The recorded frames are rounded, and a model without "uniform" has to call that read noise.
    true["read.std"] = math.hypot(true["read.std"], true["uniform.width"] / 12**0.5)
    wrong = {"shot.gain": FACTOR, "read.std": 1 / FACTOR, "row1.std": FACTOR}
    start = tuple(f"{name}={true[name] * factor:.6e}" for name, factor in wrong.items())
    train_on(
        data,
        TrainOptions(
            noiselist="shot_read_row1", init="default", start=start, seed=seed, save_path=save_path, gpus=0,
            **options,
        ),
    )  # fmt: skip
    found = noisemodel.load(save_path).physical.parameters_table()
    return [(p.name, true[p.name] * data.levels.range_dn, in_unit(p, "DN", data.levels, None) or 0.0) for p in found]


def main() -> None:
    """One run per seed, and a Markdown table."""
    rows = []
    for seed in [int(word) for word in sys.argv[1:]] or [0, 1, 2]:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = run(seed, Path(folder) / "run")
        minutes = (time.monotonic() - begin) / 60
        rows += [(seed, name, true, learned, minutes) for name, true, learned in found]
    print("\n| seed | parameter | start / true | true [DN] | learned [DN] | off | minutes |")
    print("|---|---|---|---|---|---|---|")
    for seed, name, true, learned, minutes in rows:
        factor, off = "1/3" if name == "read.std" else "3", learned / true - 1
        print(f"| {seed} | {name} | {factor} | {true:.4g} | {learned:.4g} | {off:+.1%} | {minutes:.1f} |")


if __name__ == "__main__":
    main()
