"""Our safetensors files: noise models, snapshots and denoisers are refused alike, whatever is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from denoisers import load_denoiser
from noisemodel import InputError
from noisemodel.checkpoint import read_model
from noisemodel.tensor_file import read_tensor_file
from nrgan.snapshots import load_snapshot

LOADERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "noisemodel-1": (read_model, "a noise model of this program", "use a backup or train again"),
    "nrgan-1": (load_snapshot, "a snapshot of NR-GAN", "use another snapshot"),
    "denoiser-1": (load_denoiser, "a denoiser of this program", "train again"),
}


@pytest.mark.parametrize("name", LOADERS)
def test_each_refuses_what_is_not_its_own(name: str, tmp_path: Path) -> None:
    load, what, remedy = LOADERS[name]
    file = tmp_path / "file.safetensors"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match=rf"file\.safetensors: damaged or not a safetensors file \(.*\); {remedy}"):
        load(file)
    broken = {"a": torch.tensor([1.0, torch.nan])}
    for metadata in (None, {"format": "other"}):  # told before the tensors are looked at
        save_file(broken, file, metadata=metadata)
        with pytest.raises(InputError, match=rf"not {what} \(format {'None' if metadata is None else chr(39)}"):
            load(file)
    save_file(broken, file, metadata={"format": name})
    with pytest.raises(InputError, match="a holds NaN or infinite values"):
        load(file)


def test_metadata_and_tensors_come_back(tmp_path: Path) -> None:
    tensors = {"one": torch.arange(3.0), "two": torch.zeros(2, 2, dtype=torch.int64)}
    save_file(tensors, tmp_path / "x", metadata={"format": "f", "more": "text"})
    metadata, found = read_tensor_file(tmp_path / "x", "f", what="it", remedy="none")
    assert metadata == {"format": "f", "more": "text"} and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
