"""Valid files for every reader of models and parameters: checkpoints, snapshots, pickles, JSON profiles, CSV."""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from fuzz_files import HUGE, HUGE_NPZ, Subject, image_of, picture
from safetensors import safe_open
from safetensors.torch import save_file
from test_legacy import write_run as write_starlight_run
from test_legacy_nrgan import write_run as write_nrgan_run

import noisemodel
from datasets.starlight import load_pattern_of
from denoisers.response_curves import load_response_curves
from denoisers.trained import DenoiserSettings, build_denoiser, denoiser_provenance, load_denoiser, save_denoiser
from noisemodel import InputError, NoiseGenerator, PhysicalNoise, stream
from noisemodel.checkpoint import read_provenance
from noisemodel.legacy import read_pattern
from noisemodel.runs import RunFolder
from noisemodel.sources import open_source
from nrgan.data import clean_images
from nrgan.evaluation.classifier import load_classifier
from nrgan.legacy import read_critic
from nrgan.models import NoiseSettings, build_noise
from nrgan.networks import ImageGenerator
from nrgan.snapshots import NrGan, load_snapshot, save_snapshot

Writers = dict[str, Callable[[Path], object]]


def changed(**metadata: str) -> Callable[[Path], None]:
    """Writes a safetensors file again with other metadata."""

    def write(path: Path) -> None:
        with safe_open(path, "pt") as handle:
            held = handle.metadata()
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        save_file(tensors, path, metadata={**held, **metadata})

    return write


def of_tensors(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Writes a safetensors file again with other numbers."""

    def write(path: Path) -> None:
        with safe_open(path, "pt") as handle:
            held = handle.metadata()
            tensors = {name: change(handle.get_tensor(name)) for name in handle.keys()}  # noqa: SIM118
        save_file(tensors, path, metadata=held)

    return write


def claiming(path: Path) -> None:
    """A safetensors header with a tensor of 10^12 elements."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))


def wrong_tensors() -> Writers:
    """What is wrong with safetensors files of every kind."""
    return {
        "10^12 elements": claiming,
        "a header of 2^60 bytes": lambda path: path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:]),
        "another format": changed(format="other"),
        "no metadata": lambda path: save_file({"x": torch.zeros(3)}, path),
        "metadata of text": changed(config="x", settings="x", facts="x", provenance="x"),
        "metadata nested deep": changed(config="[" * 10**5, settings="[" * 10**5, provenance="[" * 10**5),
        "NaN": of_tensors(lambda value: torch.full_like(value, float("nan"))),
        "infinity": of_tensors(lambda value: torch.full_like(value, float("inf"))),
        "other shapes": of_tensors(lambda value: torch.zeros(7)),
        "whole numbers": of_tensors(lambda value: value.long()),
    }


def numbers_of(model: NoiseGenerator) -> list[Any]:
    return [dict(model.state_dict()), [parameter.value for parameter in model.physical.parameters_table()]]


# Models of ours.


def write_model(folder: Path) -> None:
    levels = noisemodel.Levels(64.0, 4095.0)
    physical = PhysicalNoise.from_noiselist("shot_read_row1_periodic", levels=levels, sensor_size=(32, 32))
    generator = NoiseGenerator(physical, "Unet", unet_width=4)
    noisemodel.save(generator, folder, seed=1)


def model_values(path: Path) -> Any:
    read_provenance(path)
    model = noisemodel.load(path)
    assert model.measure(torch.full((1, 4, 16, 16), 0.5), generator=stream(0, "fuzz")).noisy.shape == (1, 4, 16, 16)
    return numbers_of(model)


def write_snapshot(folder: Path) -> None:
    settings = NoiseSettings("cifar10ag25", "sinrgan2", channels=4)
    image = ImageGenerator(channels=4, generator=stream(0, "image"))
    save_snapshot(NrGan(image, build_noise(settings, seed=0), settings, 5), folder / "step_000005.safetensors")


def snapshot_values(path: Path) -> Any:
    gan = load_snapshot(path)
    drawn = gan.sample(1, generator=stream(0, "fuzz"))
    assert drawn.noisy.shape == (1, 3, 32, 32)
    return [dict(gan.image.state_dict()), dict(gan.noise.state_dict()), gan.step]


def write_denoiser(folder: Path) -> None:
    settings = DenoiserSettings("n2n", "unet", 3, "srgb", width=4)
    save_denoiser(build_denoiser(settings, generator=stream(0, "net")), folder, seed=1)


