"""Runs of the published NR-GAN: the same images, noise and logits; and which run is which model of ours."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import convert
from noisemodel import InputError, stream
from noisemodel.families import FAMILIES
from nrgan.legacy import MODELS_BY_SWITCH, dataset_of, model_of, read_critic
from nrgan.networks import Critic, ImageGenerator
from nrgan.snapshots import load_snapshot

RUN = Path(__file__).parents[2] / "shared" / "data" / "legacy" / "nrgan" / "sinrgan1"
needs_run = pytest.mark.skipif(not RUN.is_dir(), reason="no ../shared/data/legacy/nrgan")
ARGS = {
    "dataset": "CIFAR10AG", "noise_scale": 25.0, "noise_scale_high": None, "gn_train": True, "implicit": False,
    "prior": "additive_gaussian", "rotation": False, "channel_shuffle": False, "color_inversion": False,
    "noise_measure": False, "noise_scale_list": [15, 25, 50], "mixture_rate_list": [0.7, 0.2, 0.1],
}  # fmt: skip


def published_names(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights under the published names: ".conv" once, twice where the image is resampled around it."""
    resampled = {"block2.conv1", "block3.conv1", "block4.conv1", "block2.conv_shortcut", "block3.conv_shortcut"}
    found = {}
    for name, value in network.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        depth = 0 if layer.startswith("linear") else 1 + (layer in resampled)
        found[f"{layer}{'.conv' * depth}.{kind}"] = value
    return found


def write_run(folder: Path, *, zipped: bool = True, protocol: int = 4, **changed) -> Path:
    folder.mkdir(exist_ok=True)
    args = ARGS | changed
    (folder / "args.txt").write_text("".join(f"{k} {v}\n" for k, v in sorted(args.items())))
    shape = {"latent_dim": 128, "image_size": 32, "image_channels": 3, "channels": 4, "residual_factor": 0.1}
    wide = 256 if args["implicit"] else 128
    networks = {
        "G": (ImageGenerator(channels=4, generator=stream(0, "g")), shape),
        "Gn": (ImageGenerator(wide, channels=4, generator=stream(0, "n")), shape | {"latent_dim": wide}),
        "D": (Critic(channels=4, generator=stream(0, "d")), {**shape, "pooling": "mean"}),
    }
    for name, (network, params) in networks.items():
        torch.save(published_names(network), folder / f"net{name}_iter_40.pth", _use_new_zipfile_serialization=zipped)
        (folder / f"net{name}_params.pkl").write_bytes(pickle.dumps(params, protocol=protocol))
    return folder


@needs_run
@pytest.mark.parametrize("form", ["zip", "torch 1.3"])
def test_images_noise_and_logits_are_those_of_the_published_networks(tmp_path, form):
    z = {k: torch.from_numpy(v) for k, v in np.load(RUN / "reference.npz").items()}
    path = RUN / "netG_iter_20.torch13format.pth" if form == "torch 1.3" else RUN
    gan = load_snapshot(path)
    assert (gan.settings.dataset, gan.settings.model, gan.step) == ("cifar10ag25", "sinrgan1", 20)
    image, std = gan.image(z["z"]), gan.noise.network(z["zn"])
    for made, key in ((image, "image"), (std, "noise_std"), (std * z["eps"], "noise")):
        assert (made - z[key]).abs().max() < 1e-5
    assert ((image + std * z["eps"]).clamp(-1, 1) - z["noisy_clamped"]).abs().max() < 1e-5
    assert (read_critic(path)(z["d_input"]) - z["d_logit"]).abs().max() < 1e-5


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_both_formats_and_every_pickle_sample(tmp_path, zipped, protocol):
    gan = load_snapshot(write_run(tmp_path / "run", zipped=zipped, protocol=protocol))
    drawn = gan.sample(2, generator=stream(0, "sample"))
    assert drawn.noisy.shape == (2, 3, 32, 32) and torch.equal(drawn.noisy, drawn.clean + drawn.noise)
    assert torch.equal(gan.image.linear1.weight, ImageGenerator(channels=4, generator=stream(0, "g")).linear1.weight)


