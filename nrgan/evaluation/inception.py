"""Inception's features by torch-fidelity (an optional extra): only distances between these are called FID."""

import pickle
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisemodel.errors import InputError
from nrgan.evaluation.features import Extractor

MODULE = "torch_fidelity.feature_extractor_inceptionv3"
LAYER = "2048"
TENSOR = "Mixed_7c.branch1x1.conv.weight"  # one that every file of these weights has
DECLARED: list[torch.library.Library] = []  # a library's operators go when it does
INSTALL = "pip install '.[fid]' -c constraints.txt"


def inception_extractor(weights: Path, *, device: torch.device | str = "cpu") -> Extractor:
    """The 2048 features before the last layer of Inception v3 in its TensorFlow form (Heusel 2017, Obukhov 2020).

    Args:
        weights: torch-fidelity's file, e.g. pt_inception-2015-12-05-6726825d.pth.
        device: where it runs.
    Raises: InputError where torch-fidelity is not installed, or the file holds something else.
    """
    _check_weights(weights)
    try:
        built: Any = _torch_fidelity().FeatureExtractorInceptionV3(
            "inception-v3-compat", [LAYER], feature_extractor_weights_path=str(weights)
        )
    except ImportError as error:
        raise InputError(f"--inception needs torch-fidelity ({error}): {INSTALL}") from error
    except (RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"--inception {weights}: torch-fidelity does not take it ({reason}); {INSTALL}") from error
    network = built.to(device).eval().requires_grad_(False)

    def of(images: Tensor) -> Tensor:
        levels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
        features: Tensor = network(_coloured(levels))[0]
        return features

    return Extractor("fid", f"Inception v3, {LAYER} features, images rounded to 8 bit ({weights.name})", of)


def _torch_fidelity() -> Any:
    """The module of the extractor, also where torchvision's compiled operators do not fit the torch that is there.

    It asks for two of them when it is imported, and its Inception needs none: they are declared, without a body.
    """
    try:
        return import_module(MODULE)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    DECLARED.append(torch.library.Library("torchvision", "FRAGMENT"))
    for name in ("nms", "qnms"):
        DECLARED[-1].define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return import_module(MODULE)


def _check_weights(file: Path) -> None:
    """Raise InputError unless the file holds Inception's tensors; nothing in it is run."""
    if not file.is_file():
        raise InputError(f"--inception {file}: no such file; give torch-fidelity's weights (pt_inception-2015-12-05)")
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"--inception {file} holds no weights ({type(error).__name__}); fetch it again") from error
    if not isinstance(tensors, dict) or TENSOR not in tensors:
        raise InputError(f"--inception {file} holds other weights than torch-fidelity's Inception; fetch these")


def _coloured(images: Tensor) -> Tensor:
    """Grey as three equal channels; raises InputError for four and more."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"--inception takes grey or RGB images, got {images.shape[1]} planes; leave it out")
    return images.expand(-1, 3, -1, -1)
