"""The metrics by name: definition, unit, plain function, and how to add it up over a recording."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from noisemodel.evaluation import correlation, kld, spectra_distance
from noisemodel.evaluation.correlation import autocorrelation
from noisemodel.evaluation.kolmogorov_smirnov import ks, ks_of_counts
from noisemodel.evaluation.local_variances import akld, band_sums, variance_maps
from noisemodel.evaluation.recording import Recording
from noisemodel.evaluation.sample_counts import Sample, both, fine_counts, fine_edges, side_by_side
from noisemodel.evaluation.variance_levels import error_of_sums, level_sums, variance_error
from noisemodel.evaluation.wasserstein import w1, w1_of_counts

Finish = Callable[[Tensor, Sample], Tensor]


@dataclass(frozen=True)
class Metric:
    """A definition.

    about: in one line.
    unit: of its values.
    function: the plain function of two tensors.
    describe: residuals of half of a recording -> what is compared, by units that are resampled (bands of rows, or
        segments of a spectrum).
    finish: (draws, K) sums over units, and the sample they came from -> (draws,) values.
    compare: two descriptions -> (units, K), to be added up over units.
    domain: "raw" or "sRGB", where it is defined on such data only.
    proper: whether it counts in `fidelity_score`.
    summed: over recordings, not averaged.
    averages_draws: whether further draws of the model are averaged over.
    """

    about: str
    unit: str
    function: Callable[..., Tensor]
    describe: Callable[[Sample], Any]
    finish: Finish
    compare: Callable[[Any, Any], Tensor] = side_by_side
    domain: str = ""
    proper: bool = False
    summed: bool = False
    averages_draws: bool = False


def is_srgb(recording: Recording) -> bool:
    """Whether a recording holds rendered 8-bit colour: three planes, black 0 and white 255."""
    levels = recording.levels
    return recording.frames.shape[1] == 3 and (levels.black_dn, levels.white_dn) == (0.0, 255.0)


def _mean(sums: Tensor, sample: Sample) -> Tensor:
    """Sum over number."""
    return sums[:, 0] / sums[:, 1].clamp_min(1)


def _per_image(sums: Tensor, sample: Sample) -> Tensor:
    """Mean over frames of the KLD of their histograms."""
    real, model = (half.unflatten(-1, (len(sample.residual), -1)) for half in both(sums))
    return kld.kl_dropping(real, model).mean(dim=-1)


def _ks(sums: Tensor, sample: Sample) -> Tensor:
    return ks_of_counts(*both(sums))


def _w1_dn(sums: Tensor, sample: Sample) -> Tensor:
    edges = fine_edges(sample.scale * sample.recording.levels.range_dn).to(sums.device)
    return w1_of_counts(*both(sums), edges)


def _starlight(sums: Tensor, sample: Sample) -> Tensor:
    return kld.kl_symmetric_inside(*both(sums))


def _spectrum(sums: Tensor, sample: Sample) -> Tensor:
    return spectra_distance.log_distance(*both(sums))


def _variance(sums: Tensor, sample: Sample) -> Tensor:
    return error_of_sums(sums)


def _correlation(sums: Tensor, sample: Sample) -> Tensor:
    return correlation.distance_of_sums(sums)


METRICS: dict[str, Metric] = {
    "ks": Metric(
        "largest difference of the cumulative distributions of residuals",
        "1", ks, fine_counts, _ks, proper=True,
    ),
    "w1": Metric(
        "Wasserstein-1: area between the cumulative distributions of residuals",
        "DN", w1, fine_counts, _w1_dn, proper=True,
    ),
    "variance_curve": Metric(
        "mean over signal levels of |variance of generated / of real residuals - 1|",
        "1", variance_error, level_sums, _variance, proper=True,
    ),
    "row_spectrum": Metric(
        "rms over frequencies of ln(generated / real) of the power spectrum of row means, 128-row Hann segments",
        "ln ratio", spectra_distance.row_spectrum, spectra_distance.row_powers, _spectrum, proper=True,
    ),
    "column_spectrum": Metric(
        "the same of column means",
        "ln ratio", spectra_distance.column_spectrum, spectra_distance.column_powers, _spectrum, proper=True,
    ),
    "autocorrelation": Metric(
        "rms difference of the residuals' autocorrelation over lags up to 8 sensor pixels both ways",
        "1", autocorrelation, correlation.lag_sums, _correlation, proper=True,
    ),
    "akld": Metric(
        "0.5 mean(r - 1 - ln r), r = generated / real local variance (7x7 Gaussian) in [0.1, 10]; blind to order",
        "nats", akld, variance_maps, _mean, compare=band_sums, averages_draws=True,
    ),
    "kld_noiseflow": Metric(
        "KL(real||model), 66 bins of raw residuals per 64x64 patch, empty bins dropped; mean over patches",
        "nats", kld.kld_noiseflow, kld.patch_counts, _mean, compare=partial(kld.patch_sums, kld.kl_dropping),
        domain="raw",
    ),
    "kld_noise2noiseflow": Metric(
        "the same with add-one smoothing (h + 1) / (n + 66)",
        "nats", kld.kld_noise2noiseflow, kld.patch_counts, _mean, compare=partial(kld.patch_sums, kld.kl_add_one),
        domain="raw",
    ),
    "kld_naflow": Metric(
        "KL(real||model), 256 bins of sRGB residuals on [-1, 1], empty bins dropped; mean over images",
        "nats", kld.kld_naflow, kld.naflow_counts, _per_image, domain="sRGB",
    ),
    "kld_neca": Metric(
        "KL(real||model), the 66 bins of sRGB residuals, generated image rounded to 8 bit, empty dropped; over images",
        "nats", kld.kld_neca, kld.neca_counts, _per_image, domain="sRGB",
    ),
    "kld_starlight": Metric(
        "symmetric KL of the noisy images in 1000 bins on [0, 1], empty bins dropped; summed over recordings",
        "nats", kld.kld_starlight, kld.starlight_counts, _starlight, summed=True,
    ),
}  # fmt: skip
