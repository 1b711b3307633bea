"""synthesize.py: the right noise, at the right place, in files of the same type, and the same again."""

import contextlib
import hashlib
import json
import math
import re
import shlex
import tracemalloc
from pathlib import Path

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch

import noisemodel
import synthesize
from noisemodel import Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.synthesis import Scale, choose_scale, draw_frames, synthesize_array, synthesize_frames

ROOT = Path(__file__).parents[1]
LEVELS = Levels(256, 4095)
EVERYTHING = "shot_read_readtl_uniform_row1_rowt_col1_colt_fixed1_prnu_periodic"
TINY = {"shot_gain": 1e-38, "read_std": 1e-30}
UNIT = Scale(0.0, 1.0)


def physics(noiselist="shot_read", layout="planes", levels=None, **start):
    return NoiseGenerator(PhysicalNoise.from_noiselist(noiselist, layout=layout, levels=levels, **start))


def everything(layout, levels=LEVELS):
    pattern = torch.randn(24, 24, generator=stream(0, "pattern")) * 0.02
    stds = dict.fromkeys(("read_std", "row1_std", "rowt_std", "col1_std", "colt_std"), 0.01)
    start = stds | {"shot_gain": 2e-3, "readtl_scale": 5e-3, "uniform_width": 0.03, "periodic_std": (0.01, 0.02, 0.01)}
    return physics(EVERYTHING, layout, levels, fixed1_pattern=pattern, prnu_std=0.05, sensor_size=(24, 24), **start)


def run(model, images, out, *words):
    path = out.parent / f"{out.name}.safetensors"
    noisemodel.save(model, path)
    assert synthesize.main([str(path), str(images), "-o", str(out), *words]) == 0


def picture(shape, dtype, seed=0):
    draws = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return draws.uniform(1e-3, 1, shape).astype(dtype)
    return draws.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = pixels
    elif path.suffix == ".png":
        noisemodel.png.write_png(path, pixels)
    else:
        photometric = "rgb" if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric)
    return path


def load(path):
    (image,) = noisemodel.images.open_image(path).read()
    return image


def within(estimates, truth, what):
    """The mean over the first axis lies within 5 standard errors of the truth, everywhere."""
    se = estimates.std(0, ddof=1) / math.sqrt(len(estimates))
    worst = np.abs((estimates.mean(0) - truth) / se).max()
    assert worst < 5, f"{what} is {worst:.1f} standard errors off"


# Nothing but noise changes.


@pytest.mark.parametrize("words", [(), ("--srgb",)])
@pytest.mark.parametrize("layout", ["planes", "mosaic"])
def test_almost_no_noise_changes_nothing(tmp_path, layout, words):
    shapes = {"png": [(9, 8), (9, 8, 3), (9, 8, 4)], "tif": [(9, 8), (9, 8, 4)], "npy": [(9, 8), (4, 9, 8), (9, 8, 3)]}
    shapes["h5"] = [(5, 9, 8)]
    pictures = {}
    for suffix, forms in shapes.items():
        for dtype in ("uint8", "uint16") if suffix == "png" else ("uint8", "uint16", "float32", "float64"):
            for form in forms:
                if not (words and np.dtype(dtype).kind == "f"):
                    name = f"{dtype}_{'x'.join(map(str, form))}.{suffix}"
                    pictures[name] = save(tmp_path / "in" / name, picture(form, dtype, len(pictures)))
    more = ("--per_channel",) if layout == "mosaic" else ()
    run(physics("shot_read", layout, **TINY), tmp_path / "in", tmp_path / "out", *words, *more)
    for name, path in pictures.items():
        clean, noisy = noisemodel.images.open_image(path), noisemodel.images.open_image(tmp_path / "out" / name)
        assert noisy.dtype == clean.dtype
        np.testing.assert_array_equal(list(noisy.read()), list(clean.read()), err_msg=name)


def test_every_code_survives_srgb():
    codes = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for srgb in (False, True):
        scale = choose_scale(codes.dtype, srgb=srgb)
        assert (synthesize_array(physics(**TINY), codes, scale) == codes).all()


def test_recorded_dn_stay_where_they_are():
    codes = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
    scale = choose_scale(codes.dtype, levels=LEVELS, raw=True)
    assert (scale.black, scale.white) == (256, 4095)
    model = physics("read_uniform", levels=LEVELS, read_std=1e-30)
    assert (synthesize_array(model, codes, scale, exact=True) == codes).all()


