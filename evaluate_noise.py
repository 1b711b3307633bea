"""Generated against real noise, on bursts: `evaluate.py noise`."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

import noisemodel
from datasets import Burst, BurstSet, DataOptions, dataset_of, load_dataset
from noisemodel import InputError, NoiseGenerator
from noisemodel.calibration import calibrate
from noisemodel.calibration.camera import AUTO
from noisemodel.calibration.sanity import check_noise, check_size
from noisemodel.commandline import option, run
from noisemodel.components import parse_noiselist
from noisemodel.evaluation.baselines import (
    DarkFrames,
    ModelNoise,
    NoiseSource,
    fit_gaussian,
    fit_poisson_gaussian,
)
from noisemodel.evaluation.command_output import check_targets, consoles, write_targets
from noisemodel.evaluation.fidelity import chosen_metrics
from noisemodel.evaluation.fidelity_report import (
    Judged,
    csv_text,
    definitions,
    markdown_text,
    ratio_table,
    value_table,
)
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.group_sources import check_fit, named_checkpoints
from noisemodel.evaluation.judging import judge
from noisemodel.evaluation.panel_fidelity import fidelity_panel
from noisemodel.evaluation.recording import Recording, pattern_extent, read_recording

MOST_VALUES = 16_000_000  # of one recording, all frames: some 500 MB while it is compared


@dataclass(frozen=True)
class NoiseOptions:
    """Options of ``evaluate.py noise``."""

    checkpoint: tuple[Path, ...] = option((), "models to judge: run folders or .safetensors files")
    dataset: Literal["simulated", "bursts", "raw", "color", "gray", "newcalib"] | None = option(
        None, "real noise; with --data_root told from its files: bursts or raw"
    )
    data_root: Path | None = option(None, "folder of bursts")
    black_level: float | None = option(None, "of the bursts [DN]")
    white_level: float | None = option(None, "of the bursts [DN]")
    layout: Literal["mosaic", "planes"] | None = option(None, "of the bursts")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    test: tuple[str, ...] = option((), "name patterns of the bursts that are judged, e.g. 'dark_*'; the rest is fitted")
    noiselist: str = option(AUTO, "of the closed-form model that is fitted here; auto: what held-out frames ask for")
    metrics: tuple[str, ...] = option((), "names; all that fit the data if not given")
    frames: int = option(16, "most frames of a burst")
    crop: int | None = option(None, "side of what is compared [sensor pixels]; all that 16 million values hold")
    draws: int = option(200, "bootstrap resamples; 0 for no intervals")
    csv: Path | None = option(None, "file for all figures")
    markdown: Path | None = option(None, "file for the tables")
    figure: Path | None = option(None, "PNG file for the picture")
    seed: int = option(0, "of the generated noise, the resampling and the simulated camera")

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name, least in (("frames", 2), ("crop", 64), ("draws", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name} must be at least {least}, got {value}")
        check_targets(csv=self.csv, markdown=self.markdown, figure=self.figure)
        chosen_metrics(self.metrics)
        if self.noiselist != AUTO:
            parse_noiselist(self.noiselist)


@dataclass(frozen=True)
class Split:
    """Bursts that models are fitted on, and bursts that are judged."""

    fitted: tuple[Burst, ...]
    judged: tuple[Burst, ...]
    about: str


def noise(options: NoiseOptions) -> None:
    """Compare the noise of models and baselines with real noise; print and write the tables."""
    console, tables = consoles()
    models = {name: noisemodel.load(path) for name, path in named_checkpoints(options.checkpoint).items()}
    data = _load(options)
    for name, model in models.items():
        check_fit(name, model, data.layout, data.bursts[0].shape[1])
    for burst in data.bursts:
        check_size(burst)
    split = split_bursts(data.bursts, options.test)
    if not set(split.fitted).isdisjoint(split.judged):
        console.print("warning: too few bursts to set some apart; all are fitted on and judged")
    sources, notes = fit_sources(replace(data, bursts=split.fitted), models, split, options)
    for note in notes:
        console.print(note)
    at = list(_judged_recordings(split.judged, sources, options))
    protocol = [*_protocol(data, split, next(iter(at))(), options), *notes]
    judged = judge(at, sources, metrics=options.metrics or None, draws=options.draws, seed=options.seed)
    for table in (value_table(judged), ratio_table(judged)):
        tables.print(table)
    for line in (*definitions(judged), *protocol):
        console.print(line)
    _write(judged, protocol, options, console)


def fit_sources(
    data: BurstSet, models: Mapping[str, NoiseGenerator], split: Split, options: NoiseOptions
) -> tuple[dict[str, NoiseSource], list[str]]:
    """Baselines and the closed-form model fitted on ``data``, and the models given; and notes on what is left out."""
    notes = []
    recordings = [read_recording(b, size=_side(b, options), most_frames=options.frames) for b in data.bursts]
    for at in recordings:
        check_noise(at.name, at.residual(at.frames))
    line = fit_poisson_gaussian(recordings)
    sources: dict[str, NoiseSource] = {"gaussian": fit_gaussian(recordings), "poisson-gaussian": line}
    covering = tuple(dark for dark in data.darks if all(_covers(dark, burst) for burst in split.judged))
    if covering:
        sources["dark-frames"] = DarkFrames(line.gain, covering)
    else:
        notes.append("dark-frames: left out, no dark burst to fit on covers what is judged")
    try:
        sources["calibrated"] = ModelNoise(calibrated_model(data, options.noiselist))
    except InputError as error:
        notes.append(f"calibrated: left out, {error}")
    return sources | {name: ModelNoise(model) for name, model in models.items()}, notes


def calibrated_model(data: BurstSet, noiselist: str) -> NoiseGenerator:
    """The closed-form model of the bursts; "auto" chooses its words by held-out frames."""
    physical = calibrate(data.bursts, data.levels, noiselist=noiselist, sensor_size=data.sensor_size).physical
    return NoiseGenerator(physical, channels=data.bursts[0].shape[1]).eval()


def split_bursts(bursts: Sequence[Burst], patterns: Sequence[str]) -> Split:
    """Judge the bursts whose names match, fit on the rest; without patterns, every second dark and every second other.

    Where that leaves a side without a burst other than dark, all are fitted on and judged. One dark alone is fitted on.

    Raises: InputError if a pattern matches nothing, or all bursts match.
    """
    names = ", ".join(burst.name for burst in bursts)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(burst.name, pattern) for burst in bursts):
            raise InputError(f"--test {pattern!r} matches no burst; there are: {names}")
    if patterns:
        judged = tuple(b for b in bursts if any(fnmatch.fnmatchcase(b.name, pattern) for pattern in patterns))
        if len(judged) == len(bursts):
            raise InputError(f"--test matches every burst and leaves none to fit on; there are: {names}")
        about = "split by --test"
    else:
        ordered = sorted(bursts, key=lambda burst: burst.name)
        kinds = [[b for b in ordered if (b.kind == "dark") == dark] for dark in (True, False)]
        if len(kinds[1]) < 2:
            return Split(tuple(bursts), tuple(bursts), "no split: all bursts are fitted on and judged")
        judged = tuple(burst for kind in kinds for burst in kind[1::2])
        about = "split by default: every second dark and every second other burst, by name"
    return Split(tuple(burst for burst in bursts if burst not in judged), judged, about)


def _judged_recordings(
    bursts: Sequence[Burst], sources: Mapping[str, NoiseSource], options: NoiseOptions
) -> Iterator[Callable[[], Recording]]:
    """What reads each recording, on the pixels that all models' patterns cover."""
    models = [source.model for source in sources.values() if isinstance(source, ModelNoise)]
    extents = [extent for model in models if (extent := pattern_extent(model)) is not None]
    extent = (min(e[0] for e in extents), min(e[1] for e in extents)) if extents else None
    for burst in bursts:

        def read(burst: Burst = burst) -> Recording:
            at = read_recording(burst, size=_side(burst, options), most_frames=options.frames, extent=extent)
            check_noise(at.name, at.residual(at.frames))
            return at

        yield read


