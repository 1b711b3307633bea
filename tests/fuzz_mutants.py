"""How a file is damaged: its bytes, the values in its JSON, and what stands in its place."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuzz_files import Subject

PARTS = 16
MAGICS = (
    b"PK\x03\x04",
    b"\x89HDF\r\n\x1a\n",
    b"II*\0\x08\0\0\0",
    b"\x93NUMPY\x01\0",
    b"\xff\xd8\xff\xe0",
    b"\x80\x02}q",
)
VALUES = (None, "x", "", -1, 0, 1e-300, 1e300, 10**9, 10**30, float("nan"), float("inf"), True, [], {}, [[]], "é\n\0")
ODD_NAMES = ("with spaces ", "名 é 雪 ", "q'uote\"s & ; $x ", "-dash ")


class Mutant(NamedTuple):
    """Something done to a file: a kind for the table, a name, and the doing."""

    kind: str
    name: str
    apply: Callable[[Path], object]


def mutants(subject: Subject, data: bytes, seed: int, flips: int) -> Iterator[Mutant]:
    """All that is tried on a valid file: what does not depend on ``seed`` only for seed 0."""
    if seed == 0:
        yield from truncated(data)
        yield from (Mutant("wrong content", name, apply) for name, apply in subject.wrong.items())
        yield from in_its_place()
        yield from replaced(data)
    yield from flipped(data, np.random.default_rng([seed, len(data)]), flips)
    if subject.text:
        yield from exchanged(data, np.random.default_rng([seed, 1]), flips)


def writing(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def truncated(data: bytes) -> Iterator[Mutant]:
    """The first k/16 of the file, and all but its last byte."""
    ends = sorted({len(data) * part // PARTS for part in range(PARTS)} | {len(data) - 1})
    yield from (Mutant("truncated", f"after {end} of {len(data)}", writing(data[:end])) for end in ends)


def replaced(data: bytes) -> Iterator[Mutant]:
    """Zero bytes, and the first bytes of another format."""
    yield Mutant("zero bytes", "all", writing(bytes(len(data))))
    half = len(data) // 2
    yield Mutant("zero bytes", "second half", writing(data[:half] + bytes(len(data) - half)))
    yield Mutant("zero bytes", "first 16", writing(bytes(16) + data[16:]))
    yield Mutant("zero bytes", "added", writing(data + bytes(1000)))
    for magic in MAGICS:
        yield Mutant("wrong magic", repr(magic), writing(magic + data[len(magic) :]))


def flipped(data: bytes, rng: np.random.Generator, count: int) -> Iterator[Mutant]:
    """Bytes changed: in the head, at the end (where zip and TIFF keep their lists) and anywhere; some to extremes."""
    regions = ((0, min(256, len(data))), (max(0, len(data) - 512), len(data)), (0, len(data)))
    for number in range(count):
        changed, low_high = bytearray(data), regions[number % len(regions)]
        width = int(rng.choice([1, 1, 1, 2, 4, 8]))
        for place in rng.integers(*low_high, size=int(rng.choice([1, 1, 2, 4]))).tolist():
            if width == 1:
                changed[place] ^= int(rng.integers(1, 256))
            else:
                value = int(rng.choice([0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1)])) if width < 8 else -1
                word = struct.pack("<q", value)[:width]
                changed[place : place + width] = word[: len(data) - place]
        yield Mutant("flipped bytes", f"number {number}", writing(bytes(changed)))


def exchanged(data: bytes, rng: np.random.Generator, count: int) -> Iterator[Mutant]:
    """One value somewhere in the file's JSON is another one, or is left out; in a safetensors file, in its header."""
    start = 0 if data[:1] == b"{" else 8 + struct.unpack("<Q", data[:8])[0]
    held = json.loads(data if start == 0 else data[8:start])
    places = list(_places(held))
    for _ in range(count):
        place, value = places[int(rng.integers(len(places)))], VALUES[int(rng.integers(len(VALUES)))]
        leave_out = rng.random() < 0.2
        text = json.dumps(_with(held, place, value, leave_out)).encode()
        content = text if start == 0 else struct.pack("<Q", len(text)) + text + data[start:]
        yield Mutant("exchanged value", f"{'/'.join(map(str, place))} = {value!r}", writing(content))


def _places(held: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in nested JSON; text that is JSON itself (the config of a checkpoint) is gone into."""
    if above:
        yield above
    if isinstance(held, str) and held[:1] == "{":
        held = json.loads(held)
    items = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
    for key, value in items:
        yield from _places(value, (*above, key))


def _with(held: Any, place: tuple[Any, ...], value: Any, leave_out: bool) -> Any:
    """A copy of nested JSON with one value changed."""
    if not place:
        return value
    if isinstance(held, str):
        return json.dumps(_with(json.loads(held), place, value, leave_out))
    first, rest = place[0], place[1:]
    copy: Any = dict(held) if isinstance(held, dict) else list(held)
    if not rest and leave_out:
        del copy[first]
    else:
        copy[first] = _with(held[first], rest, value, leave_out)
    return copy


def in_its_place() -> Iterator[Mutant]:
    """Not a file that can be read (by a process that heeds permissions, see `fuzz_privileges`)."""

    def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
        def apply(path: Path) -> None:
            path.unlink()
            make(path)

        return apply

    yield Mutant("no file", "missing", Path.unlink)
    yield Mutant("no file", "a folder", instead(Path.mkdir))
    yield Mutant("no file", "a link to itself", instead(lambda path: path.symlink_to(path.name)))
    yield Mutant("no file", "a link to nothing", instead(lambda path: path.symlink_to("nowhere")))
    yield Mutant("no file", "a pipe", instead(os.mkfifo))
    yield Mutant("no file", "no permission", lambda path: path.chmod(0))