def test_alpha_passes_and_light_does_not(tmp_path):
    for name, dtype in (("a.png", "uint8"), ("b.png", "uint16"), ("c.tif", "float32")):
        save(tmp_path / "in" / name, picture((32, 32, 4), dtype))
    run(physics(read_std=0.1), tmp_path / "in", tmp_path / "out")
    for name in ("a.png", "b.png", "c.tif"):
        clean, noisy = load(tmp_path / "in" / name), load(tmp_path / "out" / name)
        assert (noisy[..., 3] == clean[..., 3]).all() and (noisy[..., :3] != clean[..., :3]).mean() > 0.8


# The noise is the model's.


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("layout", ["planes", "mosaic"])
def test_moments_are_the_models(layout, exact):
    model = everything(layout, levels=None)
    channels = 4 if layout == "mosaic" else 2
    clean = torch.linspace(-0.05, 0.9, channels * 64).view(1, channels, 8, 8).repeat(4000, 1, 1, 1)
    named = lambda name: stream(1, "moments", layout, int(exact), name)  # noqa: E731
    frames = list(draw_frames(model, clean, frames=2, generator=named, exact=exact, origin=(5, 3)))
    mean, variance = (m[0].numpy() for m in model.moments(clean[:1], 2, stream(0), origin=(5, 3)))
    for noise in (frame.double().numpy() for frame in frames):
        within(noise, mean, "mean")
        within((noise - mean) ** 2, variance, "variance")
    still = sum(c.variance(clean[:1]) for c in model.physical.each() if c.static)[0].detach().numpy()
    within((frames[0].double().numpy() - mean) * (frames[1].double().numpy() - mean), still, "covariance of frames")


def test_frames_share_static_rows_only():
    model = physics("row1_rowt", row1_std=0.01, rowt_std=0.02)
    clean = torch.full((1, 1, 4000, 4), 0.5)
    a, b = draw_frames(model, clean, frames=2, generator=lambda name: stream(0, name))
    assert (a == a[..., :1]).all() and (a != b).any()
    product = (a * b)[0, 0, :, :1].double().numpy()
    within(product, 0.02**2, "shared row variance")
    within(((a - b)[0, 0, :, :1].double().numpy()) ** 2, 2 * 0.01**2, "variance of new rows")


def test_fixed_pattern_stays_at_its_place_on_the_sensor(tmp_path):
    pattern = torch.rand(20, 30, generator=stream(0, "p"))
    model = physics("read_fixed1", "mosaic", read_std=1e-30, fixed1_pattern=pattern)
    save(tmp_path / "flat.npy", np.full((8, 11), 0.25, np.float32))
    run(model, tmp_path / "flat.npy", tmp_path / "out", "--origin", "6,9", "--frames", "3")
    noisy = np.load(tmp_path / "out" / "flat.npy")
    assert noisy.shape == (3, 8, 11)
    for frame in noisy:
        np.testing.assert_allclose(frame, 0.25 + pattern[6:14, 9:20].numpy(), atol=1e-6)


def test_mosaic_picture_is_its_packed_planes():
    model = physics("shot_row1_colt_periodic", "mosaic", shot_gain=1e-3)
    raw = picture((16, 12), "float32")
    packed = noisemodel.pack_mosaic(torch.from_numpy(raw)).numpy()
    a = synthesize_array(model, raw, UNIT)
    b = synthesize_array(model, packed, UNIT, channel_axis=0)
    np.testing.assert_array_equal(a, noisemodel.unpack_mosaic(torch.from_numpy(b)).numpy())
    rows = synthesize_array(physics("row1", "mosaic", row1_std=0.1), raw[:15, :11], UNIT) - raw[:15, :11]
    np.testing.assert_allclose(rows, rows[:, :1].repeat(11, 1), atol=1e-6)
    assert len(np.unique(rows[:, 0].round(5))) == 15