def denoiser_values(path: Path) -> Any:
    denoiser_provenance(path)
    denoiser = load_denoiser(path)
    images = torch.full((1, denoiser.settings.channels, 32, 32), 0.5)
    assert denoiser.denoise(images).shape == images.shape
    return dict(denoiser.state_dict())


# The state of a run.


def write_state(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"seed": 3, "noiselist": "shot_read", "levels": [1.0, 2.0]}))
    weights = torch.nn.Linear(8, 8)
    optimiser = torch.optim.Adam(weights.parameters())
    weights(torch.ones(1, 8)).sum().backward()
    optimiser.step()
    state = {"state_dict": weights.state_dict(), "optimizer_states": [optimiser.state_dict()], "step": 3}
    torch.save(state, folder / "resume.ckpt")
    RunFolder(folder).add_metrics({"step": 1, "loss": 0.5, "score": 2.0})


def state_values(path: Path) -> list[float]:
    config = {"seed": 3, "noiselist": "shot_read", "levels": [1.0, 2.0]}
    RunFolder(path.parent).check(config, resume=True, overwrite=False)
    return [1.0]


def metrics_values(path: Path) -> Any:
    return RunFolder(path.parent).metrics()


# Published runs.


def starlight_run(path: Path) -> Any:
    model = noisemodel.load(path.parent)
    assert model.measure(torch.full((1, 4, 16, 16), 0.5), generator=stream(0, "f")).noisy.shape == (1, 4, 16, 16)
    return dict(model.state_dict())


def nrgan_run(path: Path) -> Any:
    gan = load_snapshot(path.parent)
    assert gan.sample(1, generator=stream(0, "f")).noisy.shape == (1, 3, 32, 32)
    return [dict(network.state_dict()) for network in (gan.image, gan.noise, read_critic(path.parent))]


def write_old_run(folder: Path) -> None:
    write_nrgan_run(folder, zipped=False, protocol=0)


# Laws of others.


def source_values(kind: str, rest: str = "") -> Callable[[Path], Any]:
    """Numbers of the source ``kind:PATH rest``."""

    def read(path: Path) -> Any:
        return numbers_of(open_source(f"{kind}:{path}{rest}").model)  # type: ignore[attr-defined]

    return read


def write_eld(folder: Path) -> None:
    law = {"slope": 0.8, "bias": 0.1, "sigma": 0.02}
    profile = {name: dict(law) for name in ("g_scale", "G_scale", "R_scale")}
    held = {"Kmin": 0.5, "Kmax": 20.0, "Profile-1": profile, "G_shape": np.linspace(-0.1, 0.1, 9)}
    np.save(folder / "eld.npy", np.array(held, dtype=object), allow_pickle=True)


def write_darktable(folder: Path) -> None:
    profiles = [{"name": f"iso {i}", "iso": i, "a": [i * 1e-8] * 3, "b": [i * 1e-10] * 3} for i in (100, 400)]
    held = {"version": 0, "noiseprofiles": [{"maker": "Acme", "models": [{"model": "One", "profiles": profiles}]}]}
    (folder / "noiseprofiles.json").write_text(json.dumps(held))


def write_profile(folder: Path) -> None:
    (folder / "profile.json").write_text(json.dumps({"noise_profile": [[2e-4, 1e-6]], "unit": "x", "lost": []}))


WRONG_JSON: Writers = {
    f"JSON {text[:8]}": (lambda path, text=text: path.write_text(text))
    for text in ("null", "[]", "3", "NaN", '{"noise_profile": [[NaN, 1]]}', "[" * 10**5, '{"a":' * 10**5, "1" * 10**5)
}


def write_curves(folder: Path) -> tuple[Any, Any]:
    light = np.linspace(0, 1, 32)[None].repeat(2, 0)
    curves = light, light**0.5
    scipy.io.savemat(folder / "curves.mat", dict(zip("IB", curves, strict=True)))
    np.savez(folder / "curves.npz", I=light, B=light**0.5)
    rows = [" ".join(f"{value:.6f}" for value in part[0]) for part in curves]
    (folder / "curves.txt").write_text(f"film\ngraph\nI =\n{rows[0]}\nB =\n{rows[1]}\n")
    return curves


