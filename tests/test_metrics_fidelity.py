"""Scores with floors and intervals, the baselines, and the long table."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from datasets import SimulatedCamera, simulated_bursts
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.evaluation.baselines import (
    DarkFrames,
    Gaussian,
    ModelNoise,
    PoissonGaussian,
    RealFrames,
    draw_pair,
    fit_gaussian,
    fit_poisson_gaussian,
)
from noisemodel.evaluation.fidelity import (
    METRICS,
    DrawnPair,
    Score,
    _halves,
    fidelity,
    fidelity_score,
    long_table,
)
from noisemodel.evaluation.recording import Pair, Recording, read_recording

LEVELS = Levels(100.0, 4195.0)
STD = 2e-3
PROPER = [name for name, metric in METRICS.items() if metric.proper]


def recording(frames: Tensor, *, centred: bool = False, clean: float = 0.1, **other: object) -> Recording:
    reference = torch.full_like(frames[:1], clean)
    facts = {"name": "made", "kind": "scene", "layout": "planes", "levels": LEVELS, **other}
    valid = torch.ones_like(reference, dtype=torch.bool)
    facts |= {"frames": frames, "reference": reference, "clean": reference, "valid": valid, "origin": (0, 0)}
    return Recording(**facts, centred=centred)  # type: ignore[arg-type]


Law = Callable[[tuple[int, ...], str], Tensor]


def white(shape: tuple[int, ...], name: str) -> Tensor:
    return STD * torch.randn(shape, generator=stream(0, "white", name))


def with_rows(shape: tuple[int, ...], name: str) -> Tensor:
    rows = 0.3 * STD * torch.randn((*shape[:-1], 1), generator=stream(0, "rows", name))
    return white(shape, name) * (1 - 0.3**2) ** 0.5 + rows


def made_pair(
    real: Law, model: Law, name: str, *, shape: tuple[int, ...] = (8, 1, 256, 128), centred: bool = False
) -> Pair:
    at = recording(0.1 + real(shape, f"{name} real"), centred=centred, name=name)
    return Pair(at, at.residual(at.frames), at.residual(0.1 + model(shape, f"{name} model")))


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_a_perfect_model_is_at_the_floor() -> None:
    trials = [fidelity([made_pair(with_rows, with_rows, f"{i} {k}") for k in range(2)], seed=i) for i in range(8)]
    for name in PROPER:
        scores = [by_name(trial)[name] for trial in trials]
        log_ratios = torch.tensor([math.log(s.ratio) for s in scores])
        assert abs(float(log_ratios.mean())) < 5 * float(log_ratios.std()) / 8**0.5, name
        covered = sum(s.ratio_low <= 1 <= s.ratio_high for s in scores)
        assert covered >= 6, name
        assert all(s.low <= s.value <= s.high and s.floor_low <= s.floor <= s.floor_high for s in scores)


@pytest.mark.parametrize("centred", [False, True])
def test_white_noise_of_the_right_variance_fails_where_rows_matter(centred: bool) -> None:
    found = by_name(fidelity([made_pair(with_rows, white, str(i), centred=centred) for i in range(2)]))
    for name in ("row_spectrum", "autocorrelation"):
        assert found[name].ratio_low > 2, name
    for name in ("column_spectrum", "akld"):
        assert found[name].ratio < 1.3, name
    assert found["ks"].value < 0.01 and found["w1"].value < 0.05 * STD * LEVELS.range_dn
    perfect = [made_pair(with_rows, with_rows, str(i), centred=centred) for i in range(2)]
    assert fidelity_score([made_pair(with_rows, white, "0", centred=centred)]) > fidelity_score(perfect[:1])


def test_values_are_those_of_the_plain_functions() -> None:
    pair = made_pair(with_rows, white, "plain", shape=(4, 1, 64, 64))
    pair = pair._replace(generated=1.5 * pair.generated + STD)
    found = by_name(fidelity([pair], draws=0))
    halves = [(pair.real[i::2], pair.generated[i::2]) for i in (0, 1)]
    for name, score in found.items():
        function, metric = METRICS[name].function, METRICS[name]
        if name == "variance_curve":
            values = [abs(float(b.square().mean() / a.square().mean()) - 1) for a, b in halves]
        elif name == "kld_starlight":
            values = [float(function((0.1 + a).reshape(1, -1), (0.1 + b).reshape(1, -1))) for a, b in halves]
        elif name in ("ks", "w1"):
            scale = LEVELS.range_dn if name == "w1" else 1.0
            values = [float(function(a.reshape(1, -1), b.reshape(1, -1))) * scale for a, b in halves]
        else:
            values = [float(function(a, b).mean()) for a, b in halves]
        rounding = 0.5 / 200 if name == "ks" else 0.0
        assert score.value == pytest.approx(sum(values) / 2, rel=0.01, abs=rounding + 1e-9), name
        assert score.unit == metric.unit and math.isnan(score.low)


def test_halves_of_centred_frames_are_independent() -> None:
    """With 4 frames of a burst taken from their own mean, the halves would else be each other's negative."""
    floors = [
        by_name(fidelity([made_pair(white, white, f"c{i}", shape=(4, 1, 128, 64), centred=c)], draws=0))[
            "variance_curve"
        ]
        for c in (False, True)
        for i in range(40)
    ]
    apart, centred = torch.tensor([s.floor for s in floors]).view(2, 40)
    # |v_B / v_A - 1| is half-normal, of std sqrt(4 / n) with n free values per half: two frames, or one where centred
    n = 128 * 64
    for found, free in ((apart, 2 * n), (centred, n)):
        expected = (4 / free) ** 0.5 * (2 / math.pi) ** 0.5
        assert float(found.mean()) == pytest.approx(expected, rel=5 * (math.pi / 2 - 1) ** 0.5 / 40**0.5)