def _side(burst: Burst, options: NoiseOptions) -> int:
    """Side of the crop [sensor pixels], even."""
    if options.crop is not None:
        return options.crop
    values = min(burst.shape[0], options.frames) * (1 if burst.layout == "mosaic" else burst.shape[1])
    return int((MOST_VALUES / values) ** 0.5) // 2 * 2


def _covers(dark: Burst, burst: Burst) -> bool:
    """Whether a dark has every sensor pixel of a burst."""
    axes = [(dark.origin[a], burst.origin[a], dark.shape[2 + a], burst.shape[2 + a]) for a in (0, 1)]
    step = burst.pixel_step
    return all(first <= start and start + step * n <= first + step * m for first, start, m, n in axes)


def _load(options: NoiseOptions) -> BurstSet:
    """The real noise that the options name."""
    name: str = options.dataset or "simulated"
    if options.data_root is not None:
        name = dataset_of(options.dataset, options.data_root)[0]
    if name == "sidd":
        raise InputError(f"{options.data_root} holds SIDD's scene folders; use evaluate.py sidd-noise")
    given = (options.data_root, options.black_level, options.white_level, options.layout, options.cfa, options.seed)
    return load_dataset(name, DataOptions(*given))


def _protocol(data: BurstSet, split: Split, at: Recording, options: NoiseOptions) -> list[str]:
    """How it was compared."""
    size = "x".join(str(n * (2 if at.layout == "mosaic" else 1)) for n in at.frames.shape[-2:])
    reference = (
        "each half of the frames' own mean; what is constant over a burst cancels" if at.centred else "the truth"
    )
    return [
        f"data: {data.name}, black {data.levels.black_dn:g}, white {data.levels.white_dn:g} DN; {split.about}",
        f"judged: {', '.join(burst.name for burst in split.judged)}",
        f"fitted on: {', '.join(burst.name for burst in split.fitted)}",
        f"frames: {len(at.frames)} of a burst, even against odd ones; {size} sensor pixels at {tuple(at.origin)}",
        f"residuals from {reference}; saturated pixels left out",
        f"intervals: {options.draws} resamples of recordings and of bands of 64 rows; seed {options.seed}",
        "mean ratio: geometric mean over ks, w1, variance_curve, spectra and autocorrelation, of those used",
    ]


def _write(judged: Sequence[Judged], protocol: Sequence[str], options: NoiseOptions, console: Console) -> None:
    """The files that were asked for."""
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(csv_text(judged)),
        options.markdown: lambda path: path.write_text(markdown_text(judged, protocol)),
        options.figure: lambda path: write_png(fidelity_panel(judged, note="\n".join(protocol[3:6])), path),
    }
    write_targets(writers, console)


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    return run(noise, NoiseOptions, "noise: generated against real noise.", words)
