"""noisemodel.transforms.CameraNoise: the model's law, what a sample keeps, and whose numbers are drawn."""

import math
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from test_architecture import imported_names
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import noisemodel
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, pack_mosaic, stream, transforms
from noisemodel.synthesis import decode_srgb
from noisemodel.transforms import CameraNoise

READ = 0.01


def physical(noiselist: str = "read", layout: str = "planes", **start: float) -> PhysicalNoise:
    return PhysicalNoise.from_noiselist(noiselist, layout=layout, read_std=READ, **start)


def agrees(values: Tensor, std: float) -> bool:
    """Whether the standard deviation is within 5 standard errors."""
    return abs(float(values.std()) - std) < 5 * std / (2 * values.numel()) ** 0.5


@pytest.mark.parametrize("shape", [(3, 40, 50), (6, 1, 40, 50), (2, 4, 3, 20, 25)])
def test_every_shape_gets_the_models_noise(shape: tuple[int, ...]) -> None:
    clean = torch.full(shape, 0.3)
    noisy = CameraNoise(physical())(clean)
    assert noisy.shape == shape and agrees(noisy - clean, READ)
    assert not torch.equal(noisy, CameraNoise(physical())(clean))


def test_what_is_static_is_the_same_in_all_frames_of_a_burst_and_of_no_two_images() -> None:
    camera = CameraNoise(rows())
    burst = camera(torch.zeros(2, 3, 1, 8, 9))
    assert torch.equal(burst[:, 0], burst[:, 1]) and not torch.equal(burst[0], burst[1])
    images = camera(torch.zeros(3, 1, 8, 9))
    assert not torch.equal(images[0], images[1])


def rows() -> PhysicalNoise:
    return PhysicalNoise.from_noiselist("rowt", layout="planes", rowt_std=0.1)


def test_a_mosaic_of_one_channel_is_packed_for_the_draw() -> None:
    row = PhysicalNoise.from_noiselist("row1", layout="mosaic", row1_std=0.1)
    noisy = CameraNoise(row)(torch.zeros(1, 9, 11))
    assert noisy.shape == (1, 9, 11)
    torch.testing.assert_close(noisy, noisy[..., :1].expand_as(noisy))  # one draw for each sensor row
    planes = CameraNoise(row)(pack_mosaic(torch.zeros(2, 8, 10)))
    assert planes.shape == (2, 4, 4, 5) and torch.equal(planes[:, 0], planes[:, 1])


def test_a_picture_needs_a_word_for_a_mosaic_model() -> None:
    model = physical(layout="mosaic")
    with pytest.raises(InputError, match="per_channel"):
        CameraNoise(model)(torch.rand(3, 8, 8))
    noisy = CameraNoise(model, per_channel=True)(torch.zeros(3, 60, 50))
    assert agrees(noisy, READ)


def test_srgb_adds_noise_to_light() -> None:
    code = torch.full((1, 100, 90), 0.7)
    noisy = CameraNoise(physical(), srgb=True)(code)
    assert agrees(decode_srgb(noisy) - decode_srgb(code), READ)


def test_exact_is_rounded_and_clipped() -> None:
    model = PhysicalNoise.from_noiselist("shot_read", layout="planes", levels=Levels(64, 1023), read_std=READ)
    dn = Levels(64, 1023).to_dn(CameraNoise(model, exact=True)(torch.rand(1, 30, 30)))
    torch.testing.assert_close(dn, dn.round(), rtol=0, atol=1e-2)


def test_parameters_of_each_image_lie_in_their_range_and_are_log_uniform() -> None:
    camera = CameraNoise(physical(), params={"read.std": (0.001, 0.1)})
    stds = camera(torch.zeros(400, 1, 16, 16)).flatten(1).std(1)
    assert 0.0008 < float(stds.min()) < 0.002 and 0.05 < float(stds.max()) < 0.12
    share = stds.log().sub(torch.tensor(0.001).log()) / torch.tensor(100.0).log()
    assert abs(float(share.mean()) - 0.5) < 5 * (1 / 12 / 400) ** 0.5
    fixed = CameraNoise(physical(), params={"read.std": torch.tensor([0.1, 0.001])})(torch.zeros(2, 1, 50, 50))
    assert agrees(fixed[0], 0.1) and agrees(fixed[1], 0.001)