@pytest.mark.parametrize("network", ["Unet", "Unet_cat", "Unet_first"])
def test_the_network_corrects_every_frame(network):
    plain = physics("shot_row1_rowt", "mosaic")
    model = NoiseGenerator(plain.physical, network, unet_width=2)
    raw = picture((17, 21), "float32")
    options = {"seed": 3, "purpose": ("x",), "frames": 2}
    before = list(synthesize_frames(model, raw, UNIT, **options))
    for a, b in zip(before, synthesize_frames(plain, raw, UNIT, **options), strict=True):
        np.testing.assert_array_equal(a, b)  # a new network is the identity
    torch.nn.init.constant_(model.network.leave.bias, 0.25)
    for a, b in zip(before, synthesize_frames(model, raw, UNIT, **options), strict=True):
        shift = b - a
        assert abs(shift.mean() - 0.25) < (0.05 if network == "Unet_first" else 1e-5)


def test_dn_and_clipping_and_parameters(tmp_path):
    raw = np.full((300, 300), 256 + 50, np.uint16)
    save(tmp_path / "in" / "a.tif", raw)
    save(tmp_path / "in" / "flat.npy", raw * 0 + 4095)
    model = physics("shot_read", levels=LEVELS, shot_gain=1e-4, read_std=1e-4)
    run(model, tmp_path / "in", tmp_path / "out", "--param", "shot.gain=2DN", "read.std=3DN")
    residual = load(tmp_path / "out" / "a.tif").astype(float).ravel() - 306
    within(residual, 0, "mean")
    within(residual**2, 2 * 50 + 3**2 + 1 / 12, "variance in DN")
    assert load(tmp_path / "out" / "flat.npy").max() > 4095
    for name, words in {"one": ("read.std=3e-", "shot.gain=2DN"), "other": ("shot.gain=2DN", "read.std=3e-")}.items():
        run(model, tmp_path / "in", tmp_path / name, "--param", *words)
    assert np.array_equal(load(tmp_path / "one" / "a.tif"), load(tmp_path / "other" / "a.tif")), "order of --param"
    run(model, tmp_path / "in", tmp_path / "exact", "--exact", "--param", "shot.gain=2DN", "read.std=1e-6DN")
    recorded = load(tmp_path / "exact" / "a.tif").astype(int)
    assert set(np.unique((recorded - 256) % 2)) == {0}, "not whole photons of 2 DN"
    assert load(tmp_path / "exact" / "flat.npy").max() == 4095


def test_8_bit_is_clipped_not_wrapped(tmp_path):
    save(tmp_path / "a.png", np.repeat(np.array([[0, 255]], np.uint8), 50, 0))
    run(physics(read_std=0.2), tmp_path / "a.png", tmp_path / "out")
    noisy = load(tmp_path / "out" / "a.png")
    assert noisy[:, 0].max() < 200 and noisy[:, 1].min() > 55 and 0 in noisy and 255 in noisy


def test_srgb_adds_the_noise_to_linear_light():
    code = np.full((200, 200), 0.5, np.float64)
    noisy = synthesize_array(physics("read", read_std=0.01), code, choose_scale(code.dtype, srgb=True))
    light = ((noisy + 0.055) / 1.055) ** 2.4 - ((0.5 + 0.055) / 1.055) ** 2.4
    within(light.ravel() ** 2, 0.01**2, "variance of light")


# The same again.


def test_noise_depends_on_seed_path_and_frame_only(tmp_path, monkeypatch):
    for name in ("a.png", "sub/b.png", "z.png"):
        save(tmp_path / "all" / name, np.full((20, 20), 99, np.uint8))
    save(tmp_path / "one" / "sub" / "b.png", np.full((20, 20), 99, np.uint8))
    model = physics("read_row1_rowt", read_std=0.1)
    run(model, tmp_path / "all", tmp_path / "x")
    run(model, tmp_path / "one", tmp_path / "y", "--frames", "3")
    first = load(tmp_path / "x" / "sub" / "b.png")
    np.testing.assert_array_equal(first, load(tmp_path / "y" / "sub" / "b_t00.png"))
    others = [load(tmp_path / "y/sub/b_t01.png"), load(tmp_path / "x/a.png"), load(tmp_path / "x/z.png")]
    run(model, tmp_path / "one", tmp_path / "s", "--seed", "1")
    assert all((first != other).mean() > 0.5 for other in [*others, load(tmp_path / "s/sub/b.png")])
    before = [path.read_bytes() for path in sorted((tmp_path / "x").rglob("*.png"))]
    run(model, tmp_path / "all", tmp_path / "x", "--overwrite")
    assert before == [path.read_bytes() for path in sorted((tmp_path / "x").rglob("*.png"))]


