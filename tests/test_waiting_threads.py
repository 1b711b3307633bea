"""Threads of torch wait without spinning: the setting is made before torch is imported, in every program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = (
    "calibrate", "convert", "denoise", "evaluate", "patches", "synthesize", "train_denoiser", "train_gan_noisemodel",
    "train_nrgan", "viewnoise",
)  # fmt: skip
# Imports a module and tells what the setting was when torch was first looked for.
TOLD = """
import os, sys
from importlib import import_module
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            print(os.environ.get("GOMP_SPINCOUNT"))
sys.meta_path.insert(0, Watch())
module = import_module(sys.argv[1])
if sys.argv[1] == "evaluate":
    module.main(["noise", "--help"])
"""


def told(program: str, **more: str) -> str:
    """The first word that the program's start says."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | more
    done = subprocess.run(
        [sys.executable, "-c", TOLD, program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    return done.stdout.split()[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_set_it_before_torch(program: str) -> None:
    assert told(program) == "1000"


def test_what_the_user_set_stays() -> None:
    assert told("noisemodel", GOMP_SPINCOUNT="7") == "7"
    assert told("noisemodel", OMP_WAIT_POLICY="ACTIVE") == "None"
