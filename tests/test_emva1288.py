"""Against the EMVA 1288 group's own package: its simulator's truth, and its processing of the same images."""

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from test_calibration_figures import holds

from datasets import load_bursts
from noisemodel.calibration import Calibration, calibrate

SIZE = (160, 192)
STEPS, FRAMES = 9, 8  # exposures; frames of the exposure in the middle, on which spatial figures rest
DSNU_E, PRNU = 4.0, 0.01


@pytest.fixture(scope="module")
def emva() -> Any:
    """The package's modules; it calls np.asfarray, which numpy 2 has no more, and leaves a file open."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(np, "asfarray", lambda a, dtype=float: np.asarray(a, dtype=dtype), raising=False)
        from emva1288.camera.dataset_generator import DatasetGenerator
        from emva1288.process.data import Data1288
        from emva1288.process.loader import LoadImageData
        from emva1288.process.parser import ParseEmvaDescriptorFile
        from emva1288.process.results import Results1288

        logging.getLogger("Parser").setLevel(logging.ERROR)
        yield SimpleNamespace(
            generate=DatasetGenerator,
            parse=ParseEmvaDescriptorFile,
            load=LoadImageData,
            data=Data1288,
            find=Results1288,
        )


@pytest.fixture(scope="module")
def recorded(emva: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Their camera and figures, and our calibration of their images."""
    folder, rng = tmp_path_factory.mktemp("emva"), np.random.default_rng(0)
    generator = emva.generate(
        steps=STEPS, L=FRAMES, image_format="tiff", outdir=str(folder / "theirs"), width=SIZE[1], height=SIZE[0],
        bit_depth=12, K=0.5, blackoffset=40, blackoffset_max=200, exposure_max=5_000_000, dark_current_ref=0.0,
        dark_signal_0=60.0, sigma2_dark_0=36.0, u_esat=50_000.0, seed=1,
        dsnu=DSNU_E * rng.standard_normal(SIZE), prnu=1 + PRNU * rng.standard_normal(SIZE),
    )  # fmt: skip
    quiet = {"loglevel": logging.ERROR}
    loaded = emva.load(emva.parse(generator.descriptor_path, **quiet).images, path=str(folder / "theirs"), **quiet)
    theirs = emva.find(emva.data(loaded.data, **quiet).data, **quiet)
    black = generator.cam.blackoffset + 60 * generator.cam.K
    write_bursts(Path(generator.descriptor_path), folder / "ours")
    data = load_bursts(folder / "ours", black_level=black, white_level=4095)
    ours = calibrate(data.bursts, data.levels, noiselist="shot_read_uniform_fixed1_prnu", sensor_size=data.sensor_size)
    return SimpleNamespace(cam=generator.cam, black=black, theirs=theirs, ours=ours)


def write_bursts(descriptor: Path, folder: Path) -> None:
    """Their images as .npz bursts: a pair (or more) of one light and exposure each; saturated ones say nothing."""
    folder.mkdir()
    groups: list[tuple[str, list[np.ndarray]]] = []
    for line in descriptor.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("b", "d"):
            groups.append(({"b": "flat", "d": "dark"}[kind], []))
        elif kind == "i":
            groups[-1][1].append(tifffile.imread(descriptor.parent / rest.replace("\\", "/")))
    for index, (kind, frames) in enumerate(groups):
        stack = np.stack(frames).astype(np.uint16)
        if (stack == 4095).mean() < 1e-3:
            np.savez(folder / f"{kind}_{index:02d}.npz", frames=stack)


def test_intervals_hold_what_their_simulator_put_in(recorded: SimpleNamespace) -> None:
    cam, found = recorded.cam, recorded.ours.figures
    # The simulator adds uniform noise of one step before it rounds: quantisation counts twice.
    read_dn = (36 * cam.K**2 + 2 / 12) ** 0.5
    truth = {
        "gain_dn_per_e": cam.K,
        "read_std_dn": read_dn,
        "read_std_e": read_dn / cam.K,
        "dsnu_e": DSNU_E,
        "dsnu_dn": DSNU_E * cam.K,
        "prnu_percent": 100 * PRNU,
        "black_dn": recorded.black,
    }
    outside = {name: (found[name], value) for name, value in truth.items() if not holds(found[name], value)}
    assert not outside
    beyond = [name for name, value in truth.items() if not found[name].low <= value <= found[name].high]
    assert len(beyond) <= 2, beyond  # of 7 at 95 %, and some go together
    for name in ("row_std_dn", "column_std_dn", "row_alternating_std_dn"):
        assert found[name].low == 0.0 and found[name].high < 0.1 * read_dn, name


def test_their_figures_lie_in_our_intervals(recorded: SimpleNamespace) -> None:
    found, theirs = recorded.ours.figures, recorded.theirs
    pairs = {
        "gain_dn_per_e": theirs.K,
        "read_std_dn": theirs.sigma_y_dark,
        "dsnu_e": theirs.DSNU1288,
        "prnu_percent": theirs.PRNU1288,
    }
    inside = {name: found[name].low <= value <= found[name].high for name, value in pairs.items()}
    assert all(inside.values()), {name: (found[name], pairs[name]) for name, fine in inside.items() if not fine}


def test_the_intervals_are_narrow_enough_to_say_something(recorded: SimpleNamespace) -> None:
    calibration: Calibration = recorded.ours
    for name, width in (("gain_dn_per_e", 0.05), ("read_std_dn", 0.05), ("dsnu_e", 0.1), ("prnu_percent", 0.1)):
        figure = calibration.figures[name]
        assert figure.high - figure.low < width * figure.value, name
