"""A noise model for deepinv (the extra "deepinv"): `deepinv.physics.Denoising(CameraNoiseModel("runs/camera"))`."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.transforms import CameraNoise, Model, Value

try:
    from deepinv.physics import NoiseModel
except ModuleNotFoundError as error:
    raise InputError(
        f"deepinv cannot be imported ({error}); install it with: pip install -c constraints.txt 'noisemodel[deepinv]'"
    ) from error


@final
class CameraNoiseModel(NoiseModel):
    """y = x + noise of a camera, as deepinv's own noise models: of images (N, C, H, W) or clips (N, T, C, H, W).

    Args:
        model: a noise model, or the path of one.
        rng: where numbers come from, on the images' device; without it from torch's own generator.
        exact, iso, params, srgb, per_channel, origin, validate: as `noisemodel.transforms.CameraNoise`.
    """

    def __init__(
        self,
        model: Model,
        *,
        rng: torch.Generator | None = None,
        exact: bool = False,
        iso: float | None = None,
        params: Mapping[str, Value] | None = None,
        **options: Any,
    ) -> None:
        """Read or copy the model; it moves with ``.to(device)`` and appears in the state dict."""
        super().__init__(rng=rng)
        self.camera = CameraNoise(model, exact=exact, iso=iso, params=params, **options)
        self.generator = self.camera.model
        self.noise_model = self._noisy  # what deepinv calls when noise models are multiplied

    def forward(self, input: Tensor, seed: int | None = None, **_: Any) -> Tensor:
        """Noisy images; ``seed`` restarts ``rng``.

        Args:
            input: [fraction of white].
            seed: as in deepinv; it warns where there is no ``rng``.
        """
        self.rng_manual_seed(seed)
        return self._noisy(input)

    def _noisy(self, input: Tensor) -> Tensor:
        noisy: Tensor = self.camera(input, generator=self.rng)
        return noisy
