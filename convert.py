"""Convert a run of the published scripts to ours, or a model of ours to a format of others, and say what changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import noisemodel
from noisemodel import InputError
from noisemodel.checkpoint import read_model, write_atomically
from noisemodel.commandline import REQUIRED, argument, option, run
from noisemodel.legacy import is_published, read_published
from noisemodel.legacy_convert import convert_published
from noisemodel.sources_export import FORMATS, Target, export
from nrgan.legacy import is_published as is_nrgan_run
from nrgan.snapshots import load_snapshot, save_snapshot, snapshot_file

Kind = Literal["ours", "profile", "darktable", "eld"]


@dataclass(frozen=True)
class Convert:
    """Options of convert.py."""

    model: Path = argument("run folder or checkpoint, of the published scripts or of ours")
    out: Path = option(REQUIRED, "run folder (--to ours) or file to write", aliases=("-o",))
    to: Kind = option("ours", "ours; or of ours: profile (pairs S, O as JSON), darktable (JSON), eld (.npy)")
    without_network: bool = option(False, "leave a published U-Net out, which ours cannot express")
    fixed_pattern: Path | None = option(None, "fixed_pattern_noise.mat of a published run with fixed1")
    iso: float | None = option(None, "ISO that the model is for, or that its law is taken at")
    maker: str | None = option(None, "of the camera, for darktable, e.g. Canon")
    camera: str | None = option(None, "model of the camera, for darktable, e.g. 'EOS 5D'")
    overwrite: bool = option(False, "write over what is there")


def convert(config: Convert) -> None:
    """Read, convert, write, and print what changed."""
    if config.iso is not None and not config.iso > 0:
        raise InputError(f"--iso must be above 0, got {config.iso:g}")
    if config.iso is not None and config.to == "ours":
        raise InputError(f"--iso {config.iso:g}: only exports (--to {', '.join(FORMATS)}) take it; leave it out")
    if not config.model.exists():
        raise InputError(f"no such run or file: {config.model}; name a run folder or a checkpoint")
    if config.to != "ours":
        _to_others(config)
    elif is_nrgan_run(config.model):
        _nrgan_run(config)
    elif is_published(config.model):
        _published_run(config)
    else:
        raise InputError(f"{config.model} is no run of the published scripts; to export one of ours, give --to")


def _published_run(config: Convert) -> None:
    old = read_published(config.model, pattern=config.fixed_pattern)
    found = convert_published(old, without_network=config.without_network)
    _check_free(config, config.out / "model.safetensors")
    changes = list(found.changes)
    path = noisemodel.save(found.model, config.out, program="convert.py", source=str(old.file), changes=changes)
    _print(path, found.changes)


def _nrgan_run(config: Convert) -> None:
    gan = load_snapshot(config.model)
    target = snapshot_file(config.out, gan.step)
    _check_free(config, target)
    save_snapshot(gan, target, source=str(config.model), program="convert.py")
    _print(target, ["weights: the same; images equal to float rounding", "critic: left behind (nrgan.legacy reads it)"])


def _to_others(config: Convert) -> None:
    model = read_model(config.model)
    if config.iso is not None and model.iso_law is None and config.to != "darktable":
        raise InputError(
            f"--iso {config.iso:g}: {config.model} is of one setting, and --to {config.to} does not name it; leave it "
            "out"
        )
    found = export(model, config.to, Target(config.maker, config.camera, config.iso))
    if config.out.is_dir():
        raise InputError(f"{config.out} is a folder; --to {config.to} writes a file")
    _check_free(config, config.out)
    write_atomically(config.out, lambda temporary: temporary.write_bytes(found.content))
    _print(config.out, [f"lost: {line}" if "K:" not in line else line for line in found.lost])


def _check_free(config: Convert, target: Path) -> None:
    if target.exists() and not config.overwrite:
        raise InputError(f"{target} is there already; give --overwrite, or another --out")


def _print(path: Path, lines: Sequence[str]) -> None:
    print(path)
    for line in lines:
        print(f"  {line}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return run(convert, Convert, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    raise SystemExit(main())
