"""Physics-informed camera noise: learn it, measure it, synthesise it."""

import os

# Threads of torch on the CPU wait for each other by spinning, which slows training 20 to 100 times where another
# program has one of the cores. GNU's OpenMP reads this when torch is imported: programs import noisemodel first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"

from noisemodel.checkpoint import load, read_provenance, save
from noisemodel.components import Parameter
from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.physical import Measurement, PhysicalNoise
from noisemodel.sensor import Levels, pack_mosaic, unpack_mosaic
from noisemodel.streams import stream

__all__ = [
    "InputError", "Levels", "Measurement", "NoiseGenerator", "Parameter", "PhysicalNoise", "load", "pack_mosaic",
    "read_provenance", "save",
    "stream", "unpack_mosaic",
]  # fmt: skip
