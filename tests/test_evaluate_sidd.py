"""evaluate.py sidd-noise on a fixture tree: what rows must say, floors, splits, crops, and one line for bad input."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from sidd_fixture import PHONES, write_sidd_tree

import evaluate
import noisemodel
from datasets import load_sidd
from noisemodel import Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.evaluation.fidelity import measure_pair
from noisemodel.evaluation.frame_fidelity import has_floor, join_scenes, measure_frames
from noisemodel.evaluation.group_sources import claimed_noise
from noisemodel.evaluation.montage import TILE, crop_places, read_montage
from noisemodel.evaluation.recording import Pair, Recording
from noisemodel.iso_law import IsoLaw

SIZE = (192, 256)
FAST = ("--draws", 0, "--metrics", "w1", "variance_curve")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames of every instance, all five phones."""
    root = tmp_path_factory.mktemp("medium")
    write_sidd_tree(root, isos=(100, 3200), frames=(10, 11), size=SIZE, srgb=True)
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame of every instance; S6's third scene is a training one."""
    root = tmp_path_factory.mktemp("small")
    write_sidd_tree(root, phones=("S6", "IP"), isos=(800,), scenes=3, size=SIZE)
    return root


def run(*words: object) -> int:
    try:
        return evaluate.main(["sidd-noise", *map(str, words)])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def read_csv(path: Path) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """(phone, iso, row, metric) -> the line of all instances."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {(r["phone"], r["iso"], r["model"], r["metric"]): r for r in rows if r["recording"] == "all"}


def true_model(phone: str, iso: int) -> PhysicalNoise:
    gain, read = PHONES[phone].parameters(iso).values()
    levels = Levels(0.0, 1.0, clip=(0.0, 1.0))
    return PhysicalNoise.from_noiselist("shot_read", levels=levels, shot_gain=gain, read_std=read)


def test_every_phone_and_iso_with_all_rows(medium: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for phone in PHONES:
        for iso in (100, 3200):
            noisemodel.save(true_model(phone, iso), tmp_path / "true" / f"{phone}_{iso}")
    noisemodel.save(true_model("S6", 100), tmp_path / "S6 100")
    files = [tmp_path / "out" / name for name in ("a.csv", "a.md", "a.png")]
    checkpoints = ("--checkpoint", tmp_path / "true", tmp_path / "S6 100")
    written = ("--csv", files[0], "--markdown", files[1], "--figure", files[2])
    assert run("--data_root", medium, *checkpoints, *written, "--draws", 20) == 0
    found, printed, page = read_csv(files[0]), capsys.readouterr().out, files[1].read_text()
    rows = ["gaussian", "poisson-gaussian", "metadata", "calibrated", "true", "S6 100", "real vs real"]
    assert list(dict.fromkeys(name for _, _, name, _ in found)) == rows
    assert {(phone, iso) for phone, iso, _, _ in found} == {
        *((phone, iso) for phone in PHONES for iso in ("100", "3200")),
        ("overall", ""),
    }
    metrics = ["ks", "w1", "variance_curve", "akld", "kld_noiseflow", "kld_noise2noiseflow", "kld_starlight"]
    assert list(dict.fromkeys(metric for *_, metric in found)) == metrics
    for name in rows:
        assert name in printed and f"| {name} |" in page

    def ratio(name: str, metric: str) -> float:
        return float(found["overall", "", name, metric]["ratio"])

    for metric in metrics:
        for name in ("calibrated", "true"):
            assert ratio(name, metric) < 1.5, (name, metric)
        assert ratio("gaussian", metric) > 2.5, metric
        assert float(found["overall", "", "S6 100", metric]["value"]) > 1.3 * float(
            found["overall", "", "true", metric]["value"]
        )
        row = found["overall", "", "calibrated", metric]
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    each = [float(found[phone, iso, "true", "akld"]["value"]) for phone in PHONES for iso in ("100", "3200")]
    assert float(found["overall", "", "true", "akld"]["value"]) == pytest.approx(np.mean(each), rel=1e-4)
    # The tag claims 0.9, 1 and 1.1 times the gain of red, green and blue; the iPhone's the gain itself.
    assert ratio("metadata", "variance_curve") > 1.2
    assert "10 instances of 10 phone x ISO, the test side of noiseflow" in printed
    assert "at most 16 random crops of 512x512" in printed and "10 instances with two frames" in printed
    assert imread(files[2]).shape[0] > 900


def test_a_law_against_iso_is_taken_at_the_iso_of_the_group(medium: Path, tmp_path: Path) -> None:
    phone = PHONES["S6"]
    rows = {
        "shot.gain": (math.log(phone.gain), phone.gain_slope, 0.0),
        "read.std": (math.log(phone.read), phone.read_slope, 0.0),
    }
    model = NoiseGenerator(true_model("S6", 100))
    model.iso_law = IsoLaw(rows, 100.0, [100.0, 3200.0])
    noisemodel.save(model, tmp_path / "law")
    words = ("--cameras", "S6", "--draws", 0, "--checkpoint", tmp_path / "law", "--csv", tmp_path / "a.csv")
    assert run("--data_root", medium, *words) == 0
    found = read_csv(tmp_path / "a.csv")
    for iso in ("100", "3200"):
        for metric in ("akld", "kld_noise2noiseflow"):
            assert float(found["S6", iso, "law", metric]["ratio"]) < 1.3, (iso, metric)


def test_without_second_frames_there_is_no_floor(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data_root", small, *FAST, "--csv", tmp_path / "a.csv", "--figure", tmp_path / "a.png") == 0
    found, printed = read_csv(tmp_path / "a.csv"), capsys.readouterr().out
    assert "real vs real" not in {name for _, _, name, _ in found}
    assert all(row["floor"] == "" and row["ratio"] == "" for row in found.values())
    assert "floor: frame against frame, none, no instance has a second frame" in printed


def test_a_group_without_training_side_is_said(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = load_sidd(small, cameras=["S6"])[0].bursts[0].name
    (tmp_path / "ids.txt").write_text(name[:4])
    noisemodel.save(true_model("S6", 800), tmp_path / "true")
    words = ("--split", tmp_path / "ids.txt", "--checkpoint", tmp_path / "true", "--csv", tmp_path / "a.csv")
    assert run("--data_root", small, *words, *FAST) == 0
    found, printed = read_csv(tmp_path / "a.csv"), " ".join(capsys.readouterr().out.split())
    assert {name for phone, _, name, _ in found if phone == "IP"} == {"metadata", "true"}
    assert {name for phone, _, name, _ in found if phone == "overall"} == {name for p, _, name, _ in found if p == "S6"}
    assert "IP/800: nothing on the training side" in printed
    assert "overall: 1 of 2 groups, those with every row; without IP/800" in printed


def test_the_same_seed_writes_the_same_file(small: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ("--cameras", "S6,IP", "--iso", 800, "--crops", 2, "--crop", 64, "--seed", seed)
        assert run("--data_root", small, *FAST, *words, "--csv", tmp_path / name) == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_srgb_pairs_have_their_own_definitions(medium: Path, tmp_path: Path) -> None:
    words = ("--srgb", "--cameras", "S6", "--iso", 100, "--draws", 0, "--csv", tmp_path / "a.csv")
    assert run("--data_root", medium, *words) == 0
    found = read_csv(tmp_path / "a.csv")
    assert {"kld_naflow", "kld_neca"} <= {metric for *_, metric in found}
    assert not any(metric in ("kld_noiseflow", "kld_noise2noiseflow") for *_, metric in found)
    assert "metadata" not in {name for _, _, name, _ in found}


def test_bad_files_end_the_run_or_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sidd_tree(tmp_path / "tree", phones=("S6",), isos=(800,), scenes=4, size=(64, 96))
    bad = next((tmp_path / "tree").glob("*_002_*/*NOISY_RAW_010.MAT"))
    bad.write_bytes(bad.read_bytes()[:900])
    assert run("--data_root", tmp_path / "tree", *FAST) == 2
    err = capsys.readouterr().err
    assert str(bad) in err and err.count("\n") == 1
    assert run("--data_root", tmp_path / "tree", *FAST, "--skip_bad_files") == 0
    out = capsys.readouterr().out
    assert "left out: " in out and str(bad) in out and "1 instances of 1 phone x ISO" in out


def test_bad_input_is_one_line(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planes = PhysicalNoise.from_noiselist("read", layout="planes", read_std=1e-3)
    noisemodel.save(planes, tmp_path / "planes")
    (tmp_path / "empty").mkdir()
    cases = [
        (("--crop", 100), "--crop must be a multiple of 64 sensor pixels, got 100"),
        (("--crops", 0), "--crops must be at least 1, got 0"),
        (("--iso", "auto"), "--iso must be whole numbers such as 100,3200, got 'auto'"),
        (("--cameras", "X9"), "no --cameras X9"),
        (("--split", "noise"), "unknown split 'noise'"),
        (("--split", "holdout"), "is left in test holdout"),
        (("--metrics", "row_spectrum"), "row_spectrum needs whole frames"),
        (("--metrics", "kld_neca"), "kld_neca is defined on sRGB images"),
        (("--noiselist", "snow"), "snow"),
        (("--checkpoint", tmp_path / "absent"), "no such checkpoint"),
        (("--checkpoint", tmp_path / "empty"), "no such checkpoint, nor run folders like S6_3200"),
        (("--checkpoint", tmp_path / "planes"), "planes is for planes, the data is mosaic"),
        (("--csv", tmp_path), "is a folder"),
        (("--data_root", tmp_path / "nowhere"), "no such folder"),
    ]
    for words, message in cases:
        assert run("--data_root", small, "--draws", 0, *words) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "planes"]


# Crops


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from([1, 2]),
    st.sampled_from([64, 128, 192]),
    st.integers(1, 9),
)
def test_crops_lie_inside_and_apart(shape: tuple[int, int], step: int, side: int, count: int) -> None:
    places, size = crop_places(shape, step=step, side=side, count=count, generator=stream(count, "crops"))
    assert 1 <= len(places) <= count
    for place in places:
        assert all(0 <= start <= start + part <= length for start, part, length in zip(place, size, shape, strict=True))
    for i, a in enumerate(places):
        assert all(any(abs(x - y) >= part for x, y, part in zip(a, b, size, strict=True)) for b in places[:i])
    for part, length in zip(size, shape, strict=True):
        assert part * step <= max(side, TILE) and (part == length or part * step % TILE == 0)


def test_a_montage_holds_the_burst_at_its_places(medium: Path) -> None:
    burst = load_sidd(medium, cameras=["S6"], iso=[100])[0].bursts[0]
    places = [(0, 32), (64, 96)]
    montage = read_montage(burst, 1, places, (32, 32))
    whole, truth = burst.frame(1), burst.truth
    assert truth is not None
    for k, (row, column) in enumerate(places):
        for at, image in ((montage.whole.frames[0], whole), (montage.whole.reference[0], truth)):
            assert torch.equal(at[:, 32 * k : 32 * (k + 1)], image[:, row : row + 32, column : column + 32])
        assert montage.pieces[k].origin == (2 * row, 2 * column)

    class Place:
        """What it adds is the place itself."""

        def draw(self, recording: Recording, *, generator: torch.Generator) -> torch.Tensor:
            return recording.clean + recording.origin[0]

    drawn = montage.drawn(Place(), generator=stream(0, "place"))
    torch.testing.assert_close(drawn[0, 0, ::32, 0], torch.tensor([0.0, 128.0]))


# Floors


def recordings(seed: int) -> tuple[list[tuple[Recording, torch.Tensor]], list[torch.Tensor]]:
    """Two frames of one scene and two generated ones."""
    rng = stream(seed, "floors")
    clean = torch.linspace(0.01, 0.8, 64).expand(1, 4, 64, 64).contiguous()
    noise = [(1e-4 * clean + 1e-5).sqrt() * torch.randn(clean.shape, generator=rng) for _ in range(4)]
    valid = torch.ones_like(clean, dtype=torch.bool)
    facts = ("a", "scene", "mosaic", Levels(0, 1, clip=(0, 1)))
    real = [(Recording(*facts, clean + n, clean, clean, valid, (0, 0), False), n) for n in noise[:2]]
    return real, noise[2:]


def test_two_frames_are_measured_as_the_halves_of_a_burst() -> None:
    real, made = recordings(0)
    names = ["variance_curve", "akld", "kld_noiseflow", "kld_noise2noiseflow", "kld_starlight"]
    found = measure_frames(real, made, names, draws=0, generator=stream(0, "bands"))
    at = replace(real[0][0], frames=torch.cat([r.frames for r, _ in real]))
    pair = Pair(at, torch.cat([n for _, n in real]), torch.cat(made))
    expected = measure_pair(pair, names, draws=0, generator=stream(0, "bands"))
    for name in names:
        torch.testing.assert_close(found[name], expected[name].double())


def test_one_frame_has_a_value_and_no_floor() -> None:
    real, made = recordings(1)
    one = measure_frames(real[:1], made[:1], ["ks", "akld"], draws=3, generator=stream(0, "bands"))
    assert not has_floor(one)
    assert all(bool(torch.isfinite(values[0]).all()) and bool(values[1].isnan().all()) for values in one.values())
    two = measure_frames(*recordings(2), ["ks", "akld"], draws=3, generator=stream(0, "bands"))
    scores = join_scenes({"one": one, "two": two}, draws=3, seed=0)
    for score in scores:
        assert score.floor == pytest.approx(float(two[score.metric][1, 0]))
        assert score.value == pytest.approx(float(one[score.metric][0, 0] + two[score.metric][0, 0]) / 2)
    assert all(math.isnan(score.floor) for score in join_scenes({"one": one}, draws=3, seed=0))


# Metadata


def test_claimed_noise_follows_the_colours_by_position() -> None:
    pairs = ((1e-4, 1e-6), (2e-4, 4e-6), (4e-4, 0.0))
    real, _ = recordings(0)
    at = replace(real[0][0], clean=torch.full((1, 4, 256, 256), 0.25))
    at = replace(at, reference=at.clean, frames=at.clean)
    source = claimed_noise(pairs, "GRBG")
    assert source is not None
    noise = (source.draw(at, generator=stream(0, "claimed")) - 0.25)[0].double()
    for plane, (slope, offset) in zip(noise, (pairs[1], pairs[0], pairs[2], pairs[1]), strict=True):
        expected = slope * 0.25 + offset
        assert abs(float(plane.var()) / expected - 1) < 5 * math.sqrt(2.1 / plane.numel())
        assert abs(float(plane.mean())) < 5 * math.sqrt(expected / plane.numel())
    assert claimed_noise(None, "GRBG") is None
