"""The process that decodes raw files. It runs as a script and imports neither torch nor this package.

It reads one path a line (JSON) and answers with one line of JSON, followed by the pixels (little-endian uint16) where
there are any. A decoder that crashes on a damaged file takes only this process with it.
"""

import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np
import rawpy


def decode(path: str) -> tuple[dict[str, Any], np.ndarray[Any, Any] | None]:
    """What LibRaw says of a file, and its active area (H, W) [DN]; no pixels where it is not one mosaic."""
    with rawpy.imread(path) as raw:
        pattern = raw.raw_pattern
        facts = {
            "kind": raw.raw_type.name.lower(),
            "pattern": None if pattern is None else pattern.tolist(),
            "colours": raw.color_desc.decode("ascii", "replace"),
            "black": [float(level) for level in raw.black_level_per_channel],
            "white": float(raw.white_level),
            "white_balance": [float(gain) for gain in raw.camera_whitebalance],
            "camera_to_srgb": np.asarray(raw.color_matrix, np.float64)[:3, :3].tolist(),
            "xyz_to_camera": np.asarray(raw.rgb_xyz_matrix, np.float64)[:3, :3].tolist(),
            "margins": [int(raw.sizes.top_margin), int(raw.sizes.left_margin)],
            "iso": float(raw.other.iso_speed),
        }
        if facts["kind"] != "flat" or pattern is None or pattern.shape != (2, 2):
            return facts, None
        return facts, np.ascontiguousarray(raw.raw_image_visible, dtype="<u2")


def answer(path: str, answers: BinaryIO) -> None:
    """Decode one file and write the answer."""
    pixels = None
    try:
        facts, pixels = decode(path)
        facts["shape"] = None if pixels is None else list(pixels.shape)
    except Exception as error:  # whatever is wrong with one file must not end a batch
        said = error.args[0] if error.args else ""
        facts = {
            "error": said.decode(errors="replace") if isinstance(said, bytes) else f"{said or type(error).__name__}"
        }
    answers.write(json.dumps(facts).encode() + b"\n")
    if pixels is not None:
        answers.write(pixels.data)
    answers.flush()


def main() -> None:
    """Answer until the input ends. What LibRaw prints goes to stderr, away from the answers."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            answer(json.loads(line), answers)


if __name__ == "__main__":
    main()
