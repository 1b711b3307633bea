"""Three kills at random moments for each training program; `crash_resume.py` alone does twenty."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("program", ["nrgan", "noisemodel", "denoiser"])
def test_killed_runs_go_on_to_the_same_bits(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, ROOT / "tests" / "crash_resume.py", tmp_path, "--programs", program, "--seeds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith(program)]
    assert done.returncode == 0 and len(lines) == 3, done.stdout + done.stderr
    assert all(line.endswith("same bits") for line in lines)
    assert any("killed 0" not in line for line in lines), "no kill came in time: " + done.stdout
