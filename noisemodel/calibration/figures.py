"""The camera's figures in DN and electrons, each with its interval, and what the data cannot tell."""

from collections.abc import Iterator

import numpy as np

from noisemodel.calibration import spatial, waves
from noisemodel.calibration.estimates import Estimate, chi_square, total
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.photon_transfer import photon_transfer

SATURATED = 1e-3  # share of pixels at the white level from which on the full well counts as reached


def figures(evidence: Evidence) -> dict[str, Estimate]:
    """Every figure that the bursts give, name -> estimate; names end in their unit.

    A figure that the data do not give is left out; `cannot_tell` says why.
    """
    return {
        name: estimate
        for part in (_photon_transfer, _dark, _lines, _static, _spatial, _pixels, _lamp)
        for name, estimate in part(evidence)
    }


def plane_figures(evidence: Evidence) -> list[dict[str, Estimate]]:
    """Gain and read noise of each colour plane on its own; nothing of a plane without valid pixels."""
    step = evidence.levels.range_dn
    found: list[dict[str, Estimate]] = []
    for plane in range(evidence.moments[0].burst.shape[1]):
        if not evidence.has_levels([plane]):
            found.append({})
            continue
        line = photon_transfer(evidence.moments, plane=plane)
        found.append({"gain_dn_per_e": line.gain.scaled(step, "DN/e-")} if line.gain.value > 0 else {})
        found[-1]["read_std_dn"] = line.intercept.root().scaled(step, "DN")
    return found


def ratio(top: Estimate, bottom: Estimate, unit: str, estimator: str = "") -> Estimate:
    """top / bottom, bottom positive, both independent: distances of the ends add up squared, to first order."""
    value = top.value / bottom.value
    below = np.hypot(top.value - top.low, value * (bottom.high - bottom.value)) / bottom.value
    above = np.hypot(top.high - top.value, value * (bottom.value - bottom.low)) / bottom.value
    return Estimate(value, max(value - float(below), 0.0), value + float(above), unit, estimator or top.estimator)


Figures = Iterator[tuple[str, Estimate]]


def _photon_transfer(e: Evidence) -> Figures:
    """Gain, its curvature, and the full well."""
    gain, step = e.line.gain, e.levels.range_dn
    if not e.lit or gain.value <= 0:
        return
    yield "gain_dn_per_e", gain.scaled(step, "DN/e-")
    yield "gain_white_per_e", gain.scaled(1.0, "white/e-")
    if e.curve.curvature is not None:
        yield "excess_coefficient", e.curve.curvature.scaled(1.0, "1")
        yield "gain_at_low_signal_dn_per_e", e.curve.gain.scaled(step, "DN/e-")
    if max(m.burst.summary().saturated for m in e.moments) > SATURATED:
        one = Estimate(1.0, 1.0, 1.0, "white", "white level over gain: the ADC's end, reached by saturated pixels")
        yield "full_well_e", ratio(one, gain, "e-")


def _dark(e: Evidence) -> Figures:
    """White noise in the dark and its parts, all temporal noise in the dark, black level."""
    step, text = e.levels.range_dn, "root of the white variance in the dark" if e.darks else "root of the intercept"
    quantisation = e.levels.rounding**2 / 12
    yield "read_std_dn", e.line.intercept.root(text + ", quantisation included").scaled(step, "DN")
    yield (
        "read_gaussian_std_dn",
        e.line.intercept.less(quantisation).root(text + ", less step^2 / 12").scaled(step, "DN"),
    )
    known = quantisation**0.5
    yield "quantisation_std_dn", Estimate(known, known, known, "white", "ADC step / sqrt(12)").scaled(step, "DN")
    if e.lit and e.line.gain.value > 0:
        yield "read_std_e", ratio(e.line.intercept.root(text), e.line.gain, "e-")
    parts = (e.line.intercept, e.rows, e.alternating, e.columns())
    yield "dark_std_dn", total(parts, "white, row and column variance in the dark together").root().scaled(step, "DN")
    if (offset := spatial.black_offset(e.darks)) is not None:
        black = e.levels.black_dn
        found = offset.scaled(step, "DN")
        yield "black_dn", found.less(-black)


