"""Guards of libraries that trust their files: MAT tags, claimed sizes, numbers in pickles; when a soak has grown."""

import importlib.util
import json
import pickle
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import noisemodel
from denoisers import DenoiserSettings
from noisemodel import InputError, NoiseGenerator, PhysicalNoise
from noisemodel.claims import check_claim, check_finite, check_hdf5_claim, listed, mapped_npy, npz_headers, shortened
from noisemodel.legacy import read_pattern
from noisemodel.mat_tags import load_mat, mat_variables
from noisemodel.plain_pickle import load_plain_pickle
from noisemodel.png import check_size, read_png, write_png
from noisemodel.sources import open_source
from noisemodel.tensor_file import read_tensor_file
from nrgan.folders import read_folder
from nrgan.models import NoiseSettings, build_noise
from nrgan.networks import ImageGenerator
from nrgan.snapshots import NrGan, load_snapshot, save_snapshot
from train_denoiser_pictures import read_picture

VALUES = {
    "frames": np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
    "small": np.array([[7]], np.uint8),
    "complex": np.array([[1 + 2j, 3 - 1j]]),
    "text": "mosaic",
    "struct": {"Make": "Acme", "inner": {"ISO": np.array([[100.0, 200.0]])}, "none": np.zeros((0, 0))},
    "cell": np.array([[np.arange(3.0), "x"]], dtype=object),
}


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def mat(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    scipy.io.savemat(tmp_path / "a.mat", VALUES, do_compression=request.param)
    return tmp_path / "a.mat"


@pytest.mark.parametrize("name", VALUES)
def test_whole_mat_files_are_read_as_scipy_reads_them(mat, name):
    found, expected = load_mat(mat, (name,)), scipy.io.loadmat(mat, variable_names=(name,))
    assert {key for key in found if key[0] != "_"} == {name}
    assert found[name].dtype == expected[name].dtype
    assert repr(found[name]) == repr(expected[name])
    assert mat_variables(mat) == scipy.io.whosmat(mat)


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_large_packed_arrays(tmp_path, order):
    noise = np.random.default_rng(0).integers(0, 4096, (400, 1000)).astype(f"{order}u2")
    scipy.io.savemat(tmp_path / "a.mat", {"first": noise, "x": noise[::-1]}, do_compression=True)
    assert np.array_equal(load_mat(tmp_path / "a.mat", ("x",))["x"], noise[::-1])


def test_a_tag_of_no_known_type_is_refused_wherever_it_stands(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"frames": VALUES["frames"]})
    data = path.read_bytes()
    tag = data.index(struct.pack("<II", 4, 48))  # uint16, 48 bytes
    for kind in (0, 8, 10, 19, 250, 42755, 0xFFFF):  # the last but one ended the process
        path.write_bytes(data[:tag] + struct.pack("<I", kind) + data[tag + 4 :])
        with pytest.raises(ValueError, match=f"type {kind}"):
            load_mat(path, ("frames",))
    path.write_bytes(data[: tag + 4] + struct.pack("<I", 2**32 - 8) + data[tag + 8 :])
    with pytest.raises(ValueError, match="where 48 are left"):
        load_mat(path, ("frames",))
    flags = data.index(struct.pack("<III", 6, 8, 11))  # an array's flags: uint16
    path.write_bytes(data[: flags + 8] + struct.pack("<I", 11 | 1 << 11) + data[flags + 12 :])
    with pytest.raises(ValueError, match="0 are left"):  # complex, without an imaginary part
        load_mat(path, ("frames",))


@pytest.mark.parametrize("opcode", [b"r" + struct.pack("<I", 2**31), b"p2147483647\n"])
def test_a_pickle_that_numbers_beyond_its_bytes_is_refused(opcode):
    whole = pickle.dumps({"a": 1.0}, protocol=2)
    assert load_plain_pickle(whole, "it") == {"a": 1.0}
    with pytest.raises(InputError, match=r"it is not a plain pickle \(it has 1?.* a part of number 214748364"):
        load_plain_pickle(whole[:2] + b"}" + opcode + whole[3:], "it")


