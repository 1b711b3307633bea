"""evaluate.py denoise: pairs are found, figures are right, every method sees the same images."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import evaluate_denoise
import evaluate_sidd_denoise
from denoisers import Denoiser, DenoiserSettings
from denoisers.pairs_on_disk import find_pairs
from denoisers.scores import Score, mean_and_error, rows
from noisemodel import InputError, Levels
from noisemodel.images import Array

RNG = np.random.default_rng(0)
CC15 = Path(__file__).parents[2] / "shared" / "data" / "cc15"


class Shifted(nn.Module):
    """x + 0.1 of the middle frame."""

    def forward(self, x: Tensor) -> Tensor:
        return (x if x.ndim == 4 else x[:, x.shape[1] // 2]) + 0.1


class Averaged(nn.Module):
    """The mean over the frames."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def use(monkeypatch: pytest.MonkeyPatch, network: nn.Module, **settings: object) -> None:
    given = DenoiserSettings(**{"method": "n2n", "network": "unet", "channels": 3, "layout": "srgb", **settings})  # type: ignore[arg-type]
    monkeypatch.setattr(evaluate_denoise, "load_denoiser", lambda path: Denoiser(given, network).eval())


def run(*words: object) -> int:
    try:
        return evaluate_denoise.main(list(map(str, words)))
    except SystemExit as stop:
        return int(stop.code or 0)


