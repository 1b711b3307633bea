"""Pseudo supervision: from noisy images alone to an input, a noise level and what the input should become."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from denoisers.ntgan_camera import CameraLaw, Draws, camera_noise, draw_cameras, level_map
from denoisers.ntgan_levels import BLOCK, NoiseLevels, measure_levels, measured_noise
from noisemodel.errors import InputError

Pairing = Literal["literal", "transfer"]
InputNoise = Literal["measured", "drawn"]


@dataclass(frozen=True)
class PairLaw:
    """How pairs are made.

    Args:
        camera: where noise comes from.
        pairing: "transfer": input y + n_in, target y + n_z. "literal", as published: input y, target y + n_z.
        zero_share: share of pairs with n_z = 0: the ones that teach denoising.
        input_noise: law of n_in. "measured": ``ratio`` times the picture's own noise, see `measure_levels`; "drawn":
            the camera's law as it is.
        ratio: a.
        spread: the ratio is a U(1 - spread, 1 + spread) per image.
    Raises: InputError for what is no law.
    """

    camera: CameraLaw
    pairing: Pairing = "transfer"
    zero_share: float = 0.5
    input_noise: InputNoise = "measured"
    ratio: float = 1.0
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for value, known in ((self.pairing, Pairing), (self.input_noise, InputNoise)):
            if value not in get_args(known):
                raise InputError(f"unknown {value!r}; known: {', '.join(get_args(known))}")
        if not 0 < self.zero_share <= 1:
            raise InputError(f"zero_share must be above 0 and at most 1, got {self.zero_share}; give 0.3 to 0.5")
        if not (self.ratio > 0 and 0 <= self.spread <= 1):
            raise InputError(
                f"the ratio must be above 0 and its spread from 0 to 1, got {self.ratio} and {self.spread}; give others"
            )


class TransferBatch(NamedTuple):
    """What a step trains on: input and target (N, 3, H, W), level map M of the target, zero (N,) where M = 0."""

    input: Tensor
    target: Tensor
    level_map: Tensor
    zero: Tensor


def input_noise(base: Tensor, levels: NoiseLevels | None, law: PairLaw, ratio: float, draws: Draws) -> Tensor:
    """n_in on ``base``, (N, 3, H, W): the camera's without levels; else ``ratio`` times these, spread over images."""
    if levels is None:
        return camera_noise(base, draw_cameras(law.camera, draws), law.camera.curves, draws, centred=True)
    each = ratio * (1 + law.spread * (2 * draws.uniform(1, 1, 1) - 1))
    return each * measured_noise(base, levels, draws)


def make_pairs(
    images: Tensor,
    law: PairLaw,
    draws: Draws,
    *,
    levels: NoiseLevels | None = None,
    pseudo_clean: Tensor | None = None,
) -> TransferBatch:
    """Pairs from noisy images y.

    Where ``pseudo_clean`` c is given, the input is c + n_in, n_in as strong as y's own noise (a = 1), since that is
    what the network will be used on, and the target c + n_z.

    Args:
        images: y, (N, 3, H, W) in [0, 1].
        law: see `PairLaw`.
        draws: of as many rows.
        levels: of the pictures that the images were cut from; None measures the images themselves.
        pseudo_clean: an estimate of the clean images, of the same shape, or None.
    """
    base = images if pseudo_clean is None else pseudo_clean.clamp(0, 1)
    zero = draws.uniform() < law.zero_share
    noisy = base
    if law.pairing == "transfer":
        if law.input_noise == "drawn":
            levels = None
        elif levels is None:
            levels = measure_levels(images)
        ratio = law.ratio if pseudo_clean is None else 1.0
        noisy = (base + input_noise(base, levels, law, ratio, draws)).clamp(0, 1)
    cameras = draw_cameras(law.camera, draws)
    n_z = camera_noise(base, cameras, law.camera.curves, draws)
    found = level_map(base, cameras, law.camera.curves)
    keep = (~zero).view(-1, 1, 1, 1).to(images.dtype)
    return TransferBatch(noisy, base + keep * n_z, keep * found, zero)


def check_images(images: Tensor) -> Tensor:
    """``images`` as they are; InputError unless they are RGB and finite."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"NTGAN is trained on RGB images (N, 3, H, W), got {tuple(images.shape)}; give such")
    if min(images.shape[-2:]) < BLOCK:
        raise InputError(f"NTGAN needs pictures of at least {BLOCK} px, got {tuple(images.shape)}; leave them out")
    if not bool(torch.isfinite(images).all()):
        raise InputError("training images hold NaN or infinite values; leave these files out")
    return images
