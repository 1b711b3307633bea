"""The folder of a training run: config, metrics, best model, resume state."""

import csv
import json
import os
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from noisemodel.checkpoint import FILE_NAME, write_atomically
from noisemodel.claims import check_plain_file, shortened
from noisemodel.errors import InputError
from noisemodel.fingerprint import fingerprint, in_words

# What may change when a run goes on; everything else makes another run.
MAY_CHANGE = {
    "num_iter", "epochs", "max_time", "resume", "overwrite", "save_path", "gpus", "nodes", "nr", "device", "notes",
    "view", "preset",
}  # fmt: skip


LOCK = ".lock"  # in the folder of a run that is being written; its owner's death frees it


class RunFolder:
    """Files of one run: ``config.json``, ``metrics.csv``, ``model.safetensors`` (best score), ``resume.ckpt``.

    Args:
        path: the folder.
        may_change: options that may differ when the run goes on.
        named: the option that names the folder, for messages.
        data: option -> where the data that it names lie (None where it names none). A run goes on only with the data
            that it began with, wherever they lie now: ``data.json`` holds their fingerprints.
        steps: the option that says how many steps are wanted.

    Attributes:
        note: after `check`, what is to be said before the run goes on, or "".
    """

    def __init__(
        self,
        path: Path,
        may_change: Collection[str] = MAY_CHANGE,
        named: str = "--save_path",
        data: Mapping[str, Path | None] | None = None,
        steps: str = "num_iter",
    ) -> None:
        """Name the files; nothing is written yet."""
        self.path, self.may_change, self.named, self.steps, self.note = path, set(may_change), named, steps, ""
        self.data = dict(data or {})
        self.config_file, self.metrics_file = path / "config.json", path / "metrics.csv"
        self.data_file = path / "data.json"
        self.model_file, self.resume_file = path / FILE_NAME, path / "resume.ckpt"
        self._lock: FileLock | None = None  # held from begin() as long as this object lives

    def check(self, config: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Refuse to write over another run, or to go on with other options, other data or fewer steps than the run has.

        Raises: InputError that says which flag would do.
        """
        if own := [name for name, place in self.data.items() if place is not None and self._is_here(place)]:
            raise InputError(f"--{own[0]} {self.path} is where the run is written; give another {self.named}")
        if resume and overwrite:
            raise InputError("--resume goes on with a run, --overwrite replaces it; give one of them")
        if resume:
            if not self.resume_file.is_file():
                begin = "give --overwrite true" if self.config_file.exists() else "leave --resume out"
                raise InputError(f"{self.resume_file}: nothing to resume; {begin} to start a run there")
            self._check_same(config)
            self._check_steps(config.get(self.steps), self._check_state())
        elif self.config_file.exists() and not overwrite:
            flags = "--resume, --overwrite true," if self.resume_file.exists() else "--overwrite true"
            raise InputError(f"{self.path} holds a run; give {flags} or another {self.named}")
        elif self.model_file.exists() and not self.config_file.exists() and not overwrite:
            raise InputError(f"{self.path} holds a model that is no run; give another {self.named}")
        elif self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.named} {self.path} is a file; name a folder")

    def _check_same(self, config: Mapping[str, Any]) -> None:
        """Compare with the config and the data that the run began with."""
        before = _read_json(self.config_file)
        kept = self._kept_data()
        moved = {name for name, found in kept.items() if found is not None and self.data.get(name) is not None}
        for name in sorted(config.keys() - self.may_change):
            beside = _beside_path if name in moved else str
            if beside(str(before.get(name))) != beside(str(config[name])):
                raise InputError(f"--{name} was {before.get(name)!r} when {self.path} began, now {config[name]!r}")
        for name in sorted(kept.keys() & self.data.keys()):
            self._check_data(name, kept[name], before.get(name), config.get(name))

    def _kept_data(self) -> dict[str, dict[str, Any] | None]:
        """Option -> fingerprint of the data that the run began with; runs of earlier versions have none."""
        kept = _read_json(self.data_file) if self.data_file.exists() else {}
        for found in kept.values():
            if found is not None and (not isinstance(found, dict) or found.keys() != {"files", "bytes", "digest"}):
                raise InputError(f"{self.data_file} is damaged; begin again with --overwrite true")
        return kept

    def _check_data(self, name: str, kept: Any, before: Any, now: Any) -> None:
        """Refuse data that are not those of the fingerprint ``kept``; what cannot be found is for its reader."""
        place = self.data[name]
        found = None if place is None else fingerprint(place)
        if found == kept or (found is None and (place is not None or now == before)):
            return
        here, there = (
            f"{shown or 'no path'}{f' ({in_words(one)})' if one else ''}"
            for shown, one in ((now, found), (before, kept))
        )
        raise InputError(
            f"--{name} is not the data that {self.path} began with: now {here}, then {there}; give the same data, or "
            "begin again with --overwrite true"
        )

    def _is_here(self, place: Path) -> bool:
        """Whether the run would be written among its data, which changes them."""
        return place.is_dir() and os.path.realpath(place) == os.path.realpath(self.path)

    def _check_steps(self, wanted: Any, done: int | None) -> None:
        """Refuse a goal that lies behind; note one that is reached."""
        if done is None or not isinstance(wanted, int) or wanted > done:
            return
        if wanted < done:
            raise InputError(
                f"{self.path} has {done} steps already, --{self.steps} is {wanted}: give more than {done} to go on, or "
                "--overwrite true to begin again"
            )
        self.note = f"{self.path} has {done} steps already, nothing is left to be trained; more --{self.steps} go on"

    def _check_state(self) -> int | None:
        """Read the resume state once, to complain before anything is touched; returns its steps, where it has them."""
        check_plain_file(self.resume_file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of damaged pickles, which are refused below
                state = torch.load(self.resume_file, map_location="cpu", weights_only=True)
            step = state.get("state_dict", {}).get("step")
            return None if step is None else int(step)
        except Exception as error:  # a damaged pickle raises anything
            raise InputError(f"{self.resume_file} is damaged; begin again with --overwrite true") from error

    def begin(self, config: Mapping[str, Any], *, resume: bool) -> None:
        """Lock the folder and write the config; a new run first clears what an old one left, a resumed one keeps it.

        Both clear what a killed run was writing. Raises: InputError if the folder cannot be written, or another process
        is writing it.
        """
        config = {**config, "resume": False, "overwrite": False}  # so that --config begins the same run elsewhere
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            for temporary in self.path.glob(".*.tmp"):
                temporary.unlink()
            if not resume:
                for old in (self.metrics_file, self.model_file, self.resume_file, self.data_file):
                    old.unlink(missing_ok=True)
                shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
                self._keep_data()
            write_atomically(self.config_file, lambda file: file.write_text(json.dumps(config, indent=2) + "\n"))
        except OSError as error:
            raise InputError(f"cannot write to {self.path} ({error.strerror}); choose another {self.named}") from error

    def _keep_data(self) -> None:
        """Write what data the run begins with."""
        if self.data:
            found = {name: None if place is None else fingerprint(place) for name, place in self.data.items()}
            write_atomically(self.data_file, lambda file: file.write_text(json.dumps(found, indent=2) + "\n"))

    def _hold(self) -> None:
        """Keep other processes out; the same process may run here again."""
        lock = FileLock(self.path / LOCK, timeout=0, thread_local=False, is_singleton=True)
        try:
            lock.acquire()
        except Timeout:
            raise InputError(
                f"another process is writing to {self.path}; wait for it, or give another {self.named}"
            ) from None
        self._lock = lock

    def add_metrics(self, row: Mapping[str, float]) -> None:
        """Append a row to ``metrics.csv``, in place of rows from the same step on (after a resume)."""
        rows = [{**old, "step": int(old["step"])} for old in self.metrics() if old["step"] < row["step"]]
        names = list(dict.fromkeys([name for r in (*rows, row) for name in r]))

        def write(file: Path) -> None:
            with file.open("w", newline="") as handle:
                table = csv.DictWriter(handle, names)
                table.writeheader()
                table.writerows([*rows, row])

        write_atomically(self.metrics_file, write)

    def metrics(self) -> Sequence[dict[str, float]]:
        """All rows of ``metrics.csv``."""
        if not self.metrics_file.exists():
            return []
        check_plain_file(self.metrics_file)
        try:
            with self.metrics_file.open(newline="") as handle:
                return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(handle)]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise InputError(f"{self.metrics_file} is damaged ({shortened(error)}); start a new run") from error


def _beside_path(text: str) -> tuple[str, str]:
    """What an option KIND:PATH,ARGUMENTS says beside its path, which may move; "" twice for a path alone."""
    kind, colon, rest = text.partition(":")
    return (kind, rest.partition(",")[2]) if colon else ("", "")


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a file of a run."""
    check_plain_file(file)
    try:
        found = json.loads(file.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error}); start a new run") from error
    return found
