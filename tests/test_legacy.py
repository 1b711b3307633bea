"""Runs of the published starlight script: read to the same outputs, used as ours, and converted in law."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from torch import Tensor

import noisemodel
import viewnoise
from noisemodel import InputError, stream
from noisemodel.legacy import chosen_checkpoint, read_published
from noisemodel.legacy_convert import convert_published
from noisemodel.legacy_generator import SWAP, LegacyGenerator
from noisemodel.legacy_network import OldUnet
from noisemodel.legacy_terms import OldPeriodic, OldRow, OldShotRead, OldTemporalRow, OldUniform
from noisemodel.sources import open_source

LEGACY = Path(__file__).parents[2] / "shared" / "data" / "legacy" / "starlight"
needs_legacy = pytest.mark.skipif(not LEGACY.is_dir(), reason="no ../shared/data/legacy/starlight")
RUNS = {"noise_generator": "generatorcheckpoint0_", "noise_generator_noUnet": "bestgenerator0_"}
NUMBERS = {
    "shot_noise": 0.02, "read_noise": 0.004, "row_noise": -0.0016, "row_noise_temp": 0.0012, "uniform_noise": 0.003
}  # fmt: skip
WORDS = "shot_read_uniform_row1_rowt"


def write_run(
    folder: Path,
    network: str = "noUnet",
    noiselist: str = WORDS,
    *,
    prefix: str = "",
    name: str = "generatorcheckpoint3_Gloss-1.0_Dloss0.5.pt",
    unet_opts: str = "residualFalse_conv_tconv_selu",
    **changed: Tensor,
) -> Path:
    """A run folder as the published script leaves it."""
    folder.mkdir(exist_ok=True)
    kept = {k: torch.tensor(v) for k, v in NUMBERS.items()}
    if network != "noUnet":
        net = OldUnet(8 if network == "Unet_cat" else 4, 4, unet_opts)
        kept |= {f"net.{k}": v for k, v in net.state_dict().items()}
    torch.save({prefix + k: v for k, v in (kept | changed).items()}, folder / name)
    args = {"network": network, "noiselist": noiselist, "unet_opts": unet_opts, "crop_size": 256}
    (folder / "args.txt").write_text(json.dumps(args))
    return folder


def images(count: int = 2, height: int = 32, width: int = 48) -> Tensor:
    return 0.2 + 0.6 * torch.rand(count, 4, height, width, generator=stream(0, "images"))


def as_seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Published runs, to the last bit but rounding.


@needs_legacy
@pytest.mark.parametrize("name", RUNS)
def test_outputs_and_every_term_are_those_of_the_published_script(name):
    reference = {k: torch.from_numpy(v) for k, v in np.load(LEGACY / name / "reference.npz").items()}
    model = noisemodel.load(LEGACY / name)
    assert isinstance(model, LegacyGenerator) and model.file.name.startswith(RUNS[name])
    indices = tuple(reference["indices"].tolist())
    made, noise = model.published(reference["input"], generator=as_seeded(0), indices=indices)
    assert (made - reference["output_eval"]).abs().max() < 1e-5
    given = model.respond(reference["input"], reference["input"] + sum(noise.values()))
    assert (given - reference["output_eval"]).abs().max() < 1e-5
    terms = ("shot_read", "uniform", "row", "fixed", "periodic")
    for word, term in zip(("oldshotread", "olduniform", "oldrow1", "fixed1", "oldperiodic"), terms, strict=True):
        assert (noise[word] - reference[f"noise_{term}"]).abs().max() < 1e-7


@needs_legacy
def test_the_fixed_pattern_is_found_above_the_run_and_needed(tmp_path):
    run, pattern = tmp_path / "saved_models" / "run", LEGACY / "fixed_pattern_noise.mat"
    run.mkdir(parents=True)
    for file in (*LEGACY.glob("*_noUnet/*.pt"), *LEGACY.glob("*_noUnet/*.txt")):
        (run / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=r"needs fixed_pattern_noise\.mat for fixed1"):
        noisemodel.load(run)
    given = read_published(run, pattern=pattern)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / pattern.name).write_bytes(pattern.read_bytes())
    found = noisemodel.load(run)
    assert torch.equal(found.physical.component("fixed1").pattern, given.physical.component("fixed1").pattern)


# Runs made here.


@pytest.mark.parametrize("network", ["noUnet", "Unet", "Unet_cat", "Unet_first"])
def test_every_network_with_and_without_the_wrapper(tmp_path, network):
    plain = write_run(tmp_path / "plain", network)
    found = torch.load(next(plain.glob("*.pt")), weights_only=True)
    wrapped = write_run(tmp_path / "wrapped", network, prefix="module.", **found)
    clean = images()
    made = [noisemodel.load(path).published(clean, generator=as_seeded(5))[0] for path in (plain, wrapped)]
    assert torch.equal(*made)

    noise = as_published(clean if network != "Unet_first" else by_hand(found, clean))
    expected = {
        "noUnet": lambda: clean + noise,
        "Unet": lambda: by_hand(found, clean + noise),
        "Unet_cat": lambda: by_hand(found, torch.cat([clean, clean + noise], 1)),
        "Unet_first": lambda: by_hand(found, clean) + noise,
    }[network]()
    assert (made[0] - expected.clamp(0, 1)).abs().max() < 1e-6


def as_published(x: Tensor) -> Tensor:
    """The noise of WORDS as the published script draws it after torch.manual_seed(5)."""
    torch.manual_seed(5)
    n, c, _, w = x.shape
    noise = torch.randn(x.shape) * (x * NUMBERS["shot_noise"] + NUMBERS["read_noise"])
    noise += NUMBERS["uniform_noise"] * torch.rand(x.shape)
    noise += NUMBERS["row_noise"] * torch.randn(n, c, w).unsqueeze(-2)
    return noise + NUMBERS["row_noise_temp"] * torch.randn(n, w)[:, None, None, :]


def by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The published U-Net in plain functions."""
    f = torch.nn.functional
    w = {k.removeprefix("net."): v for k, v in weights.items() if k.startswith("net.")}

    def block(name: str, x: Tensor) -> Tensor:
        inner = f.leaky_relu(f.conv2d(x, w[f"{name}.conv1.weight"], w[f"{name}.conv1.bias"], padding=1))
        inner = f.conv2d(inner, w[f"{name}.conv2.weight"], w[f"{name}.conv2.bias"], padding=1)
        both = min(x.shape[1], inner.shape[1])
        inner[:, :both] += x[:, :both]
        return f.leaky_relu(inner)

    start, skips = x, []
    for i in range(1, 5):
        skips.append(block(f"conv{i}", x))
        x = f.conv2d(skips[-1], w[f"down{i}.weight"], w[f"down{i}.bias"], stride=2, groups=skips[-1].shape[1])
    x = block("conv5", x)
    for i in range(1, 5):
        x = f.conv_transpose2d(x, w[f"up{i}.weight"], w[f"up{i}.bias"], stride=2, groups=x.shape[1])
        x = block(f"conv{5 + i}", torch.cat([x, skips[4 - i]], 1))
    return x + block("convres", start)


