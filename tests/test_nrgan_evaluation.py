"""Frechet distance, features and noise figures of NR-GAN's evaluation, against closed forms."""

import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from noisemodel import InputError, stream
from noisemodel.families import corrupt
from nrgan.data import Images
from nrgan.evaluation import classifier, inception
from nrgan.evaluation.classifier import (
    Classifier,
    ClassifierFacts,
    classifier_extractor,
    fingerprint,
    load_classifier,
    save_classifier,
    train_classifier,
)
from nrgan.evaluation.features import Extractor, features_of
from nrgan.evaluation.frechet import Moments, feature_moments, frechet_distance
from nrgan.evaluation.inception import inception_extractor
from nrgan.evaluation.noise_figures import (
    high_pass_std,
    noise_figures,
    noise_look,
    power_spectrum,
    radial_profile,
    spectrum_rms_db,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def moments(mean: list[float], covariance: Tensor) -> Moments:
    return Moments(torch.tensor(mean, dtype=torch.float64), covariance.double(), 100)


def spd(seed: int, size: int = 2) -> Tensor:
    """A symmetric positive matrix."""
    root = torch.randn(size, size, generator=stream(seed, "spd"), dtype=torch.float64)
    return root @ root.T


@given(st.integers(0, 1000), st.floats(-30, 30), st.floats(-30, 30))
def test_gaussians_that_differ_in_their_mean_alone(seed: int, a: float, b: float) -> None:
    found = frechet_distance(moments([a, 0], spd(seed)), moments([0, b], spd(seed)))
    assert found == pytest.approx(a * a + b * b, abs=1e-8)


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=5))
def test_diagonal_covariances(variances: list[tuple[float, float]]) -> None:
    """Sum of (sqrt a - sqrt b)^2."""
    one, other = (torch.tensor(v, dtype=torch.float64) for v in zip(*variances, strict=True))
    zero = [0.0] * len(variances)
    expected = float((one.sqrt() - other.sqrt()).square().sum())
    found = frechet_distance(moments(zero, one.diag()), moments(zero, other.diag()))
    assert found == pytest.approx(expected, abs=1e-8)


@given(st.integers(0, 1000))
def test_covariances_that_do_not_commute(seed: int) -> None:
    """For 2 x 2, tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det A det B))."""
    one, other = spd(seed), spd(seed + 5000)
    root = math.sqrt(float((one @ other).trace()) + 2 * math.sqrt(max(float(one.det() * other.det()), 0)))
    expected = float(one.trace() + other.trace()) - 2 * root
    assert frechet_distance(moments([0, 0], one), moments([0, 0], other)) == pytest.approx(expected, abs=1e-7)


def test_the_distance_is_that_of_scipys_matrix_root() -> None:
    one, other = spd(1, 20), spd(2, 20)
    root = scipy.linalg.sqrtm((one @ other).numpy()).real.trace()
    expected = float(one.trace() + other.trace()) - 2 * root
    found = [frechet_distance(moments([0] * 20, a), moments([0] * 20, b)) for a, b in ((one, other), (other, one))]
    assert found == pytest.approx([expected, expected], rel=1e-7)


def test_fewer_vectors_than_dimensions_are_at_no_distance_from_themselves() -> None:
    """A singular covariance: the plain matrix root becomes complex there."""
    found = feature_moments(torch.randn(20, 60, generator=stream(0, "few")))
    assert 0 <= frechet_distance(found, found) < 1e-8 * float(found.covariance.trace())


def test_the_bias_falls_as_one_over_n() -> None:
    draws = stream(0, "bias")
    means = []
    for count in (200, 400):
        found = torch.tensor(
            [
                frechet_distance(*(feature_moments(torch.randn(count, 8, generator=draws)) for _ in range(2)))
                for _ in range(60)
            ]
        )
        means.append((float(found.mean()), float(found.std()) / math.sqrt(60)))
    error = math.hypot(means[0][1], 2 * means[1][1])
    assert abs(means[0][0] - 2 * means[1][0]) < 5 * error + 0.1 * means[0][0]  # next order: 1 / N^2
    assert means[0][0] > 5 * means[0][1]


