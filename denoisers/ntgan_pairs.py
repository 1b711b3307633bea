"""Pseudo supervision: from noisy images alone to an input, a noise level and what the input should become."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from denoisers.ntgan_camera import CameraLaw, Draws, camera_noise, draw_cameras, level_map
from noisemodel.errors import InputError

Pairing = Literal["literal", "transfer"]
InputNoise = Literal["matched", "usual", "drawn"]
# Of |N(0, 1)| below its median: 2 (pdf(0) - pdf(0.6745)) / 0.5.
MEAN_BELOW_MEDIAN = 0.324661
LEAST_STD = 1e-5  # of simulated noise, before it is brought to an image's level [fraction of white]
BOXES = (1, 2, 4)  # over which noise is averaged to see how coarse it is [px]
SWEEPS = 20
USUAL = 0.15  # quantile of the levels of a set of images that bounds them


@dataclass(frozen=True)
class PairLaw:
    """How pairs are made.

    Args:
        camera: where noise comes from.
        pairing: "transfer": input y + n_in, target y + n_z. "literal", as published: input y, target y + n_z.
        zero_share: share of pairs with n_z = 0: the ones that teach denoising.
        input_noise: law of n_in's level. "matched": ``ratio`` times the image's own noise, per channel and coarseness,
            see `matched_noise`; "usual": the same with the set's level for every image (``largest``); "drawn": the
            camera's law as it is.
        ratio: a.
        spread: the ratio is a U(1 - spread, 1 + spread) per image.
        largest: (3, 1, 3, 1, 1) bound on an image's own levels, see `usual_levels`; None: no bound.
    Raises: InputError for what is no law.
    """

    camera: CameraLaw
    pairing: Pairing = "transfer"
    zero_share: float = 0.5
    input_noise: InputNoise = "matched"
    ratio: float = 1.0
    spread: float = 0.0
    largest: Tensor | None = None

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


def noise_std(images: Tensor) -> Tensor:
    """std = mean of the smaller half of |a - b - c + d| / 2 over all 2x2 neighbours / 0.3247, per image and channel.

    The diagonal Haar coefficients hold the noise and little of the picture (Donoho 1994 takes their median; the mean
    below it is not stuck at the steps of 8-bit values). Noise that is correlated over pixels is underestimated.

    Args:
        images: (N, C, H, W), H, W >= 2.
    Returns: (N, C, 1, 1), in the images' unit.
    """
    top, bottom = images[..., :-1, :], images[..., 1:, :]
    cross = (top[..., :-1] - top[..., 1:] - bottom[..., :-1] + bottom[..., 1:]).abs().flatten(2) / 2
    half = cross.shape[-1] // 2 + 1
    smaller = cross.topk(half, dim=-1, largest=False, sorted=False).values
    return (smaller.mean(dim=-1) / MEAN_BELOW_MEDIAN)[..., None, None]


def noise_levels(images: Tensor) -> Tensor:
    """`noise_std` of the images averaged over boxes of 1, 2 and 4 pixels: a rough spectrum.

    Args:
        images: (N, C, H, W), H, W >= 8.
    Returns: (3, N, C, 1, 1).
    """
    return torch.stack([noise_std(functional.avg_pool2d(images, box)) for box in BOXES])


def usual_levels(images: Tensor, share: float = USUAL) -> Tensor:
    """Quantile over images of `noise_levels`: what noise alone is, where most images hold texture too.

    A textured image's levels are those of its texture. Noise that strong, in a few images, would rule the training: on
    photographs matched noise has twice the true noise's rms without this bound.

    Args:
        images: (N, C, H, W), many.
        share: of the images that the levels exceed.
    Returns: (3, 1, C, 1, 1).
    """
    return noise_levels(images).quantile(share, dim=1, keepdim=True)


def matched_noise(images: Tensor, wanted: Tensor, law: CameraLaw, draws: Draws) -> Tensor:
    """Camera noise with the levels ``wanted`` by `noise_levels`, where noise can have them.

    Real pictures have been demosaicked, denoised and compressed: most of their noise is coarser than a pixel. The
    noise is a sum over boxes of that of the camera on the averaged picture, enlarged bilinearly.

    Args:
        images: what the noise depends on, (N, 3, H, W).
        wanted: (3, N, 3, 1, 1) std at each of `BOXES`.
        law: the camera's; its absolute levels do not matter, only how noise depends on light and channel.
    """
    cameras = draw_cameras(law, draws)
    parts, leaks = [], []
    for row, box in enumerate(BOXES):
        noise = camera_noise(functional.avg_pool2d(images, box), cameras, law.curves, draws, centred=True)
        if box > 1:
            noise = functional.interpolate(noise, size=images.shape[-2:], mode="bilinear")
        levels = noise_levels(noise)
        unit = levels[row].clamp(min=LEAST_STD)
        parts.append(noise / unit)
        leaks.append((levels / unit).square())
    power = share_out(wanted.square(), torch.stack(leaks, dim=1))
    return torch.stack([std * part for std, part in zip(power.sqrt(), parts, strict=True)]).sum(dim=0)


def share_out(wanted: Tensor, leaks: Tensor) -> Tensor:
    """p >= 0 with sum_t leaks[s, t] p[t] = wanted[s], or nearly: projected Gauss-Seidel; leaks[s, s] = 1.

    Args:
        wanted: (S, ...).
        leaks: (S, S, ...).
    Returns: (S, ...).
    """
    power = torch.zeros_like(wanted)
    for _ in range(SWEEPS):
        for row in range(len(wanted)):
            others = (leaks[row] * power).sum(dim=0) - leaks[row, row] * power[row]
            power[row] = (wanted[row] - others).clamp(min=0)
    return power


def own_levels(images: Tensor, law: PairLaw) -> Tensor:
    """(3, N, 3, 1, 1): what n_in's levels go by: the images' own up to the bound, or the set's."""
    found = noise_levels(images)
    if law.largest is None:
        return found
    return law.largest.expand_as(found) if law.input_noise == "usual" else found.minimum(law.largest)