def _lines(e: Evidence) -> Figures:
    """What rows and columns share, new in each frame."""
    step = e.levels.range_dn
    yield "row_std_dn", e.rows.root().scaled(step, "DN")
    yield "row_alternating_std_dn", e.alternating.root("half the difference of even and odd columns").scaled(step, "DN")
    yield "column_std_dn", e.columns().root().scaled(step, "DN")
    if e.lit:
        yield "row_gain_std", e.growth.root()
    if e.column_lines and e.column_lines[0].freq < 0.5:  # at 1/2 it is the alternation of the columns
        for index, variance in enumerate(waves.wave_variances(e.moments, e.column_lines[0].freq), start=1):
            yield f"periodic_std{index}_dn", variance.root().scaled(step, "DN")
    if (offset := waves.offset_variance(e.moments)) is not None:
        yield "frame_offset_std_dn", offset.root().scaled(step, "DN")


def _static(e: Evidence) -> Figures:
    """What rows and columns keep during a burst and change between bursts."""
    for name in ("row", "column"):
        found = e.static_lines(f"{name}s")
        if found is not None:
            yield f"static_{name}_std_dn", found.root().scaled(e.levels.range_dn, "DN")


def _spatial(e: Evidence) -> Figures:
    """DSNU and PRNU, whole and split."""
    step, gain = e.levels.range_dn, e.line.gain
    if e.dark_spread is not None:
        total = e.dark_spread.total.root()
        yield "dsnu_dn", total.scaled(step, "DN")
        if e.lit and gain.value > 0:
            yield "dsnu_e", ratio(total, gain, "e-")
        for part in ("rows", "columns", "pixels"):
            yield f"dsnu_{part}_dn", getattr(e.dark_spread, part).root().scaled(step, "DN")
    if e.gain_spread is not None and e.flat is not None:
        yield "prnu_percent", e.gain_spread.total.root().scaled(100, "%")
        for part in ("rows", "columns", "pixels"):
            yield f"prnu_{part}_percent", getattr(e.gain_spread, part).root().scaled(100, "%")


def _pixels(e: Evidence) -> Figures:
    """Defective pixels."""
    if e.defects is not None:
        yield "hot_pixel_share", e.defects.hot_share
        yield "noisy_pixel_share", e.defects.noisy_share


def _lamp(e: Evidence) -> Figures:
    """Std of the light from frame to frame, relative: the largest over the bursts."""
    found = []
    for m in e.lit:
        level = float(m.burst.summary().level.mean())
        offsets = m.burst.summary().offsets.double()
        if level > 0 and m.frames > 2:
            variance = float(offsets.square().sum()) / (m.frames - 1) / level**2
            found.append(chi_square(variance, variance * (2 / (m.frames - 1)) ** 0.5, unit="1"))
    if found:
        largest = max(found, key=lambda estimate: estimate.value)
        yield "lamp_drift_percent", largest.root("std of frame means over the mean, largest burst").scaled(100, "%")


def cannot_tell(e: Evidence) -> list[str]:
    """What this data cannot say, and what would."""
    found = [
        "read against quantisation (uniform): variances alone cannot split them; the ADC step is taken as 1 DN",
    ]
    if not e.lit:
        found.append("gain, full well, PRNU: there are only darks; add flats or static scenes")
    if not e.darks:
        found.append(
            "black level against the intercept of the photon-transfer line: an error d of the black level moves "
            "the intercept by gain x d; add darks"
        )
        found.append("DSNU, fixed pattern, defective pixels, frame offsets: need darks")
    elif len(e.darks) < 2:
        found.append("static row and column noise (rowt, colt) against fixed pattern: need two dark bursts or more")
    if e.flat is None:
        found.append("PRNU: needs a flat (evenly lit burst)")
    if not e.has_truth:
        found.append("static terms cancel in a static burst's residuals: they come from darks and flats only")
    if e.lit and max(m.burst.summary().saturated for m in e.moments) <= SATURATED:
        highest = max((float(m.levels.signal.max()) for m in e.lit if len(m.levels.signal)), default=0.0)
        least = f"; it exceeds {highest / e.line.gain.value:.0f} e-" if e.line.gain.value > 0 else ""
        found.append(f"full well: no burst saturates{least}")
    return found
