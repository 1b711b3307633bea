"""NR-GAN's images: what is read, in which order, what is refused in one line, and the fixed noise on top."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from noisemodel import InputError, stream
from noisemodel.families import corrupt
from nrgan.corruption import NoisyImages, Sampler
from nrgan.data import DATA, Images, clean_images, images_from_array
from nrgan.folders import PICTURES, tiles

CIFAR = Path(__file__).parents[2] / "shared/data/cifar-10-batches-py"
Bytes = np.ndarray


def text(value: str | bytes) -> bytes:
    """A Python 2 string, which is also how Python 2 wrote bytes."""
    data = value.encode() if isinstance(value, str) else value
    return (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + len(data).to_bytes(4, "little")) + data


def official(images: Bytes, labels: list[int], dtype: str = "u1") -> bytes:
    """A batch as Python 2 and numpy 1 pickled it, opcode by opcode."""
    shape = b"".join(b"M" + length.to_bytes(2, "little") for length in images.shape)
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + text(dtype) + b"K\x00K\x01tR(K\x03" + text("|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
    state = b"(K\x01(" + shape + b"t" + kind + b"K\x00tb\x89" + text(images.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("data") + made + state + text("labels") + numbers + b"u."


def batch(count: int = 7, seed: int = 0) -> tuple[Bytes, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), np.uint8), rng.integers(0, 10, count).tolist()


def write_cifar(folder: Path, names: tuple[str, ...] = ("data_batch_1", "data_batch_2", "test_batch")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(official(*batch(seed=seed)))
    return folder


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    said = str(error.value)
    assert "\n" not in said
    return said


def test_official_batches_are_read_in_their_order(tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-py")
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        images = clean_images(path)
        first, second = batch(seed=0), batch(seed=1)
        expected = np.concatenate([first[0], second[0]]).reshape(-1, 3, 32, 32)
        assert images.values.dtype == torch.uint8 and np.array_equal(images.values.numpy(), expected)
        assert images.labels is not None and images.labels.tolist() == first[1] + second[1]
        assert images.description == "CIFAR-10, train: 2 of 5 batches, 14 images"
    test = clean_images(tmp_path, split="test", kind="cifar10")
    assert np.array_equal(test.values.numpy().reshape(7, 3072), batch(seed=2)[0])


def test_batches_that_python_3_wrote_are_read_too(tmp_path):
    images, labels = batch()
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": images, b"labels": labels}, protocol=2))
    assert np.array_equal(clean_images(tmp_path).values.numpy().reshape(-1, 3072), images)


@pytest.mark.skipif(not CIFAR.is_dir(), reason=f"no {CIFAR}")
def test_the_real_batches_are_read():
    train, test = clean_images(CIFAR), clean_images(CIFAR, split="test")
    assert (len(train), len(test), train.shape) == (10_000, 2_000, (3, 32, 32))
    assert train.labels is not None and train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert train.labels.bincount().min() > 900
    neighbours = (train[:500][..., 1:] - train[:500][..., :-1]).abs().mean()
    assert float(neighbours) < 0.06  # wrong axes would make noise of it


class Payload:
    """A pickle that creates a file when it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["whole", "data", "labels", "other"])
