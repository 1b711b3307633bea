"""The critic of the adversarial game: scores without a sigmoid (WGAN), one head per look."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Head(nn.Module):
    """score(x) = sqrt(pixels) linear(mean over pixels of features(x)): one number per patch.

    The root keeps the score's gradient of order one whatever the patch size, which is where the penalty wants it.

    Args:
        channels: channels of the look.
        width: channels of the first convolution.
        halvings: stride-2 convolutions, each doubling the width; 0 keeps full size (small patches).
        spectral: spectral norm on every convolution, as published.
    """

    def __init__(self, channels: int, *, width: int, halvings: int, spectral: bool) -> None:
        """Build the layers; any patch size will do."""
        super().__init__()
        norm = spectral_norm if spectral else (lambda layer: layer)
        layers: list[nn.Module] = [norm(nn.Conv2d(channels, width, 1)), nn.LeakyReLU(0.2)]
        layers += [norm(nn.Conv2d(width, width, 3, padding=1)), nn.LeakyReLU(0.2)]
        for _ in range(halvings):
            layers += [norm(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            width *= 2
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(width, 1)

    def forward(self, look: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B,)."""
        pixels = look.shape[-2] * look.shape[-1]
        return self.score(self.features(look).mean(dim=(-2, -1)) * pixels**0.5).squeeze(-1)


class Critic(nn.Module):
    """Scores every look of a view with a head of its own; the critic's score is their sum.

    Args:
        channels: look -> its channels.
        width, halvings, spectral: of every `Head`.
    """

    def __init__(
        self, channels: Mapping[str, int], *, width: int = 16, halvings: int = 0, spectral: bool = False
    ) -> None:
        """Build one head per look."""
        super().__init__()
        heads = {name: Head(c, width=width, halvings=halvings, spectral=spectral) for name, c in channels.items()}
        self.heads = nn.ModuleDict(heads)

    def forward(self, looks: Mapping[str, Tensor]) -> Tensor:
        """Sum over heads of the mean score over patches, a scalar."""
        scores = [head(looks[name]).mean() for name, head in self.heads.items()]
        return sum(scores[1:], scores[0])
