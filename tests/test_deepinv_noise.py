"""CameraNoiseModel inside the real deepinv; its torchvision needs two operators that the CPU build does not have."""

import copy
import importlib.util
import sys
from typing import Any

import pytest
import torch

from noisemodel import InputError, Levels, PhysicalNoise, stream

STUBS = ("nms", "qnms")
GAIN, READ = 4e-3, 0.01


def physical() -> PhysicalNoise:
    return PhysicalNoise.from_noiselist("shot_read_row1", layout="planes", shot_gain=GAIN, read_std=READ, row1_std=0.02)


@pytest.fixture(scope="module")
def deepinv() -> Any:
    """The package, where it is installed with what it needs."""
    for name in ("deepinv", "torchvision"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -c constraints.txt -e '.[deepinv]'")
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for stub in STUBS:
            library.define(f"{stub}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["KEPT"] = library
    return importlib.import_module("deepinv")


def test_without_deepinv_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepinv", None)
    monkeypatch.setitem(sys.modules, "deepinv.physics", None)
    monkeypatch.delitem(sys.modules, "noisemodel.deepinv_noise", raising=False)
    with pytest.raises(InputError, match=r"noisemodel\[deepinv\]"):
        importlib.import_module("noisemodel.deepinv_noise")
    monkeypatch.delitem(sys.modules, "noisemodel.deepinv_noise", raising=False)


def test_the_noise_has_the_models_law_inside_denoising(deepinv: Any) -> None:
    from noisemodel.deepinv_noise import CameraNoiseModel

    physics = deepinv.physics.Denoising(CameraNoiseModel(physical(), rng=stream(0, "deepinv")))
    clean = torch.full((4, 3, 64, 96), 0.4)
    noise = physics(clean) - clean
    variance = GAIN * 0.4 + READ**2 + 0.02**2
    rows = 4 * 64  # row noise, shared by colours, is most of the error of the variance
    error = (2 * (0.02**4 / rows + (GAIN * 0.4 + READ**2) ** 2 / noise.numel())) ** 0.5
    assert abs(float(noise.var()) - variance) < 5 * error
    assert abs(float(noise.mean(-1).var()) - 0.02**2) < 5 * 0.02**2 * (2 / rows) ** 0.5 + variance / 96


def test_seed_rng_multiplication_and_copies_work_as_in_deepinv(deepinv: Any) -> None:
    from noisemodel.deepinv_noise import CameraNoiseModel

    model = CameraNoiseModel(physical(), rng=stream(0, "a"))
    assert isinstance(model, deepinv.physics.NoiseModel)
    clean = torch.rand(2, 1, 16, 20, generator=stream(0, "clean"))
    first, second, again = model(clean, seed=3), model(clean), model(clean, seed=3)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, second)
    model.reset_rng()
    torch.testing.assert_close(model(clean), CameraNoiseModel(physical(), rng=stream(0, "a"))(clean), rtol=0, atol=0)
    strong = PhysicalNoise.from_noiselist("read", layout="planes", read_std=0.19)
    both = model * CameraNoiseModel(strong, rng=stream(0, "b"))  # deepinv's own GaussianNoise cannot be a factor
    assert 0.15 < float((both(clean) - clean).std()) < 0.25
    twin = copy.deepcopy(model.cpu())
    torch.testing.assert_close(twin(clean, seed=3), first, rtol=0, atol=0)
    assert any("shot" in name for name in model.state_dict())


def test_levels_and_params_pass_through(deepinv: Any) -> None:
    from noisemodel.deepinv_noise import CameraNoiseModel

    levels = Levels(64, 1023)
    recorded = PhysicalNoise.from_noiselist("shot_read", layout="planes", shot_gain=GAIN, read_std=READ, levels=levels)
    noisy = deepinv.physics.Denoising(CameraNoiseModel(recorded, exact=True))(torch.rand(1, 1, 32, 32))
    dn = levels.to_dn(noisy)
    torch.testing.assert_close(dn, dn.round(), rtol=0, atol=1e-2)
    quiet = CameraNoiseModel(physical(), params={"read.std": 1e-6, "row1.std": 1e-6})
    assert float((quiet(torch.zeros(1, 1, 32, 32))).abs().max()) < 1e-4
