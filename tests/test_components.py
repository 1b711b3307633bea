"""Each component against its law, written out again in noise_checks.py."""

import math

import noise_checks as checks
import pytest
import scipy.stats
import torch
from noise_checks import GAIN, LAW, LAWS, ORIGIN, PLANES, RANDOM_LAWS, SIGNALS, Law

from noisemodel import InputError, PhysicalNoise, stream
from noisemodel.components import COMPONENTS, NoiseComponent, TukeyLambdaRead

LAYOUTS = ("mosaic", "planes")
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
every_random_law = pytest.mark.parametrize("law", RANDOM_LAWS, ids=lambda law: law.id)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)
both_types = pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)


def measured(component: NoiseComponent) -> checks.Draw:
    """The noise of a model that has this component alone: Gaussian terms take another way there."""
    model = PhysicalNoise([component], layout=component.layout)
    return lambda clean, **place: model.measure(clean, **place).noise


def test_every_component_has_a_law() -> None:
    assert {law.build("mosaic").name for law in LAWS} == set(COMPONENTS)


@every_law
@every_layout
@both_types
def test_closed_forms(law: Law, layout: str, dtype: torch.dtype) -> None:
    checks.check_closed_form(law.build(layout), law, layout, dtype)


@every_law
@every_layout
@both_types
@torch.no_grad()
def test_moments_of_sample(law: Law, layout: str, dtype: torch.dtype) -> None:
    checks.check_moments(law.build(layout).sample, law, layout, 0, dtype)


@every_law
@both_types
def test_moments_of_simulate(law: Law, dtype: torch.dtype) -> None:
    checks.check_moments(law.build("mosaic").simulate, law, "mosaic", 1, dtype)


@every_law
@both_types
@torch.no_grad()
def test_moments_of_measure(law: Law, dtype: torch.dtype) -> None:
    checks.check_moments(measured(law.build("mosaic")), law, "mosaic", 2, dtype)


@every_random_law
@every_layout
@torch.no_grad()
def test_distribution(law: Law, layout: str) -> None:
    component = law.build(layout)
    checks.check_distribution(component.sample, law, layout, 0)
    checks.check_distribution(measured(component), law, layout, 1)
    if law.id != "shot":
        checks.check_distribution(component.simulate, law, layout, 2)


def test_simulated_shot_noise_counts_photons() -> None:
    component = LAW["shot"].build("mosaic")
    checks.check_poisson(component.simulate, 0)
    model = PhysicalNoise([component])
    checks.check_poisson(lambda clean, **place: model.exact_noise(clean, **place), 1)


@torch.no_grad()
def test_dark_pixels_have_no_shot_noise() -> None:
    component = LAW["shot"].build("mosaic")
    clean = torch.tensor([-1.0, -1e-9, 0.0]).view(3, 1, 1, 1).repeat(1, 4, 5, 5)
    for draw in (component.sample, component.simulate):
        assert not draw(clean, generator=stream(0, "dark")).any()


@pytest.mark.parametrize("shape", (-0.4, -0.1, -1e-5, 0.0, 1e-5, 2e-4, 1.0, 2.0, 6.0))
def test_tukey_lambda_follows_scipy(shape: float) -> None:
    component = TukeyLambdaRead("planes", scale=1.0, lambda_=shape)
    stored = float(component.stored("lambda").detach())
    assert stored == pytest.approx(shape, abs=1e-6)
    clean = torch.zeros(1, 1, 150, 150)
    values = component.simulate(clean, generator=stream(0, "tukey", str(shape)))
    p_value = scipy.stats.kstest(values.flatten().double().numpy(), scipy.stats.tukeylambda.cdf, args=(shape,)).pvalue
    assert p_value > checks.P_VALUE
    given = float(component.variance(clean).detach().flatten()[0])
    assert given == pytest.approx(checks.tukey_variance(shape), rel=2e-5)
    if abs(shape) > 0.01:  # SciPy's own series is good to 1e-3 near 0
        assert given == pytest.approx(float(scipy.stats.tukeylambda.var(shape)), rel=2e-5)