@pytest.mark.parametrize("opts", ["residualTrue_maxpool_bilinear_relu", "residual_avgpool_nearest_selu"])
def test_other_unet_opts_and_sizes_that_16_does_not_divide(tmp_path, opts):
    model = noisemodel.load(write_run(tmp_path / "run", "Unet", unet_opts=opts))
    assert (model.network.convres is None) == opts.startswith("residual_")
    assert model.measure(images(1, 20, 24), generator=stream(0, "odd")).noisy.shape == (1, 4, 20, 24)


def test_the_best_checkpoint_is_chosen_and_named(tmp_path, caplog):
    run = write_run(tmp_path / "run")
    for name in ("bestgenerator9_KLD0.5.pt", "bestgenerator10_KLD0.04.pt", "bestgenerator2_KLD0.0.pt"):
        write_run(run, name=name)
    write_run(run, name="generatorcheckpoint12_Gloss0_Dloss0.pt")
    noisemodel.load(run)
    assert "bestgenerator10_KLD0.04.pt" in caplog.text
    for best in run.glob("best*"):
        best.unlink()
    assert chosen_checkpoint(run).name == "generatorcheckpoint12_Gloss0_Dloss0.pt"
    assert noisemodel.load(run / "generatorcheckpoint3_Gloss-1.0_Dloss0.5.pt").file.name.startswith("generatorcheckp")


def test_planes_are_by_position_outside_and_in_the_published_order_inside(tmp_path):
    run = write_run(tmp_path / "run", "Unet")
    model, clean = noisemodel.load(run), images()
    found = torch.load(next(run.glob("*.pt")), weights_only=True)
    published = by_hand(found, clean[:, SWAP]).clamp(0, 1)[:, SWAP]
    assert (model.after(clean, clean) - published).abs().max() < 1e-6
    assert (published - by_hand(found, clean).clamp(0, 1)).abs().max() > 1e-3


def test_words_are_matched_as_parts_as_they_were(tmp_path):
    model = noisemodel.load(write_run(tmp_path / "run", noiselist="threadless_uniform_row1_rowt_shot"))
    assert list(model.physical.components) == ["oldshotread", "olduniform", "oldrow1", "oldrowt"]
    alone = {k: v for k, v in NUMBERS.items() if k == "shot_noise"}
    path = tmp_path / "shot"
    write_run(path, noiselist="shot")
    torch.save({k: torch.tensor(v) for k, v in alone.items()}, next(path.glob("*.pt")))
    silent = noisemodel.load(path)
    assert torch.equal(silent.measure(images(), generator=stream(0, "shot")).noisy, images())


