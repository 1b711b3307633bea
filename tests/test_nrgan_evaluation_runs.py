"""`evaluate.py nrgan` and `nrgan-denoise` on tiny runs."""

import csv
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate
import evaluate_nrgan
import train_nrgan
from denoisers.trained import load_denoiser
from noisemodel import InputError, stream
from noisemodel.families import corrupt
from nrgan.evaluation.denoising_pairs import PAIRS, PairSources, held_out
from nrgan.evaluation.features import Extractor
from nrgan.evaluation.judging import describe_data, judge, samples_of
from nrgan.evaluation.run_data import halves, read_run, true_amounts
from nrgan.evaluation.tables import columns, csv_text

TINY = (
    "--num_iterations 4 --batch_size 4 --g_channels 4 --d_channels 4 --device cpu --snapshot_interval 2 "
    "--visualize_interval 0"
)
COUNT = 120


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["evaluate.py"])
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches in CIFAR-10's format: a gradient whose brightness is the label."""
    folder = tmp_path_factory.mktemp("cifar")
    for name, count in (("data_batch_1", COUNT), ("test_batch", 20)):
        labels = [i % 10 for i in range(count)]
        levels = 10 * np.array(labels)[:, None, None, None] + 60 + 2 * np.arange(32)[None, None, :, None]
        data = np.broadcast_to(levels, (count, 3, 32, 32)).astype(np.uint8).reshape(count, -1)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
    return folder


def train(folder: Path, data: Path | None, dataset: str, model: str, more: str = "") -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_nrgan, "PICTURED", 4)
        words = [dataset, model, str(folder), *TINY.split(), *more.split()]
        assert train_nrgan.main(words if data is None else [*words, "--data", str(data)]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cifar: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"gan": "cifar10ag25", "ambientgan": "cifar10ag25", "physnrgan": "sensor"}
    return {
        model: train(folder / model, cifar, dataset, model, "--no_clip" if model == "ambientgan" else "")
        for model, dataset in kinds.items()
    }


