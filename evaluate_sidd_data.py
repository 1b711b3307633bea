"""What `evaluate.py sidd-noise` is asked, and the phones and ISOs of SIDD that it judges."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from datasets import Burst, BurstSet, find_instances, load_sidd
from datasets.sidd import Instance
from noisemodel import InputError
from noisemodel.commandline import REQUIRED, option
from noisemodel.components import parse_noiselist
from noisemodel.evaluation.command_output import check_targets
from noisemodel.evaluation.fidelity import chosen_metrics
from noisemodel.evaluation.montage import TILE

FRAMES = 2  # of an instance: one to judge, one for the floor
# These look beyond a crop, or at lines that a crop is too short for.
NOT_ON_CROPS = ("row_spectrum", "column_spectrum", "autocorrelation")


@dataclass(frozen=True)
class SiddNoiseOptions:
    """Options of ``evaluate.py sidd-noise``."""

    data_root: Path = option(REQUIRED, "SIDD's folder of scene folders")
    checkpoint: tuple[Path, ...] = option((), "models to judge: run folders, or folders of run folders like S6_3200")
    cameras: tuple[str, ...] = option((), "phones, e.g. S6,IP; all if not given")
    iso: tuple[str, ...] = option((), "e.g. 100,3200; all if not given")
    split: str = option("noiseflow", "noiseflow, holdout or a file of training ids: fitted on its training side")
    skip_bad_files: bool = option(False, "name bad files and go on without them")
    srgb: bool = option(False, "the PNG pairs instead of raw")
    noiselist: str | None = option(
        None, "of the closed form that is fitted here; shot_read_row1, with --srgb uniform too"
    )
    metrics: tuple[str, ...] = option((), "names; all that crops allow if not given")
    crops: int = option(16, "most random crops of an instance")
    crop: int = option(512, "side of a crop [sensor pixels], a multiple of 64")
    draws: int = option(200, "bootstrap resamples; 0 for no intervals")
    csv: Path | None = option(None, "file for all figures")
    markdown: Path | None = option(None, "file for the tables")
    figure: Path | None = option(None, "PNG file for the picture")
    seed: int = option(0, "of the crops' places, the generated noise and the resampling")

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name, least in (("crops", 1), ("crop", TILE), ("draws", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if self.crop % TILE:
            raise InputError(f"--crop must be a multiple of {TILE} sensor pixels, got {self.crop}")
        if wrong := [name for name in self.metrics if name in NOT_ON_CROPS]:
            raise InputError(f"{wrong[0]} needs whole frames; leave it out here, and use evaluate.py noise")
        parse_noiselist(self.words)
        chosen_metrics(self.metrics)
        check_targets(csv=self.csv, markdown=self.markdown, figure=self.figure)
        self.isos  # noqa: B018 - checks it

    @property
    def words(self) -> str:
        """The noiselist."""
        return self.noiselist or ("shot_read_uniform_row1" if self.srgb else "shot_read_row1")

    @property
    def phones(self) -> tuple[str, ...]:
        """Words of --cameras, which may be joined by commas."""
        return tuple(word for text in self.cameras for word in text.split(",") if word)

    @property
    def isos(self) -> tuple[int, ...]:
        """Numbers of --iso."""
        words = [word for text in self.iso for word in text.split(",") if word]
        if wrong := [word for word in words if not re.fullmatch(r"[0-9]+", word)]:
            raise InputError(f"--iso must be whole numbers such as 100,3200, got {wrong[0]!r}")
        return tuple(map(int, words))


@dataclass
class Setting:
    """One phone at one ISO: what is fitted on, and what is judged."""

    phone: str
    iso: int
    cfa: str | None
    scenes: dict[str, list[tuple[Burst, int]]]
    train: BurstSet | None
    instances: Mapping[str, Instance]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.phone}/{self.iso}"


def open_settings(options: SiddNoiseOptions, console: Console) -> list[Setting]:
    """The groups with something to judge; raises InputError if there is none."""
    about = {"cameras": options.phones, "iso": options.isos, "split": options.split}
    everything = find_instances(options.data_root, **about)  # type: ignore[arg-type]
    sides: dict[str, dict[str, BurstSet]] = {}
    for part in ("test", "train"):
        try:
            ids = find_instances(options.data_root, **about, part=part)  # type: ignore[arg-type]
        except InputError:  # the split was read above, so this side is empty
            if part == "test":
                raise
            ids = []
        loaded = _loaded(options, part, console) if ids else []
        sides[part] = {data.name: data for data in loaded}
    instances = {instance.folder.name: instance for instance in everything}
    settings = []
    for name, data in sides["test"].items():
        _, phone, iso = name.split("/")
        scenes: dict[str, list[tuple[Burst, int]]] = {}
        for burst in data.bursts:
            frames = [(burst, t) for t in range(burst.shape[0])]
            scenes.setdefault(burst.name.split("/")[0], []).extend(frames)
        scenes = {scene: frames[:FRAMES] for scene, frames in scenes.items()}
        settings.append(Setting(phone, int(iso), data.cfa, scenes, sides["train"].get(name), instances))
    return sorted(settings, key=lambda s: (s.phone, s.iso))


def _loaded(options: SiddNoiseOptions, part: str, console: Console) -> list[BurstSet]:
    """One side of the split."""
    return load_sidd(
        options.data_root,
        cameras=options.phones,
        iso=options.isos,
        split=options.split,
        part=part,
        skip_bad_files=options.skip_bad_files,
        srgb=options.srgb,
        warn=console.print,
    )
