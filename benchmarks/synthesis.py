"""Speed of synthesis and of training steps, as ratios to one torch.randn of the same shape in the same run.

python benchmarks/synthesis.py [--device cuda]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # datasets/ is not installed: scripts run from a clone

import torch

from datasets import CropSampler, simulated_bursts
from noisemodel import Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.game import Game, GanOptions
from noisemodel.patches import Crops
from noisemodel.views import Ruler

NOISELIST = "shot_read_uniform_row1_rowt_fixed1_periodic"
SHAPE = (1, 16, 4, 256, 256)
REPEATS = 15


def median_ms(call: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Median wall time of ``call`` [ms], after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times[1:])


def one_iteration(game: Game, batches: list[Crops], optimizers: list[torch.optim.Optimizer]) -> None:
    """Five critic steps and one generator step, without reading data."""
    for k in range(game.options.critic_steps):
        loss, _ = game.critic_loss(batches[k], f"critic {k}", 0)
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
    optimizers[1].zero_grad()
    game.generator_loss(batches[-1], 0).backward()
    optimizers[1].step()


def training_ms(device: str) -> float:
    """One whole WGAN-GP iteration of ``train_gan_noisemodel.py`` at its default sizes [ms]."""
    options = GanOptions()
    data = simulated_bursts(frames=4)
    sampler = CropSampler(data, crop=32, frames=4, batch_size=options.batch_size, seed=0)
    batches = [sampler.batch(0, str(k)).to(device) for k in range(options.critic_steps + 1)]
    pattern = data.true_pattern
    physical = PhysicalNoise.from_noiselist(NOISELIST, levels=data.levels, fixed1_pattern=pattern)
    game = Game(NoiseGenerator(physical), Ruler(4e-7, 2.6e-4), options).to(device)
    learned = [p for p in game.generator.parameters() if p.requires_grad]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(game.critic.parameters()), torch.optim.Adam(learned)]
    return median_ms(lambda: one_iteration(game, batches, optimizers), device)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    pattern = 1e-3 * torch.randn(512, 512, generator=stream(0, "benchmark", "pattern"))
    levels = Levels(black_dn=256, white_dn=4095)
    physical = PhysicalNoise.from_noiselist(NOISELIST, levels=levels, fixed1_pattern=pattern).to(device)
    generator = NoiseGenerator(physical)
    draws = stream(0, "benchmark", device=device)
    clean = torch.rand(SHAPE, generator=draws, device=device)

    @torch.no_grad()
    def measure() -> None:
        physical.measure(clean, generator=draws)

    def forward_backward() -> None:
        generator.zero_grad()
        generator.measure(clean, generator=draws).noisy.square().mean().backward()

    randn = median_ms(lambda: torch.randn(SHAPE, generator=draws, device=device), device)
    rows = {
        "torch.randn": randn,
        "PhysicalNoise.measure, no gradient": median_ms(measure, device),
        "PhysicalNoise.simulate (exact laws)": median_ms(lambda: physical.simulate(clean, generator=draws), device, 3),
        "generator forward + backward, noUnet": median_ms(forward_backward, device),
    }
    print(f"{NOISELIST} on {'x'.join(map(str, SHAPE))}, {device}, {torch.get_num_threads()} threads\n")
    print("| what | median [ms] | times torch.randn |\n|---|---|---|")
    for name, ms in rows.items():
        print(f"| {name} | {ms:.1f} | {ms / randn:.2f} |")
    print(f"\none WGAN-GP iteration at default sizes (5 critic steps, 1 generator step): {training_ms(device):.0f} ms")


if __name__ == "__main__":
    main()
