"""NTGAN for train_denoiser.py: noisy pictures, as they are or made once, and its training as the others' look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from denoisers.ntgan_levels import BLOCK, NoiseLevels, PictureLevels
from denoisers.ntgan_networks import SMALLEST_PATCH
from denoisers.ntgan_training import NtganTraining
from denoisers.pairs import Pair
from denoisers.picture_pairs import Corrupting, as_fractions, crops
from denoisers.trained import DenoiserSettings
from noisemodel.errors import InputError
from noisemodel.streams import stream

if TYPE_CHECKING:
    from train_denoiser_options import DenoiserOptions


class MadeNoisy(Sequence[Tensor]):
    """Pictures with one fixed noisy realisation each, clipped to [0, 1] as cameras store them.

    Args:
        clean: (C, H, W) each.
        noise: what corrupts them, at its typical level.
        seed: of the realisations.
    """

    def __init__(self, clean: Sequence[Tensor], noise: Corrupting, seed: int) -> None:
        """Corrupt every picture."""
        self.images: list[Tensor] = []
        for number, image in enumerate(clean):
            draws = stream(seed, "noisy picture", number)
            noisy = noise.draw(as_fractions(image)[None], generator=draws, level=noise.typical).noisy
            self.images.append(noisy[0].clamp(0, 1))

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        """(C, H, W)."""
        return self.images[index]


def build_ntgan_run(
    options: "DenoiserOptions",
    pictures: Sequence[Tensor],
    validation: Sequence[Pair],
    noise: Corrupting | None,
    width: int,
) -> NtganTraining:
    """Networks and training.

    Args:
        options: of the run.
        pictures: to train on.
        validation: noisy images with clean ones; may be empty.
        noise: makes ``pictures`` noisy, once; None where they are noisy already.
        width: of the generator.
    Raises: InputError for crops that are too small for the critic, or for noise to be measured.
    """
    if options.crop_size < (least := SMALLEST_PATCH if options.gan_weight else BLOCK):
        raise InputError(f"--method ntgan needs a --crop_size of at least {least}, got {options.crop_size}")
    seen = pictures if noise is None else MadeNoisy(pictures, noise, options.seed)

    measured = PictureLevels(seen)

    def chosen(step: int) -> tuple[list[int], torch.Generator]:
        """Numbers of the global batch's pictures, and the stream that their crops are drawn from."""
        draws = stream(options.seed, "crops", step)
        return torch.randint(len(seen), (options.batch_size,), generator=draws).tolist(), draws

    def images(step: int, rows: slice) -> Tensor:
        """The global batch's ``rows`` of random crops, (N, 3, H, W)."""
        numbers, draws = chosen(step)
        return crops([seen[i] for i in numbers], options.crop_size, generator=draws)[0][rows]

    def levels(step: int, rows: slice) -> NoiseLevels:
        """How noisy their pictures are."""
        return measured(chosen(step)[0][rows])

    settings = DenoiserSettings("ntgan", "ntgan", 3, "srgb", width=width)
    return NtganTraining(settings, images, options, options, validation, levels)
