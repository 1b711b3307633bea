"""ELD's parameter files: their laws, and that reading one runs no code."""

import io
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from noisemodel import InputError, Levels, stream
from noisemodel.plain_pickle import load_plain_npy, load_plain_pickle
from noisemodel.sources import open_source
from noisemodel.sources_published import ELD_RANGE_DN, read_darktable, read_eld

DATA = Path(__file__).parents[2] / "shared" / "data"
ELD_FILES = sorted((DATA / "eld_params").glob("*.npy"))
needs_eld = pytest.mark.skipif(not ELD_FILES, reason="no ../shared/data/eld_params")
needs_darktable = pytest.mark.skipif(
    not (DATA / "darktable" / "noiseprofiles.json").exists(), reason="no ../shared/data/darktable"
)
LAWS = {"G_scale": (0.6, 0.4), "R_scale": (0.5, -0.5), "g_scale": (0.7, 1.1)}


def eld_file(folder: Path, **changed) -> Path:
    laws = {name: {"slope": np.float64(s), "bias": np.float64(b), "sigma": 0.2} for name, (s, b) in LAWS.items()}
    found = {
        "Kmin": np.float64(0.1),
        "Kmax": 10.0,
        "Profile-1": laws,
        "G_shape": np.array([0.1, 0.0, -0.16]),
        **changed,
    }
    np.save(folder / "Camera_params.npy", np.array(found, dtype=object), allow_pickle=True)
    return folder / "Camera_params.npy"


