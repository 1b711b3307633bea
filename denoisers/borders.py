"""Images of any size, brought to the sizes that networks and batches need, by reflection at their borders."""

from torch import Tensor

from noisemodel.networks import reflect_to_multiple


def reflect_to(images: Tensor, height: int, width: int) -> Tensor:
    """Reflect rows below and columns to the right, again and again where the image is smaller than what is added.

    Args:
        images: (..., H, W), H, W >= 1.
        height, width: of the result; nothing is done along an axis that is long enough.
    Returns: (..., max(H, height), max(W, width)).
    """
    rows, columns = max(images.shape[-2], height), max(images.shape[-1], width)
    if images.shape[-2:] == (rows, columns):
        return images
    return reflect_to_multiple(images, max(height, width))[..., :rows, :columns]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """(..., H, W) reflected until H and W are multiples of ``multiple``; crop the result back to H, W."""
    return reflect_to_multiple(images, multiple)
