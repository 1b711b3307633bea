"""Calibrate a camera in closed form from darks, flats and static bursts: a noise model with 95 % intervals."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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

PROGRAM = "calibrate.py"
MOST_LEVELS = 16  # rows of the printed table; the file has all


@dataclass(frozen=True)
class CalibrateOptions:
    """Options of calibrate.py."""

    frames: Path = argument("folder of bursts; darks in darks/ or named dark*, flats in flats/ or named flat*")
    out: Path = option(Path("runs/calibrated"), "folder of the model, or a .safetensors file", aliases=("-o",))
    black_level: float | None = option(None, "black level [DN], where the data do not store it")
    white_level: float | None = option(None, "white level [DN], where the data do not store it")
    layout: Literal["mosaic", "planes"] | None = option(None, "mosaic, or planes (mono, RGB)")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    noiselist: str = option(AUTO, "words joined with _, or auto: those that held-out frames ask for")
    leave_out: tuple[str, ...] = option((), "names (or patterns such as dark_*) of bursts that are not used")
    json: Path | None = option(None, "file for the figures: each as value, low, high, unit")


def calibrate_folder(options: CalibrateOptions) -> None:
    """Read, calibrate, write, and print the figures."""
    try:
        from datasets import load_bursts
    except ImportError as error:
        raise InputError(
            "calibrate reads frames with the folder datasets/, which is not installed with the package; "
            "run calibrate.py from a clone"
        ) from error

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = 120
    target = checkpoint_file(options.out)
    check_target(target, options.json)
    data = load_bursts(
        options.frames,
        black_level=options.black_level,
        white_level=options.white_level,
        layout=options.layout,
        cfa=options.cfa,
    ).without(options.leave_out)
    console.print(
        f"{data.name}: {len(data.darks)} dark, {len(data.flats)} flat and {len(data.scenes)} scene bursts, "
        f"{data.layout}, black {data.levels.black_dn:g} DN, white {data.levels.white_dn:g} DN"
    )

    def progress(bursts: Iterable[Any]) -> Iterator[Any]:
        yield from track(list(bursts), "reading bursts", console=console, transient=True)

    found = calibrate(
        data.bursts, data.levels, noiselist=options.noiselist, sensor_size=data.sensor_size, progress=progress
    )
    for path in write(found, target, options, data.name):
        console.print(f"wrote {path}", highlight=False)
    report(console, found)


def check_target(target: Path, figures: Path | None = None) -> None:
    """Refuse to replace a model that another program made, and a file for the figures that cannot be written."""
    if figures is not None and (figures.is_dir() or not figures.resolve().parent.is_dir()):
        raise InputError(f"--json {figures}: no file can be written there; name one in a folder that exists")
    if target.is_dir():
        raise InputError(f"{target} is a folder; -o takes a folder for the model, or a .safetensors file")
    if target.is_file() and noisemodel.read_provenance(target).get("program") != PROGRAM:
        raise InputError(f"{target} was not made by {PROGRAM} and is not replaced; give -o another folder")


def write(found: Calibration, target: Path, options: CalibrateOptions, data: str) -> list[Path]:
    """Write the model, the maps and pictures beside it, and the figures; returns the paths."""
    content = found.to_dict()
    noisemodel.save(found.physical, target, program=PROGRAM, options=to_dict(options), data=data, calibration=content)
    stem = "" if target.name == "model.safetensors" else f"{target.stem}_"
    beside = {name: target.with_name(stem + name) for name in ("defects.npz", "calibration.json")}
    written = [target]
    evidence = found.evidence
    step = evidence.levels.range_dn
    if evidence.pattern is not None and evidence.clean_pattern is not None:
        for name, pattern in (("fixed_pattern.npz", evidence.clean_pattern[0]), ("mean_dark.npz", evidence.pattern)):
            path = target.with_name(stem + name)
            write_npz(path, mean_pattern=(pattern.squeeze(0).numpy() * step).astype(np.float32))
            written.append(path)
    if evidence.defects is not None:
        masks = {name: getattr(evidence.defects, name).squeeze(0).numpy() for name in ("mask", "hot", "noisy")}
        write_npz(beside["defects.npz"], **masks)
        written.append(beside["defects.npz"])
    figures = {**content.pop("figures"), **content}
    for path in (beside["calibration.json"], *([options.json] if options.json else [])):
        text = json.dumps(figures, indent=1, allow_nan=False) + "\n"
        write_atomically(path, partial(_write_text, text))
        written.append(path)
    for name, figure in (
        ("photon_transfer.png", photon_transfer_panel(found)),
        ("row_spectrum.png", row_spectrum_panel(found)),
    ):
        if figure is not None:
            path = target.with_name(stem + name)
            write_atomically(path, partial(write_png, figure))
            written.append(path)
    return written


def _write_text(text: str, path: Path) -> None:
    path.write_text(text)


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Compressed arrays, written atomically."""

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **arrays)

    write_atomically(path, fill)


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
    _print_levels(console, found.levels())
    console.print(f"lack of fit of the line: {found.evidence.line.lack_of_fit:.2%} of the variance from light")
    _print_all(console, f"noiselist {found.physical.noiselist}", found.reasons)
    content = found.to_dict()
    _print_all(console, "notes", content["notes"])
    _print_all(console, "what this data cannot tell", content["cannot_tell"])


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
            f"{level['lack_of_fit']:+.2%}",
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
