"""evaluate.py sidd-denoise: PSNR and SSIM against their definitions, protocols, blocks from elsewhere, submissions."""

import csv
import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from sidd_fixture import write_blocks
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import evaluate
import evaluate_sidd_denoise
from datasets.sidd_blocks import read_submission
from noisemodel import InputError, stream
from noisemodel.evaluation.plain_denoisers import PLAIN_DENOISERS, noise_std, wavelet
from noisemodel.evaluation.psnr_ssim import psnr, ssim

Array = np.ndarray[Any, Any]
COUNT, SIDE = (2, 3), 32


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture(scope="module")
def blocks(folder: Path) -> dict[str, Array]:
    return write_blocks(folder, count=COUNT, side=SIDE)


def run(*words: object) -> int:
    try:
        return evaluate.main(["sidd-denoise", *map(str, words)])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def read_csv(path: Path) -> dict[tuple[str, str], Array]:
    """(method, protocol) -> (blocks, 2) of PSNR and SSIM."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    found: dict[tuple[str, str], list[list[float]]] = {}
    for row in rows:
        found.setdefault((row["method"], row["protocol"]), []).append([float(row["psnr_db"]), float(row["ssim"])])
    return {key: np.array(values) for key, values in found.items()}


# Figures


def test_psnr_of_a_known_error() -> None:
    clean = torch.full((2, 3, 16, 16), 0.5)
    image = clean + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    torch.testing.assert_close(psnr(image, clean), torch.tensor([20.0, 40.0], dtype=torch.float64), rtol=1e-5, atol=0)
    assert psnr(clean, clean).isinf().all()


def test_psnr_and_ssim_agree_with_skimage() -> None:
    rng = stream(0, "ssim")
    clean = torch.rand(1, 3, 48, 40, generator=rng).cumsum(-1) / 40
    image = (clean + 0.05 * torch.randn(clean.shape, generator=rng)).clamp(0, 1)
    a, b = (x[0].movedim(0, -1).double().numpy() for x in (image, clean))
    theirs = structural_similarity(
        a, b, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    # skimage's window of 11 pixels, and its mean over the places where that lies inside, are the same.
    assert float(ssim(image, clean)) == pytest.approx(theirs, abs=1e-9)
    assert float(psnr(image, clean)) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-9)


def test_ssim_is_symmetric_and_1_of_an_image_with_itself() -> None:
    x, y = torch.rand(2, 4, 1, 20, 20, generator=stream(0, "pair")).unbind(0)
    torch.testing.assert_close(ssim(x, x), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))


# Denoisers


def test_the_noise_is_estimated_beside_a_picture() -> None:
    ramp = np.linspace(0, 1, 256)[:, None, None] * np.ones((256, 256, 3))
    noisy = ramp + 0.03 * np.random.default_rng(0).standard_normal(ramp.shape)
    error = 0.03 * 1.17 / math.sqrt(2 * 3 * 128 * 128)  # of a median of absolute values
    assert abs(noise_std(noisy) - 0.03) < 5 * error


def picture_and_noisy() -> tuple[Array, Array]:
    """A smooth picture (64, 64, 3), and the same with noise of std 0.05."""
    rows, columns = np.mgrid[0:64, 0:64] / 64
    clean = np.stack([0.3 + 0.3 * rows, 0.6 - 0.2 * columns, 0.4 + 0.1 * np.sin(6 * rows)], -1).astype(np.float32)
    return clean, clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)


@pytest.mark.parametrize("name", PLAIN_DENOISERS)
def test_an_image_without_noise_stays(name):
    image = np.full((24, 32, 3), 0.4, np.float32)
    np.testing.assert_allclose(PLAIN_DENOISERS[name](image), image, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in PLAIN_DENOISERS if name != "noisy"])
def test_denoisers_remove_noise_and_keep_the_picture(name: str) -> None:
    clean, noisy = picture_and_noisy()
    if name == "wavelet" and importlib.util.find_spec("pywt") is None:
        with pytest.raises(InputError, match="wavelet needs PyWavelets"):
            wavelet(noisy)
        return
    found = PLAIN_DENOISERS[name](noisy)
    assert (found.shape, found.dtype) == (clean.shape, clean.dtype)
    assert np.square(found - clean).mean() < 0.35 * np.square(noisy - clean).mean()


def test_a_mosaic_is_denoised_as_planes_by_position(
    blocks: dict[str, Array], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def plane_numbers(image: Array) -> Array:
        seen.append(image)
        return np.broadcast_to(np.float32([0.1, 0.2, 0.3, 0.4]), image.shape).copy()

    monkeypatch.setitem(evaluate_sidd_denoise.METHODS, "planes", plane_numbers)
    words = ("--method", "planes", "--score", "false", "--submission", tmp_path / "a.csv")
    assert run("--data_root", folder, *words) == 0
    written = read_submission(tmp_path / "a.csv")
    for k, (dy, dx) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        np.testing.assert_allclose(written[:, dy::2, dx::2], 0.1 * (k + 1), rtol=1e-6)
        np.testing.assert_array_equal(seen[0][..., k], blocks["BenchmarkNoisyBlocksRaw"][0, 0, dy::2, dx::2])


# The command


@pytest.mark.parametrize("kind", ["raw", "srgb"])
def test_figures_of_every_block(
    kind: str, blocks: dict[str, Array], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--csv", tmp_path / "a.csv", "--markdown", tmp_path / "a.md")
    assert run("--data_root", folder, "--kind", kind, "--method", "nlm", "tv", *files) == 0
    found, printed = read_csv(tmp_path / "a.csv"), capsys.readouterr().out
    protocols = ["float"] if kind == "raw" else ["float", "8 bit"]
    assert list(found) == [(method, protocol) for method in ("noisy", "nlm", "tv") for protocol in protocols]
    ending = kind.capitalize()
    scale = 1.0 if kind == "raw" else 255.0
    noisy, clean = (blocks[f"Validation{n}Blocks{ending}"].astype(float) / scale for n in ("Noisy", "Gt"))
    flat = np.square(noisy - clean).reshape(6, -1).mean(axis=1)
    np.testing.assert_allclose(found["noisy", "float"][:, 0], -10 * np.log10(flat), atol=1e-3)
    for method in ("nlm", "tv"):
        assert (found[method, "float"][:, 0] > found["noisy", "float"][:, 0] + 1).all()
    if kind == "srgb":  # 8-bit blocks are whole already; rounding a denoised one costs
        np.testing.assert_array_equal(found["noisy", "float"], found["noisy", "8 bit"])
        assert found["nlm", "8 bit"][:, 0].mean() < found["nlm", "float"][:, 0].mean()
    mean = f"{found['nlm', 'float'][:, 0].mean():.3f}"
    assert mean in printed and mean in (tmp_path / "a.md").read_text()
    assert f"{kind} validation blocks: all 6, 32x32, none cropped" in printed and "SSIM: Wang 2004" in printed


@pytest.mark.parametrize("form", ["npy", "mat", "folder"])
def test_blocks_denoised_elsewhere(form: str, blocks: dict[str, Array], folder: Path, tmp_path: Path) -> None:
    clean = blocks["ValidationGtBlocksRaw"] + np.float32(0.01)
    path = tmp_path / {"npy": "x.npy", "mat": "x.mat", "folder": "ValidationMineBlocksRaw.npy"}[form]
    if form == "mat":
        scipy.io.savemat(path, {"result": clean})
    else:
        np.save(path, clean)
    given = tmp_path if form == "folder" else path
    assert run("--data_root", folder, "--denoised", given, "--csv", tmp_path / "a.csv") == 0
    np.testing.assert_allclose(read_csv(tmp_path / "a.csv")[given.name, "float"][:, 0], 40.0, atol=0.01)


def test_the_submission_holds_the_blocks(blocks: dict[str, Array], folder: Path, tmp_path: Path) -> None:
    for kind, ending in (("raw", "Raw"), ("srgb", "Srgb")):
        words = ("--kind", kind, "--method", "noisy", "--blocks", 1, "--submission", tmp_path / f"{kind}.csv")
        assert run("--data_root", folder, *words) == 0
        noisy = blocks[f"BenchmarkNoisyBlocks{ending}"]
        written = read_submission(tmp_path / f"{kind}.csv")
        np.testing.assert_array_equal(written, noisy.reshape(6, *noisy.shape[2:]))
    nearly = blocks["BenchmarkNoisyBlocksSrgb"] + np.where(np.arange(3) > 0, 0.4, -0.4)  # rounds to the same
    np.save(tmp_path / "BenchmarkMineBlocksSrgb.npy", (nearly / 255).astype(np.float32))
    words = ("--kind", "srgb", "--denoised", tmp_path, "--score", "false", "--submission", tmp_path / "mine.csv")
    assert run("--data_root", folder, *words) == 0
    assert (tmp_path / "mine.csv").read_bytes() == (tmp_path / "srgb.csv").read_bytes()


def test_bad_input_is_one_line_and_leaves_no_file(
    blocks: dict[str, Array], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = blocks["BenchmarkNoisyBlocksRaw"]
    arrays = {"short": noisy[:1], "wide": noisy * 255, "whole": noisy.astype(np.int32), "nan": noisy * np.nan}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "BenchmarkBlocksRaw.npy", noisy)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    submission = ("--score", "false", "--submission", tmp_path / "out.csv")
    cases = [
        (("--method", "magic"), "unknown --method 'magic'; known: noisy, nlm, wavelet, tv"),
        (("--kind", "rgb"), "--kind must be one of raw, srgb"),
        (("--blocks", 0), "--blocks must be at least 1, got 0"),
        (("--score", "false"), "leaves nothing to do"),
        (("--submission", tmp_path / "out.csv"), "--submission holds one result"),
        (("--method", "nlm", "tv", *submission), "--submission holds one result"),
        (("--denoised", tmp_path / "short.npy", *submission), "must hold blocks of shape (2, 3, 32, 32), got (1, 3"),
        (("--denoised", tmp_path / "wide.npy", *submission), "is not in [0, 1]; divide by 255"),
        (("--denoised", tmp_path / "nan.npy", *submission), "is not in [0, 1]"),
        (("--denoised", tmp_path / "whole.npy", *submission), "must be float in [0, 1] or uint8, got int32"),
        (("--denoised", tmp_path / "text.npy"), "is no .npy or .mat file"),
        (("--denoised", tmp_path / "absent.npy"), "no such file"),
        (("--denoised", tmp_path / "empty"), "must hold one file Validation*Raw.npy or .mat, got 0"),
        (("--denoised", tmp_path / "BenchmarkBlocksRaw.npy"), "holds benchmark blocks, asked for were validation"),
        (("--data_root", tmp_path / "empty"), "no ValidationNoisyBlocksRaw.mat"),
    ]
    for words, message in cases:
        assert run("--data_root", folder, *words) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)
        assert sorted(tmp_path.iterdir()) == before, message
