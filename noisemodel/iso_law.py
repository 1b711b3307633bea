"""How noise parameters follow the ISO: straight lines in logarithms, one per parameter."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from noisemodel.errors import InputError
from noisemodel.physical import PhysicalNoise

Array = np.ndarray[Any, np.dtype[Any]]
LOG = logging.getLogger("noisemodel")

# Parameters of these units grow with the analogue gain; ratios (prnu.std) and frequencies do not.
FOLLOWING_UNITS = ("white", "white/e-")
# The ADC's step is a fact of the files, whatever the ISO.
SHARED = ("uniform.width",)
WIDEST_SCATTER = 3.0  # of ln p: beyond it a line says nothing


class LawRow(NamedTuple):
    """ln p = intercept + slope ln(ISO / ISO0); scatter is the std of ln p about the line."""

    intercept: float
    slope: float
    scatter: float


@final
class IsoLaw(nn.Module):
    """p(ISO) = exp(intercept + slope ln(ISO / ISO0)) for K parameters; intercepts and slopes are trainable.

    What is trained is ln p at both ends of the fitted ISOs: a step then moves no ISO's parameters by more than itself,
    where a step of the slope would move those far from ISO0 several times as much.

    Args:
        rows: parameter name, e.g. "shot.gain" -> its `LawRow` [ln of the parameter's own unit].
        iso0: where the intercepts hold.
        isos: that the law was fitted to; beyond them it extrapolates.
    Raises: InputError if there is no row or no ISO, or an ISO is not positive.
    """

    def __init__(self, rows: Mapping[str, tuple[float, float, float]], iso0: float, isos: Sequence[float]) -> None:
        """Start at ``rows``."""
        super().__init__()
        if not rows or not isos or not all(iso > 0 and math.isfinite(iso) for iso in (*isos, iso0)):
            raise InputError(f"a law against ISO needs parameters and positive ISOs, got {list(rows)} and {list(isos)}")
        self.names, self.iso0, self.isos = tuple(rows), float(iso0), tuple(sorted(map(float, isos)))
        self.span = math.log(self.isos[-1] / self.isos[0]) or 1.0
        intercept, slope, scatter = torch.tensor(list(rows.values()), dtype=torch.float64).T
        low = intercept + slope * math.log(self.isos[0] / self.iso0)
        self.low, self.high = (nn.Parameter(end.float()) for end in (low, low + slope * self.span))  # (K,)
        self.scatter: Tensor
        self.free: Tensor
        self.register_buffer("scatter", scatter.float())
        self.register_buffer("free", torch.ones(len(rows), dtype=torch.bool))

    @property
    def slope(self) -> Tensor:
        """(K,) d ln p / d ln ISO."""
        low, high = self._ends()
        return (high - low) / self.span

    @property
    def intercept(self) -> Tensor:
        """(K,) ln p at ISO0."""
        return self._ends()[0] + self.slope * math.log(self.iso0 / self.isos[0])

    def _ends(self) -> tuple[Tensor, Tensor]:
        """(K,) ln p at the lowest and the highest ISO; held ones without gradient."""
        low, high = (torch.where(self.free, end, end.detach()) for end in (self.low, self.high))
        return low, high

    @property
    def rows(self) -> dict[str, LawRow]:
        """Parameter name -> intercept, slope and scatter as they stand."""
        columns = (values.tolist() for values in (self.intercept.detach(), self.slope.detach(), self.scatter))
        return {name: LawRow(*row) for name, *row in zip(self.names, *columns, strict=True)}

    def params(self, iso: Tensor | float) -> dict[str, Tensor]:
        """exp(intercept + slope ln(ISO / ISO0)), differentiable, as `PhysicalNoise` takes them.

        Args:
            iso: (N,), one per image; a number is taken for (1,).
        Returns: parameter name -> (N,) values in the parameter's own unit.
        """
        iso = torch.as_tensor(iso, device=self.low.device).reshape(-1).to(self.low.dtype)
        low, high = self._ends()
        values = (low + (high - low) * self._share(iso).unsqueeze(1)).exp()  # (N, K)
        return dict(zip(self.names, values.unbind(dim=1), strict=True))

    @torch.no_grad()
    def at(self, iso: float) -> dict[str, float]:
        """The parameters of one ISO."""
        return {name: float(value) for name, value in self.params(iso).items()}

    def place(self, iso: Tensor) -> Tensor:
        """Where an ISO lies on the logarithmic scale: -1 and 1 are the ends of the fitted ISOs."""
        return 2 * self._share(iso) - 1

    def _share(self, iso: Tensor) -> Tensor:
        """The same from 0 to 1."""
        return (iso / self.isos[0]).log() / self.span

    def takes_over(self, physical: PhysicalNoise) -> None:
        """Let the model's own parameters show ISO0, and take no gradient: the law's are learned instead."""
        self.apply_to(physical, self.iso0)
        for name in self.names:
            leaf = physical.component(name.split(".")[0]).leaf(name.split(".")[1])
            assert leaf is not None
            leaf.requires_grad_(False)

    def hold(self, names: Sequence[str]) -> None:
        """Take parameters (``periodic.std0``), or all of a word (``rowt``), out of learning."""
        held = [name in names or name.split(".")[0] in names for name in self.names]
        self.free &= ~torch.tensor(held, device=self.free.device)
        self.requires_grad_(bool(self.free.any()))

    def apply_to(self, physical: PhysicalNoise, iso: float) -> None:
        """Set the parameters of a model to those of one ISO."""
        for name, value in self.at(iso).items():
            physical.component(name.split(".")[0]).store(name.split(".")[1], value)

    @torch.no_grad()
    def move_to(self, values: Mapping[str, float]) -> None:
        """Shift lines, at the slopes that they have, to these values at ISO0; other names are passed over."""
        intercept = self.intercept
        for index, name in enumerate(self.names):
            if name in values:
                for end in (self.low, self.high):
                    end[index] += math.log(values[name]) - float(intercept[index])

    def warn_beyond(self, iso: float) -> None:
        """Say so where the law extrapolates; raises InputError for an ISO that is not a positive number."""
        if not (iso > 0 and math.isfinite(iso)):
            raise InputError(f"an ISO is a positive number, got {iso}")
        if not self.isos[0] <= iso <= self.isos[-1]:
            fitted = f"{self.isos[0]:g} to {self.isos[-1]:g}"
            LOG.warning(f"ISO {iso:g} lies outside the fitted ISOs, {fitted}: the law extrapolates")

    def config(self) -> dict[str, Any]:
        """What, beside the weights, is needed to build this law again (JSON-able); the figures are for readers."""
        return {"iso0": self.iso0, "isos": list(self.isos), "parameters": {k: list(v) for k, v in self.rows.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "IsoLaw":
        """The law of `config`."""
        return cls(config["parameters"], config["iso0"], config["isos"])


def following(physical: PhysicalNoise) -> list[str]:
    """Names of the parameters that follow the ISO: positive stds and gains that are free to be learned."""
    return [
        parameter.name
        for parameter in physical.parameters_table()
        if parameter.unit in FOLLOWING_UNITS
        and not parameter.fixed
        and parameter.name not in SHARED
        and physical.component(parameter.name.split(".")[0]).leaf(parameter.name.split(".")[1]) is not None
    ]


def middle_iso(isos: Iterable[int]) -> int:
    """The ISO nearest to the geometric mean of all: where intercept and slope are least correlated."""
    isos = sorted(isos)
    if len(isos) == 1:
        return isos[0]
    centre = sum(map(math.log, isos)) / len(isos)
    return min(isos, key=lambda iso: abs(math.log(iso) - centre))


def fit_iso_law(
    values: Mapping[int, Mapping[str, float]], errors: Mapping[int, Mapping[str, float]], iso0: float
) -> IsoLaw:
    """Fit ln p = intercept + slope ln(ISO / ISO0) to the figures of each ISO; see `fit_log_line`.

    Args:
        values: ISO -> parameter -> figure > 0; the parameters are those of the first ISO.
        errors: the same of their relative standard errors.
        iso0: where the intercepts hold.
    Raises: InputError for fewer than two ISOs.
    """
    isos = sorted(values)
    if len(isos) < 2:
        raise InputError(f"a law against ISO needs two or more ISOs, got {isos}; give more, or train without it")
    rows = {}
    for name in values[isos[0]]:
        x = np.array([math.log(iso / iso0) for iso in isos])
        y, e = (np.array([of[iso][name] for iso in isos]) for of in (values, errors))
        rows[name] = fit_log_line(x, np.log(y), e)
    return IsoLaw(rows, iso0, isos)


def fit_log_line(x: Array, y: Array, error: Array) -> LawRow:
    """y = intercept + slope x by weighted least squares, with the scatter tau that makes chi^2 = n - 2.

    Weights 1 / (error^2 + tau^2), tau^2 >= 0 (Paule and Mandel 1982): a figure that is known well counts no more than
    the camera's own steps (an amplifier that changes over to digital gain) allow. Two points leave tau at 0.

    Args:
        x: (n,) ln(ISO / ISO0).
        y: (n,) ln p.
        error: (n,) standard errors of y.
    """
    design = np.stack([np.ones_like(x), x], axis=1)
    square = np.square(np.maximum(error, 1e-6))

    def solve(tau: float) -> tuple[Array, float]:
        weight = 1 / np.sqrt(square + tau**2)
        found = np.linalg.lstsq(design * weight[:, None], y * weight, rcond=None)[0]
        return found, float(np.square((y - design @ found) * weight).sum())

    freedom, low, high = len(x) - 2, 0.0, WIDEST_SCATTER
    if freedom < 1 or solve(0.0)[1] <= freedom:
        high = 0.0
    for _ in range(60 if high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if solve(middle)[1] > freedom else (low, middle)
    intercept, slope = solve(high)[0]
    return LawRow(float(intercept), float(slope), high)
