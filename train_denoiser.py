"""Train a denoiser: Noise2Noise and its clean rival, NTGAN, or on synthesised camera noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from noisemodel.checkpoint import checkpoint_file
from noisemodel.commandline import run, to_dict
from noisemodel.devices import choose_devices, is_first_process
from noisemodel.lightning_parts import Deadline, ProgressLine, Recorder, run_fit
from noisemodel.runs import RunFolder
from noisemodel.stopping import before_training, in_training
from train_denoiser_options import DenoiserOptions, build
from train_denoiser_records import Records, picture_file, plot_losses

# What may change when a run goes on; everything else makes another run.
MAY_CHANGE = {
    "num_steps", "max_time", "resume", "overwrite", "output_directory", "device", "gpus", "nodes", "nr",
    "display_interval", "validation_interval", "checkpoint_interval", "data",
}  # fmt: skip


def train(options: DenoiserOptions) -> None:
    """Read the images, train, show."""
    console = Console(soft_wrap=True, quiet=not is_first_process(options.nr))
    with before_training(console.print):
        devices = choose_devices(options.device, options.gpus, options.nodes, options.nr, options.batch_size)
        data = {"data": options.data, "noise": noise_path(options.noise)}
        folder = RunFolder(options.output_directory, MAY_CHANGE, "-o", data, "num_steps")
        if is_first_process(options.nr):
            folder.check(to_dict(options), resume=options.resume, overwrite=options.overwrite)
        training = prepare(options, devices, console)
        if is_first_process(options.nr):
            begin(folder, options)
        if folder.note:
            console.print(folder.note)
        due = Records(folder, to_dict(options)).due(options.display_interval, options.validation_interval)
        recorder = Recorder(due, options.checkpoint_interval, folder.resume_file)
        deadline = [] if options.max_time is None else [Deadline(options.max_time)]  # first: it marks the last step
    with in_training(console.print, folder.resume_file):
        run_fit(
            training,
            [*deadline, recorder, ProgressLine(training.describe)],
            devices=devices,
            nodes=options.nodes,
            resume=folder.resume_file if options.resume else None,
            deterministic=options.deterministic,
        )
    if is_first_process(options.nr):
        report(console, folder, int(training.step))


def noise_path(noise: str | None) -> Path | None:
    """The file or folder that --noise names, if it names one."""
    if noise is None:
        return None
    if Path(noise).exists():
        return checkpoint_file(noise)
    kind, _, argument = noise.partition(":")
    fields = argument.split(",")  # a path may have commas: the longest that is there
    places = [",".join(fields[:count]) for count in range(len(fields), 0, -1)]
    return next((Path(place) for place in places if kind and place and Path(place).exists()), None)


def prepare(options: DenoiserOptions, devices: Sequence[int], console: Console) -> Any:
    """The data and the networks at their start."""
    training, description = build(options, f"cuda:{devices[0]}" if len(devices) == 1 else "cpu")
    console.print(description, highlight=False)
    settings = training.trained().settings
    size = sum(value.numel() for value in training.trained().parameters())
    console.print(f"{settings.network} of {size:,} parameters, layout {settings.layout}", highlight=False)
    return training


def begin(folder: RunFolder, options: DenoiserOptions) -> None:
    """Write the config; a new run clears an old one's pictures."""
    folder.begin(to_dict(options), resume=options.resume)
    if not options.resume:
        for picture in (*folder.path.glob("validation_*.png"), folder.path / "losses.png"):
            picture.unlink(missing_ok=True)


def report(console: Console, folder: RunFolder, step: int) -> None:
    """Print how good it is and where it lies; draw the losses."""
    if rows := folder.metrics():
        if "psnr" in rows[-1]:
            last = rows[-1]
            console.print(f"validation: PSNR {last['psnr']:.2f} dB, noisy images {last['noisy psnr']:.2f} dB")
        console.print(f"losses: {plot_losses(rows, folder.path / 'losses.png')}")
    if (picture := picture_file(folder.path, step)).exists():
        console.print(f"picture: {picture} (noisy | denoised | clean)")
    console.print(f"denoiser: {folder.model_file}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(train, DenoiserOptions, "Train a denoiser.", argv)


if __name__ == "__main__":
    raise SystemExit(main())