def test_a_payload_does_not_run(tmp_path, place, protocol):
    payload = Payload(tmp_path / "ran")
    whole = {"data": batch()[0], "labels": batch()[1], place: payload}
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickle.dumps(payload if place == "whole" else whole, protocol=protocol))
    with pytest.raises(InputError, match="data_batch_1 is no CIFAR-10 batch") as error:
        clean_images(tmp_path)
    one_line(error)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(payload))
    assert (tmp_path / "ran").exists()  # the payload is a real one


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (official(*batch())[:5000], "truncated|ran out|no CIFAR-10 batch"),
        (b"", "Ran out of input"),
        (b"<html>404</html>", "no CIFAR-10 batch"),
        (official(batch()[0], batch()[1][:3]), "3 labels for 7 images"),
        (official(batch()[0], [10] * 7), "labels outside 0..9"),
        (official(batch()[0][:, :3000], batch()[1]), r"shape \(7, 3000\)"),
        (official(batch()[0], batch()[1], "i1"), "an array of i1"),
        (pickle.dumps({"data": [1], "labels": [1]}), "no CIFAR-10 batch"),
        (pickle.dumps({"fine_labels": [1], "data": [1]}), "fine_labels, data, not data and labels"),
        (pickle.dumps([1]), "holds a list"),
    ],
)
def test_damaged_and_foreign_batches_are_named(tmp_path, data, words):
    (tmp_path / "data_batch_1").write_bytes(data)
    with pytest.raises(InputError, match=words) as error:
        clean_images(tmp_path)
    assert f"{tmp_path / 'data_batch_1'} is no CIFAR-10 batch" in one_line(error)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red grows to the right, green downwards."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([columns, rows, 0 * rows + 99], -1).astype(np.uint8)).convert(mode)


def test_a_folder_is_cropped_to_the_centre_and_resized(tmp_path):
    (tmp_path / "sub").mkdir()
    picture(200, 100).save(tmp_path / "b.png")
    picture(64, 64, "L").save(tmp_path / "a.PNG")
    picture(64, 64, "P").save(tmp_path / "sub/c.png")
    picture(70, 70, "RGBA").save(tmp_path / "z.png")  # the last tenth: for tests
    (tmp_path / "notes.txt").write_text("no image")
    images = clean_images(tmp_path, size=64)
    assert images.shape == (3, 64, 64) and len(images) == 3 and images.labels is None
    grey, wide = images[0:1][0], images[1:2][0]
    assert torch.equal(grey[0], grey[2])
    assert float(wide[0, 32, 0]) == pytest.approx(0.25, abs=0.01)  # a quarter of the width is cut off each side
    assert float(wide[0, 32, -1]) == pytest.approx(0.75, abs=0.01)
    assert (float(wide[1, 0, 32]), float(wide[1, -1, 32])) == pytest.approx((0, 1), abs=0.01)
    assert len(clean_images(tmp_path, size=32, split="test")) == 1


