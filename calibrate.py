"""Calibrate a camera in closed form from darks, flats and static bursts: a noise model with 95 % intervals."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import noisemodel
from noisemodel import InputError
from noisemodel.calibration import Calibration, calibrate
from noisemodel.calibration.camera import AUTO
from noisemodel.checkpoint import checkpoint_file, write_atomically
from noisemodel.commandline import argument, option, run, to_dict
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.panel_calibration import photon_transfer_panel, row_spectrum_panel

if TYPE_CHECKING:
    from datasets import BurstSet

PROGRAM = "calibrate.py"
MOST_LEVELS = 16  # rows of the printed table; the file has all


@dataclass(frozen=True)
class CalibrateOptions:
    """Options of calibrate.py."""

    frames: Path = argument("folder of bursts; darks in darks/ or named dark*, flats in flats/ or named flat*")
    dataset: Literal["bursts", "raw", "sidd", "color", "gray", "newcalib"] | None = option(
        None, "what the folder holds; without it told from its files: bursts, raw or sidd"
    )
    out: Path = option(Path("runs/calibrated"), "folder of the model, or a .safetensors file", aliases=("-o",))
    black_level: float | None = option(None, "black level [DN], where the data do not store it")
    white_level: float | None = option(None, "white level [DN], where the data do not store it")
    layout: Literal["mosaic", "planes"] | None = option(None, "mosaic, or planes (mono, RGB)")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    cameras: str | None = option(None, "phone of SIDD: GP, IP, S6, N6 or G4")
    iso: str | None = option(None, "ISO of SIDD")
    split: str | None = option(None, "of SIDD: noiseflow, holdout or a file of training ids; its training side is used")
    skip_bad_files: bool = option(False, "warn of bad files of SIDD and starlight, and go on without them")
    noiselist: str = option(AUTO, "words joined with _, or auto: those that held-out frames ask for")
    leave_out: tuple[str, ...] = option((), "names (or patterns such as dark_*) of bursts that are not used")
    json: Path | None = option(None, "file for the figures: each as value, low, high, unit")


def calibrate_folder(options: CalibrateOptions) -> None:
    """Read, calibrate, write, and print the figures."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = 120
    target = checkpoint_file(options.out)
    check_target(target, options.json, options.frames)
    data = load(options, console).without(options.leave_out)
    console.print(
        f"{data.name}: {len(data.darks)} dark, {len(data.flats)} flat and {len(data.scenes)} scene bursts, "
        f"{data.layout}{f' {data.cfa}' if data.cfa else ''}, "
        f"black {data.levels.black_dn:g} DN, white {data.levels.white_dn:g} DN"
    )
    if data.levels.range_dn <= 1:
        console.print("the data are in fractions of white: 1 DN is the white level")

    def progress(bursts: Iterable[Any]) -> Iterator[Any]:
        yield from track(list(bursts), "reading bursts", console=console, transient=True)

    found = calibrate(
        data.bursts,
        data.levels,
        noiselist=options.noiselist,
        sensor_size=data.sensor_size,
        progress=progress,
        cfa=data.cfa,
        stated=data.stated_noise,
    )
    for path in write(found, target, options, data.name):
        console.print(f"wrote {path}", highlight=False)
    report(console, found)


def load(options: CalibrateOptions, console: Console) -> "BurstSet":
    """The frames; says what they were taken for."""
    try:
        from datasets import DataOptions, asked_cameras, asked_isos, dataset_of, load_dataset
    except ImportError as error:
        raise InputError(
            "calibrate reads frames with the folder datasets/, which is not installed with the package; "
            "run calibrate.py from a clone"
        ) from error
    name, about = dataset_of(options.dataset, options.frames)
    given = [f"--{word}" for word in ("cameras", "iso", "split") if getattr(options, word) is not None]
    if given and name != "sidd":
        raise InputError(f"{', '.join(given)} choose among SIDD's images; --dataset {name} has one setting")
    if about:
        console.print(about)
    facts = (options.black_level, options.white_level, options.layout, options.cfa)
    asked = DataOptions(
        options.frames,
        *facts,
        cameras=asked_cameras(options.cameras),
        iso=asked_isos(options.iso),
        split=options.split,
        skip_bad_files=options.skip_bad_files,
    )
    return load_dataset(name, asked)