def test_the_gradient_passes_to_the_image_and_not_to_the_model() -> None:
    model = NoiseGenerator(physical("shot_read", shot_gain=1e-3))
    image = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    CameraNoise(model)(image).sum().backward()
    assert image.grad is not None and bool((image.grad != 0).all())
    assert all(value.grad is None and value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"srgb": True}, {"validate": True}])
def test_images_that_are_not_finite_are_refused(value: float, options: dict[str, bool]) -> None:
    image = torch.full((2, 1, 5, 6), 0.5)
    image[1, 0, 2, 3] = image[1, 0, 4, 4] = value
    with pytest.raises(InputError, match="got NaN or infinity in 2 of 60 values; repair them, or say validate=False"):
        CameraNoise(physical(), **options)(image, 3)
    noisy, label = CameraNoise(physical(), **{**options, "validate": False})(image[:1], 3)  # type: ignore[arg-type]
    assert label == 3 and bool(noisy.isfinite().all())
    assert not bool(CameraNoise(physical(), validate=False)(image).isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_large_images_are_no_infinity(dtype: torch.dtype) -> None:
    image = torch.full((1, 400, 400), 3e38 if dtype == torch.float32 else 6e4, dtype=dtype)
    transforms._refuse_nan(image)  # their sum is beyond the type


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_values_are_looked_at_when_asked() -> None:
    image = torch.full((1, 5, 6), math.nan, device="cuda")
    assert CameraNoise(physical())(image).shape == image.shape
    with pytest.raises(InputError, match="finite"):
        CameraNoise(physical(), validate=True)(image)


# Samples


class Sample(NamedTuple):
    image: Tensor
    label: int


def test_samples_keep_their_form_and_all_but_the_image() -> None:
    image, mask = torch.rand(1, 6, 7), torch.ones(1, 6, 7)
    camera = CameraNoise(physical())
    noisy, label = camera(image, 4)
    assert label == 4 and noisy.shape == image.shape and not torch.equal(noisy, image)
    found = camera({"image": image, "more": [mask, "name", None], "label": 3})
    assert found["more"][0] is mask and found["more"][1:] == ["name", None] and found["label"] == 3
    assert not torch.equal(found["image"], image)
    ordered = camera(OrderedDict(a=image, b=1))
    assert type(ordered) is OrderedDict and list(ordered) == ["a", "b"]
    named = camera(Sample(image, 2))
    assert type(named) is Sample and named.label == 2 and not torch.equal(named.image, image)
    assert camera((image, mask))[1] is mask and isinstance(camera([image]), list)


class FakeImage(Tensor):
    """Stands for tv_tensors.Image, which the CPU build's torchvision cannot be imported for."""


FakeImage.__name__, FakeImage.__module__ = "Image", "torchvision.tv_tensors._image"


class FakeVideo(Tensor):
    """Stands for tv_tensors.Video."""


FakeVideo.__name__, FakeVideo.__module__ = "Video", "torchvision.tv_tensors._video"


def test_images_of_torchvision_get_noise_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    class TvTensors:
        @staticmethod
        def wrap(value: Tensor, *, like: Tensor) -> Tensor:
            return value.as_subclass(type(like))

    monkeypatch.setitem(sys.modules, "torchvision.tv_tensors", TvTensors)  # type: ignore[arg-type]
    plain, image = torch.rand(1, 6, 7), torch.rand(1, 6, 7).as_subclass(FakeImage)
    first, second = CameraNoise(physical())((plain, image))
    assert first is plain and type(second) is FakeImage
    assert not torch.equal(second.as_subclass(Tensor), image.as_subclass(Tensor))
    video = CameraNoise(rows())(torch.zeros(5, 1, 6, 7).as_subclass(FakeVideo)).as_subclass(Tensor)
    assert video.shape == (5, 1, 6, 7) and torch.equal(video[0], video[4])


# Randomness


class Zeros(Dataset[Tensor]):
    def __init__(self, camera: CameraNoise) -> None:
        self.camera = camera

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return self.camera(torch.zeros(1, 4, 4))  # type: ignore[no-any-return]


def epochs(camera: CameraNoise, seed: int, workers: int = 2) -> Tensor:
    """Two epochs of a loader, (16, 1, 4, 4)."""
    loader = DataLoader(Zeros(camera), batch_size=2, num_workers=workers, generator=torch.Generator().manual_seed(seed))
    return torch.cat([batch for _ in range(2) for batch in loader])


@pytest.mark.parametrize("seed", [None, 7])
def test_workers_and_epochs_differ_and_a_seeded_loader_repeats_them(seed: int | None) -> None:
    first, again, other = (epochs(CameraNoise(physical(), seed=seed), loader) for loader in (0, 0, 1))
    assert len({image.numpy().tobytes() for image in first}) == 16
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def test_a_seed_repeats_the_calls_of_a_process_and_leaves_torchs_numbers_alone() -> None:
    clean, state = torch.zeros(1, 4, 4), torch.random.get_rng_state()
    first, again, other = (CameraNoise(physical(), seed=seed) for seed in (1, 1, 2))
    pairs = [(first(clean), again(clean), other(clean)) for _ in range(3)]
    assert all(torch.equal(a, b) and not torch.equal(a, c) for a, b, c in pairs)
    assert not torch.equal(pairs[0][0], pairs[1][0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_a_seed_torchs_generator_decides() -> None:
    camera, clean = CameraNoise(physical()), torch.zeros(1, 4, 4)
    with torch.random.fork_rng(devices=[]):
        found = []
        for _ in range(2):
            torch.random.set_rng_state(stream(0, "global").get_state())
            found.append(camera(clean))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_a_given_generator_is_drawn_from() -> None:
    camera, clean = CameraNoise(physical()), torch.zeros(2, 1, 4, 4)
    ours = camera(clean, generator=stream(0, "a"))
    torch.testing.assert_close(ours, camera(clean, generator=stream(0, "a")), rtol=0, atol=0)
    assert torch.equal(ours, camera.model.measure(clean, generator=stream(0, "a")).noisy)


def test_it_can_be_pickled_and_the_given_model_is_its_own(tmp_path: Path) -> None:
    model = NoiseGenerator(physical())
    noisemodel.save(model, tmp_path)
    camera = pickle.loads(pickle.dumps(CameraNoise(tmp_path, seed=3)))
    torch.testing.assert_close(camera(torch.zeros(1, 4, 4)), CameraNoise(model, seed=3)(torch.zeros(1, 4, 4)))
    assert camera.model is not model and "CameraNoise(read" in repr(camera)


def test_torchvision_is_not_imported() -> None:
    names = imported_names(Path(str(transforms.__file__)).read_text(), ["noisemodel"])
    assert not [name for name in names if name.startswith("torchvision")]


BAD: list[tuple[Any, str]] = [
    (torch.zeros(3, 4, 4, dtype=torch.uint8), "images must be floats in"),
    (torch.zeros(4, 4), "images are .C, H, W."),
    (("name", 3), "no tensor in the sample"),
]


@pytest.mark.parametrize(("sample", "message"), BAD)
def test_bad_samples(sample: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CameraNoise(physical())(sample)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"read": 0.1}, "unknown parameter 'read'; known: read.std"),
        ({"read.std": (0.2, 0.1)}, "the range of read.std"),
        ({"read.std": -0.1}, "read.std must be finite and at least 0, got -0.1"),
        ({"read.std": float("nan")}, "read.std must be finite"),
        ({"read.std": (0.1, float("inf"))}, "read.std must be finite"),
        ({"read.std": torch.tensor([0.1, -0.1])}, "read.std must be finite"),
    ],
)
def test_bad_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CameraNoise(physical(), params=params)


def test_values_for_another_number_of_images() -> None:
    with pytest.raises(InputError, match=r"one for each of 3 images, got .2,."):
        CameraNoise(physical(), params={"read.std": torch.tensor([0.1, 0.2])})(torch.zeros(3, 1, 4, 4))