def test_a_learned_pattern_is_in_the_checkpoint_and_cut_at_the_origin(tmp_path):
    planes = 1e-3 * torch.randn(1, 4, 40, 56, generator=stream(0, "pattern"))
    run = write_run(tmp_path / "run", noiselist=f"{WORDS}_learnedfixed", fixednoiset=planes)
    _, noise = noisemodel.load(run).published(images(), generator=as_seeded(0), indices=(3, 5))
    assert torch.equal(noise["learnedfixed"][0], planes[0, :, 3:35, 5:53])
    for bad in (torch.zeros(()), torch.zeros(4), torch.zeros(1, 3, 8, 8)):
        write_run(run, noiselist=f"{WORDS}_learnedfixed", fixednoiset=bad)
        with pytest.raises(InputError, match="a fixed pattern has 4 planes"):
            noisemodel.load(run)
    write_run(run, noiselist=f"{WORDS}_periodic", periodic_params=torch.zeros(2))
    with pytest.raises(InputError, match=r"periodic_params has shape \(2,\)"):
        noisemodel.load(run)


# The laws.

TERMS = {
    "shot, read": OldShotRead("mosaic", {"slope": 0.02, "offset": 0.004}),
    "signs differ": OldShotRead("mosaic", {"slope": 0.02, "offset": -0.01}),
    "read": OldShotRead("mosaic", {"offset": -0.004}),
    "uniform": OldUniform("mosaic", {"width": 0.003}),
    "row1": OldRow("mosaic", {"std": -0.002}),
    "rowt": OldTemporalRow("mosaic", {"std": 0.002}),
    "periodic": OldPeriodic("mosaic", {"p0": 0.3, "p1": -0.4, "p2": 0.5}),
}