def test_the_run_of_most_steps_is_read_or_the_one_that_is_named(tmp_path):
    run = write_run(tmp_path / "run")
    for name in ("G", "Gn", "D"):
        (run / f"net{name}_iter_5.pth").write_bytes((run / f"net{name}_iter_40.pth").read_bytes())
    assert load_snapshot(run).step == 40 and load_snapshot(run / "netG_iter_5.pth").step == 5


def test_a_converted_run_draws_the_same(tmp_path, capsys):
    run = write_run(tmp_path / "run", implicit=True)
    assert convert.main([str(run), "-o", str(tmp_path / "ours")]) == 0
    assert "step_000040.safetensors" in capsys.readouterr().out
    old, new = (load_snapshot(path).sample(2, generator=stream(0, "same")) for path in (run, tmp_path / "ours"))
    assert torch.equal(old.noisy, new.noisy)
    assert convert.main([str(run), "-o", str(tmp_path / "ours")]) == 2
    capsys.readouterr()
    assert convert.main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "more")]) == 2
    assert "no such run or file" in capsys.readouterr().err


@pytest.mark.parametrize(("switches", "model"), MODELS_BY_SWITCH.items(), ids=MODELS_BY_SWITCH.values())
def test_every_model_is_known_by_its_switches(switches, model):
    prior, implicit, rotation, shuffle, inversion = switches
    data = {"dataset": "CIFAR10P", "noise_lam": 30.0, "noise_lam_high": None} if prior == "relation" else {}
    args = ARGS | data | {"prior": "poisson" if prior == "relation" else prior, "implicit": implicit}
    args |= {"rotation": rotation, "channel_shuffle": shuffle, "color_inversion": inversion}
    assert model_of(args) == model
    assert model_of({**args, "gn_train": False}) == "gan"
    assert model_of({**args, "gn_train": False, "noise_measure": True}) == "ambientgan"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"dataset": "CIFAR10"}, "cifar10"),
        ({"noise_scale": 5.0, "noise_scale_high": 50.0}, "cifar10ag5-50"),
        ({"dataset": "CIFAR10MIX"}, "cifar10mix"),
        ({"dataset": "CIFAR10PG", "noise_lam": 30.0, "noise_scale": 5.0}, "cifar10pg30_5"),
    ],
)
def test_data_sets_are_known_by_their_amounts(options, name):
    assert dataset_of(ARGS | options) == name and name in FAMILIES


def test_other_amounts_are_called_by_their_kind_and_said(caplog):
    assert dataset_of(ARGS | {"noise_scale": 30.0}) == "cifar10ag25" and "noise_scale 30.0" in caplog.text
    with pytest.raises(InputError, match="no noise family of ours"):
        dataset_of(ARGS | {"noise_scale": 30.0, "noise_measure": True})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prior": "poisson"}, "none of our models"),
        ({"rotation": True}, "none of our models"),
        ({"dataset": "LSUN"}, "known: CIFAR10,"),
    ],
)
def test_another_run_is_refused_in_one_line(tmp_path, changed, said):
    with pytest.raises(InputError, match=said) as error:
        load_snapshot(write_run(tmp_path / "run", **changed))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"residual_factor": 1.0}, "residual_factor 1.0 cannot be read"),
        ({"channels": 10**6}, "channels must be a whole number up to 1024"),
        ({"channels": 8}, "not the network that its params name"),
        ({"image_size": 48}, "image_size 48; known: 32, 64, 128"),
    ],
)
def test_another_network_is_refused_in_one_line(tmp_path, params, said):
    run = write_run(tmp_path / "run")
    shape = {"latent_dim": 128, "image_size": 32, "image_channels": 3, "channels": 4, "residual_factor": 0.1}
    (run / "netG_params.pkl").write_bytes(pickle.dumps(shape | params))
    with pytest.raises(InputError, match=said) as error:
        load_snapshot(run)
    assert "\n" not in str(error.value)
