"""Show a noise model beside real noise: PNG panels or one HTML page, a parameter table, and the figures as JSON."""

import noisemodel  # before torch: it says how threads wait

# isort: split
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from matplotlib.figure import Figure
from rich.console import Console

from noisemodel import InputError, NoiseGenerator, PhysicalNoise, stream
from noisemodel.calibration.sanity import check_noise, check_size
from noisemodel.checkpoint import checkpoint_file, read_provenance, write_atomically
from noisemodel.commandline import argument, option, run
from noisemodel.evaluation.comparison import Comparison, summary
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.panel_components import components_panel
from noisemodel.evaluation.panel_histograms import histograms, histograms_panel
from noisemodel.evaluation.panel_images import images_panel
from noisemodel.evaluation.panel_spectra import spectra_panel
from noisemodel.evaluation.panel_variance import variance_panel
from noisemodel.evaluation.parameter_table import parameter_table, parameters_panel
from noisemodel.evaluation.recording import Recording, pair, pattern_extent, read_recording

if TYPE_CHECKING:
    from datasets import BurstSet

MOST = {"scene": 5, "flat": 2, "dark": 4}  # bursts of each kind that are compared
# Without and with a network: side of what is compared [sensor pixels], and frames of a burst.
CROPS, MOST_FRAMES = (512, 256), (16, 8)
# Planes of the embedded mosaic that a model of planes is shown on: green; red, green and blue.
PLANES = {1: (1,), 3: (0, 1, 3)}


@dataclass(frozen=True)
class ViewNoise:
    """Options of viewnoise.py."""

    checkpoint: Path = argument("run folder or .safetensors file")
    out: Path | None = option(None, "folder for the pictures; <run folder>/view if not given", aliases=("-o",))
    html: Path | None = option(None, "write one HTML page to this file; no pictures then, unless --png is given too")
    png: bool = option(False, "write the pictures beside the page; they are the default without --html")
    dataset: Literal["simulated", "bursts", "raw", "sidd", "color", "gray", "newcalib"] | None = option(
        None, "real noise to compare with; with --data_root told from its files: bursts, raw or sidd"
    )
    data_root: Path | None = option(None, "folder of bursts")
    black_level: float | None = option(None, "of the bursts [DN]")
    white_level: float | None = option(None, "of the bursts [DN]")
    layout: Literal["mosaic", "planes"] | None = option(None, "of the bursts; the model's if not given")
    cfa: str | None = option(None, "colours of the bursts' mosaic by position, e.g. RGGB")
    cameras: str | None = option(None, "phone of SIDD: GP, IP, S6, N6 or G4")
    iso: str | None = option(None, "ISO of SIDD; a model with a law against ISO is shown there")
    seed: int = option(0, "of the generated noise and of the simulated camera")
    crop: int | None = option(None, "side of what is compared [sensor pixels]; 512, or 256 with a U-Net, if not given")


def view(
    model: NoiseGenerator | PhysicalNoise, data: "BurstSet", out: Path, *, seed: int = 0, crop: int | None = None
) -> list[Path]:
    """Write all panels and summary.json to ``out``; print each path as it is written.

    Args:
        model: on the CPU. A model of planes may be shown on the embedded simulated mosaic: it gets a plane of it.
        data: real noise; without ground truth, frames are compared by their residuals from the burst's mean.
        out: folder, made if needed.
        seed: of the generated noise.
        crop: side of what is compared, in the middle of the frames [sensor pixels].
    Returns: the paths written.
    Raises: InputError where model and data do not fit together, or a burst is damaged.
    """
    _check_folder(out)
    return write_pictures(compare_with(model, data, seed=seed, crop=crop), out)


