"""Which words does the data need? Each is kept if it raises the log score of frames that were held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import stats

from noisemodel.calibration import spatial, waves
from noisemodel.calibration.closed_form import from_evidence
from noisemodel.calibration.empirical_bayes import tail_shape
from noisemodel.calibration.estimates import NORMAL
from noisemodel.calibration.evidence import Evidence
from noisemodel.calibration.held_out import SomeFrames
from noisemodel.calibration.line_terms import dark_enough
from noisemodel.calibration.moments import BurstMoments
from noisemodel.calibration.photon_transfer import photon_transfer
from noisemodel.calibration.residuals import TAIL, LineStats, StaticBurst
from noisemodel.components import COMPONENTS
from noisemodel.errors import InputError
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Levels

LEAST_FRAMES = 4
LEAST_GAIN = 0.5  # nats: of a few bursts no more can be asked
CLEAR = 3.0  # standard errors by which a word must raise the score


@dataclass(frozen=True)
class Choice:
    """A noiselist, and one line of reason per word that was considered."""

    noiselist: str
    reasons: tuple[str, ...]


def choose_noiselist(bursts: Sequence[StaticBurst], levels: Levels) -> Choice:
    """Choose words by the log score of every second frame, of a model calibrated on the others.

    Where bursts with ground truth have too few frames for that (SIDD), every second burst is held out instead.

    Scores are Whittle's: of each ordinate of the periodogram of row, column and alternating means, and of each level's
    white variance, -n (ln P + I / P) with the model's P and the held-out I; pixels in the dark are scored by their log
    density. A word is kept if it raises the sum by more than `CLEAR` standard errors (the scatter of the ordinates).

    Raises: InputError unless every burst has `LEAST_FRAMES` frames, or there are two or more, all with ground truth.
    """
    halves = [Evidence(half, levels) for half in _halves(bursts)]
    return _Choosing(*halves).choice()


def _halves(bursts: Sequence[StaticBurst]) -> list[list[StaticBurst]]:
    """What is fitted, and what is held out."""
    short = [burst for burst in bursts if burst.shape[0] < LEAST_FRAMES]
    if not short:
        return [[SomeFrames(b, tuple(range(first, b.shape[0], 2))) for b in bursts] for first in (0, 1)]
    if len(bursts) > 1 and all(burst.has_truth for burst in bursts):
        kinds = [[b for b in bursts if b.kind == kind] for kind in dict.fromkeys(b.kind for b in bursts)]
        return [[b for kind in kinds for b in kind[first::2]] for first in (0, 1)]
    raise InputError(
        f"--noiselist auto holds out every second frame and needs {LEAST_FRAMES} frames or more of each burst, "
        f"{short[0].name} has {short[0].shape[0]}; name the words instead, such as --noiselist shot_read_row1"
    )


class _Choosing:
    """The choice in the making: one question after the other."""

    def __init__(self, fitted: Evidence, held: Evidence) -> None:
        self.fitted, self.held = fitted, held
        self.words: list[str] = []
        self.reasons: list[str] = []

    def choice(self) -> Choice:
        """Ask every question."""
        if self.fitted.lit:
            self.fitted.line.check_gain()
            self._take("shot", "variance grows with the signal")
            self._curvature()
        self._read()
        if self.fitted.levels.rounding:
            self._take("uniform", "the ADC rounds; its step is known")
        row = self._best("rows", ("row1", "rowspectrum"))
        if row:
            self._growth(row)
        self._best("alternating", ("rowparity",))
        self._best("columns", ("periodic", "col1"))
        self._static()
        order = list(COMPONENTS)
        return Choice("_".join(sorted(self.words, key=order.index)), tuple(self.reasons))

    def _take(self, word: str, reason: str) -> None:
        self.words.append(word)
        self.reasons.append(f"{word}: {reason}")

    def _decide(self, word: str, gains: np.ndarray, what: str, errors: np.ndarray | None = None) -> bool:
        """Keep ``word`` if the held-out ``gains`` [nats] add up to clearly more than nothing.

        ``errors`` are the standard errors of the gains; without them, their scatter says.
        """
        total = float(gains.sum())
        error = float(gains.std() * len(gains) ** 0.5 if errors is None else np.square(errors).sum() ** 0.5)
        text = f"{total:+.4g} nats (standard error {error:.2g}) on held-out {what}"
        if total > CLEAR * error and total > 1:
            self._take(word, text)
            return True
        self.reasons.append(f"no {word}: {text}")
        return False

    def _curvature(self) -> None:
        """Second-order variance: each burst's variance is predicted from the other bursts, as unseen exposures are."""
        curvature, lit = self.fitted.curve.curvature, self.held.lit
        if curvature is None or curvature.value <= 0 or len(lit) < 3:
            few = "three lit bursts or more would tell" if len(lit) < 3 else "the line does not curve upwards"
            self.reasons.append(f"no excess: {few}")
            return
        errors = np.array([self._prediction_errors(m) for m in lit])  # (bursts, 2), squared
        straight, curved = np.sqrt(errors.mean(axis=0))
        gain = len(lit) * float(np.log(straight / curved))
        text = f"variance of a burst left out is off by {straight:.2%} with a line, {curved:.2%} with a curve"
        if gain > LEAST_GAIN:
            self._take("excess", f"{text} ({gain:+.3g} nats)")
        else:
            self.reasons.append(f"no excess: {text}")

    def _prediction_errors(self, left_out: BurstMoments) -> tuple[float, float]:
        """Mean squared relative error of a held-out burst's levels, predicted by line and by curve from all others."""
        others = [m for m in self.fitted.moments if m.burst.name != left_out.burst.name]
        x, v, e = (getattr(left_out.levels, name).numpy() for name in ("signal", "variance", "error"))
        found = []
        for curved in (False, True):
            fit = photon_transfer(others, curved=curved)
            terms = [fit.intercept, fit.gain] + ([fit.curvature] if fit.curvature else [])
            predicted = np.polynomial.polynomial.polyval(x, [term.value for term in terms])
            off = v / np.maximum(predicted, 1e-3 * v) - 1
            found.append(float(np.average(off, weights=(v / e) ** 2)) ** 2 + float(np.average((e / v) ** 2)) / len(v))
        return found[0], found[1]

    def _read(self) -> None:
        """Gaussian, a std for every pixel, or heavy-tailed: by the log density of dark residuals."""
        darks = self.held.darks
        if not darks:
            self._take("read", "signals in the dark are not there to tell more")
            return
        tail = torch.cat([m.tail for m in darks]).numpy()
        variance = self.fitted.line.intercept.value
        if not variance > 0:
            self._take("read", "frames in the dark show no white noise")
            return
        plain = stats.norm.logpdf(tail, scale=max(variance, 1e-300) ** 0.5)
        candidates = {"readtl": self._tukey(tail, variance)}
        law = spatial.read_law(self.fitted.darks)
        if law is not None and {m.mean.shape for m in darks} == {law.shape}:
            step = max(1, len(law.place) // TAIL)
            pixels = np.arange(0, len(law.place), step)
            candidates["readmap"] = np.concatenate([law.log_density(m.tail.numpy(), pixels) for m in darks])
        word, score = max(candidates.items(), key=lambda item: float(item[1].sum()))
        for other in candidates.keys() - {word}:
            lead = float((score - candidates[other]).sum())
            self.reasons.append(f"no {other}: {lead:.4g} nats behind {word} on held-out pixels in the dark")
        if not self._decide(word, score - plain, "pixels in the dark, against Gaussian read noise of one std"):
            self._take("read", "one Gaussian std does for all pixels")

    @staticmethod
    def _tukey(sample: np.ndarray, variance: float) -> np.ndarray:
        """Log density of the Tukey-lambda law of that variance whose shape fits the sample's quantiles."""
        shape = tail_shape(sample)
        scale = (variance / float(stats.tukeylambda.var(shape))) ** 0.5
        return np.asarray(stats.tukeylambda.logpdf(sample, shape, scale=scale).clip(-700))

    def _best(self, lines: str, candidates: Sequence[str]) -> str | None:
        """Add the candidates one by one, while each raises the score of line means; returns the last one kept."""
        kept: str | None = None
        place = "even against odd columns" if lines == "alternating" else lines
        for word in candidates:
            if word == "periodic" and (self._wave is None or (self._wave == 0.5 and "rowparity" in self.words)):
                self.reasons.append("no periodic: no line in the spectrum of column means")
                continue
            instead = word == "rowspectrum"
            trial = [word] if instead or kept is None else [kept, word]
            before = [] if kept is None else [kept]
            over = f", over {kept}" if kept else ""
            if self._decide(word, *self._line_gains(lines, before, trial, place + over)):
                if instead and kept is not None:
                    self.words.remove(kept)
                kept = word
        return kept

    def _growth(self, row: str) -> None:
        """Row noise that grows with the signal: scored on the rows of bursts with light."""
        growth = self.fitted.growth
        if growth.value <= 0 or not self.held.lit:
            self.reasons.append("no rowgain: row noise does not grow with the signal")
            return
        found = []
        for m in self.held.lit:
            power, white, n = _periodogram(m.rows)
            shared = white + max(self.fitted.rows.value, 0.0)
            found.append(_whittle_gain(power, shared, shared + growth.value * m.mean_square, n))
        gains, errors = (np.concatenate(part) for part in zip(*found, strict=True))
        self._decide("rowgain", gains, f"rows of bursts with light, over {row}", errors)

    def _line_gains(
        self, lines: str, before: Sequence[str], after: Sequence[str], what: str
    ) -> tuple[np.ndarray, str, np.ndarray]:
        """By how much words ``after`` raise the score of each ordinate over words ``before``, what of, and errors."""
        found = []
        for m in dark_enough(self.held.moments):
            line = getattr(m, lines)
            power, white, n = _periodogram(line)
            old, new = (white + sum(self._predicted(word, line) for word in words) for words in (before, after))
            found.append(_whittle_gain(power, old, new, n))
        gains, errors = (np.concatenate(part) for part in zip(*found, strict=True))
        return gains, what, errors

    @torch.no_grad()
    def _predicted(self, word: str, line: LineStats) -> Any:
        """Expected periodogram of a word's noise in the line means: that of white noise is its variance."""
        count = int((~line.white.isnan()).sum())
        if word == "row1":
            return max(self.fitted.rows.value, 0.0)
        if word == "col1":
            return max(self.fitted.columns(self._wave).value, 0.0)
        physical = self._component(word)
        draws = physical.measure(
            torch.zeros(256, 1, 1, count, 1) if word != "periodic" else torch.zeros(256, 1, 1, 1, count),
            generator=torch.Generator().manual_seed(0),
        ).noise.double()
        profile = draws.flatten(1)
        profile = profile - profile.mean(dim=1, keepdim=True)
        power = torch.fft.rfft(profile, dim=1).abs().square().mean(dim=0) / count
        return power[1 : (count + 1) // 2].numpy()

    @cached_property
    def _wave(self) -> float | None:
        """Frequency of the strongest column line."""
        return self.fitted.column_lines[0].freq if self.fitted.column_lines else None

    def _component(self, word: str) -> PhysicalNoise:
        """A model of one word alone, calibrated on the fitted frames."""
        start = from_evidence(self.fitted, word).start
        rows = max(m.mean.shape[-2] for m in self.fitted.moments)
        columns = max(m.mean.shape[-1] for m in self.fitted.moments)
        return PhysicalNoise.from_noiselist(word, layout="planes", sensor_size=(rows, columns), **start)

    def _static(self) -> None:
        """Fixed pattern, gain map, static banding: does the pattern of some frames explain that of the others?"""
        pairs = {
            "fixed1": (self.fitted.pattern, self.held.pattern),
            "prnu": (self.fitted.gain_map, self.held.gain_map),
        }
        for word, (known, seen) in pairs.items():
            if known is None or seen is None:
                self.reasons.append(f"no {word}: needs {'darks' if word == 'fixed1' else 'a flat'}")
                continue
            known, seen = (waves.flat_of_wave(x - x.mean(), self._wave or 0.0) for x in (known, seen))
            slope = float((known * seen).sum() / known.square().sum().clamp_min(1e-300))
            before, after = seen.square(), (seen - min(max(slope, 0.0), 1.0) * known).square()
            gain = (
                before / before.mean() - (after / after.mean() + float(torch.log(after.mean() / before.mean())))
            ) / 2
            self._decide(word, gain.flatten().numpy(), "mean frames")
        for word, name in (("rowt", "rows"), ("colt", "columns")):
            found = self.held.static_lines(name)
            if found is not None and found.value - CLEAR / NORMAL * (found.value - found.low) > 0:
                self._take(word, f"{name} of dark bursts differ beyond their temporal noise")
            else:
                self.reasons.append(
                    f"no {word}: " + ("not seen" if found else "needs two dark bursts, or frames with ground truth")
                )


def _periodogram(line: LineStats) -> tuple[np.ndarray, float, int]:
    """|FFT|^2 / L of single frames' line means, averaged; their white part; frames that count."""
    kept = ~line.white.isnan()
    profile = line.profile[:, kept].double()
    frames, count = profile.shape
    profile = profile - profile.mean(dim=1, keepdim=True)
    power = torch.fft.rfft(profile, dim=1).abs().square().sum(dim=0) / count / (frames - 1)
    return power[1 : (count + 1) // 2].numpy(), float(line.white[kept].mean()), frames - 1


def _whittle_gain(power: np.ndarray, before: Any, after: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """-n (ln P + I / P) of each ordinate I with P = ``after``, less that with P = ``before``; and its standard error.

    I is the mean of n exponential variables, so its own error is I / sqrt(n + 1).
    """
    old, new = (np.maximum(np.broadcast_to(p, power.shape), 1e-300) for p in (before, after))
    slope = 1 / old - 1 / new
    return n * (np.log(old / new) + power * slope), n * np.abs(slope) * power / (n + 1) ** 0.5
