"""One figure for a model on a data set: its distance from real noise over that of real from real noise."""

import math
from collections.abc import Sequence
from typing import Any

from noisemodel.errors import InputError
from noisemodel.evaluation.fidelity import fidelity_score
from noisemodel.evaluation.recording import pair, pattern_extent, read_recording
from noisemodel.generator import NoiseGenerator
from noisemodel.streams import stream

JUDGED, SIDE = 4, 256  # bursts, and sensor pixels of each, that are measured


def fidelity_ratio(model: NoiseGenerator, bursts: Sequence[Any], seed: int) -> float | None:
    """Geometric mean, over the proper metrics, of distance from real noise over that of real from real noise.

    Args:
        model: on the CPU.
        bursts: real noise.
        seed: of the generated noise.
    Returns: None where bursts have too few frames to be parted into halves.
    """
    bursts = bursts[:: max(1, len(bursts) // JUDGED)]
    if any(burst.shape[0] < (2 if burst.has_truth else 4) for burst in bursts):
        return None
    extent = pattern_extent(model)
    try:
        recordings = [read_recording(burst, size=SIDE, most_frames=8, extent=extent) for burst in bursts]
        pairs = [pair(model, at, generator=stream(seed, "fidelity", at.name)) for at in recordings]
        return math.exp(fidelity_score(pairs))
    except InputError:
        return None  # bursts too small for spectra
