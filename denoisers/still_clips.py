"""Crops and clips of still pictures: a place, a motion, and a turn or mirror image for each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from denoisers.borders import reflect_to

STILL_SHARE = 0.25  # of clips that do not move at all


class Cut(NamedTuple):
    """Where N clips are cut.

    picture: (N,) index.
    start: (N, 2) first row and column that a clip touches.
    path: (N, T, 2) where its frames begin, from ``start`` on, >= 0.
    turn: (N, 3) bool: transposed, upside down, left to right.
    """

    picture: Tensor
    start: Tensor
    path: Tensor
    turn: Tensor


def draw_cut(
    sizes: Sequence[tuple[int, int]],
    count: int,
    size: int,
    *,
    frames: int = 1,
    motion: int = 0,
    step: int = 1,
    generator: torch.Generator,
) -> Cut:
    """Draw N clips of a camera that pans evenly over still pictures, with a shake of one step.

    position_t = round(t v) + s_t, v ~ U(-motion, motion) and s_t in {-1, 0, 1} per axis, both 0 for `STILL_SHARE` of
    the clips. All frames lie inside the picture where it is large enough; the path is shortened where it is not.

    Args:
        sizes: (H, W) of each picture.
        count: N.
        size: height and width of a crop [picture px].
        frames: T.
        motion: largest speed [steps per frame]; 0 keeps all clips still.
        step: everything is a multiple of so many picture pixels: 2 on a mosaic, so that colours stay in their places.
        generator: on the CPU.
    """
    picture = torch.randint(len(sizes), (count,), generator=generator)
    moving = (torch.rand(count, 1, 1, generator=generator) >= STILL_SHARE) * min(motion, 1)
    velocity = motion * (2 * torch.rand(count, 1, 2, generator=generator) - 1)
    shake = torch.randint(-1, 2, (count, frames, 2), generator=generator)
    steps = moving * ((torch.arange(frames).view(1, -1, 1) * velocity).round().long() + shake)
    room = (torch.tensor(sizes, dtype=torch.int64)[picture] - size).clamp_min(0) // step  # (N, 2)
    path = steps - steps.amin(dim=1, keepdim=True)
    path = torch.minimum(path, room.unsqueeze(1))
    left = room - path.amax(dim=1)
    start = torch.minimum((torch.rand(count, 2, generator=generator) * (left + 1)).long(), left)
    turn = torch.rand(count, 3, generator=generator) < 0.5
    return Cut(picture, start * step, path * step, turn)


def middle_cut(sizes: Sequence[tuple[int, int]], index: int, size: tuple[int, int], frames: int, speed: int) -> Cut:
    """The middle of one picture as a clip that moves by ``speed`` picture pixels a frame, for validation.

    All places are even, so that colours of a mosaic stay in their places.
    """
    room = [max(length - part, 0) // 2 * 2 for length, part in zip(sizes[index], size, strict=True)]
    path = (torch.arange(frames) * speed).view(1, -1, 1).expand(1, frames, 2)
    path = torch.minimum(path, torch.tensor(room))
    start = [(place - int(path[0, -1, axis])) // 4 * 2 for axis, place in enumerate(room)]
    return Cut(torch.tensor([index]), torch.tensor([start]), path, torch.zeros(1, 3, dtype=torch.bool))


def cut_clip(pictures: Sequence[Tensor], cut: Cut, i: int, size: tuple[int, int], *, turned: bool) -> Tensor:
    """Clip ``i`` of a cut, (T, C, h, w) float in [0, 1]; a picture that is too small is reflected at its borders.

    Args:
        pictures: (C, H, W), uint8 or float.
        cut: from `draw_cut`.
        i: which of its clips.
        size: (h, w) [picture px].
        turned: whether ``cut.turn`` is applied; square crops only.
    """
    picture = pictures[int(cut.picture[i])]
    clip = torch.stack([_frame(picture, (cut.start[i] + place).tolist(), size) for place in cut.path[i]])
    clip = clip.float() / 255 if clip.dtype == torch.uint8 else clip.float()
    if not turned:
        return clip
    transposed, *mirrored = cut.turn[i].tolist()
    clip = clip.transpose(-2, -1) if transposed else clip
    return clip.flip([axis for axis, yes in zip((-2, -1), mirrored, strict=True) if yes])


def _frame(picture: Tensor, start: Sequence[int], size: tuple[int, int]) -> Tensor:
    """(C, h, w) from ``start``; a picture that ends before is reflected."""
    (row, column), (h, w) = start, size
    return reflect_to(picture[:, row : row + h, column : column + w], h, w)
