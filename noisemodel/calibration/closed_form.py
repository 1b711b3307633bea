"""From evidence to a model: a start value and an interval for every word of a noiselist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from noisemodel.calibration import spatial, waves
from noisemodel.calibration.empirical_bayes import tail_shape
from noisemodel.calibration.estimates import Estimate, normal
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.residuals import StaticBurst
from noisemodel.calibration.row_spectrum import RowSpectrumFit
from noisemodel.components import parse_noiselist
from noisemodel.components.white import UNKNOWN_STEP
from noisemodel.sensor import Levels

NO_PRNU = 1e-6  # std of the gain map where no flat was measured: none to speak of
FLOOR = 0.02  # smallest start value of a std, relative to the dark noise: a log cannot start at zero


@dataclass
class ClosedForm:
    """What moments say: start values for `PhysicalNoise.from_noiselist`, and what they cannot say.

    start: keyword arguments [fractions of white].
    intervals: parameter name -> estimate with its 95 % interval [the parameter's own unit].
    notes: one line for everything that was assumed, floored or not identifiable.
    held: words and parameters that this data cannot identify, e.g. "rowt", "periodic.std0".
    white_line: (a, b): temporal variance a + b x of a single pixel.
    """

    start: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Estimate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    white_line: tuple[float, float] = (0.0, 0.0)

    def unresolved(self, rows: int) -> list[str]:
        """Lines of row spectra that crops of so many sensor rows cannot part from what is smooth beside them.

        A crop resolves 1 / rows; a line is told where that is less than half its distance to the next one and to 0.
        """
        found = []
        for word in ("rowspectrum", "rowparity"):
            freqs = [line[0] for line in self.start.get(f"{word}_lines", ())]
            for index, freq in enumerate(freqs):
                nearest = min([freq, *(abs(freq - other) for other in freqs if other != freq)])
                if 2 / rows > nearest:
                    found.append(f"{word}.line{index + 1}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Intervals and notes as JSON holds them, for a checkpoint's provenance."""
        return {"parameters": {name: e.to_dict() for name, e in self.intervals.items()}, "notes": list(self.notes)}


def calibrate_closed_form(bursts: Sequence[StaticBurst], noiselist: str, levels: Levels) -> ClosedForm:
    """Estimate every word of ``noiselist`` from the moments of static bursts; see `from_evidence`.

    Args:
        bursts: static bursts of one camera at one setting; at least 2 frames each.
        noiselist: words of the model.
        levels: black and white level.
    Raises: InputError if no pixel is valid, or variance does not grow with signal although ``shot`` is asked for.
    """
    return from_evidence(Evidence(bursts, levels), noiselist)


def from_evidence(evidence: Evidence, noiselist: str) -> ClosedForm:
    """Estimate every word of ``noiselist``.

    shot, read, excess: weighted line, or parabola, through white variance against signal (EMVA 1288 photon transfer).
    row1, col1, rowspectrum, rowparity, rowgain: line means less their white part; rowt, colt: the same over bursts.
    periodic: amplitude of the strongest line of the column spectrum. fixed1: mean of the darks. prnu: flats.

    Raises: InputError if variance does not grow with signal although ``shot`` is asked for.
    """
    words = parse_noiselist(noiselist)
    return _Fit(evidence, words).result


class _Fit:
    """One closed form in the making: each word's row of `_ESTIMATORS` adds to ``result``."""

    def __init__(self, evidence: Evidence, words: Sequence[str]) -> None:
        self.evidence, self.words, self.result = evidence, words, ClosedForm()
        self.transfer = evidence.curve if "excess" in words else evidence.line
        intercept, gain = self.transfer.intercept, evidence.line.gain.value
        least = min(float(m.levels.variance.min()) for m in evidence.moments if len(m.levels.variance))
        self.floor = FLOOR * max(intercept.value, 1e-2 * least) ** 0.5
        self.freq = self._frequency() if "periodic" in words else None
        left = self._unmodelled()
        self.result.white_line = (max(evidence.line.intercept.value + left, 1e-3 * least), max(gain, 0.0))
        step = evidence.levels.rounding or min(UNKNOWN_STEP, 0.5 * max(intercept.value, 0.0) ** 0.5)
        quantisation = step**2 / 12 if "uniform" in words else 0.0
        if "uniform" in words and not evidence.levels.rounding:
            self.result.start["uniform_width"] = max(step, self.floor)
            self.note("uniform: the ADC step is not known, and variances cannot tell it from read noise; a guess")
        self.rest = intercept.less(quantisation - left)
        self.quantisation = quantisation
        for word, estimate in _ESTIMATORS.items():
            if word in words:
                estimate(self)

    def note(self, text: str) -> None:
        """Tell the user."""
        self.result.notes.append(text)

    def keep(self, start: str, parameter: str, estimate: Estimate, *, exact: bool = False) -> None:
        """A start value and its interval; one that is not seen starts at the floor."""
        value = estimate.value
        if not exact and not value > self.floor:
            self.note(f"{parameter}: not seen above the white noise; starts at {self.floor:.2e} of white")
            value = self.floor
        self.result.start[start], self.result.intervals[parameter] = float(value), estimate

    def unseen(self, word: str, what: str) -> None:
        """Say that a static word cancels in this data's residuals."""
        if not self.evidence.has_truth:
            self.result.held.append(what)

    def _unmodelled(self) -> float:
        """Variance of line terms that no word of the model carries: pixels must carry it then."""
        e, words = self.evidence, set(self.words)
        parts = (
            (e.rows, {"row1", "rowspectrum"}),
            (e.alternating, {"rowparity"}),
            (e.columns(), {"col1", "periodic"}),
        )
        return sum(max(estimate.value, 0.0) for estimate, carriers in parts if not carriers & words)

    def _frequency(self) -> float:
        """Frequency of the strongest line of the column spectrum, or the default."""
        parity = "rowparity" in self.words
        lines = [line for line in self.evidence.column_lines if not (parity and line.freq == 0.5)]
        if lines:
            return lines[0].freq
        self.note(f"periodic: no line in the column spectrum at a false-alarm rate of {waves.FALSE_ALARM:g}")
        return 1 / 8 if self.evidence.moments[0].burst.layout == "mosaic" else 1 / 4

    # Pixels.

    def shot(self) -> None:
        gain = self.transfer.gain
        self.transfer.check_gain()
        self.keep("shot_gain", "shot.gain", gain, exact=True)

    def excess(self) -> None:
        curvature = self.transfer.curvature or Estimate(0.0, 0.0, 0.0, "1")
        if curvature.value <= 0:
            self.note("excess: the photon-transfer line does not curve upwards; starts near zero")
        value = max(curvature.value, 1e-4 * max(self.transfer.gain.value, 1e-9))
        self.result.start["excess_coefficient"], self.result.intervals["excess.coefficient"] = value, curvature

    def readtl(self) -> None:
        tail = self.evidence.tail.numpy()
        if len(tail) < 1000:
            tail = np.random.default_rng(0).standard_normal(20_000)
            self.note("readtl: its shape needs dark bursts; starts near a Gaussian")
        shape = tail_shape(tail)
        share = 0.5 if {"read", "readmap"} & set(self.words) else 1.0
        factor = share / float(stats.tukeylambda.var(shape))
        self.result.start["readtl_lambda"] = shape
        rest = self.rest
        scaled = Estimate(rest.value * factor, rest.low * factor, rest.high * factor, estimator=rest.estimator)
        self.keep("readtl_scale", "readtl.scale", scaled.root())
        self.rest = rest.less(rest.value * share)

    def read(self) -> None:
        self.keep("read_std", "read.std", self.rest.root("root of the intercept, less the ADC step's variance"))

    def readmap(self) -> None:
        law = spatial.read_law(self.evidence.darks)
        if law is None:
            self.note("readmap: the std of single pixels needs darks of one size; all pixels start alike")
            self.result.start["readmap_spread"] = 1e-3
        else:
            variance = law.draws()
            least = 0.01 * float(variance.mean())
            self.result.start["readmap_map"] = (variance - self.quantisation).clamp_min(least).sqrt().float()
        self.keep("readmap_std", "readmap.std", self.rest.root("root of the intercept, less the ADC step's variance"))

    # Lines.

    def row1(self) -> None:
        self.keep("row1_std", "row1.std", self.evidence.rows.root())

    def col1(self) -> None:
        self.keep("col1_std", "col1.std", self.evidence.columns(self.freq).root())

    def rowspectrum(self) -> None:
        self._spectrum("rowspectrum", self.evidence.row_spectrum)

    def rowparity(self) -> None:
        self._spectrum("rowparity", self.evidence.alternating_spectrum)

    def _spectrum(self, word: str, fit: RowSpectrumFit) -> None:
        self.result.start |= fit.start(word)
        self.result.intervals[f"{word}.std"] = normal(fit.std, fit.std_error, estimator="averaged periodogram")
        for index, line in enumerate(fit.lines, start=1):
            text = "excess of the averaged periodogram about its frequency"
            self.result.intervals[f"{word}.line{index}"] = normal(line.std, line.std_error, estimator=text)
        if not fit.std > self.floor / 10:
            self.note(f"{word}: not seen above the white noise; starts near zero")
            self.result.start[f"{word}_std"] = self.floor / 10

    def rowgain(self) -> None:
        growth = self.evidence.growth.root()
        if growth.value <= 0:
            self.note("rowgain: row noise does not grow with the signal; starts near zero")
        self.result.start["rowgain_std"] = max(growth.value, 1e-6)
        self.result.intervals["rowgain.std"] = growth

    def periodic(self) -> None:
        assert self.freq is not None
        s1, s2 = (estimate.root() for estimate in waves.wave_variances(self.evidence.moments, self.freq))
        s0 = waves.offset_variance(self.evidence.moments)
        if not self.evidence.has_truth:
            self.result.held.append("periodic.std0")
        if s0 is None:
            self.note("periodic.std0: not identifiable, frame offsets also come from the lamp; needs darks")
            s0 = Estimate(0.0, 0.0, 0.0)
        stds = []
        for index, estimate in enumerate((s0.root(), s1, s2)):
            self.keep(f"std{index}", f"periodic.std{index}", estimate)
            stds.append(self.result.start.pop(f"std{index}"))
        self.result.start |= {"periodic_freq": self.freq, "periodic_std": tuple(stds)}

    def rowt(self) -> None:
        self._static("rowt", "rows")

    def colt(self) -> None:
        self._static("colt", "columns")

    def _static(self, word: str, name: str) -> None:
        self.unseen(word, word)
        estimate = self.evidence.static_lines(name)
        if estimate is None:
            self.note(f"{word}: not identifiable from this data; needs at least two dark bursts of one size")
            self.result.start[f"{word}_std"] = self.floor
        else:
            self.keep(f"{word}_std", f"{word}.std", estimate.root())

    # Maps.

    def fixed1(self) -> None:
        self._pattern("fixed1")

    def learnedfixed(self) -> None:
        self._pattern("learnedfixed")

    def _pattern(self, word: str) -> None:
        self.unseen(word, word)
        if self.evidence.clean_pattern is None:
            self.note(f"{word}: not identifiable from this data; needs darks or --fixed_pattern FILE")
            return
        pattern = self.evidence.clean_pattern[1]
        self.result.start[f"{word}_pattern"] = pattern.float()

    def prnu(self) -> None:
        self.unseen("prnu", "prnu")
        found = self.evidence.gain_spread
        if found is None:
            self.note(f"prnu: not identifiable without a flat (evenly lit burst); held at {NO_PRNU:g}")
            self.result.start["prnu_std"] = NO_PRNU
            return
        std = found.total.root()
        self.result.start["prnu_std"], self.result.intervals["prnu.std"] = max(std.value, NO_PRNU), std


_ESTIMATORS: dict[str, Callable[[_Fit], None]] = {
    word: getattr(_Fit, word)
    for word in (
        "shot", "excess", "readtl", "read", "readmap", "row1", "col1", "rowspectrum", "rowparity", "rowgain",
        "periodic", "rowt", "colt", "fixed1", "learnedfixed", "prnu",
    )
}  # fmt: skip