def input_noise(images: Tensor, own: Tensor, law: PairLaw, ratio: float, draws: Draws) -> Tensor:
    """n_in by the law, (N, 3, H, W): ``ratio``, spread over images, times the levels ``own``; or as the camera says."""
    if law.input_noise == "drawn":
        return camera_noise(images, draw_cameras(law.camera, draws), law.camera.curves, draws)
    each = ratio * (1 + law.spread * (2 * draws.uniform(1, 1, 1) - 1))
    return matched_noise(images, each * own, law.camera, draws)


def make_pairs(images: Tensor, law: PairLaw, draws: Draws, *, pseudo_clean: Tensor | None = None) -> TransferBatch:
    """Pairs from noisy images y.

    Where ``pseudo_clean`` c is given, the input is c + n_in, n_in as strong as y's own noise (a = 1), since that is
    what the network will be used on, and the target c + n_z.

    Args:
        images: y, (N, 3, H, W) in [0, 1].
        law: see `PairLaw`.
        draws: of as many rows.
        pseudo_clean: an estimate of the clean images, of the same shape, or None.
    """
    base = images if pseudo_clean is None else pseudo_clean.clamp(0, 1)
    zero = draws.uniform() < law.zero_share
    noisy = base
    if law.pairing == "transfer":
        ratio = law.ratio if pseudo_clean is None else 1.0
        noisy = (base + input_noise(base, own_levels(images, law), law, ratio, draws)).clamp(0, 1)
    cameras = draw_cameras(law.camera, draws)
    n_z = camera_noise(base, cameras, law.camera.curves, draws)
    levels = level_map(base, cameras, law.camera.curves)
    keep = (~zero).view(-1, 1, 1, 1).to(images.dtype)
    return TransferBatch(noisy, base + keep * n_z, keep * levels, zero)


def check_images(images: Tensor) -> Tensor:
    """``images`` as they are; InputError unless they are RGB and finite."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"NTGAN is trained on RGB images (N, 3, H, W), got {tuple(images.shape)}; give such")
    if min(images.shape[-2:]) < 2 * BOXES[-1]:
        raise InputError(f"NTGAN needs patches of at least {2 * BOXES[-1]} px, got {tuple(images.shape)}; crop less")
    if not bool(torch.isfinite(images).all()):
        raise InputError("training images hold NaN or infinite values; leave these files out")
    return images