def test_claims_are_believed_up_to_what_deflate_can_do(tmp_path):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, frames=np.zeros((100, 200, 300), np.uint16))  # 12 MB in 12 kB
    assert npz_headers(path)["frames"].bytes == 12_000_000
    check_claim(10**9, 10**6, path)
    check_claim(10**8, 1, path)  # small enough to be tried
    with pytest.raises(InputError, match=r"zeros.npz claims 1 GB and holds 900000 bytes"):
        check_claim(10**9, 900_000, path)
    np.save(tmp_path / "a.npy", np.arange(5.0))
    assert np.array_equal(mapped_npy(tmp_path / "a.npy"), np.arange(5.0))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated, 167 bytes of 168"):
        mapped_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("net.weight", 1.0, True),
        ("components.read.log.std", -np.inf, True),
        ("components.read.log.std", np.inf, False),
        ("net.weight", -np.inf, False),
        ("net.weight", np.nan, False),
    ],
)
def test_weights_are_finite_but_for_the_log_of_nothing(name, value, good):
    tensors = {"first": torch.zeros(3), name: torch.tensor([0.0, value]), "steps": torch.tensor(3)}
    if good:
        check_finite(tensors, Path("m"))
        return
    with pytest.raises(InputError, match=f"m: {name} holds NaN or infinite"):
        check_finite(tensors, Path("m"))


def test_messages_stay_one_short_line():
    assert listed([]) == "nothing" and listed(["a", "b\n\x00c"]) == "a, b??c"
    assert len(listed(["x" * 1000])) < 210 and shortened(ValueError("a\nb")) == "ValueError: a b"
    assert len(shortened(ValueError("x" * 1000))) < 210


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.npy"
    for version in ((0, 0), (1, 7), (2, 0), (3, 0)):
        path.write_bytes(b"\x93NUMPY" + bytes(version) + struct.pack("<I", 0xFFFFFFF0) + bytes(100))
        with pytest.raises(ValueError, match="a header of 4294967280 bytes"):
            mapped_npy(path)
    with path.open("wb") as file:  # a long one is nothing wrong
        np.lib.format.write_array(file, np.arange(6.0), version=(2, 0))
    assert np.array_equal(mapped_npy(path), np.arange(6.0))


def test_chunks_that_do_not_fit_their_data_are_refused(tmp_path):
    """Of another rank than the data, they made libhdf5 take gigabytes; larger than what is stored they claim them."""

    def data(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> SimpleNamespace:
        stored = SimpleNamespace(get_storage_size=lambda: 1280)
        return SimpleNamespace(shape=shape, chunks=chunks, dtype=np.dtype(np.float32), id=stored, name="/pattern")

    for chunks in (None, (16, 20), (8, 5)):
        check_hdf5_claim(data((16, 20), chunks), tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.h5: /pattern of shape \(16,\) in chunks of \(16, 20\)"):
        check_hdf5_claim(data((16,), (16, 20)), tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"a\.h5 claims 4e\+03 GB"):
        check_hdf5_claim(data((16, 20), (10**6, 10**6)), tmp_path / "a.h5")


def test_laws_of_others_that_are_impossible_are_named(tmp_path):
    law = {"slope": 0.8, "bias": 0.1, "sigma": 0.02}
    scales = {name: dict(law) for name in ("g_scale", "G_scale", "R_scale")}
    for shape, row, said in ((-3.0, 0.1, "lambda must exceed"), (0.1, -1e4, "row1.std must be a positive")):
        scales["R_scale"]["bias"] = row
        held = {"Kmin": 0.5, "Kmax": 20.0, "Profile-1": scales, "G_shape": np.array([shape])}
        np.save(tmp_path / "eld.npy", np.array(held, dtype=object), allow_pickle=True)
        with pytest.raises(InputError, match=rf"eld\.npy at K = 1.5: .*{said}"):
            open_source(f"eld:{tmp_path / 'eld.npy'},1.5")


def test_a_chunk_that_claims_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, np.zeros((20, 30, 3), np.uint8))
    data = path.read_bytes()
    check_size(path, 1800)
    path.write_bytes(data + bytes(50))  # behind the end anything may be
    check_size(path, 1800)
    place = data.index(b"IDAT") - 4
    for wrong in (data[:place] + b"\xff" + data[place + 1 :], data[:-9], data[:-2], data[: place + 6], data[:-12]):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match="truncated or damaged"):
            check_size(path, 1800)
        for read in (
            read_png,
            lambda path: read_picture(path, 3),
            lambda path: read_folder(path.parent, 32, "test"),
        ):
            with pytest.raises(InputError, match=r"truncated or damaged|cannot read"):
                read(path)
    with pytest.raises(InputError, match="claims 30 GB"):
        check_size(path, 30 * 10**9)


