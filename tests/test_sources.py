"""Every kind of ``--noise``: its law in moments and structure, and one line for what is wrong."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from raw_files import codes, write_dng

import noisemodel
from noisemodel import InputError, Levels, PhysicalNoise, stream
from noisemodel.sources import KINDS, open_source, parse_number

LEVELS = Levels(512, 16383)
SIZE = (64, 64)
PROFILE = [1e-3, 4e-6, 2e-3, 9e-6, 3e-3, 1e-6]


def flat(value: float = 0.3, *, count: int = 40, channels: int = 4, size=SIZE) -> torch.Tensor:
    return torch.full((count, channels, *size), value)


def draws(source, clean: torch.Tensor, seed: int = 0, **options) -> torch.Tensor:
    return source.draw(clean, generator=stream(seed, "sources"), **options) - clean


def assert_variance(noise: torch.Tensor, expected: float, excess: float = 0.0) -> None:
    """Mean 0 and the expected variance of independent values, within 5 standard errors of their number."""
    values = noise.double().flatten()
    assert abs(float(values.mean())) < 5 * math.sqrt(expected / len(values))
    assert abs(float(values.var()) / expected - 1) < 5 * math.sqrt((2 + excess) / len(values))


def white_spectrum(noise: torch.Tensor) -> bool:
    """Whether neighbours are uncorrelated along rows, columns and planes."""
    z = noise.double() / noise.double().std()
    pairs = [(z[..., 1:], z[..., :-1]), (z[..., 1:, :], z[..., :-1, :]), (z[:, 1:], z[:, :-1])]
    return all(abs(float((a * b).mean())) < 5 / math.sqrt(a.numel()) for a, b in pairs)


# gaussian, poisson-gaussian


@pytest.mark.parametrize("text", ["gaussian:0.02", "gaussian:5.1/255", "gaussian:317.42DN"])
def test_gaussian(text):
    noise = draws(open_source(text, levels=LEVELS), flat(0.0))
    assert_variance(noise, 0.02**2)
    assert white_spectrum(noise)
    sample = noise.flatten()[::37].double().numpy() / 0.02
    assert scipy.stats.kstest(sample, "norm").pvalue > 1e-6


def test_gaussian_is_not_rounded_or_clipped():
    noise = draws(open_source("gaussian:0.5", levels=Levels(0, 3)), flat(0.9))
    assert_variance(noise, 0.25)


@pytest.mark.parametrize("exact", [True, False])
def test_poisson_gaussian(exact):
    gain, std = 0.05, 0.02
    noise = draws(open_source(f"poisson-gaussian:{gain},{std}", exact=exact), flat(0.3))
    variance = gain * 0.3 + std**2
    third = gain**2 * 0.3 if exact else 0.0
    assert_variance(noise, variance, excess=gain**3 * 0.3 / variance**2)
    assert white_spectrum(noise)
    values = noise.double().flatten()
    skewness = float((values**3).mean()) / variance**1.5
    assert abs(skewness - third / variance**1.5) < 5 * math.sqrt(25 / len(values))


def test_photons_alone_are_whole_electrons():
    noisy = open_source("poisson-gaussian:0.05,0").draw(flat(0.3), generator=stream(0, "electrons"))
    electrons = noisy / 0.05
    torch.testing.assert_close(electrons, electrons.round(), rtol=0, atol=1e-4)


def test_levels_round_and_clip_what_a_camera_records():
    levels = Levels(10, 100)
    noisy = open_source("poisson-gaussian:0.02,0.1", levels=levels).draw(flat(0.95), generator=stream(0, "record"))
    dn = levels.to_dn(noisy)
    torch.testing.assert_close(dn, dn.round(), rtol=0, atol=1e-4)
    assert float(noisy.max()) == 1.0
    unclipped = open_source("poisson-gaussian:0.02,0.1", levels=levels, exact=False)
    assert float(unclipped.draw(flat(0.95), generator=stream(0, "record")).max()) > 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gaussian:25", "25/255 or 25DN"),
        ("gaussian:-0.1", "positive"),
        ("gaussian:nan", "cannot read"),
        ("gaussian:0", "positive"),
        ("gaussian:1/0", "cannot read"),
        ("gaussian:3DN", "black and white level"),
        ("gaussian:", "gaussian:STD"),
        ("poisson-gaussian:0.1", "poisson-gaussian:G,STD"),
        ("poisson-gaussian:0,0.1", "G must be a positive number"),
        ("gausian:0.1", "did you mean gaussian:STD"),
        ("gaussian", "did you mean gaussian:STD"),
        ("telepathy:1", "known: FILE, gaussian:STD"),
        ("runs/none", "no such checkpoint"),
        ("darks:x,0.1", "a program that can open bursts"),
        ("eld:x.npy", "eld:FILE,K"),
        ("eld:x.npy,1", "cannot open x.npy"),
        ("eld:x.npy,one", "K must be a number"),
        ("darktable:x.json,EOS 5D", "darktable:FILE,CAMERA,ISO"),
        ("darktable:x.json,EOS 5D,many", "ISO must be a number"),
        ("darktable:x.json,EOS 5D,100", "cannot open x.json"),
        ("profile:x.dng", "cannot open x.dng"),
    ],
)
def test_what_cannot_be_meant_is_one_line(text, said):
    with pytest.raises(InputError) as error:
        open_source(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_numbers():
    assert parse_number("1e-3", None, "G") == 1e-3
    assert parse_number("25/255", None, "STD") == pytest.approx(25 / 255)
    assert parse_number("3DN", Levels(64, 1087), "STD") == pytest.approx(3 / 1023)


@pytest.mark.parametrize("text", ["gaussian:0.1", "poisson-gaussian:0.01,0.1"])
def test_same_stream_same_bits_and_bursts(text):
    source = open_source(text)
    clean = torch.rand(2, 3, 4, 8, 8, generator=stream(0, "clean"))
    first, second = (source.draw(clean, generator=stream(1, "bits")) for _ in range(2))
    assert first.shape == clean.shape and torch.equal(first, second)
    assert not torch.equal(first, source.draw(clean, generator=stream(2, "bits")))
    assert not first.requires_grad
    assert source.describe().startswith(f"{text}: ") and "\n" not in source.describe()


def test_the_table_has_the_kinds_that_the_manual_names():
    assert list(KINDS) == ["gaussian", "poisson-gaussian", "profile", "eld", "darktable", "darks"]


# a model of ours


def test_a_checkpoint_draws_what_its_model_draws(tmp_path):
    model = PhysicalNoise.from_noiselist("shot_row1", layout="mosaic", levels=LEVELS, shot_gain=1e-3, row1_std=5e-3)
    noisemodel.save(model, tmp_path / "run")
    for text in (tmp_path / "run", tmp_path / "run" / "model.safetensors"):
        source = open_source(str(text))
        drawn = source.draw(flat(count=2), generator=stream(0, "run"), origin=(3, 4))
        assert torch.equal(drawn, model.simulate(flat(count=2), generator=stream(0, "run"), origin=(3, 4)))
        measured = open_source(str(text), exact=False).draw(flat(count=2), generator=stream(0, "run"))
        assert torch.equal(measured, model.measure(flat(count=2), generator=stream(0, "run")).noisy)
        assert source.model.physical.noiselist == "shot_row1" and "row1.std" in source.describe()
        assert not any(parameter.requires_grad for parameter in source.model.parameters())
    with pytest.raises(InputError, match='layout "mosaic", the data have "planes"'):
        open_source(str(tmp_path / "run"), layout="planes")


def test_a_published_run_folder_without_a_checkpoint_is_refused_with_the_reason(tmp_path):
    (tmp_path / "args.txt").write_text("{}")
    with pytest.raises(InputError, match=r"has no bestgenerator\*\.pt or generatorcheckpoint\*\.pt"):
        open_source(str(tmp_path))


# NoiseProfile of a DNG


@pytest.mark.parametrize("exact", [True, False])
def test_a_profile_per_colour_is_drawn_by_plane(tmp_path, exact):
    path = write_dng(tmp_path / "a.dng", codes(), cfa="GRBG", NoiseProfile=PROFILE)
    source = open_source(f"profile:{path}", exact=exact)
    noise = draws(source, flat(0.3))
    for plane, colour in enumerate("GRBG"):
        slope, offset = PROFILE[2 * "RGB".index(colour) :][:2]
        excess = slope**3 * 0.3 / (slope * 0.3 + offset) ** 2
        assert_variance(noise[:, plane], slope * 0.3 + offset, excess)
    assert white_spectrum(noise)
    burst = source.draw(flat(0.3).reshape(4, 10, 4, *SIZE), generator=stream(0, "sources"))
    assert torch.equal(burst.reshape(40, 4, *SIZE), flat(0.3) + noise)
    shot, read = source.model.physical.parameters_table()
    assert shot.value == pytest.approx(np.mean([1e-3, 2e-3, 2e-3, 3e-3]))
    assert read.value == pytest.approx(math.sqrt(np.mean([4e-6, 9e-6, 9e-6, 1e-6])))
    assert "not measured" in source.describe() and "by plane" in source.describe()
    with pytest.raises(InputError, match="4 planes"):
        source.draw(flat(channels=3), generator=stream(0, "planes"))


def test_a_profile_without_known_colours_is_its_mean_and_says_so(tmp_path):
    path = write_dng(tmp_path / "a.dng", codes(), NoiseProfile=PROFILE)
    source = open_source(f"profile:{path}", layout="planes")
    noise = draws(source, flat(0.3, channels=3))
    for plane, (slope, offset) in enumerate(zip(PROFILE[::2], PROFILE[1::2], strict=True)):
        assert_variance(noise[:, plane], slope * 0.3 + offset, slope)
    one = write_dng(tmp_path / "one.dng", codes(), NoiseProfile=[2e-3, 0.0])
    assert_variance(draws(open_source(f"profile:{one}"), flat(0.3)), 6e-4, 2e-3 / 0.3)
    assert open_source(f"profile:{one}").model.physical.noiselist == "shot"
    mono = open_source(f"darktable:{darktable(tmp_path)},Alpha,100", cfa=None)
    assert "differences are lost" in mono.describe()
    slope, offset = 2e-3, 1e-5
    assert_variance(draws(mono, flat(0.3)), slope * 0.3 + offset, slope)


def test_a_dng_without_profile_says_what_would_do(tmp_path):
    with pytest.raises(InputError, match="no NoiseProfile"):
        open_source(f"profile:{write_dng(tmp_path / 'a.dng', codes())}")


# darktable


def darktable(folder, **changed):
    """Two cameras; entries with skip, a <= 0 and doubled ISOs are not used."""
    entries = [
        {"name": "A 100", "iso": 100, "a": [1e-3, 2e-3, 3e-3], "b": [1e-5, 1e-5, 1e-5]},
        {"name": "A 400", "iso": 400, "a": [4e-3, 8e-3, 12e-3], "b": [3e-5, -1e-5, 5e-5]},
        {"name": "A 100 again", "iso": 100, "a": [9e-3] * 3, "b": [9e-3] * 3},
        {"name": "A 200", "iso": 200, "a": [9e-3] * 3, "b": [9e-3] * 3, "skip": True},
        {"name": "A 250", "iso": 250, "a": [9e-3, 9e-3, 0.0], "b": [9e-3] * 3},
    ]
    models = [{"model": "Alpha", "profiles": entries}, {"model": "Alpha Two", "profiles": entries[:2]}]
    found = {"version": 0, "noiseprofiles": [{"maker": "Acme", "models": models}], **changed}
    (folder / "profiles, all.json").write_text(json.dumps(found))
    return folder / "profiles, all.json"


def test_darktable_between_two_isos(tmp_path):
    source = open_source(f"darktable:{darktable(tmp_path)},acme  alpha,ISO200", cfa="RGGB")
    assert source.pairs == pytest.approx(np.array([(2e-3, 2e-5), (4e-3, 0), (4e-3, 0), (6e-3, 3e-5)]), abs=1e-12)
    assert "Acme Alpha, measured at ISO 100 and 400" in source.describe()
    noise = draws(source, flat(0.3))
    for plane, (slope, offset) in enumerate(source.pairs):
        assert_variance(noise[:, plane], slope * 0.3 + offset, slope / 0.3)
    at = open_source(f"darktable:{darktable(tmp_path)},Alpha,400", cfa="BGGR")
    assert at.pairs == pytest.approx(np.array([(12e-3, 5e-5), (8e-3, 0), (8e-3, 0), (4e-3, 3e-5)]), abs=1e-12)
    assert "O < 0 taken as 0" in at.describe()
    mean = open_source(f"darktable:{darktable(tmp_path)},Alpha,400").model.physical.parameters_table()
    assert [parameter.value for parameter in mean] == pytest.approx([8e-3, math.sqrt(8e-5 / 3)])


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("Alfa,100", "near are: Acme Alpha"),
        ("Alpha,50", r"ISO 50 of Acme Alpha was not measured \(100 to 400\); the nearest are 100, 400"),
        ("Alpha,401", "the nearest are 100, 400"),
        ("zzzzzz,100", "near are: none"),
    ],
)
def test_darktable_names_what_is_near(tmp_path, rest, said):
    with pytest.raises(InputError, match=said):
        open_source(f"darktable:{darktable(tmp_path)},{rest}")


@pytest.mark.parametrize("changed", [{"noiseprofiles": 3}, {"noiseprofiles": [{"maker": "A", "models": [{}]}]}])
def test_another_json_is_refused(tmp_path, changed):
    with pytest.raises(InputError, match="has no noise profiles"):
        open_source(f"darktable:{darktable(tmp_path, **changed)},Alpha,100")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        open_source(f"darktable:{tmp_path / 'x.json'},Alpha,100")