def check_target(target: Path, figures: Path | None, frames: Path) -> None:
    """Refuse what cannot be written, another program's model, files that are not figures, and the frames' folder."""
    for name, path in (("-o", target), ("--json", figures)):
        if path is None:
            continue
        folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
        if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
            raise InputError(f"{name} {path}: nothing can be written there; name a place in a folder of your own")
    if figures is not None and figures.is_file() and not _is_json(figures):
        raise InputError(f"--json {figures} exists and is no JSON file, so it is not replaced; give another name")
    if target.parent.resolve() == frames.resolve():
        raise InputError(f"-o {target.parent} is the folder of the frames; the model goes elsewhere")
    if target.is_file() and noisemodel.read_provenance(target).get("program") != PROGRAM:
        raise InputError(f"{target} was not made by {PROGRAM} and is not replaced; give -o another folder")


def _is_json(path: Path) -> bool:
    """Whether a file holds JSON, as an earlier run left it."""
    try:
        json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return True


BESIDE = (
    "fixed_pattern.npz", "mean_dark.npz", "defects.npz", "calibration.json", "photon_transfer.png", "row_spectrum.png",
)  # fmt: skip


def write(found: Calibration, target: Path, options: CalibrateOptions, data: str) -> list[Path]:
    """Write the model, the maps and pictures beside it, and the figures; returns the paths.

    What an earlier calibration left there and this one does not give is removed.
    """
    content = found.to_dict()
    noisemodel.save(found.physical, target, program=PROGRAM, options=to_dict(options), data=data, calibration=content)
    stem = "" if target.name == "model.safetensors" else f"{target.stem}_"
    beside = {name: target.with_name(stem + name) for name in BESIDE}
    figures = json.dumps({**content.pop("figures"), **content}, indent=1, allow_nan=False) + "\n"
    makers = _maps(found) | {"calibration.json": partial(_write_text, figures)} | _pictures(found)
    written = [target]
    for name, path in beside.items():
        if name in makers:
            write_atomically(path, makers[name])
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    if options.json is not None:
        write_atomically(options.json, partial(_write_text, figures))
        written.append(options.json)
    return written


def _maps(found: Calibration) -> dict[str, Callable[[Path], object]]:
    """Name -> what writes a map of the sensor: patterns [DN above black], masks of defective pixels."""
    evidence, step = found.evidence, found.evidence.levels.range_dn
    makers: dict[str, Callable[[Path], object]] = {}
    if evidence.pattern is not None and evidence.clean_pattern is not None:
        for name, pattern in (("fixed_pattern.npz", evidence.clean_pattern[0]), ("mean_dark.npz", evidence.pattern)):
            in_dn = (pattern.squeeze(0).numpy() * step).astype(np.float32)
            makers[name] = partial(_write_npz, {"mean_pattern": in_dn})
    if evidence.defects is not None:
        masks = {name: getattr(evidence.defects, name).squeeze(0).numpy() for name in ("mask", "hot", "noisy")}
        makers["defects.npz"] = partial(_write_npz, masks)
    return makers


def _pictures(found: Calibration) -> dict[str, Callable[[Path], object]]:
    """Name -> what writes a picture."""
    figures = {"photon_transfer.png": photon_transfer_panel(found), "row_spectrum.png": row_spectrum_panel(found)}
    return {name: partial(write_png, figure) for name, figure in figures.items() if figure is not None}


def _write_text(text: str, path: Path) -> None:
    path.write_text(text)


