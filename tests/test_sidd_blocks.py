"""SIDD's blocks and submission files: there and back, and one line for what is none."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sidd_fixture import write_blocks

from datasets.sidd_blocks import benchmark_blocks, read_submission, validation_blocks, write_submission
from noisemodel.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("kind", ["raw", "srgb"])
def test_blocks_are_mapped(kind: str, tmp_path: Path) -> None:
    written = write_blocks(tmp_path / "blocks")
    noisy, clean = validation_blocks(tmp_path, kind)
    benchmark = benchmark_blocks(tmp_path / "blocks", kind)
    ending = kind.capitalize()
    for found, stem in ((noisy, "ValidationNoisy"), (clean, "ValidationGt"), (benchmark, "BenchmarkNoisy")):
        expected = written[f"{stem}Blocks{ending}"]
        assert isinstance(found, np.memmap)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found, expected)
    assert noisy.dtype == {"raw": np.float32, "srgb": np.uint8}[kind]
    assert not np.array_equal(noisy, benchmark)


@settings(max_examples=30, deadline=None)
@given(side=st.integers(1, 12), count=st.integers(1, 5), kind=st.sampled_from(["raw", "srgb"]), seed=st.integers(0, 99))
def test_submissions_come_back(
    side: int, count: int, kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    if kind == "raw":
        blocks = rng.standard_normal((count, side, side)).astype(np.float32)
    else:
        blocks = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("out") / "Submit.csv"
    write_submission(path, blocks)
    found = read_submission(path)
    assert found.dtype == blocks.dtype
    assert np.array_equal(found, blocks)
    write_submission(path, (block for block in blocks))
    assert np.array_equal(read_submission(path), blocks)
    write_submission(path, np.stack([blocks, blocks]))
    assert np.array_equal(read_submission(path), np.concatenate([blocks, blocks]))


def test_the_form_of_a_submission(tmp_path: Path) -> None:
    """As the benchmark's own script writes it: two columns, the bytes of each block in base64."""
    blocks = np.arange(2 * 3 * 256 * 256, dtype=np.float32).reshape(2, 3, 256, 256) / 4e5
    write_submission(tmp_path / "SubmitRaw.csv", blocks)
    lines = (tmp_path / "SubmitRaw.csv").read_text().splitlines()
    assert lines[0] == "ID,BLOCK"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3", "4", "5"]
    assert base64.b64decode(lines[5].split(",")[1]) == blocks[1, 1].tobytes()


def test_bad_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = np.zeros((4, 4), np.float32)
    for blocks, message in (
        ([good, np.zeros((5, 5), np.float32)], "block 1 .* those before it"),
        ([good, np.zeros((4, 4, 3), np.uint8)], "block 1 .* those before it"),
        ([good.astype(np.float64)], "float64"),
        ([np.zeros((4, 5), np.float32)], r"\(4, 5\)"),
        ([np.zeros((4, 4, 4), np.uint8)], r"\(4, 4, 4\)"),
        ([np.full((4, 4), np.nan, np.float32)], "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            write_submission(path, blocks)


def test_bad_submissions(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    block = base64.b64encode(np.zeros((4, 4), np.float32).tobytes()).decode()
    for text, message in (
        ("", "must begin with ID,BLOCK"),
        ("ID;BLOCK\n", "must begin with ID,BLOCK"),
        ("ID,BLOCK\n", "no blocks"),
        (f"ID,BLOCK\n1,{block}\n", "must have ID 0"),
        (f"ID,BLOCK\n0,{block}\n0,{block}\n", "must have ID 1"),
        ("ID,BLOCK\n0,%%%\n", "BLOCK 0"),
        ("ID,BLOCK\n0,\n", "BLOCK 0"),
        ("ID,BLOCK\n0,AAAAAAA=\n", "BLOCK 0"),
        (f"ID,BLOCK\n0,{block}\n1,{block[:8]}\n", "BLOCK 1"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            read_submission(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        read_submission(tmp_path / "nowhere.csv")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(array: np.ndarray, key: str = "ValidationGtBlocksRaw") -> Callable[[Path], None]:
    return lambda path: scipy.io.savemat(path, {key: array})


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "no ValidationGtBlocksRaw.mat"),
    "truncated": (truncate, "cannot read"),
    "garbage": (lambda path: path.write_bytes(b"\x80\x04K*."), "cannot read"),
    "wrong key": (rewrite(np.zeros((2, 3, 8, 8), np.float32), "x"), "no array 'ValidationGtBlocksRaw'"),
    "wrong type": (rewrite(np.zeros((2, 3, 8, 8))), "must be float32"),
    "text": (rewrite(np.array("blocks")), "axes|numbers"),
    "wrong axes": (rewrite(np.zeros((6, 8, 8), np.float32)), "4 axes"),
    "other shape": (rewrite(np.zeros((2, 3, 8, 8), np.float32)), "differ"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_of_blocks(name: str, tmp_path: Path) -> None:
    write_blocks(tmp_path)
    change, message = BAD[name]
    change(tmp_path / "ValidationGtBlocksRaw.mat")
    with pytest.raises(InputError, match=message) as caught:
        validation_blocks(tmp_path, "raw")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown kind of blocks 'jpeg'; known: raw, srgb"):
        benchmark_blocks(tmp_path, "jpeg")
    with pytest.raises(InputError, match="no such folder"):
        benchmark_blocks(tmp_path / "nowhere", "raw")