def test_the_record_says_how_it_was_made(tmp_path):
    save(tmp_path / "in" / "sub" / "a.npy", np.full((8, 8), 1000, np.uint16))
    run(everything("mosaic"), tmp_path / "in", tmp_path / "out", "--frames", "2", "--seed", "5", "--exact")
    record = json.loads((tmp_path / "out" / "sub" / "a.npy.json").read_text())
    checkpoint = (tmp_path / "out.safetensors").read_bytes()
    assert record["checkpoint"]["sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert record["stream"][:3] == [5, "synthesize", "sub/a.npy"] and record["outputs"] == ["a.npy"]
    assert (record["frames"], record["exact"], record["origin"]) == (2, True, [0, 0])
    assert record["values"]["black"] == 256 and record["values"]["white"] == 4095
    row = next(row for row in record["parameters"] if row["name"] == "read.std")
    assert row["dn"] == pytest.approx(0.01 * 3839) and row["electrons"] == pytest.approx(0.01 / 2e-3)
    assert record["program"]["noisemodel"] == noisemodel.__version__
    model = noisemodel.load(tmp_path / "out.safetensors")
    again = synthesize_frames(
        model, load(tmp_path / "in/sub/a.npy"), Scale(256, 4095), seed=5, purpose=("synthesize", "sub/a.npy", 0),
        frames=2, exact=True,
    )  # fmt: skip
    np.testing.assert_array_equal(np.stack(list(again)), np.load(tmp_path / "out/sub/a.npy"))


@pytest.mark.parametrize("suffix", ["npy", "h5", "tif"])
def test_memory_does_not_grow_with_pages_and_frames(tmp_path, suffix):
    model = physics("read_rowt")
    peaks = []
    for pages in (2, 40):
        save(tmp_path / f"{pages}.{suffix}", np.full((pages, 128, 128), 99, np.uint8))
        tracemalloc.start()
        run(model, tmp_path / f"{pages}.{suffix}", tmp_path / f"out{pages}", "--frames", str(pages // 2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * 128 * 128, f"{peaks} bytes; the output has {40 * 20 * 128 * 128}"


# The documentation.


def test_every_command_and_line_of_the_documentation_runs(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "synthesize.md").read_text()
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()
    python = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    noisemodel.save(physics("shot_read_row1", "mosaic", LEVELS), "runs/camera")
    save(Path("raw/scene.npy"), np.full((33, 32), 1000, np.uint16))
    save(Path("pictures/cat.png"), picture((16, 16, 3), "uint8"))
    assert len(commands) == 7
    for command in commands:
        program, script, *words = shlex.split(command, comments=True)
        assert (program, script) == ("python", "synthesize.py") and synthesize.main(words) == 0
        assert any(path.suffix != ".json" for path in Path(words[words.index("-o") + 1]).iterdir())
    lines = python.splitlines()
    assert len(lines) == 5
    space = {}
    exec(compile(python, "docs/synthesize.md", "exec"), space)
    assert space["noisy"].shape == space["clean"].shape and (space["noisy"] != space["clean"]).any()


def test_interrupt_leaves_nothing_half_written(tmp_path, monkeypatch):
    made = synthesize.synthesize_frames

    def interrupted(*arguments, **options):
        frames = made(*arguments, **options)
        yield next(frames)
        raise KeyboardInterrupt

    for suffix in ("npy", "h5", "tif"):
        save(tmp_path / "in" / f"a.{suffix}", np.full((9, 9), 99, np.uint8))
    noisemodel.save(physics(), tmp_path / "model.safetensors")
    monkeypatch.setattr(synthesize, "synthesize_frames", interrupted)
    for suffix in ("npy", "h5", "tif"):
        words = [
            tmp_path / "model.safetensors",
            tmp_path / "in" / f"a.{suffix}",
            "-o",
            tmp_path / "out",
            "--frames",
            "2",
        ]
        assert synthesize.main(list(map(str, words))) == 130
    with contextlib.suppress(FileNotFoundError):
        assert list((tmp_path / "out").iterdir()) == []


def test_png_of_other_programs_is_read(tmp_path):
    iio.imwrite(tmp_path / "a.png", picture((9, 9, 3), "uint8"))
    run(physics(**TINY), tmp_path / "a.png", tmp_path / "out")
    np.testing.assert_array_equal(iio.imread(tmp_path / "out/a.png"), iio.imread(tmp_path / "a.png"))
