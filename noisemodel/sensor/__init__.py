"""Facts about a camera, no randomness: levels, mosaic packing, raw files, rendering for the eye."""

from noisemodel.sensor.levels import Levels
from noisemodel.sensor.mosaic import Crop, Origin, pack_mosaic, unpack_mosaic

__all__ = ["Crop", "Levels", "Origin", "pack_mosaic", "unpack_mosaic"]
