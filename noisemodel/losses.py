"""Losses of the adversarial game (WGAN-GP), and the optional perceptual one."""

import torch
from torch import Tensor, nn

from noisemodel.errors import InputError

GENERATOR_LOSSES = ("none", "lpips")


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E (|grad D(e real + (1 - e) fake)| - 1)^2, e = ``mix`` ~ U(0, 1) per patch (Gulrajani 2017, eq. 3)."""
    between = torch.lerp(fake, real, mix).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def perceptual_loss() -> nn.Module:
    """LPIPS (Zhang 2018) with the weights of the ``lpips`` package.

    Raises: InputError if the package cannot be imported, or its backbone's weights are not on this machine (nothing is
        downloaded).
    """
    try:
        from lpips import LPIPS  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--generator_loss lpips needs the lpips package beside a matching torchvision ({reason}); "
            "pip install -c constraints.txt 'noisemodel[lpips]', or use --generator_loss none"
        ) from error
    try:
        with _no_download():
            return LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"--generator_loss lpips needs AlexNet's weights in {torch.hub.get_dir()}/checkpoints: {error}"
        ) from error


class _no_download:
    """While active, torch.hub refuses to download: weights must already lie in its cache."""

    def __enter__(self) -> None:
        """Put a refusal in place of the download."""
        self.original = torch.hub.download_url_to_file

        def refuse(url: str, *_: object, **__: object) -> None:
            raise OSError(f"not downloading {url}")

        torch.hub.download_url_to_file = refuse

    def __exit__(self, *_: object) -> None:
        """Put the download back."""
        torch.hub.download_url_to_file = self.original


def perceptual_distance(model: nn.Module, noisy: Tensor, real: Tensor) -> Tensor:
    """Mean LPIPS of (B, C, h, w) in fractions of white; planes go through as grey pictures of at least 64 px."""
    pictures = [
        nn.functional.interpolate(
            x.clamp(0, 1).flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1) * 2 - 1, size=max(64, *x.shape[-2:])
        )
        for x in (noisy, real)
    ]
    return model(*pictures).mean()
