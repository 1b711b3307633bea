"""Response curves: read from every format, inverted, and refused where they are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from denoisers.response_curves import KNOTS, curves_from, gamma_curve, load_response_curves
from noisemodel import stream
from noisemodel.errors import InputError

CRF = Path(__file__).parents[2] / "shared/data/crf"
RAMP = np.linspace(0, 1, KNOTS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@given(gamma=st.floats(0.5, 4), value=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_curves_are_inverted_exactly(gamma, value):
    curves, which = gamma_curve(gamma), torch.zeros(1, dtype=torch.int64)
    given_ = torch.tensor([[value]])
    torch.testing.assert_close(curves.respond(curves.linear(given_, which), which), given_, atol=1e-4, rtol=0)


def test_the_default_is_a_gamma_curve():
    curves, which = gamma_curve(), torch.zeros(1, dtype=torch.int64)
    light = torch.linspace(0.01, 1, 50)[None]
    torch.testing.assert_close(curves.respond(light, which), light ** (1 / 2.2), atol=2e-3, rtol=0)
    inside = light[:, :-1]
    torch.testing.assert_close(
        curves.slope(inside, which, over=1e-3)[:, 5:], (inside ** (1 / 2.2 - 1) / 2.2)[:, 5:], rtol=0.02, atol=0
    )


@pytest.mark.parametrize("name", ["201_CRF_data.mat", "dorfCurvesInv.mat"])
def test_measured_curves_are_read(name):
    if not CRF.exists():
        pytest.skip(f"no measured response curves at {CRF}")
    curves = load_response_curves(CRF / name)
    assert len(curves) == 201
    which = torch.arange(201)
    x = torch.rand((201, 3, 8, 8), generator=stream(0, "x"))
    torch.testing.assert_close(curves.respond(curves.linear(x, which), which), x, atol=1e-3, rtol=0)
    middle = curves.respond(torch.full((201, 1), 0.2), which)
    assert float(middle.mean()) > 0.35 and float(middle.std()) > 0.03  # cameras brighten, each in its own way


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".txt"])
def test_every_format_gives_the_same_curves(tmp_path: Path, suffix):
    light = np.stack([RAMP, RAMP])
    brightness = np.stack([RAMP**0.5, RAMP**0.8])
    path = tmp_path / f"curves{suffix}"
    if suffix == ".mat":
        savemat(path, {"I": light, "B": brightness})
    elif suffix == ".npz":
        np.savez(path, invI=light, invB=brightness)
    else:
        each = [
            f"name{k}\ngraph\nI =\n{' '.join(map(repr, i.tolist()))}\nB =\n{' '.join(map(repr, b.tolist()))}\n"
            for k, (i, b) in enumerate(zip(light, brightness, strict=True))
        ]
        path.write_text("".join(each))
    found = load_response_curves(path)
    expected = curves_from(light, brightness, "here")
    torch.testing.assert_close(found.brightness, expected.brightness)
    torch.testing.assert_close(found.light, expected.light)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{}", "are read from .mat, .npz, .txt"),
        ("a.mat", b"not a mat file", "damaged"),
        ("a.txt", b"one\ntwo\n", "six lines"),
        ("a.txt", b"n\nk\nI =\n0 x 1\nB =\n0 1 1\n", "damaged"),
        ("a.txt", b"n\nk\nI =\n0 0.5 1\nB =\n0 0.9 0.5\n", "must not fall"),
        ("a.txt", b"n\nk\nI =\n0 0.5 1\nB =\n0 90 255\n", "from 0 to 1"),
        ("a.txt", b"n\nk\nI =\n0 0.5 1\nB =\n0 1\n", "alike"),
        ("missing.mat", None, "no such file"),
    ],
)
def test_bad_files_are_named_in_a_line(tmp_path: Path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_response_curves(tmp_path / name)
