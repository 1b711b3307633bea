"""The table true | calibrated | learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.table import Table

from noisemodel import Levels, PhysicalNoise
from noisemodel.evaluation.parameter_table import compare_parameters
from noisemodel.evaluation.parameters import dark_white_std, with_derived

LEVELS = Levels(100.0, 1100.0)  # 1 DN is 0.001
WORDS = "shot_read_uniform_row1_rowt_periodic"


def model(levels: Levels | None = LEVELS, **start: Any) -> PhysicalNoise:
    values: dict[str, Any] = {"shot_gain": 0.5e-3, "read_std": 2e-3, "row1_std": 1e-3, "rowt_std": 3e-3, **start}
    return PhysicalNoise.from_noiselist(WORDS, levels=levels, **values)


def cells(table: Table) -> dict[str, dict[str, str]]:
    """Parameter -> heading -> text."""
    headings = ["off" if str(column.header).startswith("off ") else str(column.header) for column in table.columns]
    lines = zip(*(column.cells for column in table.columns), strict=True)
    return {str(line[0]): dict(zip(headings[1:], map(str, line[1:]), strict=True)) for line in lines}


def compared(
    learned: PhysicalNoise, true: Mapping[str, float], held: Sequence[str] = (), calibrated: PhysicalNoise | None = None
) -> dict[str, dict[str, str]]:
    return cells(compare_parameters(learned, calibrated or model(read_std=2.5e-3), true, held))


def test_true_calibrated_and_learned_stand_side_by_side() -> None:
    table = compared(model(), {"read.std": 1.6e-3, "shot.gain": 0.4e-3})
    assert table["read.std"] == {
        "unit": "DN",
        "true": "1.6",
        "calibrated": "2.5",
        "learned": "2",
        "in e-": "4",
        "off": "+25.0 %",
    }
    assert table["shot.gain"] == {
        "unit": "DN/e-",
        "true": "0.4",
        "calibrated": "0.5",
        "learned": "0.5",
        "in e-": "",
        "off": "+25.0 %",
    }
    assert table["row1.std"]["true"] == "" and table["row1.std"]["off"] == ""
    assert list(table) == [p.name for p in with_derived(model())] and list(table)[-1] == "dark.std"


def test_without_truth_learned_is_compared_with_calibrated() -> None:
    table = compared(model(), {})
    assert "true" not in table["read.std"]
    assert table["read.std"]["off"] == "-20.0 %"
    assert table["row1.std"]["off"] == "+0.0 %"


def test_what_was_not_learned_says_why() -> None:
    learned = model()
    learned.fix("row1.std=1DN")
    true = {"rowt.std": 1e-3, "row1.std": 1e-3, "periodic.std0": 1e-3, "periodic.std1": 1e-3}
    table = compared(learned, true, ["rowt", "periodic.std0"])
    states = {name: table[name]["off"] for name in table}
    assert states["rowt.std"] == states["periodic.std0"] == "held"
    assert states["row1.std"] == states["uniform.width"] == states["periodic.freq"] == "fixed"
    assert states["periodic.std1"] == "+0.0 %"


def test_units_without_levels_or_gain() -> None:
    table = compared(model(None), {}, calibrated=model(None))
    assert table["read.std"]["unit"] == "white" and table["read.std"]["learned"] == "0.002"
    assert table["shot.gain"]["unit"] == "white/e-" and table["read.std"]["in e-"] == "4"
    assert table["periodic.freq"]["unit"] == "cycles/px" and table["periodic.freq"]["learned"] == "0.125"
    readonly = PhysicalNoise.from_noiselist("read", levels=LEVELS, read_std=2e-3)
    table = compared(readonly, {}, calibrated=readonly)
    assert table["read.std"]["in e-"] == "" and table["read.std"]["learned"] == "2"


@pytest.mark.parametrize("layout", ("mosaic", "planes"))
def test_white_noise_in_the_dark_is_the_root_of_summed_variances(layout: str) -> None:
    """read and the rounding of the ADC; no rows, no light."""
    physical = PhysicalNoise.from_noiselist("shot_read_uniform_row1", layout=layout, levels=LEVELS, read_std=2e-3)
    assert dark_white_std(physical) == pytest.approx((2e-3**2 + 1e-6 / 12) ** 0.5)
    assert "dark.std" not in [p.name for p in with_derived(PhysicalNoise.from_noiselist("row1", layout=layout))]
    assert compared(model(), {"dark.std": 2e-3})["dark.std"]["unit"] == "DN"
