"""Saving and loading: the same bits, and one clear line for anything damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import noisemodel.checkpoint
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, load, save, stream
from noisemodel.checkpoint import FILE_NAME, FORMAT, read_provenance, write_atomically
from noisemodel.generator import NETWORKS

SENSOR = (24, 30)
PATTERN = 0.01 * torch.randn(SENSOR, generator=stream(0, "pattern"))


def model_of(noiselist: str, network: str = "noUnet", channels: int = 4, **start: Any) -> NoiseGenerator:
    """A model away from its start values."""
    options = {key: start.pop(key) for key in ("unet_opts",) if key in start}
    physical = PhysicalNoise.from_noiselist(noiselist, layout="mosaic" if channels == 4 else "planes", **start)
    model = NoiseGenerator(physical, network, channels=channels, unet_width=2, **options)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=stream(0, "move", i)))
    return model


def bits(model: NoiseGenerator) -> list[Tensor]:
    clean = torch.rand((2, 3, model.channels, 6, 7), generator=stream(0, "clean"))
    place: dict[str, Any] = {"origin": (3, 5)}
    with torch.no_grad():
        return [
            model.measure(clean, generator=stream(0, "measure"), **place).noisy,
            model.simulate(clean, generator=stream(0, "simulate"), **place),
            model.physical.mean(clean, **place),
            model.physical.variance(clean, **place),
        ]


def check_same(model: NoiseGenerator, loaded: NoiseGenerator) -> None:
    for before, after in zip(bits(model), bits(loaded), strict=True):
        assert torch.equal(before, after)
    assert loaded.config() == model.config()
    assert loaded.physical.parameters_table() == model.physical.parameters_table()
    given, kept = dict(model.named_parameters()), dict(loaded.named_parameters())
    assert {n: p.requires_grad for n, p in given.items()} == {n: p.requires_grad for n, p in kept.items()}
    state, loaded_state = model.state_dict(), loaded.state_dict()
    assert list(state) == list(loaded_state)
    assert all(torch.equal(state[name], loaded_state[name]) for name in state)


MODELS: dict[str, dict[str, Any]] = {
    "everything": {
        "noiselist": "periodic_colt_col1_rowt_row1_uniform_readtl_read_shot_prnu_fixed1", "fixed1_pattern": PATTERN,
        "sensor_size": SENSOR, "levels": Levels(64.5, 1023, clip=(0.0, 1.0)), "periodic_axis": "row",
        "periodic_freq": 0.21,
    },
    "mono": {"noiselist": "shot_read_row1", "channels": 1, "levels": Levels(10.3, 4095)},
    "colour": {"noiselist": "shot_read_rowt_periodic", "channels": 3},
    "uniform fixed at the ADC step": {"noiselist": "read_uniform", "levels": Levels(64, 1023)},
    "uniform free": {"noiselist": "read_uniform", "levels": Levels(64, 1023), "uniform_width": 0.004},
    "pattern learned from 0": {"noiselist": "learnedfixed", "sensor_size": SENSOR},
    "pattern learned from a measured one": {"noiselist": "shot_learnedfixed", "learnedfixed_pattern": PATTERN},
    "pattern learned per colour": {
        "noiselist": "learnedfixed", "sensor_size": SENSOR, "learnedfixed_channels": 3, "channels": 3,
    },
    "pattern per colour": {"noiselist": "fixed1", "fixed1_pattern": torch.stack([PATTERN] * 3), "channels": 3},
    "gain map drawn": {"noiselist": "prnu_read", "sensor_size": SENSOR, "prnu_std": 0.02, "prnu_seed": 7},
    "gain map measured": {"noiselist": "prnu", "prnu_map": PATTERN},
    "heavy tails": {"noiselist": "readtl", "readtl_lambda": -0.3},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_loaded_models_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model = model_of(**MODELS[name])
    check_same(model, load(save(model, tmp_path)))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("channels", (1, 4))
@pytest.mark.parametrize("unet_opts", ("residualFalse_conv_tconv_selu", "residualTrue_maxpool_bilinear_gelu"))
def test_loaded_networks_give_the_same_bits(network: str, channels: int, unet_opts: str, tmp_path: Path) -> None:
    model = model_of("shot_read_row1", network, channels, unet_opts=unet_opts)
    loaded = load(save(model, tmp_path))
    check_same(model, loaded)
    assert not loaded.training


def test_fixed_parameters_stay_fixed(tmp_path: Path) -> None:
    model = model_of("shot_readtl_row1_prnu_periodic", sensor_size=SENSOR, levels=Levels(64, 1023))
    for assignment in ("shot.gain=0.42DN", "readtl.lambda=-0.1", "prnu.std=0.02", "periodic.freq=0.3"):
        model.physical.fix(assignment)
    loaded = load(save(model, tmp_path))
    check_same(model, loaded)
    held = {"shot.gain", "readtl.lambda", "prnu.std", "periodic.freq"}
    assert {p.name for p in loaded.physical.parameters_table() if p.fixed} == held


def test_a_freed_parameter_stays_free(tmp_path: Path) -> None:
    """Construction would fix them: the ADC step, the std of a measured map."""
    model = model_of("uniform_prnu", prnu_map=PATTERN, levels=Levels(64, 1023))
    model.physical.hold_exactly([])
    loaded = load(save(model, tmp_path))
    check_same(model, loaded)
    assert not any(p.fixed for p in loaded.physical.parameters_table())


def test_a_loaded_model_can_be_saved_again(tmp_path: Path) -> None:
    first = save(model_of(**MODELS["everything"]), tmp_path / "first")
    second = save(load(first), tmp_path / "second")
    check_same(load(first), load(second))


def test_paths_are_files_or_run_folders(tmp_path: Path) -> None:
    physical = PhysicalNoise.from_noiselist("read")
    assert save(physical, tmp_path / "new" / "run") == tmp_path / "new" / "run" / FILE_NAME
    assert save(physical, str(tmp_path / "other.safetensors")) == tmp_path / "other.safetensors"
    for path in (tmp_path / "new" / "run", tmp_path / "new" / "run" / FILE_NAME, str(tmp_path / "other.safetensors")):
        assert load(path).physical.noiselist == "read"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [FILE_NAME, "other.safetensors"]


def test_provenance(tmp_path: Path) -> None:
    provenance = {"command": "train --lr 1", "seed": 3, "result": {"kld": 0.01}, "files": ["a", "ü"]}
    path = save(model_of("read"), tmp_path, **provenance)
    read = read_provenance(tmp_path)
    assert {key: read[key] for key in provenance} == provenance
    assert read["noisemodel"] == noisemodel.__version__ and read["torch"] == torch.__version__
    with safe_open(path, "pt") as handle:
        assert handle.metadata()["format"] == FORMAT


# Damage.


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(model_of("shot_read_prnu", "Unet", sensor_size=SENSOR, levels=Levels(64, 1023)), tmp_path)


def refused(path: Path) -> str:
    """The one line about a checkpoint that cannot be read; it names the file."""
    with pytest.raises(InputError) as error:
        load(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize("part", (0.0, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.9999))
def test_truncated_files(saved: Path, part: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(part * len(content))])
    assert "damaged" in refused(saved)


@pytest.mark.parametrize("count", (0, 1, 7, 8, 9, 100, 5000))
def test_zero_and_random_bytes(tmp_path: Path, count: int) -> None:
    path = tmp_path / FILE_NAME
    drawn = torch.randint(256, (count,), generator=stream(0, "bytes"), dtype=torch.uint8).numpy().tobytes()
    for content in (bytes(count), drawn):
        path.write_bytes(content)
        refused(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such checkpoint" in refused(tmp_path / "nowhere.safetensors")
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    refused(folder)
    with pytest.raises(InputError, match="no such checkpoint"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such checkpoint"):
        read_provenance(tmp_path)


def test_other_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a noise model of this program" in refused(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "noisemodel-999"})
    assert "noisemodel-999" in refused(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": FORMAT})
    refused(path)
    with pytest.raises(InputError, match="provenance"):
        read_provenance(path)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    torch.save({"weight": torch.zeros(3)}, path)
    refused(path)


def rewrite(
    path: Path, change: dict[str, Any] | None = None, drop: str | None = None, config: str | None = None
) -> None:
    """Write a checkpoint again with another config, or without a tensor."""
    with safe_open(path, "pt") as handle:
        metadata = dict(handle.metadata())
        tensors = {name: handle.get_tensor(name) for name in handle.keys() if name != drop}  # noqa: SIM118 - not a dict
    content = json.loads(metadata["config"])
    for key, value in (change or {}).items():
        *where, last = key.split(".")
        target = content
        for name in where:
            target = target[name]
        if value is None:
            del target[last]
        else:
            target[last] = value
    metadata["config"] = json.dumps(content) if config is None else config
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "Unet_last"}, {"network": "noUnet"}, {"network": None}, {"channels": 3}, {"channels": "four"},
        {"unet_opts": "none"}, {"unet_width": 3}, {"physical": "shot"}, {"physical": []},
        {"physical.noiselist": "shot_raed"},
        {"physical.noiselist": "shot_prnu"}, {"physical.noiselist": 3}, {"physical.layout": "bayer"},
        {"physical.levels": {"black_dn": 5, "white_dn": 1, "clip": [0, 1]}}, {"physical.levels": {"black_dn": 5}},
        {"physical.levels": 3}, {"physical.sensor_size": 3}, {"physical.options": {"read": {"colour": 1}}},
        {"physical.options": []}, {"physical.fixed": 3}, {"physical": None},
    ],
    ids=str,
)  # fmt: skip
def test_configs_that_do_not_fit(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, change)
    refused(saved)


@pytest.mark.parametrize("config", ("", "{", "null", "[]", "3", '"shot"', "{}"))
def test_configs_that_are_none(saved: Path, config: str) -> None:
    rewrite(saved, config=config)
    refused(saved)


@pytest.mark.parametrize(
    "name", ("network.leave.bias", "physical.components.shot.log.gain", "physical.components.prnu.unit_map")
)
def test_missing_weights(saved: Path, name: str) -> None:
    rewrite(saved, drop=name)
    refused(saved)


@given(place=st.integers(0, 4000), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_one_wrong_byte_never_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    """A changed header is either refused in one line or still a model."""
    folder = tmp_path_factory.mktemp("bytes")
    path = save(model_of("shot_read_prnu", sensor_size=(4, 4), levels=Levels(64, 1023)), folder)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        load(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)


# Never half a file.


def test_a_failed_write_leaves_the_previous_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(noisemodel.checkpoint, "save_file", half)
    with pytest.raises(OSError, match="No space left"):
        save(model_of("read"), saved)
    with pytest.raises(OSError, match="No space left"):
        save(model_of("read"), saved.parent / "new.safetensors")
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_provenance_that_is_not_json_leaves_the_previous_file(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save(model_of("read"), saved, result=object())
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_an_interrupted_write_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("before")

    def stop(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, stop)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    write_atomically(path, lambda temporary: temporary.write_text("after"))
    assert path.read_text() == "after" and list(tmp_path.iterdir()) == [path]