def test_tukey_lambda_has_its_tail() -> None:
    """float32 uniform numbers stop at 6e-8; the largest of n values must be beyond that as often as the law says."""
    component = TukeyLambdaRead("planes", scale=1.0, lambda_=-0.4)
    values = component.simulate(torch.zeros(1, 4, 700, 700), generator=stream(0, "tail")).abs()
    assert torch.isfinite(values).all()
    for quantile in (1e-3, 1e-4, 1e-5):
        beyond = int((values > -scipy.stats.tukeylambda.ppf(quantile / 2, -0.4)).sum())
        expected = quantile * values.numel()
        assert abs(beyond - expected) <= 5 * math.sqrt(expected)


@every_law
@every_layout
def test_same_stream_same_bits(law: Law, layout: str) -> None:
    component = law.build(layout)
    for draw in (component.sample, component.simulate, measured(component)):
        checks.check_streams(draw, law, layout, 0)


@every_random_law
@every_layout
@torch.no_grad()
def test_samples_are_independent(law: Law, layout: str) -> None:
    component = law.build(layout)
    checks.check_independent_samples(component.sample, law, layout, 0)
    checks.check_independent_samples(component.simulate, law, layout, 1)
    checks.check_independent_samples(measured(component), law, layout, 2)


@every_law
@every_layout
def test_an_image_is_a_burst_of_one_frame(law: Law, layout: str) -> None:
    component = law.build(layout)
    image = torch.rand((3, PLANES[layout], 6, 9), generator=stream(0, "image"))
    burst = image.unsqueeze(1)
    for draw in (component.sample, component.simulate, measured(component)):
        of_image = draw(image, generator=stream(0, "noise"), origin=ORIGIN)
        of_burst = draw(burst, generator=stream(0, "noise"), origin=ORIGIN)
        assert of_image.shape == image.shape
        assert torch.equal(of_image.unsqueeze(1), of_burst)
    for moment in (component.mean, component.variance):
        assert torch.equal(moment(image, origin=ORIGIN).unsqueeze(1), moment(burst, origin=ORIGIN))


@every_law
@every_layout
def test_gradients(law: Law, layout: str) -> None:
    checks.check_gradients(law.build(layout), law, layout, 0)


@every_law
def test_gradients_in_single_precision_at_dark_pixels(law: Law) -> None:
    component = law.build("mosaic")
    clean = torch.tensor(SIGNALS).view(-1, 1, 1, 1).repeat(1, 4, 5, 7).requires_grad_()
    for draw in (component.sample, measured(component)):
        loss = draw(clean, generator=stream(0, "dark"), origin=ORIGIN).square().sum()
        if loss.requires_grad:
            trained = [p for p in component.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, [clean, *trained], allow_unused=True)
            assert all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


def trainable(component: NoiseComponent) -> list[str]:
    return [key for key in component.units if component.leaf(key) is not None]


@pytest.mark.parametrize(
    ("law", "key"),
    [(law, key) for law in LAWS for key in trainable(law.build("mosaic"))],
    ids=lambda v: getattr(v, "id", v),
)
def test_params_give_each_image_its_own_value(law: Law, key: str) -> None:
    """Image i has the noise of a component whose parameter is value i, bit for bit but for rounding."""
    component, values = law.build("mosaic"), torch.tensor([0.02, 0.11, 0.3])
    params = {f"{component.name}.{key}": values, "other.std": torch.ones(3)}
    clean = torch.full((3, 2, 4, 6, 9), 0.4)
    noise = component.sample(clean, generator=stream(0, "params"), origin=ORIGIN, params=params)
    variance = component.variance(clean, origin=ORIGIN, params=params)
    merged = PhysicalNoise([component]).measure(
        clean, generator=stream(0, "params"), origin=ORIGIN, params={f"{component.name}.{key}": values}
    )
    assert (noise.dtype, variance.dtype) == (clean.dtype, clean.dtype)
    for i, value in enumerate(values.tolist()):
        alone = law.build("mosaic")
        alone.store(key, value)
        torch.testing.assert_close(noise[i], alone.sample(clean, generator=stream(0, "params"), origin=ORIGIN)[i])
        torch.testing.assert_close(variance[i], alone.variance(clean, origin=ORIGIN)[i])
        of_model = PhysicalNoise([alone]).measure(clean, generator=stream(0, "params"), origin=ORIGIN)
        torch.testing.assert_close(merged.noise[i], of_model.noise[i])
    assert not torch.allclose(noise[0], noise[1])


