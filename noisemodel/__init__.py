"""Physics-informed camera noise: learn it, measure it, synthesise it."""

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
