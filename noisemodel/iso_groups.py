"""Several ISOs of one camera trained together: their crops, their rulers, and the law that they start from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from rich.table import Table
from torch import Tensor

from noisemodel.calibration.closed_form import ClosedForm
from noisemodel.calibration.estimates import NORMAL, Estimate
from noisemodel.iso_law import IsoLaw, fit_iso_law, following
from noisemodel.patches import Crops, CropSource
from noisemodel.physical import PhysicalNoise
from noisemodel.views import Ruler

UNKNOWN = 1.0  # relative error of a start value that no interval is known of


@final
@dataclass(frozen=True)
class IsoCrops:
    """Batches over all ISOs in turn: row i of the global batch of step n has the ISO of index (n N + i) mod G.

    Args:
        sources: ISO -> its crops, all with as many frames, and batches of as many samples N.
        batch_size: N.
    """

    sources: Mapping[int, CropSource]
    batch_size: int

    def batch(self, step: int, purpose: str = "train", rows: slice | None = None) -> Crops:
        """Samples ``rows`` of the global batch of ``step``: the same bits for the same (seed, purpose, step)."""
        isos, parts = sorted(self.sources), []
        for row in range(self.batch_size)[rows or slice(None)]:
            iso = isos[(step * self.batch_size + row) % len(isos)]
            part = self.sources[iso].batch(step, f"{purpose} iso {iso}", slice(row, row + 1))
            parts.append(part._replace(iso=torch.tensor([float(iso)])))
        frames, reference, clean, valid, origin, iso_of = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("frames", "reference", "clean", "valid", "origin", "iso")
        )
        files = tuple(file for part in parts for file in part.files)
        return Crops(frames, reference, clean, valid, origin, parts[0].centred, iso_of, files)


@final
@dataclass(frozen=True)
class IsoRulers:
    """The `Ruler` of each ISO, so that a residual counts alike at all of them."""

    rulers: Mapping[int, Ruler]

    def at(self, iso: Tensor) -> Ruler:
        """The rulers of (N,) known ISOs, as one whose figures are (N, 1, 1, 1, 1)."""
        known = torch.tensor(sorted(self.rulers), dtype=iso.dtype, device=iso.device)
        index = (iso.unsqueeze(1) - known).abs().argmin(dim=1)
        lines = [(self.rulers[key].a, self.rulers[key].b) for key in sorted(self.rulers)]
        a, b = torch.tensor(lines, dtype=iso.dtype, device=iso.device)[index].view(-1, 2, 1, 1, 1, 1).unbind(dim=1)
        return Ruler(a, b)


def starting_law(
    models: Mapping[int, PhysicalNoise], closed: Mapping[int, ClosedForm], physical: PhysicalNoise, iso0: int
) -> IsoLaw:
    """The law through the start values of each ISO, weighted by the intervals of the closed form.

    Args:
        models: ISO -> a model at its start values.
        closed: ISO -> what calibration says.
        physical: the model to be trained, whose fixed parameters all ISOs share.
        iso0: where the intercepts hold.
    """
    names = [name for name in following(physical) if all(name in figures_of(model) for model in models.values())]
    values = {iso: {name: figures_of(model)[name] for name in names} for iso, model in models.items()}
    errors = {
        iso: {name: relative_error(of[name], closed[iso].intervals.get(name)) for name in names}
        for iso, of in values.items()
    }
    return fit_iso_law(values, errors, iso0)


def figures_of(physical: PhysicalNoise) -> dict[str, float]:
    """Parameter name -> value."""
    return {p.name: p.value for p in physical.parameters_table()}


def relative_error(value: float, estimate: Estimate | None) -> float:
    """Standard error of ln p from a 95 % interval; wide where the interval reaches 0, or the figure was floored."""
    if estimate is None:
        return UNKNOWN
    if estimate.low > 0 and estimate.high < float("inf"):
        return max(float(torch.tensor(estimate.high / estimate.low).log()) / (2 * NORMAL), 1e-6)
    return max(UNKNOWN, float(torch.tensor(max(estimate.high, value) / value).log()) / NORMAL)


def law_table(learned: IsoLaw, closed: Mapping[int, Mapping[str, float]]) -> Table:
    """What each ISO's frames alone said in closed form, and what the law says [the parameters' own units]."""
    table = Table(title=f"law against ISO: ln p = intercept + slope ln(ISO / {learned.iso0:g})", title_justify="left")
    for heading in ("parameter", "slope", "scatter", "", *(f"ISO {iso}" for iso in sorted(closed))):
        table.add_column(heading, justify="left" if heading in ("parameter", "") else "right")
    at = {iso: learned.at(iso) for iso in closed}
    for name, row in learned.rows.items():
        alone, law = ([f"{of[iso][name]:.4g}" for iso in sorted(closed)] for of in (closed, at))
        table.add_row(name, "", "", "closed form", *alone)
        table.add_row("", f"{row.slope:.3f}", f"{row.scatter:.1%}", "law, learned", *law)
    return table
