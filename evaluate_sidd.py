"""Generated against real noise on SIDD, per phone and ISO: `evaluate.py sidd-noise`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from datasets import Burst, BurstSet, read_metadata
from evaluate_sidd_data import NOT_ON_CROPS, Setting, SiddNoiseOptions, open_settings
from noisemodel import InputError, NoiseGenerator, stream
from noisemodel.calibration import calibrate
from noisemodel.commandline import run
from noisemodel.evaluation.baselines import NoiseSource, fit_gaussian, fit_poisson_gaussian
from noisemodel.evaluation.command_output import consoles, progress, write_targets
from noisemodel.evaluation.fidelity import Described, chosen_metrics
from noisemodel.evaluation.fidelity_report import definitions, value_table
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.frame_fidelity import measure_frames
from noisemodel.evaluation.group_report import Group, group_csv, group_markdown, group_of, group_table, overall_of
from noisemodel.evaluation.group_sources import (
    ClippedModel,
    check_fit,
    claimed_noise,
    model_of_group,
    named_checkpoints,
)
from noisemodel.evaluation.montage import Lazy, Montage, crop_places, read_montage
from noisemodel.evaluation.panel_groups import groups_panel
from noisemodel.evaluation.recording import Recording

LABELS = ("phone", "iso")


def sidd_noise(options: SiddNoiseOptions) -> None:
    """Judge every source on every group; print and write tables."""
    console, tables = consoles()
    console.print(f"reading the headers of {options.data_root}")
    settings = open_settings(options, console)
    found: dict[tuple[str, ...], dict[str, dict[str, dict[str, torch.Tensor]]]] = {}
    with progress(sum(len(s.scenes) for s in settings), "judging instances") as advance:
        for setting in settings:
            found[setting.phone, str(setting.iso)] = judge_setting(setting, options, advance, console)
    found = {labels: measured for labels, measured in found.items() if any(measured.values())}
    if not found:
        raise InputError(f"no instance of {options.data_root} could be judged; fetch the data set again")
    groups = [group_of(labels, m, draws=options.draws, seed=options.seed) for labels, m in found.items()]
    overall, notes = overall_of(found, draws=options.draws, seed=options.seed)
    notes = [*notes, *(f"{s.name}: {note}" for s in settings for note in s.notes)]
    protocol = [*_protocol(settings, groups, options), *notes]
    tables.print(group_table([*groups, overall], LABELS))
    tables.print(value_table(overall.judged))
    for line in (*definitions(overall.judged), *protocol):
        console.print(line)
    shown = [*groups, overall]
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(group_csv(shown, LABELS)),
        options.markdown: lambda path: path.write_text(group_markdown(shown, LABELS, protocol)),
        options.figure: lambda path: write_png(groups_panel(shown, note="\n".join(protocol[:3])), path),
    }
    write_targets(writers, console)


def judge_setting(
    setting: Setting, options: SiddNoiseOptions, advance: Callable[[], None], console: Console
) -> dict[str, dict[str, dict[str, torch.Tensor]]]:
    """Source -> scene -> metrics of one phone and ISO; one scene in memory at a time."""
    fitted = fit_sources(setting, options)
    found: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    claims = set()
    for index, (scene, frames) in enumerate(setting.scenes.items()):
        try:
            montages = read_scene(scene, frames, options)
            claimed = None if options.srgb else _claimed(setting, scene)
        except InputError as error:
            if not options.skip_bad_files:
                raise
            console.print(f"left out: {error}")
            continue
        finally:
            advance()
        claims.add(claimed is not None)
        sources = _with_claim(fitted, claimed)
        names = _metrics(options, montages[0])
        real, described = [(m.whole, m.residual) for m in montages], Described()
        for name, source in sources.items():
            made = [
                m.drawn(source, generator=stream(options.seed, "evaluate", name, scene, t))
                for t, m in enumerate(montages)
            ]
            bands = stream(options.seed, "bands", index)
            measured = measure_frames(real, made, names, draws=options.draws, generator=bands, described=described)
            found.setdefault(name, {})[scene] = measured
    if len(claims) == 2:
        found.pop("metadata", None)
    if False in claims and not options.srgb:
        setting.notes.append("metadata: left out, an instance has no NoiseProfile tag")
    return found


def read_scene(scene: str, frames: Sequence[tuple[Burst, int]], options: SiddNoiseOptions) -> list[Montage]:
    """The same crops of up to two frames of an instance."""
    burst = frames[0][0]
    places, size = crop_places(
        burst.shape,
        step=burst.pixel_step,
        side=options.crop,
        count=options.crops,
        generator=stream(options.seed, "crops", scene),
    )
    alike = [(other, t) for other, t in frames if other.shape[1:] == burst.shape[1:]]
    montages = [read_montage(other, t, places, size) for other, t in alike]
    for montage in montages:
        if not bool(montage.residual.any()):
            raise InputError(f"{burst.path}: the noisy frame is its own ground truth; fetch it again")
    return montages


def fit_sources(setting: Setting, options: SiddNoiseOptions) -> dict[str, NoiseSource]:
    """Baselines and the closed form fitted on the training side, and the models given; notes of what is left out."""
    sources: dict[str, NoiseSource] = {}
    train = setting.train
    if train is None:
        side = "gaussian, poisson-gaussian and calibrated are left out"
        setting.notes.append(f"nothing on the training side of {options.split}: {side}")
    else:
        firsts = {burst.name.split("/")[0]: burst for burst in reversed(train.bursts)}
        recordings = Lazy([partial(_fitted_on, scene, burst, options) for scene, burst in firsts.items()])
        fits: dict[str, Callable[[], NoiseSource]] = {
            "gaussian": lambda: fit_gaussian(recordings),
            "poisson-gaussian": lambda: fit_poisson_gaussian(recordings),
            "calibrated": lambda: ClippedModel(calibrated_model(train, options.words)),
        }
        for name, fit in fits.items():
            try:
                sources[name] = fit()
            except InputError as error:
                if name != "calibrated" and not options.skip_bad_files:
                    raise
                setting.notes.append(f"{name}: left out, {error}")
    for name, path in named_checkpoints(options.checkpoint).items():
        model = model_of_group(path, setting.phone, setting.iso)
        if model is None:
            setting.notes.append(f"{name}: left out, it has no run folder {setting.phone}_{setting.iso}")
            continue
        check_fit(name, model, "planes" if options.srgb else "mosaic", 3 if options.srgb else 4)
        sources[name] = ClippedModel(model)
    return sources


def calibrated_model(data: BurstSet, noiselist: str) -> NoiseGenerator:
    """The closed-form model of one phone at one ISO."""
    physical = calibrate(data.bursts, data.levels, noiselist=noiselist).physical
    return NoiseGenerator(physical, channels=data.bursts[0].shape[1]).eval()


def _fitted_on(scene: str, burst: Burst, options: SiddNoiseOptions) -> Recording:
    return read_scene(scene, [(burst, 0)], options)[0].whole


def _claimed(setting: Setting, scene: str) -> NoiseSource | None:
    """What the metadata of an instance's first frame claim."""
    instance = setting.instances[scene]
    path = instance.file("METADATA", instance.frames[0])
    metadata = read_metadata(path)
    try:
        return claimed_noise(metadata.noise_profile, metadata.cfa)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _with_claim(fitted: Mapping[str, NoiseSource], claimed: NoiseSource | None) -> dict[str, NoiseSource]:
    """The sources in the order of the tables."""
    before = {name: source for name, source in fitted.items() if name in ("gaussian", "poisson-gaussian")}
    return {**before, **({"metadata": claimed} if claimed is not None else {}), **fitted}


