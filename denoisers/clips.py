"""Windows of a clip for denoisers that look at several frames, read one frame after the other."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Frame = TypeVar("Frame")


def mirrored(place: int, count: int) -> int:
    """The frame that stands for number ``place`` of a clip of ``count``: both ends are mirrors, not repeated.

    -1, -2 are 1, 2; count, count + 1 are count - 2, count - 3.
    """
    period = max(2 * count - 2, 1)
    place %= period
    return min(place, period - place) if count > 1 else 0


def windows(frames: Iterable[Frame], count: int, width: int) -> Iterator[list[Frame]]:
    """For each of ``count`` frames the ``width`` frames around it, mirrored at the ends; keeps ``width`` in memory.

    Args:
        frames: exactly ``count``.
        count: of the clip.
        width: odd.
    """
    reach, source = width // 2, iter(frames)
    kept: dict[int, Frame] = {}
    read = 0
    for middle in range(count):
        while read < min(middle + reach + 1, count):
            kept[read] = next(source)
            read += 1
        yield [kept[mirrored(place, count)] for place in range(middle - reach, middle + reach + 1)]
        kept.pop(middle - reach, None)
