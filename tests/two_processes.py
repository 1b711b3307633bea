"""A training program as two real processes that talk by gloo, forked from one that has imported torch."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
KILLED = -signal.SIGKILL
TWO = """
import importlib, json, os, signal, sys, time
from pathlib import Path
import torch

torch.set_num_threads(1)
name, state, *words = sys.argv[1:]
program, ranks = importlib.import_module(name), []
for rank in "01":
    ranks.append(os.fork())
    if not ranks[-1]:
        try:
            os._exit(program.main([*words, "--nodes", "2", "--nr", rank]))
        finally:
            os._exit(99)
while state and not Path(state).exists():
    if os.waitpid(-1, os.WNOHANG) != (0, 0):
        os.killpg(0, signal.SIGKILL)  # one has ended by itself
    time.sleep(0.05)
if state:
    os.kill(ranks[1], signal.SIGKILL)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]))
"""


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as asked:
        asked.bind(("localhost", 0))
        return int(asked.getsockname()[1])


def two_processes(program: str, words: Sequence[str], kill_at: Path | None = None) -> tuple[list[int], str]:
    """Run ``program`` (a module's name) as both processes of one run; exit codes, and what they said on stderr.

    Where ``kill_at`` is given, the second one is killed as soon as that file is there.
    """
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    started = subprocess.Popen(
        [sys.executable, "-c", TWO, program, str(kill_at or ""), *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, said = started.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
    codes = out.strip().splitlines()[-1:] or ["[]"]
    return list(json.loads(codes[0])) if codes[0].startswith("[") else [], said
