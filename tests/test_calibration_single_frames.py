"""Single frames with ground truth say what bursts say."""

import numpy as np
import torch

from datasets.burst import Burst, BurstSet
from datasets.simulated import SimulatedCamera, SimulatedFrames, simulated_bursts
from noisemodel.calibration import Evidence
from noisemodel.calibration.held_out import Mirrored


def single_frames() -> BurstSet:
    """One frame of each simulated burst, without pattern and static rows, which one frame cannot part from the rest."""
    camera = SimulatedCamera(pattern_std=0.0, rowt_std=0.0, periodic_std=(0.3, 0.0001, 0.0001))
    whole = simulated_bursts(frames=2, size=(256, 256), camera=camera)
    bursts = []
    for burst in (*whole.scenes, *whole.flats, *whole.darks):
        source = burst.source
        assert isinstance(source, SimulatedFrames)
        one = SimulatedFrames(source.path, camera, source.exposure, 1, source.seed, source.pattern)
        bursts.append(Burst(burst.name, burst.kind, one, "mosaic", whole.levels, truth=burst.truth))
    return BurstSet("single", whole.levels, "mosaic", "RGGB", tuple(bursts), camera.parameters)


def test_gain_read_and_row_noise_of_single_frames_lie_in_their_intervals() -> None:
    data = single_frames()
    evidence, unit = Evidence(data.bursts, data.levels), data.levels.range_dn
    gain, read, row = (
        evidence.line.gain.scaled(unit, "DN"),
        evidence.line.intercept.less(data.levels.adc_step**2 / 12).root().scaled(unit, "DN"),
        evidence.rows.root().scaled(unit, "DN"),
    )
    for name, estimate, true, most in (("gain", gain, 1.0, 0.03), ("read", read, 2.5, 0.03), ("row", row, 0.8, 0.12)):
        width = (estimate.high - estimate.low) / 2
        assert width < most * true, name
        assert abs(estimate.value - true) < 2.5 * width, f"{name}: {estimate.value:.4f} +- {width:.4f}, not {true}"


def test_mirrored_frames_have_the_frames_own_moments() -> None:
    burst = single_frames().bursts[0]
    assert burst.truth is not None
    both = Mirrored(burst)  # type: ignore[arg-type]
    frames = torch.stack([both.frame(0), both.frame(1)]).double()
    noise = (burst.frame(0) - burst.truth).double()
    np.testing.assert_allclose(frames.mean(dim=0), burst.truth.double(), atol=1e-6)
    np.testing.assert_allclose(frames.var(dim=0), noise.square(), rtol=1e-3, atol=1e-9)
    offsets = both.summary().offsets.double()
    assert abs(float(offsets.square().sum()) - float(noise.mean()) ** 2) < 1e-9
