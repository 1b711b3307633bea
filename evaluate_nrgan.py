"""How good a trained NR-GAN is, beside the images it never saw: `evaluate.py nrgan`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from noisemodel import InputError
from noisemodel.commandline import argument, option, run
from noisemodel.devices import choose_devices
from noisemodel.evaluation.command_output import check_targets, consoles, progress, write_targets
from noisemodel.evaluation.figure_style import write_png
from nrgan.cifar import is_cifar
from nrgan.data import Images
from nrgan.evaluation.classifier import (
    ClassifierFacts,
    classifier_extractor,
    fingerprint,
    load_classifier,
    save_classifier,
    train_classifier,
)
from nrgan.evaluation.features import Extractor
from nrgan.evaluation.inception import inception_extractor
from nrgan.evaluation.judging import Judged, Reference, describe_data, judge
from nrgan.evaluation.panel import evaluation_panel
from nrgan.evaluation.run_data import Run, read_run
from nrgan.evaluation.tables import csv_text, definitions, markdown_text, table

MOST_SAMPLES = 10_000  # unless told


@dataclass(frozen=True)
class NrGanEvaluation:
    """Options of ``evaluate.py nrgan``."""

    run: Path = argument("a run folder of train_nrgan.py")
    data: Path | None = option(None, "the clean images, if not where the run's config.json says")
    inception: Path | None = option(None, "torch-fidelity's Inception weights: distances are then FID")
    features: Path | None = option(
        None,
        "classifier of the feature distance: a file, or a folder for it (without it the folder of the run's folder)",
    )
    classifier_steps: int = option(800, "training steps of that classifier; a minute on one core")
    samples: int | None = option(
        None, "images on each side of a distance; without it half of the data's, 10000 at most"
    )
    seed: int = option(0, "of the samples, the halves of the data and the classifier")
    csv: Path | None = option(None, "file for the figures of every snapshot")
    markdown: Path | None = option(None, "file for the table")
    figure: Path | None = option(None, "PNG file for the picture")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        if self.samples is not None and self.samples < 2:
            raise InputError(f"--samples must be at least 2, got {self.samples}")
        if self.classifier_steps < 1:
            raise InputError(f"--classifier_steps must be at least 1, got {self.classifier_steps}")
        if self.inception is not None and self.features is not None:
            raise InputError("--inception and --features are two sources of one distance; leave one out")
        check_targets(csv=self.csv, markdown=self.markdown, figure=self.figure)


def evaluate(options: NrGanEvaluation) -> None:
    """Judge every snapshot; print and write figures and picture."""
    console, tables = consoles()
    reference, judged, about = judge_run(options, console)
    tables.print(table(judged, reference))
    about = [*about, *definitions(judged, reference)]
    for line in about:
        console.print(line)
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(csv_text(judged, reference)),
        options.markdown: lambda path: path.write_text(markdown_text(judged, reference, about)),
        options.figure: lambda path: write_png(evaluation_panel(judged, reference, note=about[1]), path),
    }
    write_targets(writers, console)


def judge_run(options: NrGanEvaluation, console: Console) -> tuple[Reference, list[Judged], list[str]]:
    """The data's side, every snapshot's, and how they were compared."""
    device = device_of(options.device)
    trained = read_run(options.run, options.data)
    images = trained.clean()
    count = options.samples or max(min(MOST_SAMPLES, len(images) // 2), 2)
    if count > len(images):
        raise InputError(f"--samples must be between 2 and the {len(images)} images of the data, got {count}")
    extractor = choose_extractor(options, trained, images, device, console)
    reference = describe_data(trained, trained.noisy(images, device), extractor, count, options.seed)
    judged = []
    with progress(len(trained.snapshots), "snapshots") as advance:
        for snapshot in trained.snapshots:
            judged.append(judge(trained.load(snapshot, images, device), reference, device=device))
            advance()
    return reference, judged, _protocol(images, reference)


def _protocol(images: Images, reference: Reference) -> list[str]:
    """How it was compared."""
    trained, extractor = reference.run, reference.extractor
    lines = [f"data: {images.description}; noise {trained.dataset}, seed {trained.data_seed}"]
    if extractor is None:
        return [*lines, f"noise of up to {reference.count} generated images; no distance"]
    floor = min(reference.count, len(images) - reference.count)
    return [
        *lines,
        f"distances ({extractor.name}): {reference.count} generated against {reference.count} of the data's images; "
        f"data: {reference.count} of them against {floor} others. Too large by about a constant / number",
        f"features: {extractor.about}",
        "best: the snapshot with the lowest distance of clean images, which a user without clean images cannot choose",
    ]


def device_of(name: str) -> torch.device:
    """The device that an option names."""
    gpus = choose_devices(name, None, 1, 0, 1)
    return torch.device(f"cuda:{gpus[0]}" if gpus else "cpu")


def choose_extractor(
    options: NrGanEvaluation, trained: Run, images: Images, device: torch.device, console: Console
) -> Extractor | None:
    """Inception, a classifier that is stored, or one that is trained now; None, with a line, where none can be."""
    if options.inception is not None:
        return inception_extractor(options.inception, device=device)
    if options.features is not None and options.features.is_file():
        return classifier_extractor(*load_classifier(options.features), device=device)
    if images.labels is None or trained.data is None:
        console.print(
            "no distance: its features need labelled images (CIFAR-10), --inception WEIGHTS, or --features FILE of a "
            "run that had them; the noise alone is judged"
        )
        return None
    facts = ClassifierFacts(
        planes=images.shape[0],
        classes=int(images.labels.max()) + 1,
        labels="cifar" if is_cifar(trained.data) else "label",
        data=fingerprint(images),
        seed=options.seed,
        steps=options.classifier_steps,
    )
    file = _classifier_file(options, facts)
    if file.is_file():
        return classifier_extractor(*load_classifier(file), device=device)
    console.print(f"training the classifier of the distance: {facts.steps} steps; {file} will hold it")
    with progress(facts.steps, "classifier") as advance:
        classifier, facts = train_classifier(images, facts, test=trained.clean("test"), device=device, advance=advance)
    save_classifier(classifier, facts, file)
    return classifier_extractor(classifier, facts, device=device)


def _classifier_file(options: NrGanEvaluation, facts: ClassifierFacts) -> Path:
    """Where a classifier is stored: the file named, or one named by what it is made from."""
    place = options.features or options.run.resolve().parent
    if place.suffix == ".safetensors":
        return place
    return place / f"features_{facts.data}_{facts.seed}_{facts.steps}.safetensors"


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    return run(evaluate, NrGanEvaluation, "nrgan: a trained NR-GAN beside the images it never saw.", words)


if __name__ == "__main__":
    raise SystemExit(main())
