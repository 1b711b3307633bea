"""Image files: what is written is read again, in the same type and bit depth, by us and by others."""

import io
import struct
import zlib

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from noisemodel.errors import InputError
from noisemodel.images import DTYPES, open_image

RGB, GREY = {"photometric": "rgb"}, {"photometric": "minisblack"}
PLANAR = {"planarconfig": "separate"}


def picture(shape, dtype, seed=0):
    draws = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return draws.uniform(-1, 2, shape).astype(dtype)
    return draws.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def paeth(left, up, corner):
    guess = left + up - corner
    to_left, to_up, to_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))


def png_16(pixels) -> bytes:
    """A 16-bit colour PNG by the specification, row i with filter i mod 5: what other programs write."""
    height, width, channels = pixels.shape
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    above, lines = np.zeros_like(rows[0]), []
    for i, row in enumerate(rows):
        pad = np.zeros(2 * channels, int)
        left, corner = np.r_[pad, row[: -len(pad)]], np.r_[pad, above[: -len(pad)]]
        guess = (0 * row, left, above, (left + above) // 2, paeth(left, above, corner))[i % 5]
        lines.append(bytes([i % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes())
        above = row
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    data = zlib.compress(b"".join(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def written(path, pixels, **options):
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("a/b", data=pixels, **options)
    elif path.suffix == ".png" and pixels.ndim == 3 and pixels.dtype == np.uint16:
        path.write_bytes(png_16(pixels))
    elif path.suffix == ".png":
        iio.imwrite(path, pixels)
    else:
        tifffile.imwrite(path, pixels, **options)
    return path


def loaded(path):
    """As another library reads it."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["a/b"][()]
    return iio.imread(path) if path.suffix == ".png" else tifffile.imread(path)


# name, shape, options, then what must be told: page shape, channels of light, alpha, pages
CASES = [
    ("a.png", (7, 5), {}, (7, 5), 1, False, 1),
    ("a.png", (7, 5, 3), {}, (7, 5, 3), 3, False, 1),
    ("a.png", (7, 5, 4), {}, (7, 5, 4), 3, True, 1),
    ("a.tif", (7, 5), GREY, (7, 5), 1, False, 1),
    ("a.tif", (7, 5), GREY | {"byteorder": ">"}, (7, 5), 1, False, 1),
    ("a.tif", (7, 5), GREY | {"compression": "zlib"}, (7, 5), 1, False, 1),
    ("a.tif", (6, 7, 5), GREY, (7, 5), 1, False, 6),
    ("a.TIFF", (7, 5, 3), RGB, (7, 5, 3), 3, False, 1),
    ("a.tif", (7, 5, 4), RGB, (7, 5, 4), 3, True, 1),
    ("a.tif", (6, 7, 5, 3), RGB, (7, 5, 3), 3, False, 6),
    ("a.tif", (3, 7, 5), RGB | PLANAR, (3, 7, 5), 3, False, 1),
    ("a.tif", (4, 7, 5), GREY | PLANAR, (4, 7, 5), 4, False, 1),
    ("a.npy", (7, 5), {}, (7, 5), 1, False, 1),
    ("a.npy", (7, 5, 3), {}, (7, 5, 3), 3, False, 1),
    ("a.npy", (4, 7, 5), {}, (4, 7, 5), 4, False, 1),
    ("a.npy", (6, 7, 5), {}, (7, 5), 1, False, 6),
    ("a.npy", (6, 4, 7, 5), {}, (4, 7, 5), 4, False, 6),
    ("a.npy", (6, 7, 5, 3), {}, (7, 5, 3), 3, False, 6),
    ("a.h5", (7, 5), {}, (7, 5), 1, False, 1),
    ("a.h5", (6, 7, 5), {"compression": "gzip"}, (7, 5), 1, False, 6),
    ("a.h5", (6, 4, 7, 5), {}, (4, 7, 5), 4, False, 6),
]


TYPED = [(case, dtype) for case in CASES for dtype in DTYPES if not (case[0] == "a.png" and "float" in dtype)]


@pytest.mark.parametrize(
    ("case", "dtype"), TYPED, ids=lambda part: part if isinstance(part, str) else f"{part[0]}-{part[1]}"
)
def test_what_is_read_is_written_again(tmp_path, case, dtype):
    name, shape, options, page_shape, channels, alpha, pages = case
    pixels = picture(shape, dtype)
    image = open_image(written(tmp_path / name, pixels, **options))
    assert (image.page_shape, image.channels, image.alpha, image.pages) == (page_shape, channels, alpha, pages)
    read = list(image.read())
    assert image.dtype.newbyteorder("=") == read[0].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.stack(read).reshape(shape), pixels)
    copy = tmp_path / "copy" / name
    copy.parent.mkdir()
    image.write(copy, iter(read))
    if not (name.endswith(".png") and dtype == "uint16" and pixels.ndim == 3):  # others read it as 8 bit
        again = loaded(copy)
        assert again.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(again, pixels)
    reopened = open_image(copy)
    np.testing.assert_array_equal(list(reopened.read()), read)
    assert (reopened.page_shape, reopened.alpha, reopened.pages) == (page_shape, alpha, pages)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_has_the_high_bytes_others_see(tmp_path, channels):
    pixels = picture((11, 6, channels), "uint16")
    path = written(tmp_path / "a.png", pixels)
    open_image(path).write(tmp_path / "b.png", iter(open_image(path).read()))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), (pixels >> 8).astype(np.uint8))


def test_frames_get_an_axis_of_their_own(tmp_path):
    stack = picture((3, 4, 7, 5), "uint16")  # (N, C, H, W)
    for name in ("a.npy", "a.h5"):
        image = open_image(written(tmp_path / name, stack))
        image.write(tmp_path / f"burst_{name}", (page + t for page in image.read() for t in range(2)), 2)
        np.testing.assert_array_equal(loaded(tmp_path / f"burst_{name}"), np.stack([stack, stack + 1], 1))
    image = open_image(written(tmp_path / "a.tif", stack[0, 0], **GREY))
    image.write(tmp_path / "b.tif", (page + t for page in image.read() for t in range(5)), 5)
    np.testing.assert_array_equal(loaded(tmp_path / "b.tif"), np.stack([stack[0, 0] + t for t in range(5)]))


def test_hdf5_keeps_its_attributes(tmp_path):
    path = written(tmp_path / "a.h5", picture((7, 5), "uint16"))
    with h5py.File(path, "a") as file:
        file.attrs["black_level"] = 64
        file["a/b"].attrs["camera"] = "x"
        file["exposure_s"] = 0.5
    image = open_image(path)
    image.write(tmp_path / "b.h5", image.read())
    with h5py.File(tmp_path / "b.h5") as file:
        assert file.attrs["black_level"] == 64 and file["a/b"].attrs["camera"] == "x"


def test_axes_are_told_where_shapes_do_not_tell(tmp_path):
    path = written(tmp_path / "a.npy", picture((3, 7, 3), "uint8"))
    with pytest.raises(InputError, match=r"cannot tell the axes of shape \(3, 7, 3\); say --axes"):
        open_image(path)
    assert open_image(path, axes="CHW").page_shape == (3, 7, 3)
    assert open_image(path, axes="CHW").channel_axis == 0
    assert open_image(path, axes="HWC").channel_axis == -1
    assert open_image(path, axes="NHW").pages == 3
    with pytest.raises(InputError, match="which is not NCHW"):
        open_image(path, axes="NCHW")


def bytes_of(pixels, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_other_kinds_are_refused(tmp_path):
    grey, colour = picture((8, 8), "uint8"), picture((8, 8, 3), "uint8")
    Image.fromarray(colour).quantize(8).save(tmp_path / "palette.png")
    Image.fromarray(grey > 9).save(tmp_path / "bits.png")
    frames = [Image.fromarray(grey), Image.fromarray(grey + 1)]
    frames[0].save(tmp_path / "animated.png", save_all=True, append_images=frames[1:])
    (tmp_path / "short.png").write_bytes(bytes_of(grey)[:20])
    (tmp_path / "cut.png").write_bytes(bytes_of(picture((99, 99), "uint8"))[:5000])
    (tmp_path / "text.png").write_text("hello" * 9)
    tifffile.imwrite(tmp_path / "white.tif", grey, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "int.tif", grey.astype(np.int32))
    tifffile.imwrite(tmp_path / "cut.tif", picture((4, 99, 99), "uint16"), photometric="minisblack")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:60000])
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as tif:
        tif.write(grey, metadata=None)
        tif.write(grey[:4], metadata=None)
    np.save(tmp_path / "objects.npy", np.array([[{}, {}]]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", grey + 1j)
    np.save(tmp_path / "empty.npy", grey[:0])
    np.save(tmp_path / "cut.npy", picture((99, 99), "uint16"))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:9000])
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["left"] = file["right"] = grey
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "photo.jpg").write_bytes(b"")
    causes = {
        "palette.png": "has a palette",
        "bits.png": "colour type 0 and 1 bit",
        "animated.png": "is animated",
        "short.png": "cut short",
        "cut.png": "truncated or damaged",
        "text.png": "not a PNG",
        "white.tif": "kind MINISWHITE",
        "int.tif": "holds int32",
        "cut.tif": "trunca|damaged|cannot read",
        "sizes.tif": "split them",
        "objects.npy": "cannot read.*(allow_pickle|object)",
        "complex.npy": "holds complex128",
        "empty.npy": "is empty",
        "cut.npy": "cannot read",
        "two.h5": "left, right; name one array with --key",
        "text.h5": "cannot read",
        "photo.jpg": "known: .png",
        "none.png": "no such file",
    }
    for name, cause in causes.items():
        with pytest.raises(InputError, match=cause) as caught:
            list(open_image(tmp_path / name).read())
        assert name in str(caught.value) and "\n" not in str(caught.value)
