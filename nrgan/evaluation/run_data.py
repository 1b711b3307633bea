"""A training run as evaluation reads it: its config, its snapshots, and the images it was trained on."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.families import amounts
from noisemodel.streams import stream
from nrgan.corruption import NoisyImages
from nrgan.data import Images, clean_images
from nrgan.models import check_model
from nrgan.snapshots import NrGan, load_snapshot

NEEDED = {"dataset": str, "model": str, "data_seed": int, "size": int, "no_clip": bool}


@final
@dataclass(frozen=True, eq=False)
class Run:
    """A run folder of ``train_nrgan.py``.

    Attributes:
        path: the folder.
        dataset, model: names of rows.
        clip: whether noisy images end at black and white.
        data_seed: of the noise in the data.
        data: where the clean images are; None for embedded ones.
        size: of the images [px].
        snapshots: files, in the order of their steps.
    """

    path: Path
    dataset: str
    model: str
    clip: bool
    data_seed: int
    data: Path | None
    size: int
    snapshots: tuple[Path, ...] = field(repr=False)

    def clean(self, split: str = "train") -> Images:
        """The clean images; raises InputError where they are not there."""
        if self.data is not None and not self.data.exists():
            raise InputError(f"{self.path} was trained on {self.data}, which is not here; say where it is with --data")
        return clean_images(self.data, size=self.size, split=split)

    def noisy(self, images: Images, device: torch.device | str = "cpu") -> NoisyImages:
        """What the critic saw."""
        return NoisyImages(images, self.dataset, self.data_seed, device=device, clip=self.clip)

    @property
    def has_truth(self) -> bool:
        """Whether the noise of the data is known: the data set ``cifar10`` takes images as they are."""
        return self.dataset != "cifar10"

    def load(self, snapshot: Path, images: Images, device: torch.device | str = "cpu") -> NrGan:
        """Generators on a device; raises InputError where they make other images than the data's."""
        gan = load_snapshot(snapshot)
        made = (gan.settings.planes, gan.settings.size, gan.settings.size)
        if made != images.shape:
            raise InputError(f"{snapshot} makes images of {made}, the data have {images.shape}; give the run's --data")
        gan.image.to(device)
        gan.noise.to(device)
        return gan

    def clipped(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Clean + noise, as the critic saw it."""
        noisy = clean + noise
        return noisy.clamp(0, 1) if self.clip else noisy


def read_run(path: Path, data: Path | None = None) -> Run:
    """Read a run folder.

    Args:
        path: of the run.
        data: where the images are now, if not where the config says.
    Raises: InputError where it is no finished or begun run.
    """
    config = _config(path / "config.json")
    check_model(config["dataset"], config["model"])
    snapshots = sorted(path.glob("snapshots/step_*.safetensors"), key=_step)
    if not snapshots:
        raise InputError(f"{path}: no snapshot yet; train on with train_nrgan.py --resume")
    place = data or (None if config.get("data") is None else Path(config["data"]))
    return Run(
        path,
        config["dataset"],
        config["model"],
        not config["no_clip"],
        config["data_seed"],
        place,
        config["size"],
        tuple(snapshots),
    )


def _step(file: Path) -> int:
    """The step in the name of a snapshot."""
    number = file.stem.removeprefix("step_")
    return int(number) if number.isdigit() else -1


def _config(file: Path) -> dict[str, Any]:
    """The options of a run; raises InputError where the file is something else."""
    if not file.is_file():
        raise InputError(f"{file.parent} has no config.json; give a run folder of train_nrgan.py")
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); train the run again") from error
    wrong = [
        name for name, kind in NEEDED.items() if not isinstance(config, dict) or not isinstance(config.get(name), kind)
    ]
    if wrong:
        raise InputError(f"{file} lacks {', '.join(wrong)}; give a run folder of train_nrgan.py")
    return dict(config)


def halves(count: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Numbers of the images that are compared, and of as many others as there are, at most ``samples``."""
    order = torch.randperm(count, generator=stream(seed, "evaluate", "halves"))
    return order[:samples], order[samples : 2 * samples]


def true_amounts(run: Run, count: int) -> dict[str, list[float]]:
    """name -> 5 %, 50 % and 95 % quantile over images of the data's noise amounts [fraction of white]."""
    at = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    found = amounts(run.dataset, count, seed=run.data_seed)
    return {name: values.double().quantile(at).tolist() for name, values in found.items()}