def test_halves_share_nothing() -> None:
    """Of 4 frames less their common mean, r0 + r2 = -(r1 + r3): squares would have a correlation above 0.1."""
    pair = made_pair(white, white, "share", shape=(4, 1, 256, 256), centred=True)
    even, odd = (half.square().sum(dim=0).flatten() for half in _halves(pair.real, pair.recording))
    assert abs(float(torch.corrcoef(torch.stack([even, odd]))[0, 1])) < 5 / 256
    even, odd = (pair.real[i::2].square().sum(dim=0).flatten() for i in (0, 1))
    assert float(torch.corrcoef(torch.stack([even, odd]))[0, 1]) > 0.1


def test_offsets_of_frames_do_not_hide_in_the_comb_of_a_dark() -> None:
    def dark(shape: tuple[int, ...], name: str) -> Tensor:
        frames = (0.9 * torch.randn(shape, generator=stream(0, "dark", name))).round()
        return (frames + torch.randn(shape[0], 1, 1, 1, generator=stream(0, "lamp", name))) / LEVELS.range_dn

    found = by_name(fidelity([made_pair(dark, dark, "comb", centred=True)], metrics=["ks"], draws=0))["ks"]
    assert max(found.floor, found.value) < 5 * 0.87 * (2 / (3 * 256 * 128)) ** 0.5


def test_intervals_hold_what_repeated_data_show() -> None:
    scores = [fidelity([made_pair(with_rows, white, f"i{i}")], metrics=["w1", "akld"], seed=i) for i in range(24)]
    for k in range(2):
        spread = float(torch.tensor([s[k].value for s in scores]).std())
        widths = torch.tensor([s[k].high - s[k].low for s in scores])
        assert 0.5 < float(widths.mean()) / (2 * 1.96 * spread) < 2.2


def test_intervals_lie_about_the_estimate() -> None:
    """Resampling alone would make the distance of two equal laws, and its interval, larger than they are."""
    scores = [fidelity([made_pair(white, white, f"a{i}")], metrics=["ks", "row_spectrum"], seed=i) for i in range(12)]
    for k in range(2):
        below = torch.tensor([(s[k].value - s[k].low) / (s[k].high - s[k].low) for s in scores])
        assert 0.35 < float(below.mean()) < 0.65


