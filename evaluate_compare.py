"""Two sources of noise, or real frames, side by side on the same clean images: `evaluate.py compare`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from datasets import Burst, BurstSet, DataOptions, dataset_of, load_bursts, load_dataset
from datasets.asked import asked_cameras, asked_isos
from datasets.sidd_srgb import read_srgb_mat
from noisemodel import InputError, Levels, stream
from noisemodel.calibration.sanity import check_noise, check_size
from noisemodel.checkpoint import FILE_NAME
from noisemodel.commandline import REQUIRED, argument, option, run
from noisemodel.evaluation.command_output import check_targets, consoles, progress, write_targets
from noisemodel.evaluation.fidelity import chosen_metrics, measure_pair
from noisemodel.evaluation.fidelity_report import (
    REAL,
    Judged,
    csv_text,
    definitions,
    floor_row,
    markdown_text,
    point_values,
    value_table,
)
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.frame_fidelity import has_floor, join_scenes, measure_frames
from noisemodel.evaluation.panel_compare import compare_panel
from noisemodel.evaluation.recording import HIGHEST_VALID, Pair, Recording, read_recording
from noisemodel.evaluation.sides import Drawn, OtherFrames, OwnFrames, Side, compared, with_frames
from noisemodel.legacy import is_published
from noisemodel.sources import open_source

PAIR = ("noisy.mat", "gt.mat")  # a folder with one sRGB pair, as SIDD's small samples come
SRGB = Levels(0.0, 255.0, clip=(0.0, 1.0))
SHOWN = 6  # recordings of which all pixels go into the picture


@dataclass(frozen=True)
class CompareOptions:
    """Options of ``evaluate.py compare``."""

    a: str = argument("the reference: real (the frames of --on), a folder of frames, or any --noise of docs/sources.md")
    b: str = argument("what is compared with it: the same choice")
    on: Path = option(REQUIRED, f"the images: a folder of bursts, a data set, or a folder with {' and '.join(PAIR)}")
    dataset: Literal["bursts", "raw", "sidd", "color", "gray", "newcalib"] | None = option(
        None, "what --on holds; without it told from its files: bursts, raw or sidd"
    )
    black_level: float | None = option(None, "of the bursts [DN]")
    white_level: float | None = option(None, "of the bursts [DN]")
    layout: Literal["mosaic", "planes"] | None = option(None, "of the bursts")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    cameras: str | None = option(None, "phone of SIDD: GP, IP, S6, N6 or G4")
    iso: str | None = option(None, "ISO of SIDD")
    bursts: tuple[str, ...] = option((), "name patterns of the bursts that are used, e.g. 'scene_*'; all if not given")
    metrics: tuple[str, ...] = option((), "names; all that fit the data if not given")
    frames: int = option(8, "most frames of a burst; of each source, where neither side is real")
    crop: int = option(512, "side of what is compared, in the middle of the frames [sensor pixels]")
    draws: int = option(200, "bootstrap resamples; 0 for no intervals")
    figure: Path = option(Path("compare.png"), "PNG file for the picture", aliases=("-o",))
    csv: Path | None = option(None, "file for all figures")
    markdown: Path | None = option(None, "file for the tables")
    seed: int = option(0, "of the generated noise and the resampling")

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name, least in (("frames", 1), ("crop", 64), ("draws", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        check_targets(figure=self.figure, csv=self.csv, markdown=self.markdown)
        chosen_metrics(self.metrics)


@dataclass(frozen=True)
class Images:
    """What both sides are drawn on.

    recordings: name -> what reads it.
    about: what they are, for the protocol.
    """

    levels: Levels
    layout: str
    cfa: str | None
    recordings: Mapping[str, Callable[[], Recording]]
    about: str


def compare(options: CompareOptions) -> None:
    """Measure B against A; print and write tables, and the picture."""
    console, tables = consoles()
    images = open_images(options)
    sides = open_side(options.a, "A", images, options), open_side(options.b, "B", images, options)
    found: dict[str, dict[str, torch.Tensor]] = {}
    shown: list[Pair] = []
    protocol: list[str] = []
    with progress(len(images.recordings), "comparing") as advance:
        for index, (name, read) in enumerate(images.recordings.items()):
            at = read() if any(side.real for side in sides) else with_frames(read(), max(options.frames, 2))
            pair = compared(at, sides, _streams(options.seed, name))
            for side, drawn in zip(sides, (pair.real, pair.generated), strict=True):
                if side.real:
                    check_noise(name, drawn)
            found[name] = measured(pair, options, index)
            shown = [*shown, pair] if len(shown) < SHOWN else shown
            protocol = protocol or list(_protocol(images, pair, sides, options))
            advance()
    judged = judged_rows(found, sides, options)
    tables.print(value_table(judged))
    for line in (*definitions(judged), *protocol):
        console.print(line)
    unit = _unit(images.levels)
    note = "\n".join([*protocol[:2], *protocol[3:5]])
    names = (options.a, options.b)
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(csv_text(judged)),
        options.markdown: lambda path: path.write_text(markdown_text(judged, protocol)),
        options.figure: lambda path: write_png(compare_panel(shown, names, unit=unit, cfa=images.cfa, note=note), path),
    }
    write_targets(writers, console)


def measured(pair: Pair, options: CompareOptions, index: int) -> dict[str, torch.Tensor]:
    """Value and floor of each metric; the floor needs 2 frames, 4 where residuals are from the burst's own mean."""
    names = chosen_metrics(options.metrics, pair.recording)
    bands = stream(options.seed, "bands", index)
    if len(pair.real) >= (4 if pair.recording.centred else 2):
        return measure_pair(pair, names, draws=options.draws, generator=bands)
    real = [(pair.recording, pair.real)]
    return measure_frames(real, [pair.generated], names, draws=options.draws, generator=bands)


