"""Judge snapshots of a run: distances between sets of images, and the noise that was learned beside the true one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from noisemodel.streams import stream
from nrgan.corruption import NoisyImages
from nrgan.evaluation.features import Extractor, features_of
from nrgan.evaluation.frechet import Moments, feature_moments, frechet_distance
from nrgan.evaluation.noise_figures import (
    NoiseLook,
    high_pass_std,
    noise_figures,
    noise_look,
    power_spectrum,
    spectrum_rms_db,
)
from nrgan.evaluation.run_data import Run, halves, true_amounts
from nrgan.models import PhysicalNoiseModel
from nrgan.snapshots import NrGan, Samples

BATCH = 250
MOST_PIXELS = 1 << 21  # of the images whose noise is looked at: 2048 of 32 px
SHOWN = 40  # images kept for the picture
QUANTILES = ("5%", "50%", "95%")


@final
@dataclass(frozen=True, eq=False)
class Judged:
    """Figures of one side: a snapshot, or the data themselves.

    Attributes:
        step: of the snapshot; None for the data.
        values: figure -> value; NaN where it has none.
        look: what is drawn of the noise; None where there is no truth.
        samples: some images.
    """

    step: int | None
    values: dict[str, float]
    look: NoiseLook | None = field(repr=False)
    samples: Samples = field(repr=False)


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """The data's side of every comparison.

    Attributes:
        run, seed: what is judged; of everything drawn.
        count: images on each side of a distance.
        extractor: of features; None for noise figures alone.
        moments: of the clean and of the noisy images.
        judged: the data's own figures: distances are those between two halves of the images.
    """

    run: Run
    seed: int
    count: int
    extractor: Extractor | None
    moments: tuple[Moments, Moments] | None = field(repr=False)
    judged: Judged


def names_of(extractor: Extractor) -> tuple[str, str]:
    """Names of the distance between clean, and between noisy images."""
    return f"{extractor.name}_clean", f"{extractor.name}_noisy"


def describe_data(run: Run, images: NoisyImages, extractor: Extractor | None, count: int, seed: int) -> Reference:
    """Measure the data: moments of features, distances between halves, the true noise.

    Args:
        run: that was trained on them.
        images: all of them.
        extractor: of features; None leaves distances out.
        count: images on each side, at most all.
        seed: of the halves.
    """
    one, other = halves(len(images), count, seed)
    values: dict[str, float] = {}
    moments = None
    if extractor is not None:
        sides = [_moments(extractor, images, part) for part in (one, other)] if len(other) > 1 else []
        moments = sides[0] if sides else _moments(extractor, images, one)
        for name, pair in zip(names_of(extractor), zip(*sides, strict=True) if sides else (), strict=False):
            values[name] = frechet_distance(*pair)
    shown = one[: _looked_at(images.images.shape)]
    clean, noisy = images.clean(shown), images.batch(shown)
    noise = noisy - clean
    values["high_pass_std_255"] = 255 * high_pass_std(clean)
    look = None
    if run.has_truth:
        values |= noise_figures(clean, noise)
        look = noise_look(clean, noise)
        values["spectrum_rms_db"] = spectrum_rms_db(power_spectrum(noise[::2]), power_spectrum(noise[1::2]))
        for name, found in true_amounts(run, len(images)).items():
            values |= {f"{name} {at}": value for at, value in zip(QUANTILES, found, strict=True)}
    samples = Samples(clean[:SHOWN].cpu(), noise[:SHOWN].cpu(), noisy[:SHOWN].cpu())
    return Reference(run, seed, count, extractor, moments, Judged(None, values, look, samples))


def judge(gan: NrGan, reference: Reference, *, device: torch.device | str = "cpu") -> Judged:
    """Draw as many images as the data's side has, and measure them; every snapshot gets the same latents."""
    most = _looked_at((gan.settings.planes, gan.settings.size, gan.settings.size))
    run, extractor = reference.run, reference.extractor
    kept: list[Samples] = []
    features: list[tuple[Tensor, Tensor]] = []
    count = min(reference.count, most) if extractor is None else reference.count
    for drawn in samples_of(run, gan, count, reference.seed, device):
        if extractor is not None:
            features.append((features_of(extractor, [drawn.clean]), features_of(extractor, [drawn.noisy])))
        if sum(len(batch.clean) for batch in kept) < most:
            kept.append(drawn)
    values: dict[str, float] = {}
    if extractor is not None and reference.moments is not None:
        for name, real, parts in zip(names_of(extractor), reference.moments, zip(*features, strict=True), strict=True):
            values[name] = frechet_distance(real, feature_moments(torch.cat(parts)))
    samples = Samples(*(torch.cat(parts)[:most] for parts in zip(*kept, strict=True)))
    look = noise_look(samples.clean, samples.noise)
    values["high_pass_std_255"] = 255 * high_pass_std(samples.clean)
    values |= noise_figures(samples.clean, samples.noise)
    if reference.judged.look is not None:
        values["spectrum_rms_db"] = spectrum_rms_db(look.power, reference.judged.look.power)
    values |= _learned_amounts(gan, reference.seed, device)
    return Judged(gan.step, values, look, Samples(*(part[:SHOWN].cpu() for part in samples)))


def samples_of(run: Run, gan: NrGan, count: int, seed: int, device: torch.device | str) -> Iterator[Samples]:
    """Batches of ``count`` generated images in all; noisy as the critic saw it, and noise what it differs by."""
    for first in range(0, count, BATCH):
        draws = stream(seed, "evaluate", first, device=device)
        clean, noise, _ = gan.sample(min(BATCH, count - first), generator=draws)
        noisy = run.clipped(clean, noise)
        yield Samples(clean, noisy - clean, noisy)


def best_of(judged: Sequence[Judged], extractor: Extractor | None) -> Judged | None:
    """The snapshot with the lowest distance of clean images; None without distances."""
    if extractor is None:
        return None
    name = names_of(extractor)[0]
    return min(judged, key=lambda found: found.values[name])


def _looked_at(shape: tuple[int, int, int]) -> int:
    """How many images' noise is looked at."""
    return max(MOST_PIXELS // (shape[1] * shape[2]), 2)


def _moments(extractor: Extractor, images: NoisyImages, chosen: Tensor) -> tuple[Moments, Moments]:
    """Of clean and noisy features."""
    parts = chosen.split(BATCH)
    clean = features_of(extractor, (images.clean(part) for part in parts))
    noisy = features_of(extractor, (images.batch(part) for part in parts))
    return feature_moments(clean), feature_moments(noisy)


def _learned_amounts(gan: NrGan, seed: int, device: torch.device | str) -> dict[str, float]:
    """Quantiles over images of each parameter of physnrgan."""
    if not isinstance(gan.noise, PhysicalNoiseModel):
        return {}
    found = gan.noise.prior.spread(generator=stream(seed, "evaluate", "amounts", device=device))
    return {
        f"{name} {at}": float(value)
        for name, values in found.items()
        for at, value in zip(QUANTILES, values, strict=True)
    }
