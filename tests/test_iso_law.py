"""The law against ISO: its fit, its gradients, what is saved, and how a batch of several ISOs meets it."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import noisemodel
import synthesize
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.calibration import Estimate
from noisemodel.game import Game, GanOptions
from noisemodel.iso_groups import IsoCrops, IsoRulers, relative_error
from noisemodel.iso_law import IsoLaw, fit_iso_law, fit_log_line, following, middle_iso
from noisemodel.patches import Crops, cut_crops
from noisemodel.views import Ruler

ISOS = (100, 800, 3200)
ROWS = {"shot.gain": (math.log(8e-4), 0.6, 0.02), "read.std": (math.log(5e-3), 0.5, 0.0)}
UNIT = Levels(0.0, 1.0, clip=(0.0, 1.0))


def law_model(rows: dict[str, tuple[float, float, float]] = ROWS, noiselist: str = "shot_read") -> NoiseGenerator:
    model = NoiseGenerator(PhysicalNoise.from_noiselist(noiselist, levels=UNIT))
    model.iso_law = IsoLaw(rows, 800, ISOS)
    model.iso_law.apply_to(model.physical, 800)
    return model


def figures(model: NoiseGenerator) -> dict[str, float]:
    return {p.name: p.value for p in model.physical.parameters_table()}


# The line.


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-9, -3), st.floats(-1, 2), st.lists(st.integers(50, 20_000), min_size=2, max_size=6, unique=True),
    st.floats(1e-4, 0.5),
)  # fmt: skip
def test_points_on_a_line_give_that_line(intercept: float, slope: float, isos: list[int], error: float) -> None:
    iso0 = middle_iso(isos)
    assert iso0 in isos
    p = {iso: {"read.std": math.exp(intercept + slope * math.log(iso / iso0))} for iso in isos}
    law = fit_iso_law(p, {iso: {"read.std": error} for iso in isos}, iso0)
    row = law.rows["read.std"]
    span = math.log(max(isos) / min(isos))
    assert abs(row.intercept - intercept) < 1e-4 and row.scatter == 0
    assert abs(row.slope - slope) < 1e-5 / min(span, 1)
    for iso in isos:
        assert law.at(iso)["read.std"] == pytest.approx(p[iso]["read.std"], rel=1e-3)


def test_scatter_is_what_errors_do_not_explain() -> None:
    """tau^2 has mean 0.1^2 where points scatter by 0.1 beyond small errors, and is mostly 0 where they do not."""
    x, draws, error = np.linspace(-2, 2, 6), np.random.default_rng(0), np.full(6, 0.02)
    y = 0.7 * x + np.hypot(0.1, 0.02) * draws.standard_normal((400, 6))
    squares = np.array([fit_log_line(x, row, error).scatter ** 2 for row in y])
    assert abs(squares.mean() - 0.1**2) < 5 * squares.std() / 20
    none = [fit_log_line(x, 0.7 * x + 0.02 * row, error).scatter for row in draws.standard_normal((400, 6))]
    share = np.mean(np.array(none) == 0)  # chi^2 of 4 degrees of freedom lies below its mean in 59 %
    assert abs(share - 0.594) < 5 * (0.594 * 0.406 / 400) ** 0.5


def test_slope_errors_are_those_of_weighted_least_squares() -> None:
    """A point with a wide interval hardly counts: the slope's scatter over draws follows from the weights."""
    x, error = np.array([-2.0, 0.0, 1.0, 2.0]), np.array([0.02, 0.5, 0.02, 0.03])
    draws = np.random.default_rng(1).standard_normal((2000, 4)) * error
    weight = 1 / error**2
    centre = (weight * x).sum() / weight.sum()
    expected = (weight * (x - centre) ** 2).sum() ** -0.5
    slopes = np.array([fit_log_line(x, 0.3 * x + row, error) for row in draws])[:, 1]
    assert abs(slopes.mean() - 0.3) < 5 * slopes.std() / 2000**0.5
    assert expected * 0.95 < slopes.std() < expected * 1.3, "scatter, where found, only evens out the weights"