def _write_npz(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Compressed arrays, whatever the name ends in."""
    with path.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def report(console: Console, found: Calibration) -> None:
    """Print the figures, the photon-transfer line level by level, the choice of words, and what is not known."""
    table = Table(title="figures with 95 % intervals", title_justify="left")
    for heading in ("figure", "value", "low", "high", "unit", "from"):
        table.add_column(heading, justify="right" if heading in ("value", "low", "high") else "left")
    for name, estimate in found.figures.items():
        ends = (f"{x:.4g}" for x in (estimate.value, estimate.low, estimate.high))
        table.add_row(name, *ends, estimate.unit, estimate.estimator)
    for index, plane in enumerate(found.planes if len(found.planes) > 1 else []):
        for name, estimate in plane.items():
            ends = (f"{x:.4g}" for x in (estimate.value, estimate.low, estimate.high))
            table.add_row(f"plane {index}: {name}", *ends, estimate.unit, estimate.estimator)
    console.print(table)
    _print_profile(console, found)
    _print_levels(console, found.levels())
    console.print(f"lack of fit of the line: {found.evidence.line.lack_of_fit:.2%} of the variance from light")
    _print_all(console, f"noiselist {found.physical.noiselist}", found.reasons)
    content = found.to_dict()
    if content["notes"]:
        _print_all(console, "notes", content["notes"])
    _print_all(console, "what this data cannot tell", content["cannot_tell"])


def _print_profile(console: Console, found: Calibration) -> None:
    """S and O of each colour, the maker's beside ours."""
    who = "the maker's, and ours" if found.stated is not None else "ours; the files state none"
    table = Table(title=f"variance S x + O, x and std as fractions of white: {who}", title_justify="left")
    for heading in ("colour", "S stated", "S", "low", "high", "O stated", "O", "low", "high"):
        table.add_column(heading, justify="left" if heading == "colour" else "right")
    for row in found.colours:
        cells = []
        for stated, ours in zip(row.stated or (None, None), (row.slope, row.offset), strict=True):
            cells.append("" if stated is None else f"{stated:.4g}")
            cells += [f"{x:.4g}" for x in (ours.value, ours.low, ours.high)] if ours else [""] * 3
        table.add_row(row.colour, *cells)
    console.print(table)


def _print_levels(console: Console, levels: Sequence[dict[str, Any]]) -> None:
    """Level by level; of many, those that are furthest off the line in standard errors."""
    if len(levels) > MOST_LEVELS:
        console.print(
            f"photon transfer: {len(levels)} levels, of which the {MOST_LEVELS} furthest off the line are shown"
        )
        off = [abs(at["variance_dn2"] - at["fitted_dn2"]) / at["standard_error"] for at in levels]
        limit = sorted(off)[-MOST_LEVELS]
        levels = [at for at, far in zip(levels, off, strict=True) if far >= limit]
    table = Table(title="photon transfer, level by level", title_justify="left")
    for heading in ("burst", "plane", "signal [DN]", "variance [DN²]", "± std. error", "line [DN²]", "off the line"):
        table.add_column(heading, justify="left" if heading == "burst" else "right")
    for level in levels:
        figures = [f"{level[k]:.5g}" for k in ("signal_dn", "variance_dn2")]
        table.add_row(
            level["burst"],
            str(level["plane"]),
            *figures,
            f"{level['standard_error']:.2g}",
            f"{level['fitted_dn2']:.5g}",
            "" if level["lack_of_fit"] is None else f"{level['lack_of_fit']:+.2%}",
        )
    console.print(table)


def _print_all(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(f"{title}:" if lines else f"{title}", highlight=False)
    for line in lines:
        console.print(f"  - {line}", highlight=False)


def main() -> int:
    """Run the program; returns its exit code."""
    return run(calibrate_folder, CalibrateOptions, __doc__.splitlines()[0])


if __name__ == "__main__":
    raise SystemExit(main())
