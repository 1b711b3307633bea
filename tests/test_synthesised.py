"""Pairs with synthesised noise: unprocessing, moments, places on the sensor, clips, and batches by seed and step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets import simulated_bursts
from datasets import unprocessing as of_pictures
from denoisers.still_clips import cut_clip, draw_cut
from denoisers.synthesised import BLOCK, SynthesisedPairs, SynthesisOptions, hold_out, sensor_window
from denoisers.unprocess import clean_planes, draw_camera, middle_camera, parse_light
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, stream, unpack_mosaic
from noisemodel.noise_source import ModelSource, NoiseSource
from noisemodel.sensor.unprocessing import camera_matrix, inverse_gains, mosaic_planes, unprocess
from noisemodel.sources import open_source

WHOLE = slice(None)


def pictures(count: int = 3, channels: int = 3, size: tuple[int, int] = (90, 110)) -> list[Tensor]:
    draws = stream(0, "pictures")
    return [torch.randint(0, 256, (channels, *size), dtype=torch.uint8, generator=draws) for _ in range(count)]


def source_of(noiselist: str, layout: str = "mosaic", **start: object) -> NoiseSource:
    physical = PhysicalNoise.from_noiselist(noiselist, layout=layout, **start)
    return ModelSource(noiselist, NoiseGenerator(physical).requires_grad_(False).eval(), exact=True)


def pairs_with(source: NoiseSource, images: list[Tensor] | None = None, **settings: object) -> SynthesisedPairs:
    images = images or pictures()
    asked = {"layout": "mosaic", "channels": 4, "crop": 16, "batch_size": 2 * BLOCK + 3, "seed": 3, **settings}
    return SynthesisedPairs(images[:-1], images[-1:], source, **asked)


WHITE = source_of("shot_read", shot_gain=0.01, read_std=0.05)


# --- unprocessing


def test_unprocessing_in_torch_is_the_one_that_the_simulated_camera_uses():
    picture = torch.rand(3, 6, 8, dtype=torch.float64, generator=stream(1, "picture"))
    mosaic = of_pictures.mosaic_rggb(of_pictures.unprocess(picture.movedim(0, -1).numpy()))
    np.testing.assert_array_equal(unpack_mosaic(mosaic_planes(unprocess(picture))).numpy(), mosaic)
    in_batch = unprocess(picture.float().expand(2, 3, 3, 6, 8))
    torch.testing.assert_close(in_batch[1, 2], unprocess(picture).float(), atol=1e-5, rtol=1e-5)


def test_every_camera_keeps_grey_grey_up_to_its_gains_and_white_white():
    weights = torch.rand(5, 4, generator=stream(2, "weights"))
    matrix, gains = camera_matrix(weights), inverse_gains(torch.full((5,), 2.0), torch.full((5,), 1.6))
    grey = unprocess(torch.full((5, 3, 1, 1), 0.4), matrix=matrix, gains=gains)[..., 0, 0]
    torch.testing.assert_close(grey * torch.tensor([2.0, 1.0, 1.6]), grey[:, 1:2].expand(5, 3))
    torch.testing.assert_close(unprocess(torch.ones(5, 3, 1, 1), matrix=matrix, gains=gains), torch.ones(5, 3, 1, 1))


def test_a_mosaic_takes_each_colour_where_its_filter_is():
    camera = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1).expand(3, 4, 6)
    assert mosaic_planes(camera, "GBRG")[:, 0, 0].tolist() == [2, 3, 1, 2]
    with pytest.raises(InputError, match="even sizes"):
        mosaic_planes(camera[:, :3])
    with pytest.raises(InputError, match="put its colours first"):
        unprocess(torch.rand(4, 6, 3))


def test_cameras_are_drawn_within_their_ranges_and_differ():
    camera = draw_camera(2000, (0.01, 0.1), generator=stream(0, "camera"))
    assert 0.01 <= camera.exposure.min() < 0.0102 and 0.098 < camera.exposure.max() <= 0.1
    middle = camera.exposure.log().mean() - np.log(10**-1.5)
    assert abs(float(middle)) < 5 * np.log(10) / (12 * 2000) ** 0.5  # log-uniform
    red = camera.gains[:, 1] / camera.gains[:, 0]
    assert 1.9 <= red.min() < 1.91 and 2.39 < red.max() <= 2.4 and len(red.unique()) > 1900
    torch.testing.assert_close(camera.matrix.sum(-1), torch.ones(2000, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["0.1", "a,b", "0,1", "0.5,0.1", "0.1,2", "nan,1"])
def test_a_wrong_light_is_answered_in_one_line(text):
    with pytest.raises(InputError, match="--light"):
        parse_light(text)


# --- batches


@pytest.mark.parametrize(
    ("layout", "channels", "picture", "linear"),
    [("mosaic", 4, 3, False), ("mosaic", 4, 1, False), ("planes", 1, 3, False), ("planes", 3, 3, False),
     ("planes", 3, 1, True), ("mosaic", 4, 4, True), ("mosaic", 4, 1, True), ("planes", 1, 1, True)],
)  # fmt: skip
@pytest.mark.parametrize("frames", [1, 5])
def test_every_kind_of_picture_becomes_the_planes_of_the_layout(layout, channels, picture, linear, frames):
    source = open_source("gaussian:0.01", layout=layout)
    settings = {"layout": layout, "channels": channels, "frames": frames, "options": SynthesisOptions(linear=linear)}
    pairs = pairs_with(source, pictures(3, picture, (41, 67)), **settings)
    noisy, target, mask, _ = pairs.pairs(0, slice(0, 3))
    clip = (frames,) if frames > 1 else ()
    assert noisy.shape == (3, *clip, channels, 16, 16) and target.shape == (3, channels, 16, 16) and mask is None
    validation = pairs.validation()
    step = 2 if layout == "mosaic" and picture != 4 else 1
    assert validation[0].noisy.shape == (1, *clip, channels, 41 // step, 67 // step)
    assert torch.equal(validation[0].noisy, pairs.validation()[0].noisy)


def test_a_batch_depends_on_seed_and_step_alone_and_rows_are_its_rows():
    pairs = pairs_with(WHITE)
    whole = pairs.pairs(7, WHOLE)
    assert len(whole.noisy) == 2 * BLOCK + 3
    for rows in (slice(0, 2), slice(BLOCK - 1, BLOCK + 1), slice(2 * BLOCK, None), slice(1, 19, 6)):
        part = pairs.pairs(7, rows)
        assert torch.equal(part.noisy, whole.noisy[rows]) and torch.equal(part.target, whole.target[rows])
    assert torch.equal(pairs_with(WHITE).pairs(7, WHOLE).noisy, whole.noisy)
    assert not torch.equal(pairs.pairs(8, WHOLE).target, whole.target)
    assert not torch.equal(pairs_with(WHITE, seed=4).pairs(7, WHOLE).target, whole.target)
    flat = whole.noisy.flatten(1)
    assert len(flat.unique(dim=0)) == len(flat)
    with pytest.raises(InputError, match="no rows"):
        pairs.pairs(7, slice(40, 50))


def test_no_noise_is_used_twice():
    black = [torch.zeros(3, 60, 60, dtype=torch.uint8)] * 2
    pairs = pairs_with(open_source("gaussian:0.1"), black)
    noise = torch.cat(
        [pairs.pairs(step, WHOLE).noisy for step in (0, 1)] + [pairs.validation()[0].noisy[..., :16, :16]]
    )
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(len(noise))
    assert float(correlation.abs().max()) < 5.5 / noise[0].numel() ** 0.5  # of 780 pairs


def test_noise_has_the_variance_of_its_model_and_no_bias_at_the_clean_target():
    options = SynthesisOptions(light="0.3,0.3", amplify=4.0)
    pairs = pairs_with(WHITE, options=options, batch_size=200, crop=24)
    noisy, target, *_ = pairs.pairs(0, WHOLE)
    z = (noisy - target) / 4 / (0.01 * target / 4 + 0.05**2).sqrt()
    count = z.numel()
    assert abs(float(z.mean())) < 5 / count**0.5
    assert abs(float(z.square().mean()) - 1) < 5 * (2.2 / count) ** 0.5  # Poisson of some electrons: kurtosis above 3
    assert 0.9 < float(target.max()) / (4 * 0.3) <= 1
    assert float(target.min()) >= 0


def test_clean_is_the_unprocessed_picture_at_its_place():
    ramp = (torch.arange(90).view(1, -1, 1) * 110 + torch.arange(110)).expand(3, -1, -1) / (90 * 110)
    silent = open_source("gaussian:1e-9", layout="planes")
    pairs = pairs_with(silent, [ramp, ramp], layout="planes", channels=3, options=SynthesisOptions(linear=True))
    target = pairs.pairs(0, WHOLE).target * 90 * 110
    for crop in target / target.amax(dim=(1, 2, 3), keepdim=True):
        steps = sorted(float((crop.diff(dim=axis)).abs().mean()) for axis in (1, 2))
        assert steps[1] / steps[0] == pytest.approx(110, rel=0.01)  # rows and columns, perhaps transposed: a crop
    picture = pictures(1)[0] / 255
    clean = clean_planes(picture[None, None], middle_camera(1, (0.5, 0.5)), layout="mosaic", channels=4)
    expected = 0.5 * mosaic_planes(unprocess(picture))
    torch.testing.assert_close(clean[0, 0], expected)


# --- places on the sensor


def test_what_is_fixed_on_the_sensor_stays_at_its_place():
    pattern = torch.arange(64.0).view(-1, 1) * 64 + torch.arange(64.0)  # says where it is
    source = source_of("fixed1", "planes", fixed1_pattern=pattern / 4096)
    black = [torch.zeros(3, 80, 80, dtype=torch.uint8)] * 2
    pairs = pairs_with(source, black, layout="planes", channels=1, batch_size=300)
    assert sensor_window(source) == ((0, 64), (0, 64))
    code = (pairs.pairs(0, WHOLE).noisy * 4096).round().long()[:, 0]
    rows, columns = code // 64, code % 64
    assert bool((rows.diff(dim=1) == 1).all() and (columns.diff(dim=2) == 1).all())
    assert (int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max())) == (0, 0, 63, 63)
    assert bool((code[:, 0, 0].bincount() < 12).all())  # uniform over 49 x 49 places
    clip = pairs_with(source, black, layout="planes", channels=1, frames=5).pairs(0, slice(0, 2)).noisy
    assert torch.equal(clip, clip[:, :1].expand_as(clip))


def test_places_on_a_mosaic_are_even_and_dark_frames_are_used_where_they_lie():
    darks = simulated_bursts(frames=3, size=(48, 64))
    only = replace(darks, bursts=darks.darks)
    source = open_source("darks:x,0.001", layout="mosaic", levels=darks.levels, open_bursts=lambda _: only)
    assert sensor_window(source) == ((0, 48), (0, 64))
    pairs = pairs_with(source, crop=20, options=SynthesisOptions(light="0.05,0.05"))
    pair = pairs.pairs(0, WHOLE)
    assert torch.isfinite(pair.noisy).all() and (pair.noisy - pair.target).std() < 0.02
    with pytest.raises(InputError, match="use a smaller crop"):
        pairs_with(source, crop=25)


# --- clips


def test_static_terms_are_constant_over_a_clip_and_the_others_are_new():
    source = source_of("read_row1_rowt", "planes", read_std=1e-4, row1_std=0.1, rowt_std=0.3)
    black = [torch.zeros(3, 80, 80, dtype=torch.uint8)] * 2
    pairs = pairs_with(source, black, layout="planes", channels=1, frames=5, batch_size=120, crop=16)
    noisy = pairs.pairs(0, WHOLE).noisy[:, :, 0]  # (N, T, H, W)
    rows = noisy.mean(dim=-1)
    assert float((noisy - rows.unsqueeze(-1)).std()) < 2e-4  # constant along W
    n = rows.shape[0] * rows.shape[2]
    covariance = (rows[:, 0] * rows[:, 4]).mean(), (rows[:, 2] * rows[:, 2]).mean()
    assert abs(float(covariance[0]) - 0.09) < 5 * (2 * 0.1**2 / n) ** 0.5
    assert abs(float(covariance[1]) - 0.10) < 5 * (2 * 0.1**2 / n) ** 0.5
    other = (rows[:-1, 0] * rows[1:, 0]).mean()  # another clip: nothing in common
    assert abs(float(other)) < 5 * 0.1 / n**0.5


def test_clips_move_by_whole_steps_and_the_target_is_the_middle_frame():
    silent = open_source("gaussian:1e-9", layout="planes")
    pairs = pairs_with(silent, layout="planes", channels=3, frames=5, batch_size=40)
    noisy, target, *_ = pairs.pairs(0, WHOLE)
    torch.testing.assert_close(noisy[:, 2], target, atol=1e-6, rtol=0)
    still = (noisy - noisy[:, 2:3]).abs().amax(dim=(1, 2, 3, 4)) < 1e-6
    assert 1 <= int(still.sum()) <= 22  # a quarter
    static = pairs_with(WHITE, frames=5, options=SynthesisOptions(motion=0)).pairs(0, WHOLE)
    assert static.noisy.shape[1] == 5


def test_paths_stay_inside_the_picture_and_their_speed_within_the_limit():
    sizes = [(40, 60), (36, 33), (20, 90)]
    cut = draw_cut(sizes, 500, 32, frames=5, motion=3, step=2, generator=stream(0, "cut"))
    places = cut.start.unsqueeze(1) + cut.path
    room = (torch.tensor(sizes)[cut.picture] - 32).clamp_min(0)
    assert bool((places >= 0).all() and (places <= room.unsqueeze(1)).all() and (places % 2 == 0).all())
    assert int(cut.path.diff(dim=1).abs().max()) <= 2 * (3 + 2)
    assert {0, 8} <= set(places[cut.picture == 0][:, :, 0].flatten().tolist())


def test_a_linear_mosaic_keeps_its_colours_in_their_places():
    image = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).repeat(21, 27).unsqueeze(0)  # 42 x 54
    options = SynthesisOptions(linear=True, light="1,1")
    for size in (16, 32):  # 32: 64 sensor pixels, reflected
        pairs = pairs_with(open_source("gaussian:1e-9"), [image, image], frames=5, crop=size, options=options)
        target = pairs.pairs(0, WHOLE).target
        torch.testing.assert_close(target, torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1).expand_as(target))


def test_pictures_smaller_than_the_crop_are_reflected_and_crops_of_larger_ones_never_leave_them():
    small = torch.arange(6.0).view(1, 2, 3) / 10
    cut = draw_cut([(2, 3)], 1, 5, generator=stream(0, "cut"))
    expected = torch.tensor([[0, 1, 2, 1, 0], [3, 4, 5, 4, 3]])[[0, 1, 0, 1, 0]] / 10
    torch.testing.assert_close(cut_clip([small], cut, 0, (5, 5), turned=False)[0, 0], expected)
    assert pairs_with(WHITE, pictures(2, 3, (5, 7))).pairs(0, WHOLE).noisy.shape[-1] == 16


# --- bad input


@pytest.mark.parametrize(
    ("images", "settings", "words"),
    [
        ([torch.rand(3, 8, 8), torch.rand(1, 8, 8)], {}, "same number of channels"),
        ([torch.rand(4, 8, 8)] * 2, {}, "4 packed planes"),
        ([torch.rand(3, 8, 8) + 1] * 2, {}, "divide by the white"),
        ([torch.full((3, 8, 8), torch.nan)] * 2, {}, "divide by the white"),
        ([torch.ones(3, 8, 8, dtype=torch.int32)] * 2, {}, "uint8 or floats"),
        ([torch.rand(3, 0, 8)] * 2, {}, "empty"),
        (None, {"channels": 3}, "has 4 planes, got 3"),
        (None, {"frames": 4}, "odd number of frames"),
        (None, {"crop": 0}, "crop and batch size"),
        (None, {"layout": "rgb"}, "layout"),
        (None, {"layout": "planes", "channels": 3}, "open the noise in it"),
        (None, {"sensor_size": (20, 20)}, "use a smaller crop"),
    ],
)
def test_bad_input_is_answered_in_one_line(images, settings, words):
    with pytest.raises(InputError, match=words) as said:
        pairs_with(WHITE, images, **settings)
    assert "\n" not in str(said.value)


def test_options_and_held_out_images_are_checked():
    for options in ({"amplify": 0.0}, {"amplify": float("nan")}, {"motion": -1}, {"light": "1"}):
        with pytest.raises(InputError, match="--"):
            SynthesisOptions(**options)
    training, validation = hold_out(pictures(25))
    assert (len(training), len(validation)) == (23, 2)
    with pytest.raises(InputError, match="got 1 in all"):
        hold_out(pictures(1))


def test_levels_clip_the_noisy_image_and_never_the_target():
    levels = Levels(64, 1023)
    source = open_source("poisson-gaussian:0.01,0.2", layout="mosaic", levels=levels)
    bright = [torch.full((3, 80, 80), 255, dtype=torch.uint8)] * 2
    noisy, target, *_ = pairs_with(source, bright, options=SynthesisOptions(light="1,1")).pairs(0, WHOLE)
    assert float(noisy.max()) <= 1 and float(noisy.min()) >= levels.clip_range[0] - 1e-6
    torch.testing.assert_close(target, torch.ones_like(target))
    assert float((noisy == 1).double().mean()) > 0.4
