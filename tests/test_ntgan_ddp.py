"""NTGAN in two gloo processes: the losses and gradients of one process with the same global batch."""

from pathlib import Path

import pytest
import torch
from training_runs import metrics, resume_state
from two_processes import two_processes

import train_denoiser

# Four steps, the last two after a stage of refinement, where the pairs come from the teacher.
TINY = (
    "--method ntgan --num_steps 4 --batch_size 4 --crop_size 32 --width 4 --critic_width 4 --gpus 0 "
    "--corruption gaussian --amount 25 --refine_stages 1 --display_interval 1 --validation_interval 0"
)
LOSSES = ("critic", "denoise", "low_pass", "gan")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    words = TINY.split()
    assert train_denoiser.main([*words, "-o", str(tmp_path / "one")]) == 0
    codes, said = two_processes("train_denoiser", [*words, "-o", str(tmp_path / "two")])
    assert codes == [0, 0], said
    one, two = (
        {name: [float(row[name]) for row in metrics(tmp_path / run)] for name in LOSSES} for run in ("one", "two")
    )
    for name in LOSSES:
        assert len(one[name]) == 4 and any(one[name])
        assert two[name] == pytest.approx(one[name], rel=1e-5, abs=1e-7), name
    states = (resume_state(tmp_path / run)["optimizer_states"] for run in ("one", "two"))
    for alone, together in zip(*states, strict=True):  # of the generator, of the critic
        for key, held in alone["state"].items():
            mean = held["exp_avg"]
            found = together["state"][key]["exp_avg"]
            torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-4 * float(mean.abs().max()))
