"""Damaged files: a reader gives finite numbers or one line with the path; it never crashes, hangs or fills memory.

A small part of what `benchmarks/fuzz.py` tries at length.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzz_files import FILES, Subject
from fuzz_models import MODELS
from fuzz_mutants import mutants
from fuzz_worker import UNLUCKY, Reading, table

import calibrate
import denoise
import synthesize
import train_nrgan
import viewnoise

FLIPS = 4


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with Reading(tmp_path_factory.mktemp("fuzz")) as process:
        yield process


@pytest.mark.parametrize("name", [*FILES, *MODELS])
def test_damaged_files_are_read_or_refused_in_one_line(name, reading):
    found = reading.results(name, flips=FLIPS)
    assert not [result for result in found if not result.survived]
    kinds = {result.kind for result in found}
    assert kinds >= {"whole", "truncated", "flipped bytes", "zero bytes", "wrong magic", "no file", "name"}
    assert sum(result.outcome == "refused" for result in found) >= 5  # damage was noticed


@pytest.mark.parametrize("how", UNLUCKY)
def test_what_no_reader_may_do_is_found(how, reading, monkeypatch):
    if how == "hung":
        monkeypatch.setattr(reading, "patience_s", 2.0)
    found = reading.results(how, flips=0)
    wrong = [result for result in found if result.name == "after 8 of 16"]
    assert len(wrong) == 1 and wrong[0].outcome.startswith(how) and not wrong[0].survived
    assert len(found) > 20 and found[-1].kind == "name", "it goes on after the fault"
    assert f"| {how} | {len(found)} |" in table(found)


def test_the_same_seed_damages_alike_and_others_do_not(tmp_path):
    subject = Subject("a", lambda folder: None, lambda path: [])
    data = np.random.default_rng(0).bytes(3000)

    def flipped(seed: int) -> list[bytes]:
        written = []
        for mutant in mutants(subject, data, seed, 20):
            if mutant.kind == "flipped bytes":
                mutant.apply(tmp_path / "a")
                written.append((tmp_path / "a").read_bytes())
        return written

    assert flipped(1) == flipped(1) != flipped(2)
    assert len(set(flipped(1))) == 20 and all(len(each) == len(data) != 0 and each != data for each in flipped(1))


def halved(folder: Path, name: str, part: float = 0.5) -> str:
    """A valid file of a subject, cut; its name."""
    subject = {**FILES, **MODELS}[name]
    folder.mkdir()
    subject.write(folder)
    path = folder / subject.file
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    return path.name


def code_of(main, words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["program.py", *words.split()])
    try:
        return main()
    except SystemExit as stop:
        return int(stop.code or 0)


PROGRAMS = [
    (
        calibrate.main,
        "in --black_level 10 --white_level 4000 -o out",
        ("npy", "npz", "h5", "MAT v5", "MAT v7.3", "TIFF"),
    ),
    (calibrate.main, "in -o out", ("levels.json", "DNG bursts")),
    (synthesize.main, "gaussian:0.01 in -o out", ("PNG", "TIFF picture", "npy picture", "h5 picture")),
    (synthesize.main, "in whole -o out", ("noise model", "published .pt")),
    (viewnoise.main, "in", ("noise model", "published args.txt")),
    (train_nrgan.main, "cifar10ag25 sinrgan1 out --device cpu --data in", ("CIFAR-10", "folder of JPEG")),
    (denoise.main, "in whole -o out", ("denoiser",)),
]


@pytest.mark.parametrize(("main", "words", "name"), [(m, w, name) for m, w, names in PROGRAMS for name in names])
def test_programs_say_it_in_one_line_with_exit_code_2(main, words, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "cache"))
    file = halved(Path("in"), name)
    Path("whole").mkdir()
    FILES["PNG"].write(Path("whole"))
    assert code_of(main, words, monkeypatch) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "reading " not in line]
    assert len(said) == 1 and said[0].startswith("program.py: error: ") and file in said[0]


def test_the_long_run_prints_a_table(tmp_path):
    script = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    words = [sys.executable, str(script), "--minutes", "0", "--flips", "2", "--subjects", "CIFAR-10"]
    made = subprocess.run([*words, "-o", str(tmp_path / "t.md")], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout == (tmp_path / "t.md").read_text() + "\n" and "| CIFAR-10 | " in made.stdout
