"""What cannot be written is named as the user named it, whoever writes, and what was there stays."""

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file

import convert
import noisemodel
from noisemodel.checkpoint import write_atomically
from noisemodel.commandline import run


@dataclass(frozen=True)
class Nothing:
    """No options."""


LARGE = 1 << 20  # bytes, more than the disk below has room for


def write_tensors(path: Path) -> None:
    save_file({"a": torch.zeros(LARGE)}, path)


def write_figure(path: Path) -> None:
    Figure(figsize=(20, 20), dpi=200).savefig(path, format="raw")


def write_picture(path: Path) -> None:
    Image.new("RGB", (1000, 1000)).save(path, format="bmp")


WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(bytes(LARGE)),
    "safetensors": write_tensors,
    "figure": write_figure,
    "picture": write_picture,
}


@contextmanager
def a_full_disk() -> Iterator[None]:
    """Writes beyond 64 KiB fail as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_names_the_file(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    path.write_text("before")
    with a_full_disk(), pytest.raises(OSError) as found:
        write_atomically(path, WRITERS[writer])
    assert (found.value.errno, found.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_place_that_cannot_be_written_names_the_file(writer: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    places = [folder, Path("/proc/out.bin")] if Path("/proc").is_dir() else [folder]
    for place in places:  # there is no room for files in /proc, whoever asks
        with pytest.raises(OSError) as found:
            write_atomically(place, WRITERS[writer])
        assert found.value.filename == str(place) and "tmp" not in str(found.value).replace(str(tmp_path), "")
    assert list(tmp_path.iterdir()) == [folder] and not list(folder.iterdir())


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    def read_first(_: Path) -> None:
        (tmp_path / "source").read_text()

    with pytest.raises(FileNotFoundError) as found:
        write_atomically(tmp_path / "out", read_first)
    assert found.value.filename == str(tmp_path / "source") or found.value.filename == tmp_path / "source"

    def refuse(_: Path) -> None:
        raise OSError("no mode for this")

    with pytest.raises(OSError, match=r"^no mode for this$"):
        write_atomically(tmp_path / "out", refuse)


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole"


def test_a_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = noisemodel.PhysicalNoise.from_noiselist("shot_read", layout="planes")
    noisemodel.save(model, tmp_path / "run")
    (tmp_path / "file").write_text("")
    for name, said in (("x" * 300, f"File name too long: {tmp_path}/xxx"), ("file/out.json", f"{tmp_path}/file")):
        assert convert.main([str(tmp_path / "run"), "--to", "profile", "-o", str(tmp_path / name)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and said in line and "Traceback" not in line and ".tmp" not in line, line
    with a_full_disk():
        big = noisemodel.PhysicalNoise.from_noiselist(
            "read_fixed1", layout="planes", fixed1_pattern=torch.zeros(256, 256), sensor_size=(256, 256)
        )
        assert run(lambda _: noisemodel.save(big, tmp_path / "big"), Nothing, "", []) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"File too large: {tmp_path}/big/model.safetensors" in line
    assert not list((tmp_path / "big").iterdir())