@pytest.mark.parametrize("width", [8, 9, 11, 3, 1])
def test_periodic_is_the_published_transform(width):
    term, burst = TERMS["periodic"], torch.zeros(3, 2, 4, 6, width, dtype=torch.float64)
    lines = torch.zeros(3, 2, 4, 6, width, dtype=torch.complex128)
    a, b, c = (torch.randn(3, 2, 4, generator=g, dtype=torch.float64) for g in [as_seeded(2)] for _ in range(3))
    lines[..., 0, 0] = 0.3 * a
    lines[..., 0, width // 4] = torch.complex(-0.4 * b, 0.5 * c)
    lines[..., 0, 3 * width // 4] = torch.complex(-0.4 * b, -0.5 * c)
    drawn = term._sample(burst, None, None, as_seeded(2)).expand(burst.shape)
    assert (drawn - torch.fft.ifft2(lines, norm="ortho").abs()).abs().max() < 1e-6


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("width", [8, 10])
def test_draws_have_the_mean_and_the_variance_they_state(term, width):
    clean = torch.linspace(0, 1, width).expand(1, 4, 2, width)
    count = 20000
    noise = term.sample(clean.expand(count, 4, 2, width), generator=stream(1, "draws"))[:, 0, 0].double()  # (N, W)
    mean, var = (m[0, 0, 0].double() for m in (term.mean(clean), term.variance(clean)))
    std = noise.std(0) + 1e-12
    assert ((noise.mean(0) - mean).abs() < 5 * std / math.sqrt(count)).all()
    kurtosis = ((noise - noise.mean(0)) / std).pow(4).mean(0)
    assert ((noise.var(0) / (var + 1e-30) - 1).abs() < 5 * ((kurtosis - 1) / count).sqrt() + 1e-5).all()


def test_rows_lie_along_h_and_only_temporal_ones_are_shared_by_planes():
    burst = torch.zeros(2, 3, 4, 6, 8)
    for word, shared in (("row1", False), ("rowt", True)):
        noise = TERMS[word].sample(burst, generator=stream(0, word))
        assert bool((noise == noise[..., :1, :]).all()) and not bool((noise == noise[..., :1]).all())
        assert bool((noise == noise[:, :, :1]).all()) == shared
        assert not bool((noise[:, 0] == noise[:, 1]).any())  # "temporal" was new in every frame


# Used as one of ours.


def test_it_is_a_generator_a_source_and_no_checkpoint_of_ours(tmp_path):
    run = write_run(tmp_path / "run", "Unet")
    model = noisemodel.load(run)
    clean = images()[:, None].expand(2, 3, 4, 32, 48)
    drawn = model.measure(clean, generator=stream(0, "m"))
    assert drawn.noisy.shape == clean.shape and float(drawn.noisy.min()) >= 0 and float(drawn.noisy.max()) <= 1
    assert torch.equal(model.simulate(clean, generator=stream(0, "m")), drawn.noisy)
    parts = model.parts(clean, generator=stream(0, "m"))
    assert list(parts) == ["oldshotread", "olduniform", "oldrow1", "oldrowt", "network"]
    assert "oldshotread.slope" in {p.name for p in model.physical.parameters_table()}
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    source = open_source(str(run))
    assert source.draw(clean, generator=stream(0, "s")).shape == clean.shape and "olduniform.width" in source.describe()
    assert noisemodel.read_provenance(run)["file"].startswith("generatorcheckpoint3")
    json.dumps(model.config())
    with pytest.raises(InputError, match=r"convert it with convert\.py"):
        noisemodel.save(model, tmp_path / "ours")


def test_viewnoise_shows_it(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run")
    every = viewnoise._files
    monkeypatch.setattr(viewnoise, "MOST", {"scene": 1, "flat": 1, "dark": 1})
    monkeypatch.setattr(viewnoise, "_files", lambda of: {k: every(of)[k] for k in ("components.png", "summary.json")})
    monkeypatch.setattr("sys.argv", ["viewnoise.py", str(run), "--crop", "32", "-o", str(tmp_path / "view")])
    assert viewnoise.main() == 0
    assert "oldshotread.slope" in capsys.readouterr().out and (tmp_path / "view" / "components.png").is_file()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network": "newunet"}, "known: noUnet, Unet"),
        ({"noiselist": "shot_read"}, "do not fit: row_noise, row_noise_temp, uniform_noise"),
        ({"network": "Unet", "unet_opts": "residualTrue_conv_tconv_batch"}, "names no network"),
        ({"network": "Unet"}, "its network is not the one of args.txt"),
        (None, "cannot open .*args.txt"),
        ([], "holds a list"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, changed, said):
    run = write_run(tmp_path / "run")
    text = changed if not isinstance(changed, dict) else {**json.loads((run / "args.txt").read_text()), **changed}
    (run / "args.txt").write_text(json.dumps(text)) if changed is not None else (run / "args.txt").unlink()
    with pytest.raises(InputError, match=said) as error:
        read_published(next(run.glob("*.pt")))
    assert "\n" not in str(error.value)


# Converted.


def full_run(folder: Path) -> Path:
    scipy.io.savemat(
        folder / "fixed_pattern_noise.mat",
        {"mean_pattern": np.random.default_rng(0).integers(-90, 90, (40, 56, 4)).astype(np.int16)},
    )
    periodic = torch.tensor([0.3, 0.4, 0.5])
    return write_run(folder / "run", noiselist=f"{WORDS}_fixed1_periodic", periodic_params=periodic)


def test_converted_is_equal_in_law_where_it_says_so(tmp_path):
    old = noisemodel.load(full_run(tmp_path))
    found = convert_published(old)
    clean, origin = images(1, 8, 8), (4, 8)
    ours, theirs = found.model.physical, old.physical
    shot_read = sum(ours.component(word).variance(clean) for word in ("shot", "read", "excess"))
    assert torch.allclose(shot_read, theirs.component("oldshotread").variance(clean), rtol=1e-5)
    assert torch.allclose(ours.component("uniform").variance(clean), theirs.component("olduniform").variance(clean))
    assert float(ours.component("uniform").mean(clean).abs().max()) == 0
    rows = sum(theirs.component(word).variance(clean) for word in ("oldrow1", "oldrowt"))
    assert torch.allclose(ours.component("col1").variance(clean), rows)
    pattern = ours.component("fixed1").mean(clean, origin=origin)
    assert torch.equal(pattern, theirs.component("fixed1").mean(clean, origin=origin))
    wide = torch.zeros(1, 4, 256, 256)
    term = theirs.component("oldperiodic")
    square = (term.variance(wide) + term.mean(wide).square()).mean()
    assert torch.allclose(ours.component("periodic").variance(wide).mean(), square, rtol=1e-5)
    assert any("no longer brightens" in line for line in found.changes) and any(
        "planes:" in line for line in found.changes
    )


def test_a_law_that_no_sum_of_variances_makes_and_a_network_are_refused(tmp_path):
    falling = write_run(tmp_path / "a", read_noise=torch.tensor(-0.01))
    with pytest.raises(InputError, match="falls with the signal"):
        convert_published(noisemodel.load(falling))
    with_net = noisemodel.load(write_run(tmp_path / "b", "Unet"))
    with pytest.raises(InputError, match="--without_network"):
        convert_published(with_net)
    found = convert_published(with_net, without_network=True)
    assert found.model.network is None and any("left out" in line for line in found.changes)
