"""Photon transfer: temporal variance against signal, with the lack of fit of its line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from noisemodel.calibration.estimates import Estimate, normal
from noisemodel.calibration.moments import BurstMoments
from noisemodel.errors import InputError

Array = np.ndarray

WIDEST = 0.2  # relative standard error of the gain beyond which it is not told


@dataclass(frozen=True)
class Level:
    """One signal level of one plane of one burst [fractions of white], and what the line says of it."""

    burst: str
    kind: str
    plane: int
    signal: float
    variance: float
    error: float
    fitted: float

    @property
    def lack_of_fit(self) -> float:
        """variance / fitted - 1."""
        return self.variance / self.fitted - 1 if self.fitted else float("nan")


@dataclass(frozen=True)
class PhotonTransfer:
    """variance = intercept + gain x (+ curvature x^2), each with a 95 % interval [fractions of white].

    sampling_error: standard error of the gain if the line were straight.
    lack_of_fit: tau, the relative std of levels about the line beyond their sampling error.
    freedom: levels less parameters.
    """

    intercept: Estimate
    gain: Estimate
    curvature: Estimate | None
    sampling_error: float
    lack_of_fit: float
    freedom: int
    levels: tuple[Level, ...]

    def check_gain(self) -> None:
        """Raise InputError unless the signals tell a gain from the read noise."""
        gain = self.gain.value
        if not np.isfinite(self.sampling_error):
            raise InputError(
                "one light level alone tells no gain from read noise: add brighter bursts or darks, or leave 'shot' "
                "out of the noiselist"
            )
        if self.sampling_error > WIDEST * abs(gain):
            raise InputError(
                f"the signals span too little to tell gain from read noise (gain {gain:.2e} "
                f"+- {self.sampling_error:.1e} of white): add darks, or bursts at other light levels"
            )
        if gain <= 0:
            raise InputError(
                f"variance does not grow with signal (slope {gain:.2e}): no shot noise to learn; add brighter "
                "bursts, or leave 'shot' out of the noiselist"
            )


def photon_transfer(
    moments: Sequence[BurstMoments], *, curved: bool = False, plane: int | Sequence[int] | None = None
) -> PhotonTransfer:
    """Fit variance = a + g x (+ c x^2) to the levels of all bursts (EMVA 1288, photon transfer).

    Weighted least squares with the levels' sampling errors e and a lack of fit tau in proportion to the light's share:
    weight 1 / (e^2 + (tau g x)^2), tau such that chi^2 equals its degrees of freedom (Paule and Mandel 1982). Levels
    of one burst share their lack of fit. Darks that differ among themselves have their errors widened (Birge 1932). The
    interval is Student's where tau > 0.

    Args:
        moments: of every burst.
        curved: with the second-order term.
        plane: of the levels, one or several; all if None.
    Raises: InputError if no burst has any temporal variance.
    """
    rows = [_columns(m, plane) for m in moments]
    x, v, e = (np.concatenate([row[i] for row in rows]) for i in range(3))
    group = np.concatenate([np.full(len(row[0]), i) for i, row in enumerate(rows)])
    if not len(v) or v.max() <= 0:
        raise InputError("the frames of every burst are identical: no temporal noise to learn; record single exposures")
    e = _birge(v, e, np.repeat([m.burst.kind == "dark" for m in moments], [len(row[0]) for row in rows]))
    several = any(m.burst.kind != "dark" for m in moments) and np.ptp(x) > 0
    order = 1 + several * (1 + curved)
    design = np.stack([x**k for k in range(order)], axis=1)
    relative = np.square(e / np.maximum(v, 1e-6 * v.max()))
    fit = _fit(design, v, relative * np.square(np.maximum(v, 1e-6 * v.max())))
    for _ in range(3):  # errors in proportion to the fitted variance: a level's own favours low ones
        fitted = np.maximum(design @ fit[0], 0.1 * np.maximum(v, 1e-6 * v.max()))
        fit = _fit(design, v, relative * np.square(fitted))
    sampling_error = float(fit[1][1, 1] ** 0.5) if several else np.inf
    light = np.square((design[:, 1:] @ fit[0][1:]) if several else 0 * v)
    sampling = relative * np.square(fitted)
    tau, freedom, clusters = _lack_of_fit(design, v, sampling, light, group)
    shared = _shared(tau, light, clusters)
    fit = _fit(design, v, sampling + shared)
    freedoms = [_freedom_of_intercept(design, sampling, shared, freedom), *[freedom if tau else np.inf] * (order - 1)]
    figures = [
        normal(value, error, estimator=text, freedom=nu)
        for value, error, nu, text in zip(fit[0], np.sqrt(np.diag(fit[1])), freedoms, _ESTIMATORS, strict=False)
    ]
    nothing = Estimate(0.0, 0.0, 0.0, estimator="no slope from one level")
    levels = _levels(moments, rows, design @ fit[0])
    return PhotonTransfer(
        figures[0],
        figures[1] if several else nothing,
        figures[2] if order == 3 else None,
        sampling_error,
        tau,
        freedom,
        levels,
    )


_ESTIMATORS = (
    "intercept of variance against signal, weighted least squares",
    "slope of variance against signal, weighted least squares",
    "second-order term of variance against signal, weighted least squares",
)


def _columns(m: BurstMoments, plane: int | Sequence[int] | None) -> tuple[Array, Array, Array, Array]:
    """Signal, variance, error and plane of a burst's levels."""
    kept = np.ones(len(m.levels.plane), bool) if plane is None else np.isin(m.levels.plane.numpy(), plane)
    x, v, e, p = (getattr(m.levels, name).numpy()[kept] for name in ("signal", "variance", "error", "plane"))
    return x, v, e, p


