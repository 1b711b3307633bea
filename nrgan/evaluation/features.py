"""What turns images into feature vectors, and in what order images are measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class Extractor:
    """(n, C, H, W) images in [0, 1] -> (n, d) features.

    Attributes:
        name: of the distance between its features: "fid" for Inception's, and for nothing else.
        about: what it is, in a line.
        of: the function; it runs on the device of the images.
    """

    name: str
    about: str
    of: Callable[[Tensor], Tensor] = field(repr=False)


@torch.no_grad()
def features_of(extractor: Extractor, batches: Iterable[Tensor]) -> Tensor:
    """(N, d) float64 features on the CPU, of images that come in batches."""
    return torch.cat([extractor.of(batch).double().cpu() for batch in batches])
