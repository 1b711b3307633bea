"""Cutting crops into patches: every pixel once, at its own place on the sensor."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from noisemodel import PhysicalNoise, stream
from noisemodel.patches import Crops, cut, cut_crops
from noisemodel.sensor import unpack_mosaic


def crops_of(frames: Tensor, origin: Tensor, *, centred: bool = False) -> Crops:
    """Crops of known frames on a black scene."""
    nothing = torch.zeros_like(frames[:, :1])
    return Crops(frames, nothing, nothing.clone(), nothing == 0, origin, centred)


def coordinates(n: int, t: int, height: int, width: int, origin: Tensor) -> Tensor:
    """(n, t, 4, h, w) mosaic whose every pixel holds 1000 row + column of the sensor."""
    rows = origin[:, 0].view(-1, 1, 1) + torch.arange(2 * height).view(1, -1, 1)
    columns = origin[:, 1].view(-1, 1, 1) + torch.arange(2 * width)
    place = (1000 * rows + columns).double()  # (n, 2h, 2w)
    planes = torch.stack([place[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)], dim=1)
    return planes.unsqueeze(1).expand(n, t, 4, height, width)


@given(n=st.integers(1, 3), t=st.integers(1, 3), h=st.integers(1, 13), w=st.integers(1, 13), size=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_patches_cover_every_pixel_once(n: int, t: int, h: int, w: int, size: int) -> None:
    """What they leave out is the rest of a division, at the far ends; planes and frames stay together."""
    values = torch.arange(n * t * 2 * h * w).view(n, t, 2, h, w)
    patches = cut(values, size)
    rows, columns = h // size, w // size
    assert patches.shape == (n * rows * columns, t, 2, size, size)
    kept = values[..., : rows * size, : columns * size]
    assert torch.equal(patches.flatten().sort().values, kept.flatten().sort().values)
    for i in range(n):
        for row in range(rows):
            for column in range(columns):
                one = patches[(i * rows + row) * columns + column]
                place = (slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size))
                assert torch.equal(one, values[i][(..., *place)])


@given(
    h=st.integers(4, 12), w=st.integers(4, 12), size=st.integers(1, 4), row=st.integers(0, 7), column=st.integers(0, 7)
)
@settings(max_examples=40, deadline=None)
def test_every_patch_lies_at_its_own_origin(h: int, w: int, size: int, row: int, column: int) -> None:
    """On a mosaic a plane's pixel is two of the sensor."""
    origin = torch.tensor([[row, column], [2 * column, row]])
    crops = crops_of(coordinates(2, 3, h, w, origin), origin, centred=True)
    patches = cut_crops(crops, size, 2)
    assert patches.centred and patches.origin.dtype == torch.int64
    assert torch.equal(patches.frames, coordinates(len(patches.frames), 3, size, size, patches.origin))
    mono = cut_crops(crops_of(torch.zeros(2, 1, 1, h, w), origin), size, 1)
    corner = origin.repeat_interleave(len(patches.origin) // 2, dim=0)
    assert torch.equal(2 * (mono.origin - corner), patches.origin - corner)


def test_all_fields_are_cut_alike() -> None:
    draws = stream(0, "fields")
    frames = torch.randn((2, 3, 4, 8, 12), generator=draws)
    reference, clean = (torch.randn((2, 1, 4, 8, 12), generator=draws) for _ in range(2))
    valid = torch.rand((2, 1, 4, 8, 12), generator=draws) > 0.3
    crops = Crops(frames, reference, clean, valid, torch.tensor([[2, 4], [6, 0]]), False)
    patches = cut_crops(crops, 4, 2)
    assert torch.equal(patches.residual, cut(crops.residual, 4))
    assert torch.equal(patches.clean, cut(clean, 4)) and torch.equal(patches.valid, cut(valid, 4))
    assert patches.origin.tolist()[:6] == [[2, 4], [2, 12], [2, 20], [10, 4], [10, 12], [10, 20]]
    assert all(torch.equal(a, b) for a, b in zip(crops.to("cpu")[:5], crops[:5], strict=True))


def test_static_noise_of_a_patch_is_that_of_the_crop_at_its_place() -> None:
    """Fixed pattern, gain map and phase of the wave, made after cutting (patches_before) or before (patches_after)."""
    model = PhysicalNoise.from_noiselist(
        "fixed1_prnu_periodic",
        fixed1_pattern=torch.randn((40, 60), generator=stream(0, "pattern")),
        prnu_std=0.1,
        sensor_size=(40, 60),
        periodic_std=(0.3, 1.0, 0.5),
        periodic_freq=0.07,
    )
    origin = torch.tensor([[2, 4], [6, 11]])
    clean = torch.rand((2, 1, 4, 8, 12), generator=stream(0, "clean"))
    crops = Crops(clean, clean, clean, clean >= 0, origin, False)
    patches = cut_crops(crops, 4, 2)
    for moment in (model.mean, model.variance):
        whole, single = (moment(c.clean, origin=c.origin).detach() for c in (crops, patches))
        torch.testing.assert_close(cut(whole, 4), single)
    wrong = model.mean(patches.clean, origin=origin.repeat_interleave(6, 0)).detach()
    assert not torch.allclose(wrong, cut(model.mean(crops.clean, origin=origin).detach(), 4))


def test_coordinates_are_those_of_the_mosaic() -> None:
    """The check's own ground: unpacked planes give the sensor's rows and columns."""
    sensor = unpack_mosaic(coordinates(1, 1, 3, 4, torch.tensor([[5, 7]]))[0, 0])
    assert torch.equal(sensor, (1000 * torch.arange(5, 11).view(-1, 1) + torch.arange(7, 15)).double())