def test_the_same_seed_gives_the_same_scores_and_order_no_matter() -> None:
    pairs = [made_pair(with_rows, white, str(i), shape=(4, 1, 64, 64)) for i in range(3)]
    once, again, other = (fidelity(pairs, seed=seed) for seed in (1, 1, 2))
    assert repr(once) == repr(again) != repr(other)
    turned = fidelity(pairs[::-1], draws=0)
    for a, b in zip(fidelity(iter(pairs), draws=0), turned, strict=True):
        assert a.value == pytest.approx(b.value) and a.floor == pytest.approx(b.floor)
    assert [s.metric for s in fidelity(pairs, metrics=["w1", "ks"], draws=0)] == ["w1", "ks"]


def test_starlight_is_summed_and_the_others_averaged() -> None:
    pair = made_pair(with_rows, white, "sum", shape=(4, 1, 64, 64))
    one, three = (by_name(fidelity([pair] * n, draws=0)) for n in (1, 3))
    for name, score in one.items():
        assert three[name].value == pytest.approx(score.value * (3 if name == "kld_starlight" else 1)), name


def test_further_draws_are_averaged_by_akld_alone() -> None:
    shape = (4, 1, 64, 64)
    pair = made_pair(white, white, "draws", shape=shape)
    others = [white(shape, f"other {i}") for i in range(3)]
    values = [fidelity([pair._replace(generated=g)], draws=0) for g in (pair.generated, *others)]
    joint = fidelity([DrawnPair(pair.recording, pair.real, pair.generated, tuple(others))], draws=0)
    for k, score in enumerate(joint):
        singles = [scores[k].value for scores in values]
        expected = sum(singles) / 4 if score.metric == "akld" else singles[0]
        assert score.value == pytest.approx(expected), score.metric


def test_srgb_metrics_are_for_srgb_images() -> None:
    frames = (128 / 255 + 0.02 * torch.randn(2, 3, 64, 64, generator=stream(0, "srgb"))).clamp(0, 1)
    at = recording(frames, levels=Levels(0.0, 255.0), clean=128 / 255)
    names = {s.metric for s in fidelity([Pair(at, frames - 128 / 255, frames.flip(-1) - 128 / 255)], draws=0)}
    assert {"kld_naflow", "kld_neca"} < names and not names & {"kld_noiseflow", "kld_noise2noiseflow"}
    raw = made_pair(white, white, "raw", shape=(4, 1, 64, 64))
    assert not {s.metric for s in fidelity([raw], draws=0)} & {"kld_naflow", "kld_neca"}
    with pytest.raises(InputError, match="kld_neca is defined on sRGB images, raw is raw"):
        fidelity([raw], metrics=["kld_neca"])


@pytest.mark.parametrize(("frames", "centred"), [(1, False), (1, True), (3, True)])
def test_too_few_frames_are_one_line(frames: int, centred: bool) -> None:
    with pytest.raises(InputError, match=f"{frames} frames cannot be split into two halves"):
        fidelity([made_pair(white, white, "few", shape=(frames, 1, 64, 64), centred=centred)])


def test_unknown_metrics_and_no_pairs_are_one_line() -> None:
    with pytest.raises(InputError, match="unknown metric 'kl'; known: ks, w1"):
        fidelity([], metrics=["kl"])
    with pytest.raises(InputError, match="no recording"):
        fidelity([])


def test_saturated_pixels_count_in_nothing() -> None:
    pair = made_pair(with_rows, white, "clipped", shape=(4, 1, 64, 64))
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., :7] = False
    object.__setattr__(pair.recording, "valid", valid)
    spoiled = pair._replace(generated=torch.where(valid, pair.generated, 1.0))
    keep = [name for name in METRICS if METRICS[name].domain != "sRGB" and name not in ("akld", "kld_starlight")]
    for a, b in zip(fidelity([pair], metrics=keep, draws=0), fidelity([spoiled], metrics=keep, draws=0), strict=True):
        assert a.value == pytest.approx(b.value), a.metric  # akld's blur reaches over the edge of what is valid