def test_intervals_as_relative_errors() -> None:
    assert relative_error(2.0, Estimate(2.0, 2.0 * math.exp(-0.196), 2.0 * math.exp(0.196))) == pytest.approx(0.1, 1e-3)
    for unseen in (None, Estimate(0.0, -1e-5, 1e-4), Estimate(1e-3, 0.0, 2e-3)):
        assert relative_error(1e-4, unseen) >= 1.0


# What follows it.


def test_only_free_stds_and_gains_follow() -> None:
    physical = PhysicalNoise.from_noiselist("shot_read_readtl_uniform_row1_periodic_prnu", sensor_size=(8, 8))
    stds = ["row1.std", "periodic.std0", "periodic.std1", "periodic.std2"]
    assert following(physical) == ["shot.gain", "read.std", "readtl.scale", *stds]
    physical.fix("read.std=1e-3")
    assert "read.std" not in following(physical)


def test_each_image_has_the_noise_of_its_iso() -> None:
    model, iso = law_model(), torch.tensor([100.0, 640.0, 3200.0])
    clean = torch.full((3, 4, 64, 64), 0.2)
    noise = model.measure(clean, generator=stream(0, "law"), params=model.iso_law.params(iso)).noise
    for index, number in enumerate(iso.tolist()):
        gain, std = (math.exp(a + b * math.log(number / 800)) for a, b, _ in ROWS.values())
        expected, count = gain * 0.2 + std**2, noise[index].numel()
        assert abs(float(noise[index].detach().var()) / expected - 1) < 5 * (2 / count) ** 0.5
        assert figures(model.at_iso(number)) == pytest.approx({"shot.gain": gain, "read.std": std}, rel=1e-4)


def test_gradients_reach_both_ends_and_spare_what_is_held() -> None:
    law = IsoLaw(ROWS, 800, ISOS)
    law.hold(["read"])
    sum(value.log().sum() for value in law.params(torch.tensor([100.0, 800.0, 3200.0])).values()).backward()
    share = math.log(8) / math.log(32)
    assert law.low.grad is not None and law.high.grad is not None
    assert law.low.grad.tolist() == pytest.approx([1 + (1 - share), 0], abs=1e-5)
    assert law.high.grad.tolist() == pytest.approx([share + 1, 0], abs=1e-5)
    assert law.place(torch.tensor([100.0, 3200.0])).tolist() == pytest.approx([-1, 1])


def test_moving_keeps_the_slope() -> None:
    law = IsoLaw(ROWS, 800, ISOS)
    law.move_to({"read.std": 1e-3, "row1.std": 1.0})
    assert law.at(800) == pytest.approx({"shot.gain": 8e-4, "read.std": 1e-3}, rel=1e-4)
    assert law.rows["read.std"].slope == pytest.approx(0.5, rel=1e-4)


# Saved and read.


def test_the_law_is_in_the_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = law_model()
    file = noisemodel.save(model, tmp_path)
    with safe_open(file, "pt") as handle:
        config = json.loads(handle.metadata()["config"])["iso_law"]
    assert config["iso0"] == 800 and config["isos"] == list(ISOS)
    assert config["parameters"]["shot.gain"] == pytest.approx(ROWS["shot.gain"], rel=1e-5)
    again = noisemodel.load(tmp_path)
    assert "no ISO is given: parameters of ISO 800" in caplog.text
    assert again.iso_law.rows == model.iso_law.rows and figures(again) == pytest.approx(model.iso_law.at(800))
    caplog.clear()
    at = noisemodel.load(tmp_path, iso=640)
    assert caplog.text == "" and at.iso_law is None and figures(at) == pytest.approx(model.iso_law.at(640))
    assert figures(noisemodel.load(noisemodel.save(at, tmp_path / "one.safetensors"))) == figures(at)
    assert figures(again) == pytest.approx(model.iso_law.at(800)), "the model itself stays as it is"
    assert all(p.requires_grad for p in at.parameters())


