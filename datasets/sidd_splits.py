"""Which scene instances of SIDD are for training and which for testing."""

import re
from pathlib import Path

from noisemodel.errors import InputError

Ids = frozenset[int]
PARTS = ("train", "test")

# Noise Flow (Abdelhamed 2019, https://github.com/SamsungLabs/noise_flow, data/train_inst.csv and test_inst.csv).
NOISE_FLOW_TRAIN: Ids = frozenset({
    4, 11, 13, 22, 23, 25, 27, 28, 29, 30, 34, 35, 39, 40, 42, 43, 44, 45, 47, 81, 86, 88, 90, 101, 102, 104, 105, 110,
    111, 114, 115, 116, 117, 125, 126, 127, 129, 132, 134, 135, 136, 137, 138, 140, 175, 177, 178, 179, 180, 181, 184,
    185, 186, 188, 189, 190, 191, 192, 193, 194, 196, 197,
})  # fmt: skip
NOISE_FLOW_TEST: Ids = frozenset({
    54, 55, 57, 59, 60, 62, 63, 66, 150, 151, 152, 154, 155, 159, 160, 161, 163, 164, 165, 166, 198, 199,
})  # fmt: skip
# The instances that SIDD's validation and benchmark blocks were cut from (Abdelhamed 2018, the data set's site).
HELD_OUT: Ids = frozenset({
    9, 21, 24, 26, 31, 37, 41, 46, 49, 53, 56, 58, 61, 67, 71, 74, 79, 82, 85, 93, 95, 100, 103, 109, 112, 119, 124,
    128, 131, 141, 143, 148, 153, 158, 162, 171, 174, 176, 183, 187,
})  # fmt: skip

# Name -> (training ids, test ids); None stands for all others.
SPLITS: dict[str, tuple[Ids | None, Ids | None]] = {
    "noiseflow": (NOISE_FLOW_TRAIN, NOISE_FLOW_TEST),
    "holdout": (None, HELD_OUT),
}


def chosen(ids: set[int], split: str | Path | None, part: str | None) -> set[int]:
    """The ids that are in one part of a split.

    Args:
        ids: of the instances that are there.
        split: a row of `SPLITS`, a file of training ids (numbers, separated as you like; the rest is for testing),
            or None.
        part: "train", "test", or None for both.
    Raises: InputError for an unknown split or part, a part without a split, or a file without ids.
    """
    if part is not None and part not in PARTS:
        raise InputError(f"unknown part {part!r} of a split; known: {', '.join(PARTS)}")
    if split is None:
        if part is not None:
            raise InputError(f"part {part!r} needs a split: {', '.join(SPLITS)}, or a file of ids")
        return ids
    train, test = SPLITS[str(split)] if str(split) in SPLITS else (_read_ids(Path(split)), None)
    sides = {"train": _side(ids, train, test), "test": _side(ids, test, train)}
    return sides[part] if part else sides["train"] | sides["test"]


def _side(ids: set[int], own: Ids | None, other: Ids | None) -> set[int]:
    """Those of ``ids`` on one side; without a list of its own, those that are not on the other."""
    return ids - (other or frozenset()) if own is None else ids & own


def _read_ids(path: Path) -> Ids:
    """The numbers in a text file."""
    if not path.is_file():
        raise InputError(f"unknown split {str(path)!r}; known: {', '.join(SPLITS)}, or a file of instance ids")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; write it as 4, 11, 13") from error
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    strange = [word for word in words if not re.fullmatch(r"\d{1,4}", word)]
    if strange or not words:
        found = repr(strange[0]) if strange else "nothing"
        raise InputError(f"{path} must hold instance ids such as 4, 11, 13, got {found}")
    return frozenset(map(int, words))
