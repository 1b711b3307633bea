"""What SIGINT and SIGTERM do to a training program outside its steps, and what is said of it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noisemodel.errors import InputError

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def before_training(say: Callable[[str], Any]) -> Iterator[None]:
    """SIGINT and SIGTERM end the program with a line on the way to its first step: reading data, building networks.

    Raises: KeyboardInterrupt with the signal's number, for `noisemodel.commandline.run`.
    """
    listens = threading.current_thread() is threading.main_thread()  # other threads are never told
    before = {each: signal.getsignal(each) for each in STOPPING}

    def stop(number: int, _: Any) -> None:
        raise KeyboardInterrupt(number)

    try:
        for each, handler in before.items():
            if listens and handler is not signal.SIG_IGN:
                signal.signal(each, stop)
        yield
    except KeyboardInterrupt:
        say("stopped before training began; nothing was saved")
        raise
    finally:
        for each, handler in before.items():
            if listens and handler is not None:  # None: not set from Python
                signal.signal(each, handler)


@contextmanager
def in_training(say: Callable[[str], Any], resume_file: Path) -> Iterator[None]:
    """Say how to go on where a signal or a full disk ended the steps (`noisemodel.lightning_parts.run_fit`).

    Raises: KeyboardInterrupt as it came; InputError for an OSError of a named file.
    """
    try:
        yield
    except OSError as error:
        if not error.filename:
            raise
        state = f"the last state is whole, --resume goes on from {resume_file}" if resume_file.is_file() else "no state"
        raise InputError(f"{error.strerror}: {error.filename}; make room or allow it ({state})") from error
    except KeyboardInterrupt:
        state = f"--resume goes on from the last state in {resume_file}"
        say(f"stopped; {state if resume_file.is_file() else 'there is no state yet to go on from'}")
        raise