def test_a_photograph_is_turned_as_its_tag_says(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    for name in ("a.png", "b.png"):
        picture(40, 40).save(tmp_path / name, exif=turned)
    image = clean_images(tmp_path)[0:1][0]
    assert float(image[0, -1, 5]) > 0.9 > 0.1 > float(image[0, 0, 5])


def test_unreadable_files_are_named_and_counted(tmp_path):
    for name in "abcde":
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    picture(40, 40).save(tmp_path / "z.png")
    with pytest.raises(InputError, match=r"a\.png.*b\.png.*c\.png.* and 2 more; repair") as error:
        clean_images(tmp_path)
    one_line(error)
    for name in "bcde":
        (tmp_path / f"{name}.png").unlink()
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png \(mode I;16, not 8 bit"):
        clean_images(tmp_path)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("split", ["train", "test"])
def test_embedded_pictures_are_always_the_same_and_mirrored(size, split):
    images = clean_images(size=size, split=split)
    assert images.shape == (3, size, size) and len(images) >= 14 and images.labels is not None
    assert torch.equal(images.values, clean_images(size=size, split=split).values)
    assert set(images.labels.tolist()) <= set(range(len(PICTURES)))
    seen = {patch.numpy().tobytes() for patch in images.values}
    assert all(patch.numpy().tobytes() in seen for patch in images.values[:40].flip(-1).contiguous())
    if len(images) > 14:  # only one picture has 128 px in its last quarter
        assert len(set(images.labels[:40].tolist())) > 1  # shuffled


def test_embedded_training_and_test_patches_do_not_overlap():
    train, test = (clean_images(split=split) for split in ("train", "test"))
    textured = [patch for patch in test.values if float(patch.float().std()) > 20]
    seen = {patch.numpy().tobytes() for patch in train.values}
    assert len(textured) > 100 and not any(patch.numpy().tobytes() in seen for patch in textured)


def test_arrays_are_cut_into_tiles_and_never_resized(tmp_path):
    raw = torch.rand(20, 4, 70, 100, generator=stream(0, "raw")).numpy() - 0.05
    labels = np.arange(20)
    np.save(tmp_path / "raw.npy", raw)
    np.savez(tmp_path / "raw.npz", images=raw, labels=labels, other=labels)
    np.savez_compressed(tmp_path / "one.npz", anything=raw.astype(np.float64))
    for name in ("raw.npy", "raw.npz", "one.npz"):
        images = clean_images(tmp_path / name)
        assert images.values.dtype == torch.float32 and images.shape == (4, 32, 32) and len(images) == 18 * 6
        assert np.array_equal(images[4:5][0].numpy(), raw[0, :, 32:64, 32:64])
    labelled = clean_images(tmp_path / "raw.npz", split="test").labels
    assert labelled is not None and labelled.tolist() == [18] * 6 + [19] * 6
    handed = images_from_array(torch.from_numpy(raw), size=64)
    assert np.array_equal(handed[:].numpy(), raw[:18, :, :64, :64])


def test_eight_bit_arrays_stay_bytes_in_memory():
    values = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=stream(0, "bytes"))
    images = images_from_array(values, size=32)
    assert images.values.dtype == torch.uint8
    assert torch.equal(images[torch.tensor([2, 0])], values[[2, 0]].float() / 255)


def test_tiles_are_cut_row_by_row():
    images = torch.arange(24.0).view(1, 1, 4, 6)
    assert tiles(images, 2, 2)[:, 0, 0, 0].tolist() == [0, 2, 4, 12, 14, 16]


GOOD = np.zeros((2, 3, 32, 32), np.float32)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GOOD[0], r"\(N, C, H, W\), got \(3, 32, 32\)"),
        (GOOD[:, :, :20], r"images of \(20, 32\), smaller than 32"),
        (GOOD.astype(np.uint16), "holds uint16; give uint8, or DN"),
        (GOOD.astype(np.complex64), "complex64"),
        (GOOD + 4095, "got 4095 to 4095; subtract black"),
        (GOOD + np.nan, "got nan"),
        (GOOD[:1], "has 1 image"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, array, words):
    np.save(tmp_path / "patches.npy", array)
    with pytest.raises(InputError, match=words) as error:
        clean_images(tmp_path / "patches.npy")
    assert str(tmp_path / "patches.npy") in one_line(error)


def test_files_that_are_no_arrays_are_named(tmp_path):
    np.save(tmp_path / "whole.npy", GOOD)
    cut = tmp_path / "cut.npy"
    cut.write_bytes((tmp_path / "whole.npy").read_bytes()[:1000])
    np.savez(tmp_path / "two.npz", a=GOOD, b=GOOD)
    np.savez(tmp_path / "labels.npz", labels=np.arange(2))
    np.savez(tmp_path / "short.npz", images=GOOD, labels=np.arange(3))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "text.txt").write_text("x")
    np.save(tmp_path / "ran.npy", np.array([Payload(tmp_path / "ran")]), allow_pickle=True)
    words = {
        "cut.npy": "cannot be read", "two.npz": "has a, b; name", "labels.npz": "has labels; name", "bad.npz": "cannot",
        "short.npz": "2 images and labels of shape", "text.txt": "no .npy or .npz", "ran.npy": "cannot be read",
        "gone.npy": "no such file",
    }  # fmt: skip
    for name, said in words.items():
        with pytest.raises(InputError, match=said) as error:
            clean_images(tmp_path / name)
        assert name in one_line(error)
    assert not (tmp_path / "ran").exists()


