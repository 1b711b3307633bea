"""SIDD: axes and colours, metadata by ID, layouts, ground truth by crop, groups and splits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from sidd_fixture import ISOS, PHONES, mosaic_of, scene_colours, write_mat73, write_metadata, write_sidd_tree

from datasets import CropSampler, DataOptions, load_dataset
from datasets.frames import Frames
from datasets.mat73 import ChunkedImage, inflated_crop, open_mat73_image
from datasets.sidd import find_instances, load_sidd, read_metadata
from datasets.sidd_srgb import read_srgb_mat
from datasets.stacks import MappedStack
from noisemodel.errors import InputError
from noisemodel.sensor import Levels

PAIR = Path(__file__).parents[2] / "shared" / "data" / "sidd_srgb_pair"
SIZE = (64, 96)
EVERYTHING = (slice(None), slice(None))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Medium: two frames of every instance."""
    root = tmp_path_factory.mktemp("sidd")
    write_sidd_tree(root, frames=(10, 11), srgb=True, size=SIZE)
    return root


def colours_of(planes: torch.Tensor, cfa: str) -> dict[str, torch.Tensor]:
    """Letter -> mean of its planes, (h, w)."""
    return {c: torch.stack([planes[i] for i, letter in enumerate(cfa) if letter == c]).mean(0) for c in "RGB"}