def curve_values(path: Path) -> Any:
    curves = load_response_curves(path)
    assert curves.light.shape == curves.brightness.shape and len(curves)
    return [curves.light, curves.brightness]


def write_cifar(folder: Path) -> None:
    held = {b"data": picture((8, 3072)), b"labels": list(range(8)), b"batch_label": b"training batch 1 of 5"}
    (folder / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))


def batch(**held: Any) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(pickle.dumps(held, protocol=2))


def cifar_values(path: Path) -> Any:
    found = clean_images(path.parent, kind="cifar10")
    assert found.shape == (3, 32, 32) and found.labels is not None and len(found.labels) == len(found)
    return [found[:], found.labels]


def write_pattern(folder: Path) -> None:
    scipy.io.savemat(folder / "fixed_pattern_noise.mat", {"mean_pattern": image_of((8, 10, 4))})


def pattern_values(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path} is not looked for")
    return [read_pattern(path), load_pattern_of(path.parent)]


def write_classifier(folder: Path) -> None:
    from nrgan.evaluation.classifier import Classifier, ClassifierFacts, save_classifier

    facts = ClassifierFacts(planes=3, classes=2, labels="label", data="", steps=1, seed=0, accuracy=0.5)
    save_classifier(Classifier(3, 2), facts, folder / "c.safetensors")


MODELS: dict[str, Subject] = {
    "noise model": Subject("model.safetensors", write_model, model_values, wrong_tensors(), text=True),
    "NR-GAN snapshot": Subject("step_000005.safetensors", write_snapshot, snapshot_values, wrong_tensors(), text=True),
    "denoiser": Subject("model.safetensors", write_denoiser, denoiser_values, wrong_tensors(), text=True),
    "resume.ckpt": Subject("resume.ckpt", write_state, state_values, named=False),
    "config.json": Subject("config.json", write_state, state_values, WRONG_JSON, text=True, named=False),
    "metrics.csv": Subject("metrics.csv", write_state, metrics_values, named=False),
    "published .pt": Subject(
        "generatorcheckpoint3_Gloss-1.0_Dloss0.5.pt", write_starlight_run, starlight_run, named=False
    ),
    "published args.txt": Subject("args.txt", write_starlight_run, starlight_run, WRONG_JSON, text=True, named=False),
    "published .pth": Subject("netG_iter_40.pth", write_nrgan_run, nrgan_run, named=False),
    "published .pth of torch 1.3": Subject("netGn_iter_40.pth", write_old_run, nrgan_run, named=False),
    "published params.pkl": Subject("netG_params.pkl", write_nrgan_run, nrgan_run, named=False),
    "published NR-GAN args.txt": Subject("args.txt", write_nrgan_run, nrgan_run, named=False),
    "fixed pattern of starlight": Subject("fixed_pattern_noise.mat", write_pattern, pattern_values, named=False),
    "ELD": Subject("eld.npy", write_eld, source_values("eld", ",1.5")),
    "darktable": Subject(
        "noiseprofiles.json", write_darktable, source_values("darktable", ",One,200"), WRONG_JSON, text=True
    ),
    "profile.json": Subject("profile.json", write_profile, source_values("profile"), WRONG_JSON, text=True),
    "CIFAR-10": Subject(
        "data_batch_1",
        write_cifar,
        cifar_values,
        {
            "no labels": batch(data=picture((8, 3072))),
            "floats": batch(data=np.zeros((8, 3072)), labels=[0] * 8),
            "another size": batch(data=picture((8, 3071)), labels=[0] * 8),
            "labels to 99": batch(data=picture((8, 3072)), labels=[99] * 8),
        },
        named=False,
    ),
    "response curves mat": Subject("curves.mat", write_curves, curve_values),
    "response curves npz": Subject(
        "curves.npz",
        write_curves,
        curve_values,
        {
            **HUGE_NPZ,
            "NaN": lambda path: np.savez(path, I=np.full((1, 9), np.nan), B=np.linspace(0, 1, 9)),
            "text": lambda path: np.savez(path, I=np.array(["a"] * 9), B=np.linspace(0, 1, 9)),
            "10^5 in one": lambda path: np.savez(path, I=np.zeros(HUGE), B=np.linspace(0, 1, 9)),
        },
    ),
    "response curves txt": Subject("curves.txt", write_curves, curve_values),
    "classifier": Subject("c.safetensors", write_classifier, lambda path: dict(load_classifier(path)[0].state_dict())),
}
