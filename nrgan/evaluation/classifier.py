"""A small classifier whose features measure images where Inception's weights are not at hand."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from noisemodel.checkpoint import write_atomically
from noisemodel.errors import InputError
from noisemodel.streams import seeded, stream
from noisemodel.tensor_file import read_tensor_file
from nrgan.data import Images
from nrgan.evaluation.features import Extractor

FORMAT = "nrgan-features-1"
WIDTH = 16
FEATURES = 21 * WIDTH
PEAK_RATE, WARM_UP, WEIGHT_DECAY = 6e-3, 0.2, 1e-2
SHIFT = 2  # pixels that a batch is moved at most
BATCH = 128


@dataclass(frozen=True)
class ClassifierFacts:
    """What a classifier was made from.

    Attributes:
        planes, classes: of images and labels.
        labels: "cifar" or "label", part of the distance's name.
        data: fingerprint of images and labels.
        seed, steps: of its training.
        accuracy: share of test images that it gets right; negative where there were none.
    """

    planes: int
    classes: int
    labels: str
    data: str
    seed: int
    steps: int
    accuracy: float = -1.0

    @property
    def distance(self) -> str:
        """Name of the Frechet distance between its features."""
        return f"fd_{self.labels}_features"


class Classifier(nn.Module):
    """Six 3x3 convolutions with batch norm, three of stride 2; features are means over pixels, of all six.

    Those of the last alone follow the classes: for images that are far from any they rise and fall without meaning.

    Args:
        planes, classes: of images and labels.
    """

    def __init__(self, planes: int, classes: int) -> None:
        """Build at start weights from torch's global generator (see `seeded`)."""
        super().__init__()
        widths = [(planes, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2)]
        layers: list[nn.Module] = []
        for i, (inputs, outputs, stride) in enumerate(widths):
            before = inputs if i == 0 else inputs * WIDTH
            conv = nn.Conv2d(before, outputs * WIDTH, 3, stride=stride, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(outputs * WIDTH), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(8 * WIDTH, classes)

    def means(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) in [0, 1] -> each convolution's means over pixels, after ReLU, (N, 16) to (N, 128)."""
        values = (4 * images - 2).contiguous(memory_format=torch.channels_last)
        found = []
        for layer in self.layers:
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                found.append(values.mean(dim=(2, 3)))
        return found

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, 336): the means of each convolution, divided by their length."""
        return torch.cat([functional.normalize(means) for means in self.means(images)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits."""
        logits: Tensor = self.last(self.means(images)[-1])
        return logits


def fingerprint(images: Images) -> str:
    """16 hex digits of blake2b over images and labels."""
    digest = hashlib.blake2b(images.values.contiguous().numpy().tobytes(), digest_size=8)
    if images.labels is not None:
        digest.update(images.labels.numpy().tobytes())
    return digest.hexdigest()


def train_classifier(
    images: Images,
    facts: ClassifierFacts,
    *,
    test: Images | None = None,
    device: torch.device | str = "cpu",
    advance: Callable[[], None] = lambda: None,
) -> tuple[Classifier, ClassifierFacts]:
    """Minimise cross-entropy: AdamW, a rate that rises and falls in straight lines; mirrored and moved images.

    Args:
        images: with labels.
        facts: sizes, seed and number of steps; a step takes 128 images.
        test: of which the accuracy is taken.
        device: where it runs; the same bits on one type of device.
        advance: called after every step.
    Returns: the classifier, ready to use, and ``facts`` with its accuracy.
    """
    assert images.labels is not None
    with seeded(stream(facts.seed, "features", "weights")):
        classifier = Classifier(facts.planes, facts.classes).to(device)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    for step in range(facts.steps):
        draws = stream(facts.seed, "features", step)
        chosen = torch.randint(len(images), (BATCH,), generator=draws)
        batch, labels = _varied(images[chosen], draws).to(device), images.labels[chosen].to(device)
        done = (step + 1) / (facts.steps + 1)
        optimiser.param_groups[0]["lr"] = PEAK_RATE * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
        optimiser.zero_grad(set_to_none=True)
        functional.cross_entropy(classifier(batch), labels).backward()
        optimiser.step()
        advance()
    classifier.eval().requires_grad_(False)
    accuracy = -1.0 if test is None or test.labels is None else _accuracy(classifier, test, device)
    return classifier, ClassifierFacts(**{**asdict(facts), "accuracy": accuracy})


def _varied(images: Tensor, draws: torch.Generator) -> Tensor:
    """Half of the images mirrored, all moved by the same few pixels."""
    height, width = images.shape[-2:]
    mirrored = torch.rand(len(images), 1, 1, 1, generator=draws) < 0.5
    top, left = torch.randint(2 * SHIFT + 1, (2,), generator=draws).tolist()
    images = functional.pad(torch.where(mirrored, images.flip(-1), images), (SHIFT,) * 4, mode="reflect")
    return images[..., top : top + height, left : left + width]


@torch.no_grad()
def _accuracy(classifier: Classifier, test: Images, device: torch.device | str) -> float:
    """Share of images whose largest logit is their label's."""
    assert test.labels is not None
    right = [classifier(test[i : i + 500].to(device)).argmax(1).cpu() for i in (0, *range(500, len(test), 500))]
    return float((torch.cat(right) == test.labels).double().mean())


def save_classifier(classifier: Classifier, facts: ClassifierFacts, file: Path) -> Path:
    """Write weights and facts as one safetensors file; never half of it."""
    tensors = {name: value.cpu().contiguous() for name, value in classifier.state_dict().items()}
    metadata = {"format": FORMAT, "facts": json.dumps(asdict(facts))}
    write_atomically(file, lambda temporary: save_file(tensors, temporary, metadata=metadata))
    return file


def load_classifier(file: Path) -> tuple[Classifier, ClassifierFacts]:
    """Read what `save_classifier` wrote, on the CPU; raises InputError for anything else."""
    try:
        metadata, tensors = read_tensor_file(file, FORMAT, what="a classifier", remedy="train one again")
        facts = ClassifierFacts(**json.loads(metadata["facts"]))
        with seeded(torch.Generator()):
            classifier = Classifier(facts.planes, facts.classes)
        classifier.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--features {file} holds no classifier of evaluate.py nrgan ({reason}); name another"
        ) from error
    return classifier.eval().requires_grad_(False), facts


def classifier_extractor(classifier: Classifier, facts: ClassifierFacts, *, device: torch.device | str) -> Extractor:
    """The features of a classifier."""
    classifier.to(device)

    def of(images: Tensor) -> Tensor:
        if images.shape[1] != facts.planes:
            raise InputError(f"--features takes images of {facts.planes} planes, got {images.shape[1]}; name another")
        return classifier.features(images)

    right = f", {facts.accuracy:.1%} of test images right" if facts.accuracy >= 0 else ""
    about = f"{FEATURES} features of a classifier trained for {facts.steps} steps, seed {facts.seed}{right}; not FID"
    return Extractor(facts.distance, about, of)
