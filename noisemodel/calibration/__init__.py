"""Closed-form estimates from darks, flats and static bursts."""

from noisemodel.calibration.closed_form import ClosedForm, calibrate_closed_form
from noisemodel.calibration.moments import BurstMoments, StaticBurst, burst_moments

__all__ = ["BurstMoments", "ClosedForm", "StaticBurst", "burst_moments", "calibrate_closed_form"]
