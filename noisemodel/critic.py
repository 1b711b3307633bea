"""The critic of the adversarial game: a score per patch, without a sigmoid (WGAN)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Critic(nn.Module):
    """score(x) = sqrt(pixels) linear(mean over pixels of features(x)): one number per patch.

    The root keeps the score's gradient of order one whatever the patch size, which is where the penalty wants it.

    Args:
        channels: channels of the view.
        width: channels of the first convolution.
        halvings: stride-2 convolutions, each doubling the width; 0 keeps full size (small patches).
        spectral: spectral norm on every convolution, as published.
    """

    def __init__(self, channels: int, *, width: int = 32, halvings: int = 1, spectral: bool = True) -> None:
        """Build the layers; patches of any size that survives the halvings."""
        super().__init__()
        norm = spectral_norm if spectral else (lambda layer: layer)
        layers: list[nn.Module] = [norm(nn.Conv2d(channels, width, 1)), nn.LeakyReLU(0.2)]
        layers += [norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        for _ in range(halvings):
            layers += [norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            width *= 2
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(width, 1)

    def forward(self, view: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B,)."""
        pixels = view.shape[-2] * view.shape[-1]
        return self.score(self.features(view).mean(dim=(-2, -1)) * pixels**0.5).squeeze(-1)