def call(command: str, run: Path, words: str = "") -> int:
    try:
        return evaluate.main([command, str(run), "--device", "cpu", *words.split()])
    except SystemExit as stop:
        return int(stop.code or 0)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_judged_from_end_to_end(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f"a.{name}" for name in ("csv", "markdown", "figure")}
    words = " ".join(f"--{name} {path}" for name, path in files.items())
    words += f" --features {tmp_path / 'f.safetensors'} --classifier_steps 3"
    assert call("nrgan", runs["physnrgan"], words) == 0
    said = capsys.readouterr().out
    assert "training the classifier" in said and "fd_cifar_features_clean" in said and "shot.gain 50%" in said
    data, *snapshots = rows_of(files["csv"])
    assert [row["step"] for row in (data, *snapshots)] == ["data", "2", "4"]
    assert [row["last"] for row in snapshots] == ["0", "1"]
    clean = [float(row["fd_cifar_features_clean"]) for row in snapshots]
    assert [row["best"] for row in snapshots] == [str(int(value == min(clean))) for value in clean]
    assert float(data["shot.gain 50%"]) == pytest.approx(0.02) and float(data["fd_cifar_features_clean"]) < min(clean)
    assert {row["samples"] for row in snapshots} == {str(COUNT // 2)}
    assert "FID" not in said.replace("not FID", "")
    text = files["markdown"].read_text()
    assert text.startswith("# physnrgan on sensor") and "| noise_std_255 |" in text
    with Image.open(files["figure"]) as picture:
        assert np.asarray(picture).std() > 10
    before = files["csv"].read_text()
    without = words.replace(f"--figure {files['figure']}", "")
    assert call("nrgan", runs["physnrgan"], without) == 0  # the same figures, from the stored classifier
    assert "training the classifier" not in capsys.readouterr().out and files["csv"].read_text() == before


def test_the_classifier_is_stored_beside_the_runs(runs: dict[str, Path], cifar: Path) -> None:
    assert call("nrgan", runs["gan"], "--classifier_steps 1 --samples 10") == 0
    assert len(list(runs["gan"].parent.glob("features_*_0_1.safetensors"))) == 1


def test_without_labels_the_noise_alone_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(tmp_path / "run", None, "cifar10ag25", "sinrgan1")
    capsys.readouterr()
    assert call("nrgan", folder, f"--csv {tmp_path / 'a.csv'} --samples 20") == 0
    assert "need labelled images" in capsys.readouterr().out
    row = rows_of(tmp_path / "a.csv")[1]
    assert not any(name.startswith(("fd", "fid")) for name in row) and row["best"] == "0" and row["noise_std_255"]


def mean_colours() -> Extractor:
    return Extractor("means", "means of the channels", lambda images: images.mean(dim=(2, 3)))


def test_ambientgans_noise_is_the_true_one(runs: dict[str, Path]) -> None:
    """Unclipped Gaussian noise of std 25, whatever the images are."""
    run = read_run(runs["ambientgan"])
    images = run.clean()
    reference = describe_data(run, run.noisy(images), mean_colours(), COUNT // 2, 0)
    found = judge(run.load(run.snapshots[-1], images), reference)
    for side, count in ((found, COUNT // 2), (reference.judged, COUNT // 2)):
        assert abs(side.values["noise_std_255"] - 25) < 5 * 25 / math.sqrt(2 * count * 3072)
        assert abs(side.values["lag1_across"]) < 5 / math.sqrt(count * 3072)


def test_a_gan_without_noise_has_none(runs: dict[str, Path]) -> None:
    run = read_run(runs["gan"])
    images = run.clean()
    reference = describe_data(run, run.noisy(images), mean_colours(), 20, 0)
    found = judge(run.load(run.snapshots[0], images), reference)
    assert found.values["noise_std_255"] == 0 and math.isnan(found.values["spectrum_rms_db"])
    assert math.isfinite(found.values["means_noisy"]) and reference.judged.values["noise_std_255"] > 20


def test_distances_are_between_the_images_that_they_name(runs: dict[str, Path]) -> None:
    """With means of channels as features, written out again from the samples."""
    run = read_run(runs["physnrgan"])
    images = run.clean()
    reference = describe_data(run, run.noisy(images), mean_colours(), 40, 5)
    gan = run.load(run.snapshots[-1], images)
    found = judge(gan, reference)
    drawn = next(iter(samples_of(run, gan, 40, 5, "cpu")))
    part = halves(COUNT, 40, 5)[0]
    noisy = corrupt("sensor", images[:], seed=run.data_seed)
    for name, made, real in (("clean", drawn.clean, images[part]), ("noisy", drawn.noisy, noisy[part])):
        means = [side.mean(dim=(2, 3)).double().numpy() for side in (made, real)]
        covariances = [np.cov(values.T) for values in means]
        root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
        shift = np.square(means[0].mean(0) - means[1].mean(0)).sum()
        expected = shift + np.trace(covariances[0] + covariances[1]) - 2 * root
        assert found.values[f"means_{name}"] == pytest.approx(expected, rel=1e-3)
    assert float(drawn.noisy.min()) >= 0 and float(drawn.noisy.max()) <= 1  # clipped, as the run was
    assert torch.allclose(drawn.clean + drawn.noise, drawn.noisy, atol=1e-6)


def test_best_is_the_lowest_distance_of_clean_images_and_last_the_last(runs: dict[str, Path], tmp_path: Path) -> None:
    run = read_run(runs["gan"])
    images = run.clean()
    reference = describe_data(run, run.noisy(images), mean_colours(), 20, 0)
    judged = [
        replace(reference.judged, step=step, values={"means_clean": clean, "means_noisy": -clean})
        for step, clean in ((2, 3.0), (4, 1.0), (6, 2.0))
    ]
    (tmp_path / "a.csv").write_text(csv_text(judged, reference))
    rows = rows_of(tmp_path / "a.csv")
    assert [row["best"] + row["last"] for row in rows] == ["", "00", "10", "01"]
    assert list(columns(judged, reference)) == ["data", "best (step 4)", "last (step 6)"]


def test_halves_share_nothing() -> None:
    one, other = halves(100, 50, 0)
    assert sorted([*one.tolist(), *other.tolist()]) == list(range(100))
    assert len(halves(100, 80, 0)[1]) == 20


def test_true_amounts_are_the_familys(runs: dict[str, Path]) -> None:
    found = true_amounts(read_run(runs["physnrgan"]), COUNT)
    assert found["shot.gain"] == pytest.approx([0.02] * 3) and found["read.std"] == pytest.approx([15 / 255] * 3)


def sources_of(path: Path) -> PairSources:
    run = read_run(path)
    images = run.clean()
    return PairSources(run, run.load(run.snapshots[-1], images), images, 64, 0, torch.device("cpu"))


def test_pairs_are_functions_of_the_step_and_hold_what_they_say(runs: dict[str, Path]) -> None:
    sources = sources_of(runs["ambientgan"])
    for make in PAIRS.values():
        first, again, other = make(sources, 3), make(sources, 3), make(sources, 4)
        assert torch.equal(first.noisy, again.noisy) and not torch.equal(first.noisy, other.noisy)
        std = float((first.noisy - first.clean).std()) * 255
        assert abs(std - 25) < 5 * 25 / math.sqrt(2 * first.noisy.numel())
    assert torch.equal(PAIRS["generated"](sources, 3).clean.clamp(0, 1), PAIRS["known_noise"](sources, 3).clean)
    stored = {image.numpy().tobytes() for image in sources.images[:]}
    assert {image.numpy().tobytes() for image in PAIRS["true"](sources, 0).clean} <= stored


def test_held_out_images_are_test_images_with_noise_of_their_own(runs: dict[str, Path]) -> None:
    run = read_run(runs["ambientgan"])
    pair = held_out(run, 20)
    assert torch.equal(pair.clean, run.clean("test")[:20])
    noise = pair.noisy - pair.clean
    trained = run.noisy(run.clean()).batch(torch.arange(20)) - run.clean()[:20]
    correlation = float((noise * trained).mean() / noise.std() / trained.std())
    assert abs(correlation) < 5 / math.sqrt(noise.numel())


def test_a_denoiser_is_trained_on_generated_pairs(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        f"--denoiser_steps 100 --width 8 --batch_size 4 --pairs generated true --test_images 10 --step 2 "
        f"--learning_rate 3e-3 --save {tmp_path / 'd'} --csv {tmp_path / 'a.csv'} --markdown {tmp_path / 'a.md'} "
        f"--figure {tmp_path / 'a.png'}"
    )
    assert call("nrgan-denoise", runs["physnrgan"], words) == 0
    assert "upper bound" in capsys.readouterr().out
    rows = rows_of(tmp_path / "a.csv")
    means = {name: np.mean([float(r["psnr_db"]) for r in rows if r["pairs"] == name]) for name in ("noisy", "true")}
    assert len(rows) == 30 and means["true"] > means["noisy"] > 15
    assert "+-" in (tmp_path / "a.md").read_text() and (tmp_path / "a.png").is_file()
    denoiser = load_denoiser(tmp_path / "d")
    assert denoiser.settings.method == "gn2gc" and denoiser.denoise(torch.rand(1, 3, 40, 33)).shape == (1, 3, 40, 33)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("nrgan", "--samples 1", "--samples must be at least 2, got 1"),
        ("nrgan", f"--samples {COUNT + 1}", f"between 2 and the {COUNT} images"),
        ("nrgan", "--inception none.pth", "none.pth: no such file"),
        ("nrgan", "--inception a --features b", "leave one out"),
        ("nrgan", "--data nowhere", "not here; say where it is with --data"),
        ("nrgan", "--classifier_steps 0", "--classifier_steps must be at least 1"),
        ("nrgan-denoise", "--step 3", "no such snapshot; there are 2, 4"),
        ("nrgan-denoise", "--pairs all", "unknown 'all'; known: generated, known_noise, true"),
        ("nrgan-denoise", "--pairs true --save d", "add generated to --pairs"),
        ("nrgan-denoise", "--denoiser_steps 0", "--denoiser_steps must be at least 1"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str], command: str, words: str, said: str
) -> None:
    assert call(command, runs["gan"], words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_folders_that_are_no_runs(tmp_path: Path, runs: dict[str, Path]) -> None:
    config = json.loads((runs["gan"] / "config.json").read_text())
    for name, text, said in (
        ("none", None, "has no config.json"),
        ("text", "no json", "cannot be read"),
        ("other", '{"dataset": "cifar10"}', "lacks model"),
        ("early", json.dumps(config), "no snapshot yet"),
    ):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "config.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read_run(tmp_path / name)


def test_data_of_another_shape_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.zeros((20, 1, 32, 32), np.uint8))
    run = read_run(runs["gan"], tmp_path / "grey.npy")
    with pytest.raises(InputError, match=r"makes images of .3, 32, 32., the data have .1, 32, 32."):
        run.load(run.snapshots[0], run.clean())


def test_images_without_a_known_noise_have_no_psnr(tmp_path: Path, cifar: Path) -> None:
    run = read_run(train(tmp_path / "run", cifar, "cifar10", "sdnrgan2"))
    images = run.clean()
    reference = describe_data(run, run.noisy(images), None, 20, 0)
    assert reference.judged.look is None and "noise_std_255" not in reference.judged.values
    assert judge(run.load(run.snapshots[0], images), reference).values["noise_std_255"] > 0
    with pytest.raises(InputError, match="no clean truth for PSNR"):
        held_out(run, 5)


def test_devices_are_named_as_elsewhere() -> None:
    assert evaluate_nrgan.device_of("cpu") == torch.device("cpu")
    assert stream(0, "a", device=evaluate_nrgan.device_of("cpu")).device.type == "cpu"