def compare_with(
    model: NoiseGenerator | PhysicalNoise,
    data: "BurstSet",
    *,
    seed: int = 0,
    crop: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Comparison:
    """Generate noise on the scenes of ``data``; args as `view`, and the checkpoint's provenance for intervals."""
    if isinstance(model, PhysicalNoise):
        model = NoiseGenerator(model)
    model = model.eval()
    with _threads(model):
        pairs = [pair(model, at, generator=stream(seed, "view", at.name)) for at in _recordings(model, data, crop)]
    same_kind = data.layout == model.physical.layout
    true, cfa = (data.true_parameters, data.cfa) if same_kind else (None, None)
    return Comparison(model, data.name, data.levels, cfa, pairs, seed, true, provenance or {})


def write_pictures(compared: Comparison, out: Path) -> list[Path]:
    """The PNG panels and summary.json; prints and returns their paths."""
    written = []
    with _threads(compared.model):
        for name, write in _files(compared).items():
            write_atomically(out / name, write)
            written.append(out / name)
            print(out / name, flush=True)
    return written


def write_report(compared: Comparison, path: Path) -> Path:
    """The same as one HTML page that needs no network; prints and returns its path."""
    from noisemodel.evaluation.report import report_page  # plotly takes a moment to import

    with _threads(compared.model):
        text = report_page(compared)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(path, flush=True)
    return path


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; -o takes a folder")


@contextmanager
def _threads(model: NoiseGenerator) -> Iterator[None]:
    """One thread without a network: on small tensors a second one gains little, and waits long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if model.network is None else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _recordings(model: NoiseGenerator, data: "BurstSet", crop: int | None) -> list[Recording]:
    """Crops of the bursts that are compared, in the model's layout."""
    with_network = model.network is not None
    crop = CROPS[with_network] if crop is None else crop
    if crop < 16:
        raise InputError(f"--crop must be at least 16 sensor pixels, got {crop}")
    as_planes = data.name == "simulated" and model.physical.layout == "planes"
    if model.physical.layout != data.layout and not as_planes:
        raise InputError(
            f"the model is for {model.physical.layout}, the data is {data.layout}; give --layout or other data"
        )
    extent = pattern_extent(model)
    if as_planes and extent:
        extent = (2 * extent[0], 2 * extent[1])
    kinds = (data.scenes, data.flats, data.darks)
    bursts = [b for kind, most in zip(kinds, MOST.values(), strict=True) for b in _spread(kind, most)]
    for burst in bursts:
        check_size(burst)
    found = [read_recording(b, size=crop, most_frames=MOST_FRAMES[with_network], extent=extent) for b in bursts]
    for at in found:
        check_noise(at.name, at.residual(at.frames))
    if as_planes:
        if model.channels not in PLANES:
            raise InputError(f"no embedded scene has {model.channels} planes; give --data_root")
        found = [at.planes(PLANES[model.channels]) for at in found]
    if not any(bool(at.valid.any()) for at in found):
        raise InputError(f"no pixel of {data.name} lies between the black level and 95 % of white; check the levels")
    return found


def _spread(bursts: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` bursts, evenly chosen."""
    count = min(most, len(bursts))
    return [bursts[i * (len(bursts) - 1) // max(count - 1, 1)] for i in range(count)]


def _files(compared: Comparison) -> dict[str, Callable[[Path], object]]:
    """File name -> what writes it."""
    curve, note, model = compared.curve, compared.note, compared.model
    shown, reference = compared.shown, compared.reference
    figures: dict[str, Callable[[], Figure]] = {
        "images.png": lambda: images_panel(shown, cfa=compared.cfa, note=note),
        "components.png": lambda: components_panel(
            model, shown.recording, generator=stream(compared.seed, "view", "components")
        ),
        "histograms.png": lambda: histograms_panel(histograms(compared.pairs, curve), reference=reference, note=note),
        "variance.png": lambda: variance_panel(
            curve, compared.levels, reference=reference, has_network=model.network is not None, note=note
        ),
        "spectra.png": lambda: spectra_panel(compared.pairs, note=note),
        "parameters.png": lambda: parameters_panel(compared.rows, f"Parameters: {compared.title}", note=note),
    }
    report = {"data": compared.data, "model": model.config(), "seed": compared.seed, **summary(compared.pairs, curve)}
    files: dict[str, Callable[[Path], object]] = {name: partial(_draw, draw) for name, draw in figures.items()}
    return files | {"summary.json": lambda path: path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")}


def _draw(draw: Callable[[], Figure], path: Path) -> None:
    write_png(draw(), path)


def load_data(config: ViewNoise, layout: str) -> "BurstSet":
    """The data that the options name; bursts where there is --data_root, else the embedded simulated camera."""
    try:
        from datasets import DataOptions, asked_cameras, asked_isos, dataset_of, load_dataset
    except ImportError as error:
        raise InputError(
            "viewnoise compares with frames that the folder datasets/ reads, which is not installed with the package; "
            "run viewnoise.py from a clone"
        ) from error
    name: str = config.dataset or "simulated"
    if config.data_root is not None:
        name = dataset_of(config.dataset, config.data_root)[0]
    options = DataOptions(
        data_root=config.data_root,
        black_level=config.black_level,
        white_level=config.white_level,
        layout=config.layout or (layout if name == "bursts" else None),
        cfa=config.cfa,
        seed=config.seed,
        cameras=asked_cameras(config.cameras),
        iso=asked_isos(config.iso),
    )
    return load_dataset(name, options)


def load_model(config: ViewNoise) -> NoiseGenerator:
    """The checkpoint's model; one with a law against ISO at the ISO that the options name."""
    if config.iso is not None and config.iso.isdecimal():
        with suppress(InputError):  # it knows one setting only, or is no model, which is said below
            return noisemodel.load(config.checkpoint, iso=int(config.iso))
    return noisemodel.load(config.checkpoint)


def show(config: ViewNoise) -> None:
    """Load, draw, and print the parameter table."""
    if config.html is not None and config.html.is_dir():
        raise InputError(f"{config.html} is a folder; --html takes a file, e.g. {config.html / 'report.html'}")
    model = load_model(config)
    out = config.out or checkpoint_file(config.checkpoint).parent / "view"
    pictures = config.png or config.html is None
    if pictures:
        _check_folder(out)
    data, provenance = load_data(config, model.physical.layout), read_provenance(config.checkpoint)
    compared = compare_with(model, data, seed=config.seed, crop=config.crop, provenance=provenance)
    if pictures:
        write_pictures(compared, out)
    if config.html is not None:
        write_report(compared, config.html)
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(parameter_table(compared.rows, compared.title))


def main() -> int:
    """Run the program; returns its exit code."""
    return run(show, ViewNoise, __doc__.splitlines()[0])


if __name__ == "__main__":
    raise SystemExit(main())
