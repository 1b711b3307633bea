"""Photons on real dark frames: which frames, at which place."""

import math

import numpy as np
import pytest
import torch

from datasets import load_bursts
from noisemodel import InputError, stream
from noisemodel.sources import open_source


@pytest.fixture
def dark_folder(tmp_path):
    frames = stream(0, "darks")
    for name, pattern_seed in (("a", 1), ("b", 1)):
        pattern = torch.randint(40, 90, (24, 32), generator=stream(pattern_seed, "pattern"))
        noise = torch.randint(-4, 5, (6, 24, 32), generator=frames)
        (tmp_path / "darks").mkdir(exist_ok=True)
        np.savez(tmp_path / "darks" / f"{name}.npz", frames=(pattern + noise).numpy().astype(np.uint16))
    (tmp_path / "levels.json").write_text('{"black_level": 64, "white_level": 1064, "layout": "mosaic", "cfa": "RGGB"}')
    return tmp_path


def stored_darks(folder):
    found = load_bursts(folder)
    return torch.cat([burst.read(range(6), slice(None), slice(None)) for burst in found.darks])


def test_darks_are_real_frames_at_the_place_of_the_crop(dark_folder):
    source = open_source(f"darks:{dark_folder},5DN", open_bursts=load_bursts, exact=False)
    every = stored_darks(dark_folder)
    origins = torch.tensor([(0, 0), (4, 2), (8, 16), (2, 10)])
    dark = source.draw(torch.zeros(4, 4, 8, 8), generator=stream(0, "crop"), origin=origins)
    for crop, (row, column) in zip(dark, (origins // 2).tolist(), strict=True):
        assert (every[:, :, row : row + 8, column : column + 8] == crop).flatten(1).all(dim=1).sum() == 1
    many = source.draw(torch.zeros(400, 4, 2, 2), generator=stream(0, "many"))
    counts = torch.stack([(many == frame[:, :2, :2]).flatten(1).all(dim=1).sum() for frame in every])
    assert int(counts.sum()) == 400
    assert bool(((counts - 400 / 12).abs() < 5 * math.sqrt(400 / 12)).all())
    assert source.model is None and "12 real dark frames" in source.describe()


def test_frames_of_a_burst_get_different_darks_of_one_burst(dark_folder):
    source = open_source(f"darks:{dark_folder},5DN", open_bursts=load_bursts, exact=False)
    every = stored_darks(dark_folder)
    drawn = source.draw(torch.zeros(10, 6, 4, 12, 16), generator=stream(0, "burst"))
    for burst in drawn:
        numbers = [int((every == frame).flatten(1).all(dim=1).nonzero()) for frame in burst]
        assert sorted(numbers) in (list(range(6)), list(range(6, 12)))
    with pytest.raises(InputError, match="the longest of them has 6"):
        source.draw(torch.zeros(1, 7, 4, 4, 4), generator=stream(0, "burst"))


def test_darks_have_photons_on_top(dark_folder):
    gain = 0.02
    source = open_source(f"darks:{dark_folder},{gain}", open_bursts=load_bursts, exact=False)
    clean = torch.full((600, 4, 12, 16), 0.3)
    noise = source.draw(clean, generator=stream(0, "sources")) - clean
    noise -= source.draw(torch.zeros_like(clean), generator=stream(1, "sources"))
    dark = stored_darks(dark_folder)
    spread = 2 * float(dark.var(dim=0, correction=0).mean())
    values = noise.double()
    residual = values - values.mean(dim=0)
    assert float(residual.square().mean()) == pytest.approx(gain * 0.3 + spread, rel=5 * math.sqrt(4 / values.numel()))
    assert abs(float(values.mean())) < 5 * math.sqrt((gain * 0.3 + spread) / values.numel())
    recorded = open_source(f"darks:{dark_folder},{gain}", open_bursts=load_bursts).draw(
        clean[:2], generator=stream(0, "sources")
    )
    dn = recorded * 1000 + 64
    torch.testing.assert_close(dn, dn.round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("clean", "origin", "said"),
    [
        (torch.zeros(1, 4, 8, 8), (1, 0), "even places"),
        (torch.zeros(1, 4, 8, 8), (10, 0), "smaller crops"),
        (torch.zeros(1, 4, 13, 8), (0, 0), "4 planes of 12x16, asked for were 4 of 13x8"),
    ],
)
def test_darks_that_do_not_cover_the_crop(dark_folder, clean, origin, said):
    source = open_source(f"darks:{dark_folder},0.01", open_bursts=load_bursts)
    with pytest.raises(InputError, match=said):
        source.draw(clean, generator=stream(0, "cover"), origin=origin)


def test_a_folder_called_darks_holds_darks_and_another_must(dark_folder, tmp_path_factory):
    levels = (dark_folder / "levels.json").read_text()
    (dark_folder / "darks" / "levels.json").write_text(levels)
    assert open_source(f"darks:{dark_folder / 'darks'},0.01", open_bursts=load_bursts).describe()
    other = tmp_path_factory.mktemp("light")
    np.save(other / "scene.npy", np.full((2, 8, 8), 100, np.uint16))
    (other / "levels.json").write_text(levels)
    with pytest.raises(InputError, match="has no darks"):
        open_source(f"darks:{other},0.01", open_bursts=load_bursts)
    with pytest.raises(InputError, match='layout "mosaic", the data "planes"'):
        open_source(f"darks:{dark_folder},0.01", open_bursts=load_bursts, layout="planes")
