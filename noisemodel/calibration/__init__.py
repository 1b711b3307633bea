"""Closed-form estimates from darks, flats and static bursts, with 95 % intervals."""

from noisemodel.calibration.camera import Calibration, calibrate
from noisemodel.calibration.closed_form import ClosedForm, calibrate_closed_form, from_evidence
from noisemodel.calibration.estimates import Estimate
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.moments import BurstMoments, burst_moments
from noisemodel.calibration.residuals import StaticBurst

__all__ = [
    "BurstMoments", "Calibration", "ClosedForm", "Estimate", "Evidence", "StaticBurst", "burst_moments", "calibrate",
    "calibrate_closed_form", "from_evidence",
]  # fmt: skip
