"""No file that a user can be sent runs code: payloads in every format, through the programs that read it."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from safetensors.torch import save_file
from test_legacy import write_run as write_starlight_run
from test_legacy_nrgan import write_run as write_nrgan_run

import calibrate
import convert
import evaluate_compare
import noisemodel
import train_nrgan
import viewnoise
from noisemodel import InputError, NoiseGenerator, PhysicalNoise
from noisemodel.runs import RunFolder

MADE = "made by the file"


class Payload:
    """Makes a folder in the working folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (MADE,)


class OnLoad(dict):
    """The same, hidden behind an innocent type: the state is set while loading."""

    def __reduce__(self):
        return dict, (), None, None, iter([("weights", Payload())])


def pickled(protocol: int = 2) -> bytes:
    return pickle.dumps(Payload(), protocol=protocol)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "cache"))


def code_of(main: Callable[..., int], words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a program called with ``words``."""
    monkeypatch.setattr("sys.argv", ["program.py", *words.split()])
    try:
        return main()
    except SystemExit as stop:
        return int(stop.code or 0)


def test_the_payloads_are_real():
    for load in (
        lambda: pickle.loads(pickled()),
        lambda: pickle.loads(pickle.dumps(OnLoad())),
        lambda: np.load(io.BytesIO(object_npy()), allow_pickle=True),
        lambda: torch.load(io.BytesIO(torch_file(zipped=True)), weights_only=False),
        lambda: torch.load(io.BytesIO(torch_file(zipped=False)), weights_only=False),
    ):
        load()
        assert Path(MADE).is_dir()
        Path(MADE).rmdir()


def object_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Payload()], dtype=object), allow_pickle=True)
    return file.getvalue()


def object_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, frames=np.array([Payload()], dtype=object))
    return file.getvalue()


def torch_file(*, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save({"shot_noise": torch.zeros(()), "read_noise": Payload()}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def hidden_in_zip() -> bytes:
    """A checkpoint of torch whose pickle was replaced."""
    file, source = io.BytesIO(), io.BytesIO()
    torch.save({"shot_noise": torch.zeros(3)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for entry in old.namelist():
            new.writestr(entry, pickle.dumps(OnLoad()) if entry.endswith("data.pkl") else old.read(entry))
    return file.getvalue()


CHECKPOINTS = {
    "zip": torch_file(zipped=True),
    "torch 1.3": torch_file(zipped=False),
    "pickle": pickled(),
    "protocol 0": pickled(0),
    "hidden": hidden_in_zip(),
}

# Frames: what a file holds, by its name.


def mat(path: Path) -> None:
    scipy.io.savemat(path, {"frames": np.frombuffer(pickled(), np.uint8), "held": pickled().decode("latin1")})


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=np.frombuffer(pickled(), np.uint8))
        file["frames"].attrs["MATLAB_class"] = np.bytes_(b"function_handle")


FRAMES: dict[str, Callable[[Path], object]] = {
    "a.npy": lambda path: path.write_bytes(object_npy()),
    "a.npz": lambda path: path.write_bytes(object_npz()),
    "pickle.npz": lambda path: path.write_bytes(pickled()),
    "pickle.npy": lambda path: path.write_bytes(pickled()),
    "a.mat": mat,
    "pickle.mat": lambda path: path.write_bytes(pickled()),
    "a.h5": hdf5,
    "a.tif": lambda path: tifffile.imwrite(path, np.frombuffer(pickled(), np.uint8)[None], description=repr(pickled())),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name, monkeypatch, capsys):
    Path("bursts").mkdir()
    FRAMES[name](Path("bursts") / name)
    words = "bursts --black_level 10 --white_level 1000 -o out"
    refused(code_of(calibrate.main, words, monkeypatch), capsys, name)


@pytest.mark.parametrize("key", ["data", "labels", "whole"])
def test_cifar_batches(key, monkeypatch, capsys):
    batch = {"data": np.zeros((1, 3072), np.uint8), "labels": [0], key: Payload()}
    Path("cifar").mkdir()
    Path("cifar", "data_batch_1").write_bytes(pickle.dumps(Payload() if key == "whole" else batch, protocol=2))
    refused(
        code_of(train_nrgan.main, "cifar10ag25 sinrgan1 out --data cifar --device cpu", monkeypatch),
        capsys,
        "data_batch_1",
    )


@pytest.mark.parametrize("name", ["images.npy", "images.npz"])
def test_arrays_of_pictures(name, monkeypatch, capsys):
    Path(name).write_bytes(object_npy() if name.endswith("npy") else object_npz())
    refused(
        code_of(train_nrgan.main, f"cifar10ag25 sinrgan1 out --data {name} --device cpu", monkeypatch), capsys, name
    )


@pytest.mark.parametrize("held", [Payload(), {"Kmin": Payload()}, {"Kmin": 1.0, "Kmax": 2.0, "Profile-1": OnLoad()}])
def test_eld_parameters(held, monkeypatch, capsys):
    np.save("eld.npy", np.array(held, dtype=object), allow_pickle=True)
    Path("bursts").mkdir()
    np.savez("bursts/scene.npz", frames=np.random.default_rng(0).integers(100, 200, (4, 64, 64)).astype(np.uint16))
    words = "real eld:eld.npy,1 --on bursts --black_level 10 --white_level 1000 --layout planes"
    refused(code_of(evaluate_compare.main, words, monkeypatch), capsys, "eld.npy is not a plain pickle")


@pytest.mark.parametrize("content", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_published_noise_models(content, monkeypatch, capsys):
    run = write_starlight_run(Path("run"))
    next(run.glob("*.pt")).write_bytes(content)
    for main, words in ((viewnoise.main, "run"), (convert.main, "run -o out")):
        refused(code_of(main, words, monkeypatch), capsys, "holds no plain weights")


@pytest.mark.parametrize("content", CHECKPOINTS.values(), ids=CHECKPOINTS)
@pytest.mark.parametrize("file", ["netG_iter_40.pth", "netGn_iter_40.pth"])
def test_published_nrgan_weights(file, content, monkeypatch, capsys):
    (write_nrgan_run(Path("run")) / file).write_bytes(content)
    refused(code_of(convert.main, "run -o out", monkeypatch), capsys, f"{file} holds no plain weights")


@pytest.mark.parametrize("held", [Payload(), {"channels": Payload()}, OnLoad()], ids=["whole", "inside", "state"])
@pytest.mark.parametrize("file", ["netG_params.pkl", "netGn_params.pkl"])
def test_published_nrgan_settings(file, held, monkeypatch, capsys):
    (write_nrgan_run(Path("run")) / file).write_bytes(pickle.dumps(held))
    refused(code_of(convert.main, "run -o out", monkeypatch), capsys, f"{file} is not a plain pickle")


@pytest.mark.parametrize("text", ["__import__('os').mkdir('made by the file')", "[" * 10**5, "().__class__", "\x00"])
def test_arguments_of_published_runs_are_never_evaluated(text, monkeypatch, capsys):
    run = write_nrgan_run(Path("run"))
    (run / "args.txt").write_text(f"dataset {text}\ngn_train True\n")
    refused(code_of(convert.main, "run -o out", monkeypatch), capsys, "data set")
    starlight = write_starlight_run(Path("starlight"))
    (starlight / "args.txt").write_text(json.dumps({"network": text, "noiselist": text}))
    refused(code_of(viewnoise.main, "starlight", monkeypatch), capsys, "cannot be read; known: noUnet")


# Our own files, from somebody else.


@pytest.mark.parametrize(
    "config", [None, "{", json.dumps({"physical": {"noiselist": "__import__('os')"}}), pickled(0).decode("latin1")]
)
def test_our_checkpoints(config, monkeypatch, capsys):
    path = noisemodel.save(NoiseGenerator(PhysicalNoise.from_noiselist("shot_read")), Path("run"))
    if config is None:
        path.write_bytes(pickled())
    else:
        metadata = {"format": "noisemodel-1", "config": config, "provenance": pickled(0).decode("latin1")}
        save_file({"physical.components.read.log.std": torch.zeros(())}, path, metadata=metadata)
    refused(code_of(viewnoise.main, "run", monkeypatch), capsys, "model.safetensors: ")


@pytest.mark.parametrize("content", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_the_state_to_resume_from_a_run_that_somebody_sent(content):
    folder = RunFolder(Path("run"))
    folder.path.mkdir()
    folder.config_file.write_text("{}")
    folder.resume_file.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        folder.check({}, resume=True, overwrite=False)
    assert not Path(MADE).exists()


def test_resuming_in_a_folder_that_somebody_sent(monkeypatch, capsys):
    np.save("images.npy", np.random.default_rng(0).integers(0, 255, (8, 3, 32, 32)).astype(np.uint8))
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)
    words = "cifar10ag25 gan run --data images.npy --device cpu --batch_size 4 --g_channels 4 --d_channels 4"
    words += " --num_iterations 1 --checkpoint_interval 1"
    assert code_of(train_nrgan.main, words, monkeypatch) == 0
    capsys.readouterr()
    sent = Path("run", "resume.ckpt")
    words = f"{words.replace('ions 1', 'ions 2')} --resume"
    for content in (CHECKPOINTS["zip"], with_payload(sent.read_bytes())):
        sent.write_bytes(content)
        refused(code_of(train_nrgan.main, words, monkeypatch), capsys, "resume.ckpt is damaged")


def with_payload(whole: bytes) -> bytes:
    """A complete state with one thing more in it."""
    state = torch.load(io.BytesIO(whole), weights_only=True)
    file = io.BytesIO()
    torch.save({**state, "callbacks": {**state.get("callbacks", {}), "x": Payload()}}, file)
    return file.getvalue()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir ['made by the file']", "!!python/name:os.mkdir ''"])
def test_options_from_a_file(tag, monkeypatch, capsys):
    Path("options.yaml").write_text(f"seed: {tag}\n")
    refused(code_of(viewnoise.main, "run --config options.yaml", monkeypatch), capsys, "options.yaml")


def refused(code: int, capsys: pytest.CaptureFixture[str], about: str) -> None:
    """One line on stderr that says what it is ``about``, exit code 2, and nothing was made."""
    said = [line for line in capsys.readouterr().err.splitlines() if "reading " not in line]
    assert not Path(MADE).exists(), "the file ran"
    assert code == 2 and len(said) == 1 and said[0].startswith("program.py: error: ") and about in said[0], said