def test_params_reach_the_exact_law() -> None:
    gains = torch.tensor([0.001, 0.004, 0.03])
    noise = (
        LAW["shot"]
        .build("mosaic")
        .simulate(torch.full((3, 4, 64, 64), 0.3), generator=stream(0, "gains"), params={"shot.gain": gains})
    )
    for image, gain in zip(noise, gains.tolist(), strict=True):
        checks.check_sample_moments(image.reshape(-1, 1), gain * 0.3, f"gain {gain}")


@pytest.mark.parametrize("law", [law for law in LAWS if trainable(law.build("mosaic"))], ids=lambda law: law.id)
def test_params_of_double_precision_leave_the_type_of_the_image(law: Law) -> None:
    component = law.build("mosaic")
    params = {f"{component.name}.{trainable(component)[0]}": torch.tensor([0.1, 0.2]).double()}
    clean = torch.full((2, 4, 6, 9), 0.4)
    for noise in (
        component.sample(clean, generator=stream(0, "type"), params=params),
        component.simulate(clean, generator=stream(0, "type"), params=params),
        component.variance(clean, params=params),
        PhysicalNoise([component]).measure(clean, generator=stream(0, "type"), params=params).noise,
        PhysicalNoise([component]).variance(clean, params=params),
    ):
        assert noise.dtype == torch.float32


@pytest.mark.parametrize("values", (torch.ones(3), torch.ones(1), torch.ones(2, 1), torch.tensor(1.0)))
def test_params_of_the_wrong_shape_are_refused(values: torch.Tensor) -> None:
    component, clean = LAW["shot"].build("mosaic"), torch.full((2, 4, 3, 5), 0.4)
    for call in (component.sample, component.simulate):
        with pytest.raises(InputError, match=r"shot\.gain"):
            call(clean, generator=stream(0, "shape"), params={"shot.gain": values})
    with pytest.raises(InputError, match=r"shot\.gain"):
        component.variance(clean, params={"shot.gain": values})


@every_law
def test_wrong_images_and_origins_are_refused(law: Law) -> None:
    component = law.build("mosaic")
    for clean, origin, words in (
        (torch.zeros(4, 5, 5), (0, 0), "expected"),
        (torch.zeros(1, 3, 5, 5), (0, 0), "4 planes"),
        (torch.zeros(1, 4, 5, 5, dtype=torch.int64), (0, 0), "float32 or float64"),
        (torch.zeros(1, 4, 5, 5, dtype=torch.float16), (0, 0), "half precision"),
        (torch.zeros(0, 4, 5, 5), (0, 0), "nothing to add noise to"),
        (torch.zeros(3, 4, 5, 5), (0.5, 1.0), "whole sensor pixels"),
        (torch.zeros(3, 4, 5, 5), (0, -2), "whole sensor pixels"),
        (torch.zeros(3, 4, 5, 5), torch.zeros(2, 2, dtype=torch.int64), "origin"),
        (torch.zeros(3, 4, 5, 5), torch.zeros(3, dtype=torch.int64), "origin"),
    ):
        with pytest.raises(InputError, match=words):
            component.sample(clean, generator=stream(0, "wrong"), origin=origin)
        with pytest.raises(InputError, match=words):
            component.variance(clean, origin=origin)


def test_units_say_what_a_gain_is() -> None:
    """g is the white fraction per electron: 1 / g electrons at white, standard deviation sqrt(g)."""
    noise = LAW["shot"].build("planes").simulate(torch.ones(1, 1, 128, 128), generator=stream(0, "white"))
    electrons = (noise + 1) / GAIN
    checks.check_sample_moments((electrons - 1 / GAIN).reshape(-1, 1), 1 / GAIN, "electrons at white")
