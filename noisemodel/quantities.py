"""Physical figures with units: fractions of the white level, DN and electrons."""

import re
from collections.abc import Iterable

from noisemodel.components import Parameter
from noisemodel.errors import InputError
from noisemodel.sensor import Levels

FIX_FORM = re.compile(r"^(?P<name>[a-z0-9]+\.[a-z0-9]+)=(?P<value>[-+0-9.eE]*?[0-9.])(?P<unit>DN/e-|DN|e-|)$")


def parse_assignment(text: str) -> tuple[str, float, str]:
    """Split ``NAME=VALUE[UNIT]``, e.g. ``shot.gain=0.42DN``, ``read.std=2.1e-``, ``row1.std=1e-4``.

    Returns: name, value and unit: "DN", "e-" or "" (the parameter's own unit). ``2.1e-`` is 2.1 electrons.
    Raises: InputError if the text has another form.
    """
    match = FIX_FORM.match(text)
    try:
        if match is None:
            raise ValueError
        return match["name"], float(match["value"]), match["unit"].removesuffix("/e-")
    except ValueError:
        form = "NAME=VALUE with DN, e- or no unit, e.g. shot.gain=0.42DN"
        raise InputError(f"cannot read {text!r}; write {form}") from None


def scale_of(name: str, native_unit: str, unit: str, levels: Levels | None, gain: float | None) -> float:
    """How many native units one ``unit`` ("DN", "e-" or "") of parameter ``name`` is.

    Args:
        name: e.g. "shot.gain", for errors.
        native_unit: the parameter's own: "white", "white/e-", "1" or "cycles/px".
        levels: needed for DN.
        gain: white fraction per electron, needed for e-.
    Raises: InputError where the parameter has no such unit, or what the conversion needs is missing.
    """
    if not unit:
        return 1.0
    if native_unit not in ("white", "white/e-") or (native_unit == "white/e-" and unit == "e-"):
        raise InputError(f"{name} has unit {native_unit!r} and cannot be given in {unit}")
    if unit == "DN":
        if levels is None:
            raise InputError(f"{name} in DN needs the black and white level")
        return levels.adc_step
    if gain is None:
        raise InputError(f"{name} in electrons needs 'shot' in the noiselist (its gain)")
    return gain


def in_unit(parameter: Parameter, unit: str, levels: Levels | None, gain: float | None) -> float | None:
    """The parameter's value in DN (DN/e- for the gain) or electrons; None where it has none (or the gain is 0)."""
    try:
        return parameter.value / scale_of(parameter.name, parameter.unit, unit, levels, gain)
    except (InputError, ZeroDivisionError):
        return None


def describe(parameters: Iterable[Parameter], levels: Levels | None) -> str:
    """Parameters in DN and electrons on one line, e.g. ``shot.gain 0.42 DN/e-, read.std 0.83 DN (1.98 e-)``."""
    parameters = list(parameters)
    gain = next((p.value for p in parameters if p.name == "shot.gain"), None)
    words = []
    for parameter in parameters:
        dn, electrons = (in_unit(parameter, unit, levels, gain) for unit in ("DN", "e-"))
        if dn is None:
            words.append(f"{parameter.name} {parameter.value:.3g} {parameter.unit}")
        elif parameter.unit == "white/e-":
            words.append(f"{parameter.name} {dn:.4g} DN/e-")
        else:
            words.append(f"{parameter.name} {dn:.3g} DN" + (f" ({electrons:.3g} e-)" if electrons else ""))
    return ", ".join(words)
