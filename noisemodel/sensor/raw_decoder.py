"""Decoding in a child process: a damaged file may crash or stall the decoder, and the batch goes on."""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, final

import numpy as np

from noisemodel.errors import InputError

WORKER = (sys.executable, "-P", str(Path(__file__).with_name("raw_worker.py")))
TIME_LIMIT_S = 120.0
DAMAGED = "the file is truncated, damaged or of a kind that LibRaw cannot read; copy it again or leave it out"

Answer = tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.uint16]] | None]


@final
class RawDecoder:
    """One child process that is started when needed, used for file after file, and replaced when it dies.

    Args:
        command: the child; it answers as `noisemodel.sensor.raw_worker` does.
        time_limit_s: for one file; then the child is killed.
    """

    def __init__(self, command: Sequence[str] = WORKER, time_limit_s: float = TIME_LIMIT_S) -> None:
        """Nothing is started yet."""
        self.command, self.time_limit_s = tuple(command), time_limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def decode(self, path: Path) -> Answer:
        """Facts and pixels of one file.

        Raises: InputError in one line that names the file: it cannot be decoded, or the decoder died or took too long.
        """
        with self._lock:
            child = self._running()
            late = threading.Event()
            timer = threading.Timer(self.time_limit_s, _stop, (child, late))
            timer.start()
            try:
                facts, pixels = _ask(child, path)
            except (OSError, EOFError, ValueError) as error:
                child.kill()
                raise InputError(f"cannot decode {path}: {self._cause(child, late)}; {DAMAGED}") from error
            except BaseException:
                child.kill()  # interrupted half-way through an answer
                raise
            finally:
                timer.cancel()
                timer.join()
        if "error" in facts:
            raise InputError(f"cannot decode {path}: {' '.join(facts['error'].split())}; {DAMAGED}")
        return facts, pixels

    def _cause(self, child: subprocess.Popen[bytes], late: threading.Event) -> str:
        """Why there is no answer."""
        code = child.wait()
        if late.is_set():
            return f"it took more than {self.time_limit_s:g} s"
        return f"the decoder crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    def _running(self) -> "subprocess.Popen[bytes]":
        """The child; a new one if there is none, it died, or this process was forked from the one that started it."""
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            if self._owner == os.getpid():
                self.close()
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._child = subprocess.Popen(self.command, **pipes, stderr=subprocess.DEVNULL)
            self._owner = os.getpid()
        return self._child

    def close(self) -> None:
        """End the child, if this process started one."""
        child = self._child
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            _close_quietly(pipe)
        self._child = None


def _ask(child: "subprocess.Popen[bytes]", path: Path) -> Answer:
    """One question and its answer; raises EOFError, OSError or ValueError where the child gives none."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(str(path.resolve())).encode() + b"\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    facts = json.loads(line)
    if facts.get("shape") is None:
        return facts, None
    pixels = np.empty(facts["shape"], dtype="<u2")
    if child.stdout.readinto(pixels.reshape(-1).view(np.uint8)) != pixels.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return facts, pixels


def _stop(child: "subprocess.Popen[bytes]", late: threading.Event) -> None:
    """Kill a child that is late."""
    late.set()
    child.kill()


def _close_quietly(pipe: IO[bytes] | None) -> None:
    """Close a pipe whose other end is dead."""
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


DECODER = RawDecoder()
atexit.register(DECODER.close)