def test_the_long_table_has_every_plane() -> None:
    bursts = simulated_bursts(frames=4, size=(128, 128))
    at = [read_recording(b, size=128, most_frames=4) for b in bursts.scenes[:2]]
    pairs = [draw_pair(Gaussian(1e-3), one, generator=stream(0, one.name)) for one in at]
    rows = long_table(pairs, metrics=["ks", "row_spectrum"], labels={at[0].name: {"camera": "S6", "iso": 100}})
    assert len(rows) == 2 * 5 * 2
    assert {r["plane"] for r in rows} == {"all", "0", "1", "2", "3"}
    assert rows[0]["camera"] == "S6" and rows[0]["metric"] == "ks" and rows[0]["value"] > rows[0]["floor"]


def test_baselines_find_the_cameras_noise() -> None:
    camera = SimulatedCamera(row1_std=0, rowt_std=0, periodic_std=(0, 0, 0), pattern_std=0)
    bursts = simulated_bursts(frames=6, size=(128, 128), with_truth=False, camera=camera)
    at = [read_recording(b, size=128, most_frames=6) for b in (*bursts.flats, *bursts.darks)]
    found = fit_poisson_gaussian(at)
    free = 5 * 128 * 128  # values of one burst: the bright flats tell the gain, four darks the read noise
    assert found.gain * camera.levels.range_dn == pytest.approx(1.0, rel=5 * (2 / free) ** 0.5)
    read = (2.5**2 + 1 / 12) ** 0.5
    assert found.read_std * camera.levels.range_dn == pytest.approx(read, rel=5 / (2 * 4 * free) ** 0.5)
    dark = fit_gaussian(at[-4:])
    assert dark.std * camera.levels.range_dn == pytest.approx(read, rel=5 / (2 * 4 * free) ** 0.5)
    assert fit_poisson_gaussian(at[-1:]).gain == 0
    physical = PhysicalNoise.from_noiselist(
        "shot_read_uniform", levels=camera.levels, shot_gain=found.gain, read_std=2.5 / camera.levels.range_dn
    )
    for source in (found, ModelNoise(NoiseGenerator(physical))):
        pairs = [draw_pair(source, one, generator=stream(0, one.name)) for one in at]
        scores = by_name(fidelity(pairs, metrics=["ks", "w1", "akld", "row_spectrum"], draws=0))
        assert all(s.ratio < 1.5 for s in scores.values()), scores


def test_real_frames_are_their_own_floor() -> None:
    bursts = simulated_bursts(frames=5, size=(64, 64), with_truth=False)
    at = read_recording(bursts.scenes[0], size=64, most_frames=5)
    for score in fidelity([draw_pair(RealFrames(), at, generator=stream(0, "real"))], draws=0):
        if METRICS[score.metric].proper and score.metric != "variance_curve":  # relative to the one or the other half
            assert score.ratio == pytest.approx(1, rel=1e-3), score.metric


def test_dark_frames_come_from_the_same_place_with_the_right_variance() -> None:
    bursts = simulated_bursts(frames=8, size=(64, 64), with_truth=False)
    hot = bursts.darks[0].source._recorded  # type: ignore[attr-defined]
    hot[:, 20, 33] = [200, 800, 200, 800, 200, 800, 200, 800]
    at = read_recording(bursts.darks[1], size=32, most_frames=8)  # origin (16, 16)
    source = DarkFrames(0.0, (bursts.darks[0],))
    residual = at.residual(source.draw(at, generator=stream(0, "darks")))
    spread = residual.std(dim=0)
    assert int(spread.flatten().argmax()) == (1 * 16 + 2) * 16 + 8  # (20, 33) - origin: plane 1, row 2, column 8
    expected = read_recording(bursts.darks[0], size=32, most_frames=8)
    kept = spread < 0.05
    real = expected.residual(expected.frames)[:, kept].std()
    assert float(residual[:, kept].std()) == pytest.approx(float(real), rel=1e-3)
    far = PoissonGaussian(0.0, 0.0).draw(at, generator=stream(0, "none"))
    torch.testing.assert_close(far, at.clean.expand_as(far))