@pytest.mark.parametrize("phone", PHONES)
def test_red_and_blue_are_where_they_were(phone: str, tree: Path) -> None:
    """Red grows downwards only, blue to the right only: a transpose or a wrong colour shows."""
    (found,) = load_sidd(tree, cameras=[phone], iso=[800])
    assert (found.name, found.layout, found.cfa) == (f"sidd/{phone}/800", "mosaic", PHONES[phone].cfa)
    assert found.levels == Levels(0.0, 1.0, clip=(0.0, 1.0))
    burst = found.bursts[0]
    assert burst.shape == (2, 4, SIZE[0] // 2, SIZE[1] // 2)
    expected = scene_colours(1, SIZE, PHONES[phone].darkest(800))
    for planes in (burst.read_truth(*EVERYTHING), burst.read([0, 1], *EVERYTHING).mean(0)):
        seen = colours_of(planes, found.cfa)
        for letter, fixed, along in (("R", -1, -2), ("B", -2, -1)):
            light = expected["RGB".index(letter)]
            assert abs(float(seen[letter].mean()) - light.mean()) < 0.01
            rise = seen[letter].mean(dim=fixed)
            assert float(rise[-1] - rise[0]) > 0.1, "grows"
            across = seen[letter].mean(dim=along)
            assert abs(float(across[-1] - across[0])) < 0.04, "is even"


@pytest.mark.parametrize("phone", ["S6", "IP"])
def test_truth_and_crops_are_exact(phone: str, tree: Path) -> None:
    (found,) = load_sidd(tree, cameras=[phone], iso=[100])
    burst = found.bursts[1]
    mosaic = mosaic_of(scene_colours(2, SIZE, PHONES[phone].darkest(100)), PHONES[phone].cfa).astype(np.float32)
    expected = torch.from_numpy(np.stack([mosaic[dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]))
    assert torch.equal(burst.truth, expected)
    rows, columns = slice(3, 20), slice(7, 31)
    assert torch.equal(burst.read_truth(rows, columns), expected[:, rows, columns])
    whole = burst.read([1], *EVERYTHING)
    assert torch.equal(burst.read([1], rows, columns), whole[..., rows, columns])
    assert not torch.equal(burst.read([0], *EVERYTHING), whole)


@pytest.mark.parametrize("phone", PHONES)
@pytest.mark.parametrize("iso", ISOS)
def test_noise_has_the_parameters_of_phone_and_iso(phone: str, iso: int, tree: Path) -> None:
    """The variance of noisy - GT is g x + s^2: mean of the squared residual over its prediction is 1."""
    true = PHONES[phone].parameters(iso)
    (found,) = load_sidd(tree, cameras=[phone], iso=[iso])
    ratios = []
    for burst in found.bursts:
        truth = burst.read_truth(*EVERYTHING)
        residual = burst.read(range(burst.shape[0]), *EVERYTHING) - truth
        ratios.append((residual**2 / (true["shot.gain"] * truth + true["read.std"] ** 2)).flatten())
    ratio = torch.cat(ratios).double()
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / len(ratio) ** 0.5


def test_every_packing_reads_the_same(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((50, 70)).astype(np.float32)
    kinds: dict[str, tuple[dict[str, Any], type]] = {
        "contiguous": ({"chunks": None}, MappedStack),
        "deflated": ({"chunks": (8, 50), "deflate": 3}, ChunkedImage),
        "small_chunks": ({"chunks": (7, 9), "deflate": 3}, ChunkedImage),
        "chunked": ({"chunks": (16, 16), "deflate": None}, ChunkedImage),
    }
    for name, (packing, kind) in kinds.items():
        for dtype in (np.float32, np.float64):
            path = tmp_path / f"{name}.MAT"
            write_mat73(path, image.astype(dtype), **packing)
            stack = open_mat73_image(path)
            assert isinstance(stack, kind), name
            assert stack.shape == (1, 50, 70)
            frames = Frames(path, stack, {})
            assert np.array_equal(frames.read([0], slice(11, 40), slice(5, 66))[0], image[11:40, 5:66].astype(dtype))


def test_a_huge_chunk_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.mat73.LARGEST_CHUNK", 1000)
    image = np.random.default_rng(0).random((50, 70)).astype(np.float32)
    write_mat73(tmp_path / "a.MAT", image, chunks=(70, 50))
    stack = open_mat73_image(tmp_path / "a.MAT")
    assert isinstance(stack, MappedStack)
    frames = Frames(stack.path, stack, {})
    assert np.array_equal(frames.read([0], slice(11, 40), slice(5, 66))[0], image[11:40, 5:66])


@pytest.mark.parametrize("phone", PHONES)
def test_metadata_of_both_styles(phone: str, tmp_path: Path) -> None:
    write_metadata(tmp_path / "m.MAT", PHONES[phone], 800)
    found, true = read_metadata(tmp_path / "m.MAT"), PHONES[phone].parameters(800)
    assert (found.iso, found.cfa, found.make, found.model) == (
        800, PHONES[phone].cfa, PHONES[phone].make, PHONES[phone].model,
    )  # fmt: skip
    assert found.as_shot_neutral == (0.5, 1.0, 0.6)
    assert found.colour_matrix == ((11, 12, 13), (14, 15, 16), (17, 18, 19))
    assert found.noise_profile is not None
    assert len(found.noise_profile) == (1 if phone == "IP" else 3)
    middle = found.noise_profile[len(found.noise_profile) // 2]
    assert middle == pytest.approx((true["shot.gain"], true["read.std"] ** 2))


@pytest.mark.parametrize(("layout", "frames"), [("flat", (10,)), ("data", (10, 11)), ("full", (1, 2, 3, 150))])
def test_layouts(layout: Any, frames: tuple[int, ...], tmp_path: Path) -> None:
    write_sidd_tree(tmp_path, phones=["S6"], isos=[100], frames=frames, layout=layout)
    instances = find_instances(tmp_path)
    assert [i.id for i in instances] == [4, 54]
    assert {i.frames for i in instances} == {frames}
    first = instances[0]
    assert (first.scene, first.phone, first.iso, first.shutter, first.illuminant, first.brightness) == (
        1, "S6", 100, 60, 3200, "L",
    )  # fmt: skip
    (found,) = load_sidd(tmp_path)
    assert [burst.shape for burst in found.bursts] == [(len(frames), 4, 32, 48)] * 2
    assert found.has_truth
    batch = CropSampler(found, crop=16, frames=4, batch_size=4, seed=0).batch(0)
    assert not batch.centred
    assert float(batch.residual.std()) < 0.05


def test_files_without_their_number(tmp_path: Path) -> None:
    """Some releases leave the instance out of the file names."""
    write_sidd_tree(tmp_path, phones=["IP"], isos=[100], scenes=1, srgb=True)
    for path in tmp_path.rglob("*.*"):
        path.rename(path.with_name(path.name[5:]))
    assert len(load_sidd(tmp_path)[0].bursts) == len(load_sidd(tmp_path, srgb=True)[0].bursts) == 1


def test_frames_with_other_truths_are_other_bursts(tmp_path: Path) -> None:
    write_sidd_tree(tmp_path, phones=["S6"], isos=[100], scenes=1, frames=(10, 11), moving=True)
    (found,) = load_sidd(tmp_path)
    assert [burst.shape[0] for burst in found.bursts] == [1, 1]
    assert [burst.name[-4:] for burst in found.bursts] == ["/010", "/011"]
    for burst in found.bursts:
        assert float((burst.read([0], *EVERYTHING)[0] - burst.read_truth(*EVERYTHING)).std()) < 0.05


def test_truth_is_read_by_crop_only(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = load_sidd(tree, cameras=["S6"], iso=[100])
    sampler = CropSampler(found, crop=16, frames=2, batch_size=2, seed=0)
    asked = []
    read = Frames.read

    def watched(self: Frames, frames: Any, rows: slice, columns: slice) -> Any:
        asked.append((rows.stop - rows.start, columns.stop - columns.start))
        return read(self, frames, rows, columns)

    monkeypatch.setattr(Frames, "read", watched)
    batch = sampler.batch(0)
    assert set(asked) == {(32, 32)}
    assert len(asked) == 4
    burst = next(b for b in found.bursts)
    assert burst.has_truth and "truth=" not in repr(burst) and len(asked) == 4
    assert batch.reference.shape == (2, 1, 4, 16, 16)
    assert torch.equal(replace(burst, name="other").truth, burst.truth)


def test_srgb_pairs(tree: Path) -> None:
    (found,) = load_sidd(tree, cameras=["N6"], iso=[100], srgb=True)
    assert (found.layout, found.cfa, found.bursts[0].shape) == ("planes", None, (2, 3, *SIZE))
    truth = found.bursts[0].read_truth(*EVERYTHING)
    expected = np.rint(255 * scene_colours(1, SIZE, PHONES["N6"].darkest(100))) / 255
    np.testing.assert_allclose(truth, expected, rtol=0, atol=1e-6)
    residual = (found.bursts[0].read([0, 1], *EVERYTHING) - truth)[:, truth > 0.1]  # five stds from the clip at 0
    error = (0.02**2 + 1 / 255**2 / 12) ** 0.5 / (2 * residual.numel()) ** 0.5
    assert abs(float(residual.std()) - (0.02**2 + 1 / 255**2 / 12) ** 0.5) < 5 * error


@pytest.mark.skipif(not PAIR.is_dir(), reason="shared/data/sidd_srgb_pair is not here")
def test_the_real_pair() -> None:
    """One scene twice: equal colours, far closer than any shift; the noisy one has more detail, the clean one less."""
    noisy, clean = read_srgb_mat(PAIR / "noisy.mat"), read_srgb_mat(PAIR / "gt.mat")
    assert noisy.shape == clean.shape == (3, 256, 256)
    assert float((noisy.mean((1, 2)) - clean.mean((1, 2))).abs().max()) < 0.05

    def difference(shift: int, axis: int) -> float:
        inner = (slice(None), slice(8, -8), slice(8, -8))
        return float((noisy.roll(shift, axis)[inner] - clean[inner]).square().mean())

    aligned = difference(0, 1)
    assert 10 < -10 * np.log10(aligned) < 35
    assert all(difference(shift, axis) > aligned for shift in (-8, 8) for axis in (1, 2))
    assert all(difference(0, 1) < float((noisy.flip(axis) - clean).square().mean()) for axis in (0, 1, 2))
    roughness = [float(image.diff(dim=1).square().mean()) for image in (clean, noisy)]
    assert roughness[1] > 2 * roughness[0]


def test_groups_and_filters(tree: Path) -> None:
    sets = load_sidd(tree, cameras=["S6", "IP"], iso=[100, 3200])
    assert [found.name for found in sets] == ["sidd/IP/100", "sidd/IP/3200", "sidd/S6/100", "sidd/S6/3200"]
    assert len(find_instances(tree)) == 30
    train, test = (find_instances(tree, split="noiseflow", part=part) for part in ("train", "test"))
    assert len(train) == len(test) == 15
    assert not {i.id for i in train} & {i.id for i in test}


def test_the_row_of_the_table(tree: Path) -> None:
    options = DataOptions(tree, cameras=("S6",), iso=(3200,), split="noiseflow")
    found = load_dataset("sidd", options)
    assert (found.name, [burst.name[:4] for burst in found.bursts]) == ("sidd/S6/3200", ["0029"])
    wrong: list[tuple[DataOptions, str]] = [
        (DataOptions(tree), "GP/100, GP/800"),
        (DataOptions(tree, cameras=("S6",)), "S6/100, S6/800, S6/3200; give --cameras and --iso"),
        (DataOptions(tree, cameras=("S7",)), "no --cameras S7 .*there are G4, GP, IP, N6, S6"),
        (DataOptions(tree, iso=(640,)), "no --iso 640 .*there are 100, 800, 3200"),
        (DataOptions(tree, split="nowhere"), "unknown split 'nowhere'; known: noiseflow, holdout"),
        (DataOptions(tree, cameras=("S6",), iso=(100,), black_level=64), "takes no --black_level"),
        (DataOptions(), "--data_root"),
        (DataOptions(tree / "nowhere"), "no such folder"),
    ]
    for asked, message in wrong:
        with pytest.raises(InputError, match=message):
            load_dataset("sidd", asked)


def damaged(change: Callable[[Path], None], pattern: str) -> Callable[[Path], Path]:
    """What spoils the first file that matches, and says which it was."""

    def spoil(root: Path) -> Path:
        path = sorted(root.rglob(pattern))[0]
        change(path)
        return path

    return spoil


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def rewrite(**options: Any) -> Callable[[Path], None]:
    """Write another image in a file's place."""
    image = options.pop("image", np.full(SIZE, 0.5, np.float32))
    return lambda path: write_mat73(path, image, **options)


def as_version_5(path: Path) -> None:
    import scipy.io

    scipy.io.savemat(path, {"x": np.zeros(SIZE, np.float32)})


def group_for_array(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("x")


def without_tags(path: Path) -> None:
    import scipy.io

    scipy.io.savemat(path, {"metadata": {"Make": "Nokia", "Model": "3310"}})


def no_struct(path: Path) -> None:
    import scipy.io

    scipy.io.savemat(path, {"metadata": np.eye(3)})


BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "truncated image": ("*NOISY_RAW*", truncate, "cannot read|truncated"),
    "truncated truth": ("*GT_RAW*", truncate, "cannot read|truncated"),
    "empty": ("*NOISY_RAW*", lambda path: path.write_bytes(b""), "no MATLAB 7.3"),
    "garbage": ("*GT_RAW*", lambda path: path.write_bytes(bytes(range(256)) * 8), "no MATLAB 7.3"),
    "pickle": ("*GT_RAW*", lambda path: path.write_bytes(b"\x80\x04K*."), "no MATLAB 7.3"),
    "missing truth": ("*GT_RAW*", Path.unlink, "no such file"),
    "wrong key": ("*NOISY_RAW*", rewrite(key="y"), "no array 'x'.*it holds y"),
    "group": ("*NOISY_RAW*", group_for_array, "no array 'x'"),
    "integers": ("*NOISY_RAW*", rewrite(image=np.zeros(SIZE, np.uint16)), "must be floats"),
    "three axes": ("*GT_RAW*", rewrite(image=np.zeros((4, 32, 48), np.float32), chunks=None), "2-D mosaic"),
    "odd": ("*_RAW*", rewrite(image=np.zeros((63, 96), np.float32)), "is 63x96|64x96"),
    "other size": ("*GT_RAW*", rewrite(image=np.zeros((64, 98), np.float32)), "is 64x98"),
    "transposed truth": ("*GT_RAW*", rewrite(image=np.zeros((96, 64), np.float32)), "is 96x64"),
    "old version": ("*NOISY_RAW*", as_version_5, "no MATLAB 7.3"),
    "missing metadata": ("*METADATA*", Path.unlink, "no such file"),
    "truncated metadata": ("*METADATA*", truncate, "cannot read|no struct"),
    "new metadata": ("*METADATA*", rewrite(), "version 5"),
    "image for metadata": ("*METADATA*", as_version_5, "no struct 'metadata'"),
    "matrix for metadata": ("*METADATA*", no_struct, "no struct 'metadata'"),
    "no tags": ("*METADATA*", without_tags, "33422"),
    "other phone": ("*METADATA*", lambda path: write_metadata(path, PHONES["N6"], 100), "GRBG"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_line_with_their_path(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern, change, message = BAD[name]
    write_sidd_tree(tmp_path, phones=["S6"], isos=[100], scenes=2, size=SIZE)
    path = damaged(change, pattern)(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_sidd(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    (left,) = load_sidd(tmp_path, skip_bad_files=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(left.bursts) == 1 and left.bursts[0].name.startswith("0054")
    assert len(lines) == 1 and lines[0].startswith("left out: ") and str(path) in lines[0]


def read_all(root: Path) -> None:
    """Everything that the loader can be asked for."""
    for found in load_sidd(root, skip_bad_files=False):
        for burst in found.bursts:
            burst.read(range(burst.shape[0]), *EVERYTHING)
            burst.read_truth(*EVERYTHING)


@pytest.mark.parametrize("chunks", [None, (16, 32)])
def test_no_truncation_is_overlooked(chunks: tuple[int, int] | None, tmp_path: Path) -> None:
    write_sidd_tree(tmp_path, phones=["IP"], isos=[100], scenes=1, chunks=chunks)
    for path in sorted(tmp_path.rglob("*.MAT")):
        whole = path.read_bytes()
        for length in np.linspace(0, len(whole) - 1, 25).astype(int):
            path.write_bytes(whole[:length])
            with pytest.raises(InputError) as caught:
                read_all(tmp_path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        path.write_bytes(whole)
    read_all(tmp_path)


def test_damaged_bytes_raise_nothing_else(tmp_path: Path) -> None:
    """Most flips fall on pixels and cannot be known; whatever is noticed is one line with the path."""
    write_sidd_tree(tmp_path, phones=["IP"], isos=[100], scenes=1)
    rng, noticed = np.random.default_rng(0), 0
    for path in sorted(tmp_path.rglob("*.MAT")):
        whole = path.read_bytes()
        for _ in range(60):
            spoiled = bytearray(whole)
            spoiled[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
            path.write_bytes(spoiled)
            try:
                read_all(tmp_path)
            except InputError as error:
                noticed += 1
                assert str(path) in str(error) and "\n" not in str(error)
        path.write_bytes(whole)
    assert noticed > 20


def test_srgb_files_that_are_bad(tmp_path: Path) -> None:
    write_sidd_tree(tmp_path, phones=["IP"], isos=[100], scenes=1, srgb=True)
    path = next(tmp_path.rglob("*GT_SRGB*"))
    whole = path.read_bytes()
    grey = next(tmp_path.rglob("*NOISY_SRGB*")).with_name("grey.png")
    Image.new("L", (96, 64)).save(grey, "PNG")
    for content, message in (
        (b"", "cannot read"),
        (whole[: len(whole) // 2], "truncated"),
        (b"II*\0" + whole, "cannot read"),
        (grey.read_bytes(), "8-bit RGB, got mode L"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_sidd(tmp_path, srgb=True)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        load_sidd(tmp_path, srgb=True)


def test_nothing_good_is_an_error(tmp_path: Path) -> None:
    write_sidd_tree(tmp_path, phones=["S6"], isos=[100], scenes=1)
    next(tmp_path.rglob("*GT_RAW*")).write_bytes(b"")
    said: list[str] = []
    with pytest.raises(InputError, match="has a bad file"):
        load_sidd(tmp_path, skip_bad_files=True, warn=said.append)
    assert len(said) == 1


@pytest.mark.parametrize("chunks", [(1, 48), (16, 48), (7, 5), (64, 48)])
def test_chunks_are_unpacked_as_hdf5_does_it(tmp_path: Path, chunks: tuple[int, int]) -> None:
    """Every crop, at every corner; also where a chunk was never written, or stored without deflate."""
    rng, path = np.random.default_rng(0), tmp_path / "a.MAT"
    image = rng.random((64, 48)).astype(np.float32)
    with h5py.File(path, "w") as file:
        full = file.create_dataset("x", data=image, chunks=chunks, compression="gzip", compression_opts=3)
        holes = file.create_dataset("holes", shape=(64, 48), dtype="f4", chunks=(16, 16), compression="gzip")
        holes[:20, :20] = 1.0
        file.create_dataset("shuffled", data=image, chunks=chunks, compression="gzip", shuffle=True)
        for place in [
            (slice(a, b), slice(c, d)) for a, b in ((0, 64), (13, 31), (63, 64)) for c, d in ((0, 48), (5, 6))
        ]:
            np.testing.assert_array_equal(inflated_crop(full, place), image[place])
            np.testing.assert_array_equal(inflated_crop(holes, place), holes[place])
    for key in ("x", "shuffled"):
        read = Frames(path, open_mat73_image(path, key), {}).read([0], slice(3, 40), slice(9, 60))
        np.testing.assert_array_equal(read[0], image.T[3:40, 9:60])