def _metrics(options: SiddNoiseOptions, montage: Montage) -> list[str]:
    """Names that are defined on the data and on crops."""
    return [name for name in chosen_metrics(options.metrics, montage.whole) if name not in NOT_ON_CROPS]


def _protocol(settings: Sequence[Setting], groups: Sequence[Group], options: SiddNoiseOptions) -> Iterator[str]:
    """How it was compared."""
    scenes = [frames for setting in settings for frames in setting.scenes.values()]
    twice = sum(len(frames) > 1 for frames in scenes)
    kind = "sRGB, 8 bit" if options.srgb else "raw in fractions of white, so that 1 DN is the white level"
    yield f"SIDD {kind}; {len(scenes)} instances of {len(groups)} phone x ISO, the test side of {options.split}"
    yield (
        f"residuals from the GT image on at most {options.crops} random crops of {options.crop}x{options.crop} sensor "
        f"pixels of an instance; where GT is 0 to 0.001 or above 0.95, pixels are left out"
    )
    own = sum(len({id(burst) for burst, _ in frames}) > 1 for frames in scenes)
    floor = f"{twice} instances with two frames" if twice else "none, no instance has a second frame"
    about = f" ({own} with a GT image for each frame: their residuals are from two images)" if own else ""
    yield f"floor: frame against frame, {floor}{about}; seed {options.seed}"
    yield "gaussian, poisson-gaussian and metadata are neither rounded nor clipped; models are clipped to [0, 1]"
    yield f"fitted on the training side of {options.split}, each phone and ISO by itself; calibrated: {options.words}"
    yield f"means over instances, of equal weight; intervals: {options.draws} resamples of them and of bands of rows"
    if any(score.metric == "akld" for score in groups[0].judged[0].scores):
        yield "akld: one draw (published: 50; the expectation is the same)"


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    about = "sidd-noise: generated against real noise on SIDD, per phone and ISO."
    return run(sidd_noise, SiddNoiseOptions, about, words)