def _fit(design: Array, v: Array, square_errors: Array) -> tuple[Array, Array]:
    """Least squares with independent errors: coefficients and their covariance."""
    weight = 1 / np.sqrt(np.maximum(square_errors, 1e-300))
    scale = np.abs(design).max(axis=0).clip(1e-300)
    weighted = design * weight[:, None] / scale
    inverse = np.linalg.pinv(weighted.T @ weighted)
    return inverse @ (weighted.T @ (v * weight)) / scale, inverse / np.outer(scale, scale)


def _shared(tau: float, light: Array, clusters: Array) -> Array:
    """Variance to add to each of the n levels of a cluster that share a relative error tau: n tau^2 (g x)^2."""
    _, place, count = np.unique(clusters, return_inverse=True, return_counts=True)
    return np.asarray(count[place] * tau**2 * light)


def _freedom_of_intercept(design: Array, sampling: Array, shared: Array, freedom: int) -> float:
    """Degrees of freedom of the intercept's error, of which lack of fit makes a part V_shared, known by ``freedom``.

    nu = freedom (V / V_shared)^2 (Satterthwaite 1946): darks decide on the intercept, and the lamp hardly matters.
    """
    scaled = design / np.abs(design).max(axis=0).clip(1e-300)
    weighted = scaled / (sampling + shared).clip(1e-300)[:, None]
    rows = np.linalg.pinv(weighted.T @ scaled)[0] @ weighted.T  # the intercept is rows @ v
    part = float(np.square(rows) @ shared / (np.square(rows) @ (sampling + shared)))
    return freedom / max(part, 1e-4) ** 2


def _lack_of_fit(design: Array, v: Array, square_errors: Array, light: Array, group: Array) -> tuple[float, int, Array]:
    """tau, its degrees of freedom, and what shares it: lit bursts, or single levels where these are too few."""
    dark = light <= square_errors
    parameters = design.shape[1] - bool(dark.any())
    clusters = group if len(np.unique(group[~dark])) > parameters else np.arange(len(v))
    lit = np.unique(clusters[~dark])
    freedom = len(lit) - parameters
    if freedom < 1:
        return 0.0, 1, clusters

    def excess(log_tau: float) -> float:
        tau = np.exp(log_tau)
        coefficients, _ = _fit(design, v, square_errors + _shared(tau, light, clusters))
        chi = 0.0
        for index in lit:
            at = (clusters == index) & ~dark
            weight = np.sqrt(light[at]) / square_errors[at].clip(1e-300)
            precision = float(weight @ np.sqrt(light[at]))
            common = float(weight @ (v[at] - design[at] @ coefficients)) / precision
            chi += common**2 / (1 / precision + tau**2)
        return chi - freedom

    low, high = np.log(1e-6), np.log(3.0)
    if excess(low) <= 0:
        return 0.0, freedom, clusters
    tau = float(np.exp(optimize.brentq(excess, low, high, xtol=1e-4))) if excess(high) < 0 else 3.0
    return tau, freedom, clusters


def _birge(v: Array, error: Array, dark: Array) -> Array:
    """Errors of dark levels, times sqrt(chi^2 / (n - 1)) about their mean where that exceeds 1."""
    if dark.sum() < 2:
        return error
    weight = 1 / np.square(error[dark].clip(1e-300))
    chi = float((weight * np.square(v[dark] - np.average(v[dark], weights=weight))).sum())
    return np.where(dark, error * max(1.0, chi / (dark.sum() - 1)) ** 0.5, error)


def _levels(moments: Sequence[BurstMoments], rows: Sequence[tuple[Array, ...]], fitted: Array) -> tuple[Level, ...]:
    """One row per level, in the order of the bursts."""
    found, place = [], 0
    for m, (x, v, e, p) in zip(moments, rows, strict=True):
        for signal, variance, error, plane in zip(x, v, e, p, strict=True):
            found.append(
                Level(
                    m.burst.name, str(m.burst.kind), int(plane), *map(float, (signal, variance, error, fitted[place]))
                )
            )
            place += 1
    return tuple(found)
