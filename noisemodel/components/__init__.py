"""One physical cause per class, registered by its noiselist word."""

import difflib

from noisemodel.components.base import NoiseComponent, Parameter, Params, as_burst, safe_sqrt
from noisemodel.components.lines import Col1, ColT, Row1, RowT
from noisemodel.components.pattern import FixedPattern, LearnedFixedPattern, Periodic, PhotoResponse
from noisemodel.components.read_map import ReadMap
from noisemodel.components.row_spectrum import RowParity, RowSpectrum
from noisemodel.components.second_order import Excess, RowGain
from noisemodel.components.white import Read, Shot, TukeyLambdaRead, Uniform
from noisemodel.errors import InputError

COMPONENTS: dict[str, type[NoiseComponent]] = {
    component.name: component
    for component in (
        Shot, Excess, Read, ReadMap, TukeyLambdaRead, Uniform, Row1, RowT, RowSpectrum, RowParity, RowGain, Col1, ColT,
        FixedPattern, LearnedFixedPattern, PhotoResponse, Periodic,
    )
}  # fmt: skip
CONTRADICTIONS = (("fixed1", "learnedfixed"), ("read", "readmap"))


def parse_noiselist(noiselist: str) -> tuple[str, ...]:
    """Split ``shot_read_row1`` into its words.

    Raises: InputError for an empty list, or an unknown, doubled or contradictory word; it names the known ones.
    """
    known = ", ".join(COMPONENTS)
    words = tuple(noiselist.split("_"))
    if not noiselist:
        raise InputError(f"the noiselist is empty; join words with '_': {known}")
    for word in words:
        if word not in COMPONENTS:
            close = difflib.get_close_matches(word, COMPONENTS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(f"unknown word {word!r} in noiselist {noiselist!r}{hint}; known: {known}")
        if words.count(word) > 1:
            raise InputError(f"word {word!r} stands twice in noiselist {noiselist!r}; known: {known}")
    for pair in CONTRADICTIONS:
        if set(pair) <= set(words):
            raise InputError(f"{pair[0]!r} and {pair[1]!r} contradict each other in {noiselist!r}; known: {known}")
    return words


__all__ = [
    "COMPONENTS", "NoiseComponent", "Parameter", "Params", "as_burst", "parse_noiselist",
    "safe_sqrt", "Shot", "Excess", "Read", "ReadMap", "TukeyLambdaRead", "Uniform", "Row1", "RowT", "RowSpectrum",
    "RowParity", "RowGain", "Col1", "ColT", "FixedPattern", "LearnedFixedPattern", "PhotoResponse", "Periodic",
]  # fmt: skip
