"""Noise2Noise pairs from real static bursts."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import train_denoiser
from datasets import load_bursts, simulated_bursts
from denoisers import load_denoiser
from denoisers.burst_pairs import BurstPairs
from noisemodel import InputError, stream

WHOLE = slice(None)
REAL = Path(__file__).parents[2] / "shared" / "data" / "imx541"


@dataclass
class Frames:
    """A burst in memory."""

    values: Tensor  # (T, C, H, W)
    offsets: Tensor = field(default_factory=lambda: torch.zeros(8))
    path: Path = Path("burst.npy")
    has_truth: bool = False

    @property
    def shape(self):
        return tuple(self.values.shape)

    def read(self, frames, rows, columns):
        return self.values[list(frames)][:, :, rows, columns]

    def read_truth(self, rows, columns):
        return self.values[0, :, rows, columns]

    def summary(self):
        return self


def coded(frames: int = 6, rows: int = 64, columns: int = 40) -> Frames:
    """Values that say frame, row and column."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    return Frames((t * 4096 + y * 64 + x).double().unsqueeze(1) / 65536, torch.zeros(frames))


def test_pairs_are_two_frames_of_one_place_and_never_of_the_rows_for_validation():
    pairs = BurstPairs([coded()], layout="planes", crop=8, batch_size=200, seed=0)
    noisy, target, mask, files = pairs.pairs(0, WHOLE)
    codes = [(values * 65536).round().long() for values in (noisy, target)]
    first, second = (code // 4096 for code in codes)
    assert bool((first != second).all()) and bool((first == first[:, :, :1, :1]).all())
    assert torch.equal(codes[0] % 4096, codes[1] % 4096)
    rows = codes[0] % 4096 // 64
    assert (int(rows.min()), int(rows.max())) == (0, 55)  # 64 less an eighth
    assert len(first[:, 0, 0, 0].unique()) == 6 and files == ("burst.npy",) * 200 and bool((mask == 1).all())
    (held,) = pairs.validation()
    assert int((held.noisy * 65536).round().long()[0, 0, 0, 0] % 4096 // 64) == 56
    torch.testing.assert_close(held.target[0], coded().values[1:, :, 56:].mean(dim=0))


def test_rows_of_a_batch_are_the_same_alone_and_clips_take_one_more_frame():
    pairs = BurstPairs([coded(7), coded(6, 70)], layout="planes", crop=8, batch_size=9, seed=0, frames=5)
    whole, part = pairs.pairs(4, WHOLE), pairs.pairs(4, slice(3, 6))
    assert torch.equal(part.noisy, whole.noisy[3:6]) and torch.equal(part.target, whole.target[3:6])
    assert whole.noisy.shape == (9, 5, 1, 8, 8) and whole.target.shape == (9, 1, 8, 8)
    frames = torch.cat([whole.noisy, whole.target.unsqueeze(1)], dim=1)[:, :, 0, 0, 0] * 65536 // 4096
    assert all(len(set(row.tolist())) == 6 for row in frames)


def test_lamp_drift_is_taken_out_and_pixels_near_white_do_not_count():
    drift = torch.linspace(-0.1, 0.1, 6)
    values = 0.5 + drift.view(-1, 1, 1, 1) + torch.zeros(6, 1, 32, 32)
    pair = BurstPairs([Frames(values, drift)], layout="planes", crop=8, batch_size=20, seed=0).pairs(0, WHOLE)
    torch.testing.assert_close(pair.noisy, torch.full_like(pair.noisy, 0.5))
    torch.testing.assert_close(pair.target, torch.full_like(pair.target, 0.5))
    bright = torch.rand(6, 4, 32, 32, generator=stream(0, "bright"))
    pairs = BurstPairs([Frames(bright)], layout="mosaic", crop=8, batch_size=50, seed=0)
    noisy, target, mask, _ = pairs.pairs(0, WHOLE)
    assert torch.equal(mask[:, 0] == 1, (noisy <= 0.95).all(dim=1)) and 0.7 < float(mask.mean()) < 0.9
    kept = target[mask.expand_as(target) == 1]
    assert abs(float(kept.mean()) - 0.5) < 5 / (12 * kept.numel()) ** 0.5  # chosen by the input: the target has no bias


def test_simulated_bursts_give_the_truth_for_validation():
    data = simulated_bursts(frames=3, size=(64, 64))
    (first, *_) = pairs = BurstPairs(data.scenes, layout="mosaic", crop=8, batch_size=2, seed=0).validation()
    assert len(pairs) == 5 and torch.equal(first.target[0], data.scenes[0].truth[:, 28:])


@pytest.mark.parametrize(
    ("bursts", "settings", "words"),
    [
        ([], {}, "need bursts"),
        ([coded(1)], {}, "2 frames or more"),
        ([coded(5)], {"frames": 5}, "6 frames or more"),
        ([coded()], {"frames": 2}, "odd number"),
        ([coded()], {"crop": 57}, "use a smaller crop"),
        ([coded()], {"crop": 41}, "use a smaller crop"),
    ],
)
def test_bad_bursts_are_answered_in_one_line(bursts, settings, words):
    with pytest.raises(InputError, match=words) as said:
        BurstPairs(bursts, **{"layout": "planes", "crop": 8, "batch_size": 2, "seed": 0, **settings})
    assert "\n" not in str(said.value)


def test_the_video_network_is_trained_on_clips_of_bursts(tmp_path):
    torch.set_num_threads(1)
    (tmp_path / "bursts").mkdir()
    frames = 300 + 50 * torch.rand((7, 64, 64), generator=stream(0, "frames"))
    np.save(tmp_path / "bursts" / "scene.npy", frames.numpy())
    words = (
        f"--num_steps 2 --batch_size 2 --crop_size 16 --width 4 --gpus 0 --network video --layout planes "
        f"--noise bursts:{tmp_path / 'bursts'} --black_level 256 --white_level 4095 -o {tmp_path / 'run'}"
    )
    assert train_denoiser.main(words.split()) == 0
    settings = load_denoiser(tmp_path / "run").settings
    assert (settings.network, settings.frames, settings.method) == ("video", 5, "n2n")


@pytest.mark.skipif(not REAL.is_dir(), reason="IMX541's frames are not here")
def test_differences_of_real_pairs_have_twice_the_temporal_variance():
    data = load_bursts(REAL, black_level=10.3, white_level=4095)
    burst = next(b for b in data.bursts if b.name == "bright_exp000081us")
    pair = BurstPairs([burst], layout="planes", crop=64, batch_size=24, seed=0).pairs(0, WHOLE)
    assert not torch.equal(pair.noisy, pair.target)
    frames = burst.read(range(8), slice(0, 900), WHOLE)
    variance = float((frames - frames.mean(dim=(2, 3), keepdim=True)).var(dim=0).mean())
    assert float((pair.noisy - pair.target).var()) == pytest.approx(2 * variance, rel=0.1)