def as_npy(payload: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + payload


def test_eld_is_the_log_linear_law_at_k(tmp_path):
    found = read_eld(eld_file(tmp_path), 2.0)
    at = {name: math.exp(slope * math.log(2.0) + bias) for name, (slope, bias) in LAWS.items()}
    assert (found.gain_dn, found.scale_dn, found.row_std_dn, found.gaussian_std_dn) == pytest.approx(
        (2.0, at["G_scale"], at["R_scale"], at["g_scale"])
    )
    assert found.shape == pytest.approx(-0.02)


@pytest.mark.parametrize(
    ("levels", "white_of_14_bits"),
    [
        (None, ELD_RANGE_DN),
        (Levels(800, 16383), 15583),
        (Levels(64, 1023), 959 * 16),
        (Levels(0, 255), 255 * 64),
        (Levels(2048, 65535), 63487 / 4),
        (Levels(0, 1), 16384),
    ],
)
def test_eld_in_fractions_of_white_whatever_the_data_are_in(tmp_path, levels, white_of_14_bits):
    source = open_source(f"eld:{eld_file(tmp_path)},2", levels=levels)
    values = {parameter.name: parameter.value for parameter in source.model.physical.parameters_table()}
    assert values["shot.gain"] == pytest.approx(2 / white_of_14_bits)
    assert values["row1.std"] == pytest.approx(math.exp(0.5 * math.log(2) - 0.5) / white_of_14_bits)
    assert values["readtl.lambda"] == pytest.approx(-0.02)
    step = 1 / ELD_RANGE_DN if levels is None else levels.rounding or 1 / white_of_14_bits
    assert values["uniform.width"] == pytest.approx(step)


def test_eld_draws_rows_tails_and_photons(tmp_path):
    source = open_source(f"eld:{eld_file(tmp_path, G_shape=np.array([-0.2]))},4")
    found = read_eld(eld_file(tmp_path, G_shape=np.array([-0.2])), 4.0)
    clean = torch.full((40, 4, 32, 64), 0.1)
    noise = (source.draw(clean, generator=stream(0, "eld")) - clean).double() * ELD_RANGE_DN
    rows = noise.mean(dim=-1)
    pixels = noise - rows.unsqueeze(-1)
    read_var = found.scale_dn**2 * float(scipy.stats.tukeylambda.var(-0.2))
    white = 4.0 * 0.1 * ELD_RANGE_DN + read_var + 1 / 12
    assert float(pixels.var()) * 64 / 63 == pytest.approx(white, rel=5 * math.sqrt(3 / pixels.numel()))
    shared = rows.reshape(40, 2, 2, 32).mean(dim=2).flatten()  # planes 0, 1 and 2, 3 share a sensor row
    expected = found.row_std_dn**2 + white / 128
    assert float(shared.var()) == pytest.approx(expected, rel=5 * math.sqrt(2 / len(shared)))
    dark = (source.draw(torch.zeros(40, 4, 32, 64), generator=stream(1, "eld"))).double() * ELD_RANGE_DN
    dark = dark - dark.mean(dim=-1, keepdim=True)
    kurtosis = float((dark**4).mean() / (dark**2).mean() ** 2)
    assert kurtosis > 5  # Gaussian 3, Tukey-lambda of -0.2 has an infinite one


@pytest.mark.parametrize("gain", ["0.05", "11"])
def test_a_gain_that_was_not_measured_is_refused(tmp_path, gain):
    with pytest.raises(InputError, match=r"outside of Camera_params\.npy: 0\.1 to 10 DN/e-"):
        open_source(f"eld:{eld_file(tmp_path)},{gain}")


@pytest.mark.parametrize(
    ("gain", "changed"), [("1", {"Profile-1": {}}), ("1", {"Kmin": "low"}), ("0", {}), ("nan", {})]
)
def test_another_npy_is_refused(tmp_path, gain, changed):
    with pytest.raises(InputError):
        open_source(f"eld:{eld_file(tmp_path, **changed)},{gain}")


@needs_eld
@pytest.mark.parametrize("path", ELD_FILES, ids=lambda path: path.stem)
def test_released_files_read_as_numpy_reads_them(path):
    trusted = np.load(path, allow_pickle=True).item()
    found = load_plain_npy(path)
    assert found.keys() == trusted.keys() and found["Profile-1"] == trusted["Profile-1"]
    for name in ("G_shape", "color_bias"):
        assert found[name].dtype == trusted[name].dtype
        np.testing.assert_array_equal(found[name], trusted[name])


@needs_eld
@pytest.mark.parametrize("path", ELD_FILES, ids=lambda path: path.stem)
def test_the_gaussian_scale_stands_for_read_and_row_noise_together(path):
    """So it is no third term: the two laws agree in std at K = 1 DN/e- within the scatter that ELD states."""
    noise = read_eld(path, 1.0)
    both = math.hypot(noise.scale_dn * math.sqrt(scipy.stats.tukeylambda.var(noise.shape)), noise.row_std_dn)
    assert 0.85 < both / noise.gaussian_std_dn < 1.15


@needs_darktable
def test_darktable_as_released():
    path = DATA / "darktable" / "noiseprofiles.json"
    found = read_darktable(path, "eos 5d mark ii", 150)
    assert found.camera == "Canon EOS 5D Mark II"
    low, high = (read_darktable(path, "EOS 5D Mark II", iso).profile for iso in found.between)
    for between, (a, _), (b, _) in zip(found.profile.pairs, low.pairs, high.pairs, strict=True):
        assert min(a, b) <= between[0] <= max(a, b)
    with pytest.raises(InputError, match=r"near are: .*EOS 5D Mark II"):
        read_darktable(path, "EOS 5D Mk II", 150)


# Reading a pickle runs no code.


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_in_a_parameter_file_does_not_run(tmp_path, protocol):
    made = tmp_path / "made by the pickle"
    payload = pickle.dumps({"Kmin": 0.1, "G_shape": Payload(made)}, protocol=protocol)
    pickle.loads(payload)
    assert made.exists()
    made.unlink()
    path = tmp_path / "params.npy"
    for data in (payload, pickle.dumps(np.array({"a": [Payload(made)]}, dtype=object), protocol=protocol)):
        path.write_bytes(as_npy(data))
        with pytest.raises(InputError, match="not a plain pickle") as error:
            open_source(f"eld:{path},1")
        assert not made.exists() and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "payload",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfrombuffer\n(S'x'\ntR.",
        b"cnumpy\nndarray\n(K\x05tR.",
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zipTtR.",
        b"cnumpy\ndtype\n.",
        b"cnumpy\ndtype\n(S'V8'\ntR.",
        b"not a pickle",
        b"",
        pickle.dumps({1, 2}),
        pickle.dumps(complex(1, 2)),
        b"\x80\x04\x95",
    ],
)
def test_anything_but_plain_data_is_refused(payload):
    with pytest.raises(InputError, match="not a plain pickle"):
        load_plain_pickle(payload, "it")


def test_an_array_with_fewer_bytes_than_its_shape_is_refused():
    data = pickle.dumps(np.arange(4.0), protocol=2)
    assert load_plain_pickle(data, "it").tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="shape"):
        load_plain_pickle(data.replace(b"K\x04\x85", b"K\x05\x85"), "it")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        {"a": np.float64(0.1), "b": [1, (2.5, None, True)], "c": b"\x00\xff", "d": "é"},
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
    ],
    ids=["nested", "big-endian", "fortran", "bool"],
)
def test_plain_data_come_back(value, protocol):
    found = load_plain_pickle(pickle.dumps(value, protocol=min(protocol, 4)), "it")
    if isinstance(value, dict):
        assert found == value
    else:
        np.testing.assert_array_equal(found, value)


def test_what_is_no_npy_of_one_dict_is_refused(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    (tmp_path / "text.npy").write_text("hello, this is no array")
    for name, said in {
        "plain.npy": "not one pickled dict",
        "text.npy": "no .npy file",
        "none.npy": "cannot open",
    }.items():
        with pytest.raises(InputError, match=said):
            load_plain_npy(tmp_path / name)
