"""The figures behind the pictures: real against generated residuals, as numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from noisemodel.evaluation.line_spectra import line_means
from noisemodel.evaluation.parameters import ParameterRow, parameter_rows
from noisemodel.evaluation.recording import Pair
from noisemodel.evaluation.variance_curve import VarianceCurve, variance_curve
from noisemodel.generator import NoiseGenerator
from noisemodel.sensor import Levels


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model beside real noise: all that pictures and page are drawn from.

    model: in evaluation mode, on the CPU.
    data: name of the data set; levels and cfa are the data's, cfa None where the model sees planes of it.
    pairs: real and generated residuals of every burst.
    seed: of the generated noise.
    true: parameters that the data's maker knows [own unit].
    provenance: of the checkpoint (`read_provenance`); its "calibration" holds intervals.
    """

    model: NoiseGenerator
    data: str
    levels: Levels
    cfa: str | None
    pairs: Sequence[Pair]
    seed: int
    true: Mapping[str, float] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def curve(self) -> VarianceCurve:
        """Variance against signal over all recordings."""
        return variance_curve(self.model, self.pairs)

    @property
    def shown(self) -> Pair:
        """The recording for pictures: the scene of most contrast."""
        return max(self.pairs, key=lambda p: (p.recording.kind == "scene", float(p.recording.clean.std())))

    @property
    def centred(self) -> bool:
        """Whether there is no ground truth."""
        return self.pairs[0].recording.centred

    @property
    def title(self) -> str:
        """The model in words."""
        return f"{self.model.physical.noiselist}, {self.model.kind}"

    @property
    def calibration(self) -> Mapping[str, Any]:
        """What the checkpoint knows of its calibration; empty where it says nothing."""
        found = self.provenance.get("calibration")
        return found if isinstance(found, Mapping) else {}

    @property
    def rows(self) -> list[ParameterRow]:
        """The parameter table."""
        return parameter_rows(
            self.model, self.levels, true=self.true, centred=self.centred, calibration=self.calibration
        )

    @property
    def reference(self) -> str:
        """What residuals are taken from."""
        frames = len(self.pairs[0].recording.frames)
        return f"the mean of {frames} frames (no ground truth)" if self.centred else "ground truth"

    @property
    def note(self) -> str:
        """What was compared, for under every figure."""
        at, reference = self.pairs[0].recording, self.reference
        if self.centred:
            reference += ", frame offsets removed; what is constant over a burst cancels"
        size = "×".join(str(n * (2 if at.layout == "mosaic" else 1)) for n in at.frames.shape[-2:])
        where = f"{size} sensor pixels at {tuple(at.origin)}; {len(at.frames)} frames of a burst"
        note = f"Data: {self.data}, {where}.\nResiduals from {reference}."
        made, own = self.model.physical.levels, self.levels
        if made is not None and (made.black_dn, made.white_dn) != (own.black_dn, own.white_dn):
            note += f"\nThe model was made for black {made.black_dn:g} and white {made.white_dn:g} DN."
        return note


def compare(
    real: Tensor, generated: Tensor, *, valid: Tensor | None = None, layout: str = "planes", unit: float = 1.0
) -> dict[str, dict[str, float | None]]:
    """Std of pixels, of row means and of column means, real and generated, and their ratio.

    Args:
        real, generated: residuals (T, C, h, w) of one scene.
        valid: (1, C, h, w) bool; all if None.
        layout: "mosaic" or "planes".
        unit: what to multiply residuals by, e.g. ``levels.range_dn`` for DN.
    Returns: {"pixel_std" | "row_mean_std" | "column_mean_std": {"real", "generated", "ratio"}}.
    """
    if valid is None:
        valid = torch.ones_like(real[:1], dtype=torch.bool)
    found = {}
    for name, values in (("real", real), ("generated", generated)):
        found[name] = {
            "pixel_std": values[:, valid[0]],
            "row_mean_std": line_means(values, valid, layout, "row"),
            "column_mean_std": line_means(values, valid, layout, "column"),
        }
    return {
        key: _both(*(_root_mean_square(found[n][key]) * unit for n in ("real", "generated"))) for key in found["real"]
    }


def summary(pairs: Sequence[Pair], curve: VarianceCurve) -> dict[str, Any]:
    """All compared figures, in DN and JSON-able: per recording, and per signal level."""
    unit = pairs[0].recording.levels.range_dn
    recordings = [
        {
            "name": p.recording.name,
            "kind": p.recording.kind,
            "frames": len(p.real),
            "mean_signal_dn": _rounded(float(p.recording.clean.mean()) * unit),
            "saturated_share": _rounded(1.0 - float(p.recording.valid.double().mean())),
            **compare(p.real, p.generated, valid=p.recording.valid, layout=p.recording.layout, unit=unit),
        }
        for p in pairs
    ]
    return {
        "reference": "mean of the frames; what is constant over a burst cancels"
        if pairs[0].recording.centred
        else "ground truth",
        "unit": "DN",
        "recordings": recordings,
        "signal_levels": signal_levels(curve, unit),
    }


def signal_levels(curve: VarianceCurve, unit: float) -> list[dict[str, Any]]:
    """One row per signal level: residual std [DN] real, generated, closed form, and their uncertainty."""
    closed = curve.parts["sum"]
    rows = zip(
        curve.signal,
        curve.real,
        curve.real_error,
        curve.generated,
        curve.generated_error,
        closed,
        curve.floor,
        strict=True,
    )
    return [
        {
            "signal_dn": _rounded(float(signal) * unit),
            "std_dn": _both(float(real) ** 0.5 * unit, float(made) ** 0.5 * unit),
            "physics_closed_form_std_dn": _rounded(float(form) ** 0.5 * unit),
            "relative_error_of_variance": {
                "real": _rounded(float(real_error / real)),
                "generated": _rounded(float(made_error / made)),
            },
            "real_second_half_over_first_half_of_variance": _rounded(float(floor)),
        }
        for signal, real, real_error, made, made_error, form, floor in rows
    ]


def _both(real: float, generated: float) -> dict[str, float | None]:
    ratio = generated / real if real else float("nan")
    return {"real": _rounded(real), "generated": _rounded(generated), "ratio": _rounded(ratio)}


def _root_mean_square(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _rounded(value: float) -> float | None:
    """Five significant digits; None, which JSON has, for what is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