def test_wrong_settings_are_named(tmp_path):
    write_cifar(tmp_path / "cifar", ("data_batch_1",))
    (tmp_path / "empty").mkdir()
    cases = [
        ({"size": 48}, "32, 64, 128 px, got 48"),
        ({"split": "dev"}, "'dev'; known: train, test"),
        ({"kind": "celeba"}, f"known: auto, {', '.join(DATA)}"),
        ({"kind": "folder"}, "do not fit; it takes a folder"),
        ({"kind": "embedded", "path": tmp_path}, "do not fit; it takes no path"),
        ({"path": tmp_path / "cifar", "size": 64}, "CIFAR-10 has 32 px, got size 64"),
        ({"path": tmp_path / "cifar", "split": "test"}, "no test batch of CIFAR-10"),
        ({"path": tmp_path / "empty"}, "has no images; known types"),
        ({"path": tmp_path / "cifar/data_batch_1", "kind": "folder"}, "is no folder"),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words) as error:
            clean_images(**arguments)
        one_line(error)


def grey_images(count: int = 1100) -> Images:
    values = torch.randint(0, 256, (count, 3, 24, 24), dtype=torch.uint8, generator=stream(0, "images"))
    return Images(values, None, "test")


@pytest.mark.parametrize("held_bytes", [1 << 31, 1000])
def test_every_image_has_one_fixed_noise(held_bytes):
    images = grey_images()
    noisy = NoisyImages(images, "cifar10p10-50", 5, held_bytes=held_bytes)
    assert len(noisy) == 1100
    indices = torch.tensor([1050, 3, 3, 1023, 1024])
    drawn = noisy.batch(indices)
    assert torch.equal(drawn, noisy.batch(indices))
    assert torch.equal(noisy.clean(indices), images[indices])
    for row, index in zip(drawn, indices.tolist(), strict=True):
        alone = corrupt("cifar10p10-50", images[index : index + 1], seed=5, first=index)
        assert torch.equal(row, alone[0])
    assert not torch.equal(drawn, NoisyImages(images, "cifar10p10-50", 6).batch(indices))
    assert float(noisy.batch(slice(0, 50)).max()) == 1.0
    assert float(NoisyImages(grey_images(8), "cifar10p30", 5, clip=False).batch(slice(0, 8)).max()) > 1.0


def test_real_noisy_images_are_taken_as_they_are():
    raw = images_from_array(torch.rand(20, 4, 32, 32, generator=stream(0, "raw")) - 0.1, size=32)
    assert torch.equal(NoisyImages(raw, "cifar10", 0, clip=False).batch(slice(0, 18)), raw[:])
    with pytest.raises(InputError, match="must lie in"):
        NoisyImages(raw, "cifar10p30", 0)


def test_every_epoch_shows_each_image_once_in_another_order():
    sampler = Sampler(50, 8, 3)
    order = torch.cat([sampler.indices(step) for step in range(25)]).view(4, 50)
    assert bool((order.sort(1).values == torch.arange(50)).all())
    assert len({tuple(epoch.tolist()) for epoch in order}) == 4
    other = torch.cat([Sampler(50, 8, 4).indices(step) for step in range(25)]).view(4, 50)
    assert not torch.equal(order, other)


def test_a_step_needs_no_step_before_it_and_ranks_share_a_batch():
    sampler = Sampler(1000, 64, 3)
    walked = [sampler.indices(step) for step in range(40)]
    assert torch.equal(Sampler(1000, 64, 3).indices(39), walked[39])
    shares = [Sampler(1000, 64, 3).indices(39, slice(rank, None, 2)) for rank in range(2)]
    assert torch.equal(torch.stack(shares, 1).flatten(), walked[39])
    assert len(Sampler(3, 10, 0).indices(10**6)) == 10  # a batch may be larger than the data
    with pytest.raises(InputError, match="got 0 and 8"):
        Sampler(0, 8, 0)


def test_places_in_an_epoch_are_uniform():
    sampler: Sampler = Sampler(10, 10, 0)
    orders: Tensor = torch.stack([sampler.indices(step) for step in range(2000)])
    counts = torch.nn.functional.one_hot(orders, 10).sum(0).double()  # (place, image)
    assert float((counts - 200).abs().max()) < 5 * (2000 * 0.1 * 0.9) ** 0.5
