"""Facts stored beside the frames: black_level, white_level [DN], cfa and layout."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisemodel.errors import InputError

FACTS = ("black_level", "white_level", "cfa", "layout")
LEVELS_FILE = "levels.json"


def checked_facts(found: Mapping[str, Any], path: Path) -> dict[str, float | str]:
    """Bring stored facts to floats and strings; names other than `FACTS` are left out.

    Args:
        found: name -> scalar, array of one element, str or bytes.
        path: where they were found, for messages.
    Raises: InputError if a level is not one finite number, or cfa or layout is not text.
    """
    facts: dict[str, float | str] = {}
    for name in FACTS:
        if name in found:
            facts[name] = _level(found[name], name, path) if name.endswith("level") else _text(found[name], name, path)
    return facts


def facts_beside(folder: Path) -> dict[str, float | str]:
    """What ``levels.json`` in ``folder`` says; {} where there is none.

    Raises: InputError if it is not a JSON object with names from `FACTS`.
    """
    path = folder / LEVELS_FILE
    if not path.is_file():
        return {}
    example = '{"black_level": 64, "white_level": 4095}'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}; write it as {example}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object such as {example}, got {type(found).__name__}")
    unknown = sorted(set(found) - set(FACTS))
    if unknown:
        raise InputError(f"{path} has unknown entries {', '.join(unknown)}; known: {', '.join(FACTS)}")
    return checked_facts({name: value for name, value in found.items() if value is not None}, path)


def _level(value: Any, name: str, path: Path) -> float:
    """One finite number."""
    try:
        level = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        level = np.array([])
    if level.size != 1 or isinstance(value, str | bytes | bool) or not math.isfinite(level.item()):
        raise InputError(f"{name} in {path} must be one finite number [DN], got {_shortened(value)}")
    return float(level.item())


def _text(value: Any, name: str, path: Path) -> str:
    """A text, also as MATLAB 7.3 stores it: an array of UTF-16 codes."""
    array = np.asarray(value)
    if array.dtype.kind == "u" and array.size:
        return "".join(map(chr, array.ravel()))
    single = array.item() if array.size == 1 else value
    if isinstance(single, bytes):
        single = single.decode(errors="replace")
    if not isinstance(single, str):
        raise InputError(f"{name} in {path} must be text, got {_shortened(value)}")
    return single


def _shortened(value: Any) -> str:
    """A value on one line of at most 40 characters."""
    return " ".join(repr(value).split())[:40]
