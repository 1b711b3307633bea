"""Pictures of a calibration: the photon-transfer line with its lack of fit, and the spectrum of row noise."""

import numpy as np
from matplotlib.figure import Figure

from noisemodel.calibration.camera import Calibration
from noisemodel.calibration.line_terms import dark_enough
from noisemodel.calibration.residuals import LineStats
from noisemodel.evaluation.figure_style import CLOSED_FORM, FLOOR, GENERATED, REAL, styled


def photon_transfer_panel(found: Calibration) -> Figure | None:
    """White variance against signal with the fitted line, and how far each level is off it; None without light."""
    gain = found.figures.get("gain_dn_per_e")
    if gain is None:
        return None
    line, unit = found.evidence.line, found.evidence.levels.range_dn
    x, v, e, fitted = (
        np.array([at[name] for at in found.levels()])
        for name in ("signal_dn", "variance_dn2", "standard_error", "fitted_dn2")
    )
    intercept = line.intercept.value * unit**2
    lowest = 0.02 * max(intercept, 1e-6) / gain.value
    shown = np.maximum(x, lowest)
    grid = np.geomspace(lowest, max(x.max(), 2 * lowest) * 1.2, 200)
    title = f"Photon transfer: {gain.value:.4g} DN/e- ({gain.low:.4g} to {gain.high:.4g}, 95 %)"
    note = (
        f"White variance: what rows and columns share is taken out. Levels are off the line by\n"
        f"{line.lack_of_fit:.2%} (std) beyond their sampling error; the interval of the gain includes this."
    )
    with styled(title, (9.0, 6.4), note) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        above.plot(grid, intercept + gain.value * grid, color=CLOSED_FORM, label="line")
        above.fill_between(
            grid, intercept + gain.low * grid, intercept + gain.high * grid, color=FLOOR, alpha=0.35, lw=0,
            label="95 % of the gain",
        )  # fmt: skip
        above.plot(shown, v, "o", ms=4, color=REAL, label="levels")
        curve = found.evidence.curve
        if "excess" in found.physical.components and curve.curvature is not None:
            terms = (curve.intercept.value * unit**2, curve.gain.value * unit, curve.curvature.value)
            parabola = terms[0] + terms[1] * grid + terms[2] * grid**2
            above.plot(grid, parabola, color=GENERATED, ls="--", label="with second-order term")
            base = intercept + line.gain.value * unit * grid
            below.plot(grid, 100 * (parabola / base - 1), color=GENERATED, ls="--")
        above.set(xscale="log", yscale="log", ylabel="variance [DN²]")
        above.legend()
        below.axhline(0, color=CLOSED_FORM, lw=1)
        below.errorbar(shown, 100 * (v / fitted - 1), 100 * 1.96 * e / fitted, fmt="o", ms=4, color=REAL, elinewidth=1)
        below.set(xlabel="signal above black [DN] (darks at the left edge)", ylabel="off the line [%]")
    return figure


def row_spectrum_panel(found: Calibration) -> Figure | None:
    """Averaged periodograms of row means and of even-against-odd columns, with the fitted spectra; None without."""
    words = {"rowspectrum": "rows", "rowparity": "alternating"}
    fits = {"rowspectrum": "row_spectrum", "rowparity": "alternating_spectrum"}
    used = [word for word in words if word in found.physical.components]
    if not used:
        return None
    unit = found.evidence.levels.range_dn
    with styled("Spectrum of row noise in the dark", (9.0, 3.4 * len(used) + 0.6)) as figure:
        axes = np.atleast_1d(figure.subplots(len(used), 1, sharex=True))
        for ax, word in zip(axes, used, strict=True):
            lines = [getattr(m, words[word]) for m in dark_enough(found.evidence.moments)]
            freq, power = _periodogram(lines[0])
            for line in lines[1:]:
                other = _periodogram(line)[1]
                power = power + other if len(other) == len(power) else power
            fit = getattr(found.evidence, fits[word])
            ax.plot(freq, power / len(lines) * unit**2, color=REAL, lw=0.8, label="data, less white part")
            ax.stairs(
                fit.psd.numpy() * unit**2, fit.edges.numpy(), color=CLOSED_FORM, baseline=None, label="smooth part"
            )
            for index, at in enumerate(fit.lines):
                width = max(at.jitter, 1 / (2 * (len(freq) + 1)))
                ax.axvspan(
                    at.freq - 2 * width, at.freq + 2 * width, color=GENERATED, alpha=0.25, lw=0,
                    label="" if index else "lines",
                )  # fmt: skip
            ax.set(yscale="log", ylabel="density [DN² per cycle/row]")
            ax.set_title({"rowspectrum": "all columns together", "rowparity": "even against odd columns"}[word])
            ax.legend()
        axes[-1].set_xlabel("frequency [cycles per row]")
    return figure


def _periodogram(line: LineStats) -> tuple[np.ndarray, np.ndarray]:
    """One-sided density 2 |FFT|^2 / L of single frames, less the white part, floored where it falls below zero."""
    kept = ~line.white.isnan()
    profile = line.profile[:, kept].numpy()
    frames, count = profile.shape
    power = 2 * (np.abs(np.fft.rfft(profile, axis=1)) ** 2).sum(axis=0) / count / (frames - 1)
    power = power[1 : (count + 1) // 2]
    white = 2 * float(line.white[kept].mean())
    return np.fft.rfftfreq(count)[1 : (count + 1) // 2], np.maximum(power - white, 0.05 * white)
