import json

import pytest
import torch
from safetensors.torch import save_file

from denoisers import DenoiserSettings, build_denoiser, load_denoiser, save_denoiser
from denoisers.borders import reflect_to
from denoisers.networks import SRResNet, UNet
from denoisers.trained import denoiser_provenance
from noisemodel import stream
from noisemodel.errors import InputError
from noisemodel.sensor import Levels


def built(network="unet", channels=3, layout="srgb", **options):
    settings = DenoiserSettings("n2n", network, channels, layout, width=options.pop("width", 6), **options)
    return build_denoiser(settings, generator=stream(0, "weights"))


def images(*shape):
    return torch.rand(shape, generator=stream(0, "images"))


def test_the_published_unet_has_its_channels_and_size():
    network = UNet(3, generator=stream(0, "weights"))
    widths = [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    encoder = [(3, 48), (48, 48), (48, 48), (48, 48), (48, 48), (48, 48), (48, 48)]
    decoder = [(96, 96), (96, 96)] + [(144, 96), (96, 96)] * 3 + [(99, 64), (64, 32), (32, 3)]
    assert sorted(widths) == sorted(encoder + decoder)
    assert {m.negative_slope for m in network.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.1}


def test_srresnet_has_sixteen_blocks_of_64_features():
    network = SRResNet(3, generator=stream(0, "weights"), norm="batch")
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) == 33
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == 35
    with pytest.raises(InputError, match="unknown norm 'layer'; known: batch, group, none"):
        SRResNet(3, norm="layer", generator=stream(0, "weights"))


@pytest.mark.parametrize("network", ["unet", "srresnet"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (31, 33), (64, 32)])
def test_images_of_any_size_keep_it(network, size):
    extra = {"blocks": 2} if network == "srresnet" else {}
    assert built(network, extra=extra).denoise(images(2, 3, *size)).shape == (2, 3, *size)


def test_an_image_that_fits_is_not_padded_and_padding_reflects():
    network, x = built().network, images(1, 3, 40, 50)
    padded = network(reflect_to(x, 64, 64))[..., :40, :50]
    assert torch.equal(network(x), padded)
    assert torch.equal(reflect_to(x, 64, 64)[..., 40, :50], x[..., 38, :])
    assert torch.equal(reflect_to(x, 30, 45), x)
    assert reflect_to(x[..., :1, :], 5, 120).shape == (1, 3, 5, 120)


def test_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    one, same = built().state_dict(), built().state_dict()
    other = build_denoiser(built().settings, generator=stream(1, "weights")).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["network.output.weight"], other["network.output.weight"])
    weight = UNet(3, generator=stream(0, "weights")).decoder[0][0].weight
    assert abs(weight.std() / (2 / 1.01 / (9 * 96)) ** 0.5 - 1) < 5 / (2 * weight.numel()) ** 0.5


def test_denoising_says_what_it_takes_and_leaves_the_mode():
    denoiser = built("srresnet", norm="batch", extra={"blocks": 1}).train()
    denoiser.denoise(images(1, 3, 8, 8))
    assert denoiser.training and int(denoiser.network.body[0].body[1].num_batches_tracked) == 0
    for shape in ((3, 8, 8), (1, 1, 8, 8), (1, 5, 3, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(InputError, match=r"takes \(N, 3, H, W\), got"):
            denoiser.denoise(torch.zeros(shape))


def test_gain_before_the_network_is_taken_back():
    plain, loud = built(), built(extra={"amplify": 4.0})
    for denoiser in (plain, loud):
        torch.nn.init.constant_(denoiser.network.output.bias, 0.3)
    x = images(1, 3, 32, 32)
    assert torch.allclose(loud.denoise(x), plain.denoise(4 * x) / 4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": "srresnet", "norm": "batch", "extra": {"blocks": 2}},
        {"channels": 4, "layout": "mosaic", "cfa": "RGGB", "levels": Levels(64, 1023, (0.0, 1.0))},
    ],
)
def test_what_is_saved_comes_back(tmp_path, options):
    denoiser = built(**options)
    file = save_denoiser(denoiser, tmp_path / "run", program="a test", step=3)
    assert file == tmp_path / "run" / "model.safetensors"
    back = load_denoiser(tmp_path / "run")
    assert back.settings == denoiser.settings and not back.training
    assert denoiser_provenance(file)["step"] == 3
    x = images(1, denoiser.settings.channels, 37, 20)
    assert torch.equal(back.denoise(x), denoiser.denoise(x))


def _not_ours(file):
    save_file({"a": torch.zeros(1)}, file, metadata={"format": "noisemodel-1"})


def _misfit(file):
    settings = {**json.loads(json.dumps(built().settings.__dict__)), "width": 7}
    metadata = {"format": "denoiser-1", "settings": json.dumps(settings), "provenance": "{}"}
    save_file(dict(built().network.state_dict()), file, metadata=metadata)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda file: None, "no such denoiser"),
        (lambda file: file.write_bytes(b"x" * 100), "damaged or not a safetensors file"),
        (_not_ours, "not a denoiser of this program .*'noisemodel-1'"),
        (_misfit, "weights and settings do not fit together"),
    ],
)
def test_bad_files_are_told_in_one_line(tmp_path, write, said):
    write(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=said) as caught:
        load_denoiser(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network": "resnet"}, "unknown network 'resnet'; known: unet"),
        ({"layout": "bayer"}, "unknown layout 'bayer'"),
        ({"channels": 3, "layout": "mosaic"}, 'layout "mosaic" has 4 channels, got 3'),
        ({"width": 0}, "width must be at least 1, frames from 1 to 64"),
    ],
)
def test_settings_that_make_no_denoiser_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        built(**options)
