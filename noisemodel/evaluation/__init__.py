"""How well generated noise matches real noise: one metric per file, and the pictures of viewnoise."""

from noisemodel.evaluation.correlation import autocorrelation
from noisemodel.evaluation.kld import kld_naflow, kld_neca, kld_noise2noiseflow, kld_noiseflow, kld_starlight
from noisemodel.evaluation.kolmogorov_smirnov import ks
from noisemodel.evaluation.local_variances import akld
from noisemodel.evaluation.spectra_distance import column_spectrum, row_spectrum
from noisemodel.evaluation.variance_levels import variance_error
from noisemodel.evaluation.wasserstein import w1

__all__ = [
    "akld", "autocorrelation", "column_spectrum", "kld_naflow", "kld_neca", "kld_noise2noiseflow", "kld_noiseflow",
    "kld_starlight", "ks", "row_spectrum", "variance_error", "w1",
]  # fmt: skip