def figures(path: Path) -> dict[tuple[str, str], list[float]]:
    """(method, protocol) -> PSNR by image."""
    found: dict[tuple[str, str], list[float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            found.setdefault((row["method"], row["protocol"]), []).append(float(row["psnr_db"]))
    return found


def write_pictures(folder: Path, form: str, count: int = 3) -> list[tuple[Array, Array]]:
    pairs = []
    for number in range(count):
        clean = RNG.integers(20, 200, (40, 50, 3)).astype(np.uint8)
        noisy = np.clip(clean + 10.0 * RNG.standard_normal(clean.shape), 0, 255).astype(np.uint8)
        places = {
            "endings": (f"s{number}_real.png", f"s{number}_mean.png"),
            "folders": (f"noisy/s{number}.png", f"clean/s{number}.png"),
            "truth": (f"pictures/s{number}.png", f"truth/s{number}.png"),
        }[form]
        for place, array in zip(places, (noisy, clean), strict=True):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / place)
        pairs.append((noisy, clean))
    return pairs


@pytest.mark.parametrize("form", ["endings", "folders", "truth"])
def test_pairs_of_every_form_give_the_psnr_of_the_files(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = write_pictures(tmp_path, form)
    use(monkeypatch, Shifted())
    given = (
        ("--pairs", tmp_path / "pictures", "--truth", tmp_path / "truth") if form == "truth" else ("--pairs", tmp_path)
    )
    files = [tmp_path / name for name in ("a.csv", "a.md", "out.png")]
    words = ("--method", "wavelet", "--csv", files[0], "--markdown", files[1], "--tile", 64, "--overlap", 32)
    assert run("runs/mine", *given, *words, *(() if form != "truth" else ("--figure", files[2]))) == 0
    found, printed = figures(files[0]), capsys.readouterr().out
    assert list(found) == [(m, p) for m in ("noisy", "wavelet", "mine") for p in ("float", "8 bit")]
    for number, (noisy, clean) in enumerate(pairs):
        for method, shift in (("noisy", 0.0), ("mine", 0.1)):
            error = np.clip(noisy / 255 + shift, 0, 1) - clean / 255
            assert found[method, "float"][number] == pytest.approx(-10 * np.log10(np.square(error).mean()), abs=2e-3)
    assert found["noisy", "float"] == found["noisy", "8 bit"]
    assert "3 pair(s) of" in printed and "SSIM: Wang 2004" in printed and "mine" in files[1].read_text()
    assert files[2].exists() == (form == "truth")


def test_gains_are_paired_and_intervals_are_students() -> None:
    psnr = {"noisy": [20.0, 30.0, 40.0], "mine": [21.0, 31.5, 41.0]}
    scores = [Score(m, "float", str(i), p, 0.9) for m, values in psnr.items() for i, p in enumerate(values)]
    cells = {row[0]: row for row in rows(scores)}
    # mean 7/6, std 0.2887, t(2) = 4.3027
    assert cells["mine"][4] == f"1.17 +- {4.3027 * 0.288675 / math.sqrt(3):.2f}" and cells["noisy"][4] == ""
    assert cells["noisy"][3].startswith("30.00 +- 24.84")
    assert math.isnan(mean_and_error(np.array([3.0]))[1])


def test_clips_are_judged_frame_by_frame_against_one_clean_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = RNG.uniform(0.3, 0.6, (1, 32, 40))
    noisy = clean + 0.05 * RNG.standard_normal((9, 32, 40))
    for name, array in (("c_real.npy", noisy), ("c_mean.npy", clean[0])):
        np.save(tmp_path / name, array.astype(np.float32))
    use(monkeypatch, Averaged(), channels=1, layout="planes", frames=5)
    assert run("runs/mine", "--pairs", tmp_path, "--csv", tmp_path / "a.csv") == 0
    found = figures(tmp_path / "a.csv")
    assert len(found["mine", "float"]) == 9 and set(found) == {("noisy", "float"), ("mine", "float")}
    middle = 10 * math.log10(5)  # five independent frames
    assert found["mine", "float"][4] - found["noisy", "float"][4] == pytest.approx(
        middle, abs=5 * 4.34 * (4 / 1280) ** 0.5
    )


def test_raw_pairs_are_read_with_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = RNG.integers(500, 3000, (40, 44)).astype(np.uint16)
    noisy = (clean + RNG.integers(-40, 41, clean.shape)).astype(np.uint16)
    np.save(tmp_path / "c_noisy.npy", noisy)
    np.save(tmp_path / "c_clean.npy", clean)
    use(monkeypatch, Shifted(), channels=4, layout="mosaic", levels=Levels(64, 4095))
    words = ("--pairs", tmp_path, "--csv", tmp_path / "a.csv", "--figure", tmp_path / "a.png", "--method", "nlm")
    assert run("runs/mine", *words) == 0
    error = np.square((noisy.astype(float) - clean) / 4031).mean()
    assert figures(tmp_path / "a.csv")["noisy", "float"][0] == pytest.approx(-10 * np.log10(error), abs=1e-3)


def test_denoisers_for_different_images_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([("srgb", 3), ("srgb", 1)])

    def load(path: Path) -> Denoiser:
        layout, channels = next(made)
        return Denoiser(DenoiserSettings("n2n", "unet", channels, layout), Shifted())

    monkeypatch.setattr(evaluate_denoise, "load_denoiser", load)
    with pytest.raises(InputError, match=r"different images \(a: srgb, 3 channel.*; b: srgb, 1"):
        evaluate_denoise.loaded([Path("runs/a"), Path("runs/b")])


def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "alone", "endings", 1)
    (tmp_path / "alone" / "s1_real.png").write_bytes((tmp_path / "alone" / "s0_real.png").read_bytes())
    write_pictures(tmp_path / "sizes", "endings", 1)
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "sizes" / "s0_mean.png")
    write_pictures(tmp_path / "small", "endings", 1)
    for name in ("real", "mean"):
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "small" / f"s0_{name}.png")
    (tmp_path / "empty").mkdir()
    use(monkeypatch, Shifted())
    cases = [
        ("alone", (), "must have one clean partner"),
        ("sizes", (), "must have one size, got 3x40x50 and 3x8x9"),
        ("small", (), "SSIM needs 11x11 pixels"),
        ("empty", (), "holds no pairs"),
        ("absent", (), "no such folder"),
        ("alone", ("--method", "magic"), "unknown --method 'magic'; known: noisy, nlm"),
        ("alone", ("--images", 0), "--images must be at least 1"),
    ]
    for folder, words, message in cases:
        assert run("runs/mine", "--pairs", tmp_path / folder, *words) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)


def test_a_noisy_image_that_is_the_clean_one_has_no_gain_and_no_warning() -> None:
    scores = [Score(method, "float", "a", math.inf, 1.0) for method in ("noisy", "mine")]
    assert [row[4] for row in rows(scores)] == ["", "nan"]


def test_cc15_is_found() -> None:
    if not CC15.is_dir():
        pytest.skip("no ../shared/data/cc15")
    assert len(find_pairs(CC15)) == 8


def test_a_trained_denoiser_takes_part_in_sidd_denoise(tmp_path: Path) -> None:
    from denoisers import build_denoiser, save_denoiser
    from noisemodel import stream

    settings = DenoiserSettings("n2n", "unet", 4, "mosaic", width=2)
    denoiser = build_denoiser(settings, generator=stream(0, "sidd"))
    save_denoiser(denoiser, tmp_path)
    block = RNG.random((16, 20, 4)).astype(np.float32)
    found = evaluate_sidd_denoise.denoiser_of(str(tmp_path), "raw")(block)
    expected = denoiser.denoise(torch.from_numpy(block).movedim(-1, 0).unsqueeze(0))[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(InputError, match="sRGB"):
        evaluate_sidd_denoise.denoiser_of(str(tmp_path), "srgb")