def test_moments_are_those_of_the_sample() -> None:
    values = torch.randn(50, 3, generator=stream(0, "moments"), dtype=torch.float64)
    found = feature_moments(values)
    assert torch.allclose(found.mean, values.mean(0)) and torch.allclose(found.covariance, values.T.cov())
    assert found.vectors == 50


@pytest.mark.parametrize(
    ("features", "said"),
    [(torch.zeros(1, 4), "N >= 2, got .1, 4."), (torch.full((3, 2), math.nan), "NaN or infinite")],
)
def test_features_without_moments_are_refused(features: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        feature_moments(features)


def test_distances_of_other_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 dimensions"):
        frechet_distance(moments([0, 0], spd(0)), moments([0, 0, 0], spd(0, 3)))


def images_of(count: int = 400, size: int = 32) -> Tensor:
    """Smooth pictures in 0.1 .. 0.9: (N, 3, size, size)."""
    ramp = torch.linspace(0.1, 0.9, size)
    levels = torch.linspace(0, 1, count)[:, None, None, None]
    return (levels * ramp + (1 - levels) * ramp[:, None]).expand(-1, 3, -1, -1).contiguous()


def test_figures_of_white_noise() -> None:
    clean = images_of()
    noise = 0.05 * torch.randn(clean.shape, generator=stream(0, "white"))
    found, values = noise_figures(clean, noise), clean.numel()
    assert abs(found["noise_std_255"] - 12.75) < 5 * 12.75 / math.sqrt(2 * values)
    for name in ("lag1_across", "lag1_down", "abs_correlation"):
        assert abs(found[name]) < 5 / math.sqrt(0.9 * values)
    inside = clean[(clean > 0.2) & (clean < 0.8)]
    error = math.sqrt(2) * 0.05**2 / (float(inside.std()) * math.sqrt(len(inside)))
    assert abs(found["variance_slope"]) < 5 * error
    assert found["variance_intercept_255"] == pytest.approx(12.75, rel=0.02)


def test_noise_that_follows_the_signal() -> None:
    clean = images_of()
    noise = (0.01 * clean + 0.02**2).sqrt() * torch.randn(clean.shape, generator=stream(0, "shot"))
    found = noise_figures(clean, noise)
    inside = clean[(clean > 0.2) & (clean < 0.8)]
    error = math.sqrt(2) * 0.01 * 0.8 / (float(inside.std()) * math.sqrt(len(inside)))
    assert abs(found["variance_slope"] - 0.01) < 5 * error
    assert found["abs_correlation"] > 0.1
    look = noise_look(clean, noise)
    assert torch.allclose(look.stds, (0.01 * look.levels + 0.02**2).sqrt(), rtol=0.05)


def test_rows_are_told_from_columns() -> None:
    """Noise that is constant along a row: neighbours across agree, neighbours down do not."""
    clean = images_of()
    rows = 0.05 * torch.randn(400, 3, 32, 1, generator=stream(0, "rows")).expand(clean.shape)
    found = noise_figures(clean, rows)
    assert found["lag1_across"] == pytest.approx(1, abs=0.01)
    assert abs(found["lag1_down"]) < 5 / math.sqrt(400 * 3 * 31)
    white = 0.05 * torch.randn(clean.shape, generator=stream(0, "white"))
    assert spectrum_rms_db(power_spectrum(rows), power_spectrum(white)) > 10


def test_no_noise_has_no_figures_but_its_std() -> None:
    clean = images_of(4)
    found = noise_figures(clean, torch.zeros_like(clean))
    assert found.pop("noise_std_255") == 0 and all(math.isnan(value) for value in found.values())
    flat = power_spectrum(torch.zeros_like(clean))
    assert math.isnan(spectrum_rms_db(flat, flat + 1))


def test_the_spectrum_keeps_the_power_and_the_distance_only_the_shape() -> None:
    noise = torch.randn(200, 3, 32, 32, generator=stream(0, "spectrum"))
    power = power_spectrum(noise)
    assert float(power.mean()) == pytest.approx(float(noise.square().mean()), rel=1e-6)
    assert spectrum_rms_db(power, 7 * power) == pytest.approx(0, abs=1e-9)
    other = power_spectrum(torch.randn(200, 3, 32, 32, generator=stream(1, "spectrum")))
    expected = 10 / math.log(10) * math.sqrt(2 / 600)  # two periodograms, 600 images and channels each
    assert spectrum_rms_db(power, other) == pytest.approx(math.sqrt(1.25) * expected, rel=0.25)


def test_the_radial_profile_of_one_frequency() -> None:
    place = torch.arange(32)
    wave = torch.cos(2 * math.pi * 6 / 32 * place).expand(1, 1, 32, 32)
    frequency, profile = radial_profile(power_spectrum(wave))
    assert len(profile) == 17 and float(frequency[profile.argmax()]) == pytest.approx(6 / 32)
    assert float(profile.sum() - profile.max()) < 1e-9


def test_blurred_noise_is_far_from_white_and_like_itself() -> None:
    clean = images_of(200)
    white, blurred = (corrupt(name, clean, seed=0, clip=False) - clean for name in ("cifar10ag25", "cifar10bg25k5"))
    again = corrupt("cifar10bg25k5", clean, seed=1, clip=False) - clean
    spectra = [power_spectrum(noise) for noise in (blurred, white, again)]
    assert spectrum_rms_db(spectra[0], spectra[1]) > 5 > 1 > spectrum_rms_db(spectra[0], spectra[2])


def test_immerkaers_estimate() -> None:
    flat = torch.full((400, 3, 32, 32), 0.5)
    noisy = flat + 0.04 * torch.randn(flat.shape, generator=stream(0, "immerkaer"))
    values = 1200 * 30 * 30 / 3.8  # the sum of squared correlations between responses is 3.8
    assert abs(high_pass_std(noisy) - 0.04) < 5 * 0.04 * math.sqrt((math.pi / 2 - 1) / values)
    assert high_pass_std(images_of(10).double()) < 1e-6


@pytest.fixture(scope="module")
def labelled() -> Images:
    """Dark images are 0, bright ones 1."""
    labels = torch.arange(64) % 2
    values = torch.rand(64, 3, 32, 32, generator=stream(0, "labelled")) * 0.4 + 0.5 * labels[:, None, None, None]
    return Images(values, labels, "made")


FACTS = ClassifierFacts(planes=3, classes=2, labels="label", data="0", seed=3, steps=8)


def quickly(images: Images) -> tuple[Classifier, ClassifierFacts]:
    """Trained on batches of 16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "BATCH", 16)
        return train_classifier(images, FACTS, test=images)


@pytest.fixture(scope="module")
def trained(labelled: Images) -> tuple[Classifier, ClassifierFacts]:
    return quickly(labelled)


def test_the_classifier_learns_and_leaves_torchs_stream_alone(labelled: Images, trained: Any) -> None:
    before = torch.random.get_rng_state()
    again, facts = quickly(labelled)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert facts.accuracy > 0.9 and facts == trained[1]
    for one, other in zip(again.parameters(), trained[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_classifier_comes_back_from_its_file(tmp_path: Path, labelled: Images, trained: Any) -> None:
    save_classifier(*trained, tmp_path / "a.safetensors")
    loaded, facts = load_classifier(tmp_path / "a.safetensors")
    assert facts == trained[1] and facts.distance == "fd_label_features"
    extractors = [classifier_extractor(c, f, device="cpu") for c, f in (trained, (loaded, facts))]
    batches = [labelled[:40], labelled[40:]]
    found = [features_of(extractor, batches) for extractor in extractors]
    assert torch.equal(*found) and found[0].shape == (64, 336) and found[0].dtype == torch.float64
    assert extractors[0].name == "fd_label_features" and "not FID" in extractors[0].about
    lengths = [part.square().sum(1) for part in found[0].split([16, 32, 32, 64, 64, 128], dim=1)]
    assert torch.allclose(torch.stack(lengths), torch.ones(6, 64, dtype=torch.float64), atol=1e-5)
    with pytest.raises(InputError, match="3 planes, got 4"):
        extractors[0].of(torch.zeros(1, 4, 32, 32))


def test_features_of_an_image_do_not_depend_on_its_batch(labelled: Images, trained: Any) -> None:
    extractor = classifier_extractor(*trained, device="cpu")
    assert torch.allclose(extractor.of(labelled[:8])[3], extractor.of(labelled[3:4])[0], atol=1e-5)


def test_files_that_are_no_classifier_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no classifier")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, said in (("text", "holds no classifier"), ("other.safetensors", "format None"), ("none", "holds no")):
        with pytest.raises(InputError, match=said):
            load_classifier(tmp_path / name)


def test_the_fingerprint_tells_images_and_labels_apart(labelled: Images) -> None:
    assert fingerprint(labelled) == fingerprint(Images(labelled.values.clone(), labelled.labels, "other words"))
    assert fingerprint(labelled) != fingerprint(Images(labelled.values, None, "made"))
    assert fingerprint(labelled) != fingerprint(Images(labelled.values + 0.01, labelled.labels, "made"))


class Stub(torch.nn.Module):
    """Stands for torch-fidelity's extractor: means of the 8-bit images."""

    def __init__(self, name: str, layers: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert (name, layers) == ("inception-v3-compat", ["2048"]) and Path(feature_extractor_weights_path).is_file()

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        return (images.float().mean(dim=(2, 3)),)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({inception.TENSOR: torch.zeros(1)}, tmp_path / "inception.pth")
    return tmp_path / "inception.pth"


def test_inception_alone_is_called_fid(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    module = types.ModuleType("stub")
    module.FeatureExtractorInceptionV3 = Stub  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, inception.MODULE, module)
    monkeypatch.setattr(inception, "import_module", lambda _: module)
    extractor: Extractor = inception_extractor(weights)
    assert extractor.name == "fid"
    assert extractor.of(torch.full((2, 1, 8, 8), 1.2)).tolist() == [[255.0] * 3] * 2
    with pytest.raises(InputError, match="got 4 planes"):
        extractor.of(torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (ImportError("No module named 'torch_fidelity'"), "needs torch-fidelity .*pip install"),
        (RuntimeError("another build\nof something"), "does not take it .another build.;"),
    ],
)
def test_without_torch_fidelity_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, weights: Path, fails: Exception, said: str
) -> None:
    def refuse(_: str) -> None:
        raise fails

    monkeypatch.setattr(inception, "import_module", refuse)
    with pytest.raises(InputError, match=said):
        inception_extractor(weights)


def test_a_torchvision_without_its_operators_does_not_matter(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    """Its wheels do not fit a CPU build of torch; the operators that they ask for are declared, and not used."""
    declared: list[str] = []

    class Library:
        def __init__(self, name: str, kind: str) -> None:
            assert (name, kind) == ("torchvision", "FRAGMENT")

        def define(self, schema: str) -> None:
            declared.append(schema.split("(")[0])

    def load(_: str) -> Any:
        if not declared:
            raise RuntimeError("operator torchvision::nms does not exist")
        return types.SimpleNamespace(FeatureExtractorInceptionV3=Stub)

    monkeypatch.setattr(inception, "import_module", load)
    monkeypatch.setattr(inception, "DECLARED", [])
    monkeypatch.setattr(torch.library, "Library", Library)
    assert inception_extractor(weights).name == "fid" and declared == ["nms", "qnms"]


def test_other_files_are_no_inception_weights(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for name, said in (("text.pth", "holds no weights"), ("other.pth", "holds other weights"), ("no", "no such file")):
        with pytest.raises(InputError, match=said):
            inception_extractor(tmp_path / name)