@pytest.mark.parametrize("iso", [99.0, 3201.0])
def test_beyond_the_fitted_isos_it_says_so(iso: float, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        law_model().at_iso(iso)
    assert caplog.messages == [f"ISO {iso:g} lies outside the fitted ISOs, 100 to 3200: the law extrapolates"]


def test_bad_isos(tmp_path: Path) -> None:
    plain = NoiseGenerator(PhysicalNoise.from_noiselist("read"))
    assert "iso_law" not in plain.config()
    with pytest.raises(InputError, match="knows one setting only, not ISO 640; train it on several ISOs"):
        plain.at_iso(640)
    file = noisemodel.save(plain, tmp_path)
    with pytest.raises(InputError, match=f"^{file}: this model knows one setting"):
        noisemodel.load(tmp_path, iso=640)
    for iso in (0, -100, math.inf, math.nan):
        with pytest.raises(InputError, match="an ISO is a positive number"):
            law_model().at_iso(iso)
    with pytest.raises(InputError, match="needs two or more ISOs"):
        fit_iso_law({100: {"read.std": 1.0}}, {100: {"read.std": 1.0}}, 100)
    with pytest.raises(InputError, match="needs parameters and positive ISOs"):
        IsoLaw({}, 100, [100])


def test_synthesize_at_an_iso(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisemodel.save(law_model(), tmp_path / "model")
    np.save(tmp_path / "grey.npy", np.full((4, 128, 128), 0.2, np.float32))
    for words, iso in (("--iso 640", 640), ("--iso 6400", 6400), ("", 800)):
        out = tmp_path / f"out{iso}"
        line = [str(tmp_path / "model"), str(tmp_path / "grey.npy"), "-o", str(out), *words.split()]
        assert synthesize.main(line) == 0
        noise = np.load(out / "grey.npy") - 0.2
        gain, std = law_model().iso_law.at(iso).values()
        assert abs(noise.var() / (0.2 * gain + std**2) - 1) < 5 * (2 / noise.size) ** 0.5
        record = json.loads((out / "grey.npy.json").read_text())
        assert {p["name"]: p["value"] for p in record["parameters"]} == pytest.approx(law_model().iso_law.at(iso))
    noisemodel.save(PhysicalNoise.from_noiselist("read"), tmp_path / "plain")
    line = [str(tmp_path / "plain"), str(tmp_path / "grey.npy"), "-o", str(tmp_path / "no"), "--iso", "640"]
    capsys.readouterr()
    assert synthesize.main(line) == 2
    assert "knows one setting only, not ISO 640" in capsys.readouterr().err


# Batches of several ISOs.


class Source:
    """Crops whose every value says ISO, step and row."""

    def __init__(self, iso: int, size: int) -> None:
        self.iso, self.size = iso, size

    def batch(self, step: int, purpose: str = "train", rows: slice | None = None) -> Crops:
        values = torch.rand(self.size, 2, 4, 16, 16, generator=stream(0, purpose, step)) / 4 + self.iso / 1e4
        values = values[rows or slice(None)]
        origin = torch.zeros(len(values), 2, dtype=torch.int64)
        clean = values.mean(dim=1, keepdim=True)
        return Crops(values, clean, clean, clean >= 0, origin, False)


def iso_crops(size: int = 4) -> IsoCrops:
    return IsoCrops({iso: Source(iso, size) for iso in ISOS}, size)


def test_batches_take_the_isos_in_turn() -> None:
    source = iso_crops()
    isos = torch.cat([source.batch(step).iso for step in range(3)])  # type: ignore[misc]
    assert isos.tolist() == [float(ISOS[i % 3]) for i in range(12)]
    whole = source.batch(5, "critic 1")
    for rows in (slice(0, 2), slice(2, 4)):
        part = source.batch(5, "critic 1", rows)
        for one, all_ in zip(part[:5], whole[:5], strict=True):
            assert torch.equal(one, all_[rows])
        assert torch.equal(part.iso, whole.iso[rows])  # type: ignore[arg-type, index]
    assert cut_crops(whole, 8, 2).iso.tolist() == whole.iso.repeat_interleave(4).tolist()  # type: ignore[union-attr]


def test_rulers_follow_the_iso() -> None:
    rulers = IsoRulers({iso: Ruler(1e-6 * iso, 1e-4 * iso) for iso in ISOS})
    reference = torch.rand(2, 1, 4, 3, 3)
    together = rulers.at(torch.tensor([3200.0, 100.0])).std(reference)
    for index, iso in enumerate((3200, 100)):
        assert torch.allclose(together[index], rulers.rulers[iso].std(reference[index]))


def game_of(split: str = "patches_after") -> Game:
    options = GanOptions(batch_size=4, patch=8, critic_width=4, split_into_patches=split)  # type: ignore[arg-type]
    rulers = {iso: Ruler(1e-6 * iso**0.5, 1e-4 * iso**0.5) for iso in ISOS}
    return Game(law_model(), rulers[800], options, ["read"], IsoRulers(rulers))


@pytest.mark.parametrize("split", ["patches_before", "patches_after"])
def test_the_game_generates_at_each_iso_and_tells_the_critic(split: str) -> None:
    game, crops = game_of(split), iso_crops().batch(0)
    pairs = game.residuals(crops, "generator", 0)
    assert pairs.iso is not None and pairs.iso.tolist() == [iso for iso in crops.iso.tolist() for _ in range(4)]  # type: ignore[union-attr]
    for iso in ISOS:
        at = pairs.iso == iso
        gain, std = game.generator.iso_law.at(iso).values()
        expected = float(gain * pairs.reference[at].mean() + std**2)
        count = pairs.fake[at].numel()
        assert abs(float(pairs.fake[at].detach().var()) / expected - 1) < 5 * (2 / count) ** 0.5
    for look in game.look(pairs.fake, pairs).values():
        place = look[:, -1].flatten(1)
        expected_place = game.generator.iso_law.place(pairs.iso).repeat_interleave(len(look) // len(pairs.iso))
        assert torch.allclose(place, expected_place.unsqueeze(1).expand_as(place))


def test_the_generator_learns_the_law_and_nothing_that_is_held() -> None:
    game = game_of()
    game.generator_loss(iso_crops().batch(0), 0).backward()
    law = game.generator.iso_law
    for end in (law.low, law.high):
        assert float(end.grad[0]) != 0 and float(end.grad[1]) == 0
    assert not any(p.requires_grad for p in game.generator.physical.parameters())
    with torch.no_grad():
        law.low += 0.5
    game.average(1)
    shown = figures(game.averaged)
    assert shown == pytest.approx(game.averaged.iso_law.at(800), rel=1e-5), "the averaged model shows its own ISO0"
    assert shown["shot.gain"] > 1.01 * 8e-4


def test_two_processes_draw_what_one_draws() -> None:
    game, source = game_of(), iso_crops()
    whole = game.generate(source.batch(1), stream(0, "noise"))
    game.world = 2
    halves = []
    for game.rank in range(2):
        rows = slice(2 * game.rank, 2 * game.rank + 2)
        halves.append(game.generate(source.batch(1, rows=rows), stream(0, "noise")))
    assert torch.allclose(torch.cat(halves), whole, atol=1e-6)


def test_nothing_to_learn() -> None:
    model, options = law_model(), GanOptions(batch_size=4, patch=8, critic_width=4)
    rulers = IsoRulers({iso: Ruler(1e-6, 1e-4) for iso in ISOS})
    with pytest.raises(InputError, match="nothing to learn"):
        Game(model, Ruler(1e-6, 1e-4), options, ["shot", "read"], rulers)