def judged_rows(
    found: Mapping[str, Mapping[str, torch.Tensor]], sides: tuple[Side, Side], options: CompareOptions
) -> list[Judged]:
    """B against A, and A against itself where there is a floor."""
    scores = join_scenes(found, draws=options.draws, seed=options.seed)
    row = Judged("B vs A", tuple(scores), {at: point_values(m) for at, m in found.items()})
    if not any(has_floor(m) for m in found.values()):
        return [row]
    return [row, replace(floor_row(row), name=REAL if sides[0].real else "A vs A")]


def open_images(options: CompareOptions) -> Images:
    """The images of --on."""
    if options.dataset in (None, "bursts") and all((options.on / name).is_file() for name in PAIR):
        return _srgb_pair(options)
    data = _load(options.on, options)
    bursts = _chosen(data, options)
    for burst in bursts:
        check_size(burst)
    recordings = {b.name: partial(read_recording, b, size=options.crop, most_frames=options.frames) for b in bursts}
    return Images(data.levels, data.layout, data.cfa, recordings, data.name)


def _load(folder: Path, options: CompareOptions) -> BurstSet:
    """A data set with the options' facts."""
    facts = (options.black_level, options.white_level, options.layout, options.cfa)
    more = {"cameras": asked_cameras(options.cameras), "iso": asked_isos(options.iso)}
    name = dataset_of(options.dataset, folder)[0]
    return load_dataset(name, DataOptions(folder, *facts, seed=options.seed, **more))  # type: ignore[arg-type]


def _chosen(data: BurstSet, options: CompareOptions) -> Sequence[Burst]:
    """Bursts whose names match one of --bursts; all without."""
    if not options.bursts:
        return data.bursts
    left = [burst.name for burst in data.without(options.bursts).bursts] if len(data.bursts) > 1 else []
    return [burst for burst in data.bursts if burst.name not in left]


def _srgb_pair(options: CompareOptions) -> Images:
    """The middle of one noisy and clean sRGB picture in MAT files."""
    noisy, clean = (read_srgb_mat(options.on / name) for name in PAIR)
    if noisy.shape != clean.shape:
        shapes = f"{tuple(noisy.shape)} and {tuple(clean.shape)}"
        raise InputError(f"{' and '.join(PAIR)} in {options.on} differ in shape: {shapes}; fetch both again")
    starts = [max(length - options.crop, 0) // 2 for length in clean.shape[1:]]
    rows, columns = (slice(start, start + options.crop) for start in starts)
    frames, reference = (image[None, :, rows, columns] for image in (noisy, clean))
    valid = (reference <= HIGHEST_VALID) & (reference > 1e-3)
    name, joined = options.on.resolve().name, (frames, reference, reference, valid)
    at = Recording(name, "scene", "planes", SRGB, *joined, origin=(starts[0], starts[1]), centred=False)
    return Images(SRGB, "planes", None, {name: lambda: at}, f"{name}, an sRGB pair")


def open_side(text: str, name: str, images: Images, options: CompareOptions) -> Side:
    """The frames of --on, a folder of other frames, or a source of noise."""
    path = Path(text)
    if text == "real" or (path.is_dir() and path.resolve() == options.on.resolve()):
        return OwnFrames()
    if path.is_dir() and not (path / FILE_NAME).is_file() and not is_published(path):
        return OtherFrames({burst.name: burst for burst in _load(path, options).bursts})
    known = images.levels if _unit(images.levels) == "DN" else None
    opener = partial(
        load_bursts,
        black_level=options.black_level,
        white_level=options.white_level,
        layout=options.layout,
        cfa=options.cfa,
    )
    try:
        source = open_source(text, levels=known, layout=images.layout, cfa=images.cfa, open_bursts=opener)
    except InputError as error:
        raise InputError(f"{name}: {error}; or write real, or a folder of frames") from error
    return Drawn(source, clipped=known is None and not text.startswith("gaussian:"))


def _streams(seed: int, name: str) -> tuple[torch.Generator, torch.Generator]:
    """Of A and of B: the same source on both sides still draws twice."""
    return stream(seed, "compare", "A", name), stream(seed, "compare", "B", name)


def _unit(levels: Levels) -> str:
    """What a figure times white - black is in: data in fractions of white know no DN."""
    return "DN" if levels.range_dn > 1 else "white"


def _protocol(images: Images, pair: Pair, sides: tuple[Side, Side], options: CompareOptions) -> Iterator[str]:
    """How it was compared."""
    at = pair.recording
    size = "x".join(str(n * (2 if at.layout == "mosaic" else 1)) for n in at.frames.shape[-2:])
    for name, text, side in (("A", options.a, sides[0]), ("B", options.b, sides[1])):
        frames = "the real frames" if isinstance(side, OwnFrames) else f"real frames of {text}"
        yield f"{name}: {side.source.describe() if isinstance(side, Drawn) else frames}"
    reference = "the mean of its frames; what is constant over a burst cancels" if at.centred else "the clean image"
    yield "in the definitions, real is A and generated B"
    yield f"on {images.about}: {', '.join(images.recordings)}"
    yield f"{len(pair.real)} frames each, {size} sensor pixels at {tuple(at.origin)}; residuals from {reference}"
    if len(pair.real) < (4 if at.centred else 2):
        yield "no floor: it takes two frames, four without ground truth"
    else:
        yield "floor: even against odd frames of A"
    yield f"intervals: {options.draws} resamples of recordings and of bands of 64 rows; seed {options.seed}"
    if _unit(images.levels) == "white":
        yield "the data are in fractions of white: 1 DN is the white level"


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    about = "compare: two sources of noise, or real frames, side by side on the same clean images."
    return run(compare, CompareOptions, about, words)