def test_a_network_of_a_claimed_size_is_not_built(tmp_path):
    """Width and inputs are compared with the weights before memory is asked for."""
    model = NoiseGenerator(PhysicalNoise.from_noiselist("shot_read"), "Unet", channels=1, unet_width=4)
    file = noisemodel.save(model, tmp_path)
    with safe_open(file, "pt") as handle:
        metadata, tensors = handle.metadata(), {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    for name in ("channels", "unet_width"):
        config = json.dumps({**json.loads(metadata["config"]), name: 10**9})
        save_file(tensors, file, metadata={**metadata, "config": config})
        with pytest.raises(InputError, match=r"width and inputs .*1000000000"):
            noisemodel.load(file)
    with pytest.raises(InputError, match="frames from 1 to 64"):
        DenoiserSettings("n2n", "unet", 3, "srgb", frames=10**30)
    settings = NoiseSettings("cifar10ag25", "sinrgan1", channels=4)
    image = ImageGenerator(channels=4, generator=torch.Generator())
    snapshot = tmp_path / "step_000001.safetensors"
    save_snapshot(NrGan(image, build_noise(settings, seed=0), settings._replace(planes=10**9), 1), snapshot)
    with pytest.raises(InputError, match=r"planes and width \(1000000000, 4\), weights of \(3, 4\)"):
        load_snapshot(snapshot)
    with pytest.raises(InputError, match="at least 1 of each"):
        ImageGenerator(planes=0, generator=torch.Generator())


def test_parameters_that_are_not_finite_are_refused(tmp_path):
    """A logarithm of 1e5 is a number, the parameter is not."""
    model = NoiseGenerator(PhysicalNoise.from_noiselist("shot_read"))
    model.physical.component("read").log["std"].data.fill_(1e5)
    with pytest.raises(InputError, match=r"read.std is inf"):
        noisemodel.load(noisemodel.save(model, tmp_path))
    with pytest.raises(InputError, match="below 100, got 1e"):
        PhysicalNoise.from_noiselist("shot_readtl", readtl_lambda=1e300)


def test_errors_of_libraries_are_one_line(tmp_path):
    assert "\n" not in shortened(ValueError("a\n" * 900)) and len(shortened(ValueError("a " * 900))) < 210
    file = tmp_path / "a.safetensors"
    header = b'{"x":{"dtype":"\\n\\n","shape":[1],"data_offsets":[0,4]}}'
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(InputError) as said:
        read_tensor_file(file, "f", what="it", remedy="none")
    assert "\n" not in str(said.value) and "unknown variant" in str(said.value)


def test_a_signalling_nan_in_a_pattern_is_told_once(tmp_path):
    """Dividing it would warn."""
    values = np.zeros((4, 6, 4), np.float32)
    values.view(np.uint32)[0, 0, 0] = 0x7F800001
    scipy.io.savemat(tmp_path / "fixed_pattern_noise.mat", {"mean_pattern": values})
    with pytest.raises(InputError, match=r"fixed_pattern_noise\.mat.* NaN or infinite"):
        read_pattern(tmp_path / "fixed_pattern_noise.mat")


def soak():
    path = Path(__file__).parents[1] / "benchmarks" / "soak.py"
    spec = importlib.util.spec_from_file_location("soak", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def test_a_soak_that_grew_says_what(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    it = soak()
    rng = np.random.default_rng(0)

    def states(cycles: int, leak_mb: float = 0.0, **late: int) -> list:
        found = []
        for number in range(5 * cycles):
            counts = {"files": 9, "threads": 4, "children": 1} | (late if number >= 5 * (cycles - 1) else {})
            start = 200.0 if number < 5 else 0.0  # what the first cycle has not imported yet
            memory = 800 - start + 30 * (number % 5) + leak_mb * number + rng.normal(0, 4)
            found.append(it.State(60.0 * number, memory, **counts))
        return found

    assert it.grown(states(8), 5) == [] and it.grown(states(30), 5) == []
    assert it.grown(states(8, leak_mb=2.0), 5)[0].startswith("memory rose by 6")
    assert it.grown(states(8, files=10), 5) == ["files: 9 became 10"]
    assert it.grown(states(8, children=2, threads=5), 5) == ["threads: 4 became 5", "children: 1 became 2"]
    assert it.verdict(states(8), 5) == (0, "nothing grew") and it.verdict(states(8, files=10), 5)[0] == 1
    code, words = it.verdict(states(3), 5)
    assert code == 2 and words.startswith("too short to tell")
