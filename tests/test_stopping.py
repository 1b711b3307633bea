"""Signals, full disks, divergence, two runs in one folder: a training run ends with its state saved and one line."""

import errno
import gc
import importlib
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import training_runs as runs
from filelock import FileLock
from two_processes import KILLED, two_processes

import noisemodel.training
import nrgan.training
import train_nrgan
from noisemodel.errors import InputError
from noisemodel.lightning_parts import SETTLED, Due, GradientWatch, Recorder, SyncedCheckpointIO
from noisemodel.runs import LOCK, RunFolder
from noisemodel.stopping import before_training

ROOT = Path(__file__).parents[1]
STEPS = 6


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """Tests that run in the background of a script begin with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, tmp_path)
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 200, (20, 3, 32, 32)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_bursts(tmp_path_factory.mktemp("stop") / "bursts")


def nrgan_words(out: Path, images: Path, words: str = "") -> list[str]:
    tiny = "--batch_size 4 --g_channels 4 --d_channels 4 --device cpu --display_interval 2"
    start = ["cifar10ag25", "sinrgan1", str(out), "--data", str(images), *tiny.split()]
    return [*start, "--num_iterations", str(STEPS), *words.split()]


def state(run: Path) -> dict[str, Any]:
    found = torch.load(run / "resume.ckpt", weights_only=True)
    return {name: found[name] for name in ("state_dict", "optimizer_states")}


def at_step(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, step: int, do: Any) -> None:
    """Call ``do`` before the call number ``step`` of a function."""
    before, calls = getattr(owner, name), []

    def wrapped(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == step:
            do()
        return before(*args, **options)

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_nrgan_with_its_state_saved(
    number: int, code: int, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, nrgan.training, "train_step", 3, lambda: os.kill(os.getpid(), number))
        assert train_nrgan.main(nrgan_words(tmp_path / "run", images)) == code
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert "--resume goes on" in capsys.readouterr().out
    assert int(state(tmp_path / "run")["state_dict"]["step"]) == 3  # the step that it came in was finished
    assert train_nrgan.main(nrgan_words(tmp_path / "run", images, "--resume")) == 0
    assert train_nrgan.main(nrgan_words(tmp_path / "whole", images)) == 0
    assert runs.same(state(tmp_path / "run"), state(tmp_path / "whole"))


def test_a_signal_ends_the_noise_model_with_its_state_saved(bursts: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, noisemodel.training, "gradient_norm", 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert runs.train(tmp_path / "run", bursts) == 143
    assert runs.train(tmp_path / "run", bursts, "--resume") == 0
    assert runs.train(tmp_path / "whole", bursts) == 0
    assert runs.same(state(tmp_path / "run"), state(tmp_path / "whole"))


def test_divergence_names_step_losses_images_and_the_last_state(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = nrgan_words(tmp_path / "run", images, "--checkpoint_interval 1 --display_interval 5")
    true = nrgan.training.train_step
    with pytest.MonkeyPatch.context() as patch:

        def spoil(networks: Any, *args: Any, **options: Any) -> Any:
            if len(calls := spoil.__dict__.setdefault("calls", [])) == 2:
                next(networks.image.parameters()).data.fill_(torch.nan)
            calls.append(1)
            return true(networks, *args, **options)

        patch.setattr(nrgan.training, "train_step", spoil)
        assert train_nrgan.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "diverged at step 3 " in said and "batch of images " in said, said
    assert f"the last good state is {tmp_path / 'run' / 'resume.ckpt'}" in said
    kept = state(tmp_path / "run")["state_dict"]
    assert int(kept["step"]) == 2 and all(bool(torch.isfinite(v).all()) for v in kept.values())


def test_divergence_of_the_noise_model_names_the_files(
    bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runs.train(tmp_path / "run", bursts, "--lr_critic 1e30") == 2
    said = capsys.readouterr().err
    assert "diverged at step" in said and ".npz" in said and "critic_gap" in said and "resume.ckpt" in said, said


def test_unusual_gradients_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    watch = GradientWatch()
    with caplog.at_level(logging.WARNING, "noisemodel"):
        for step in range(2 * SETTLED):
            watch.look({"critic": 1.0 + step % 3, "generator": 1e-3}, step)
        assert not caplog.records
        watch.look({"critic": 1e4, "generator": 1e-3}, 77)
    (record,) = caplog.records
    assert "step 77: the gradient of the critic" in record.message


def test_two_processes_do_not_write_one_folder(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from noisemodel.runs import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1])); folder.begin({}, resume=False)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "run")], stdout=subprocess.PIPE, env=environment
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=r"another process is writing to .*run; wait for it, or give another"):
            RunFolder(tmp_path / "run").begin({}, resume=True)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    RunFolder(tmp_path / "run").begin({}, resume=True)  # its death frees the folder


ENDLESS = "1000000"  # steps


def endless_words(program: str, out: Path, images: Path, bursts: Path) -> list[str]:
    """A tiny run of a program, for two processes, that does not end by itself."""
    if program == "train_nrgan":
        words = nrgan_words(out, images, "--checkpoint_interval 5")
        words[words.index(str(STEPS))] = ENDLESS
        return words
    if program == "train_denoiser":
        tiny = "--batch_size 2 --crop_size 16 --width 4 --device cpu --checkpoint_interval 5"
        return ["-o", str(out), "--num_steps", ENDLESS, *tiny.split()]
    return runs.words_of(out, bursts, f"--num_iter {ENDLESS} --noiselist shot_read --init default")


@pytest.mark.parametrize("program", ["train_nrgan", "train_denoiser", "train_gan_noisemodel"])
def test_a_process_that_dies_ends_the_others_with_a_line(
    program: str, images: Path, bursts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    codes, said = two_processes(program, endless_words(program, out, images, bursts), kill_at=out / "resume.ckpt")
    assert codes == [2, KILLED], said
    assert "error: another process of this run has ended" in said and "Traceback" not in said


# What each program does first when it reads its data.
READERS = {"train_nrgan": "clean_images", "train_denoiser": "build", "train_gan_noisemodel": "load_sets"}


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("program", READERS)
def test_a_signal_before_training_says_that_nothing_was_saved(
    program: str, number: int, code: int, images: Path, bursts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    module = importlib.import_module(program)
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, module, READERS[program], 1, lambda: os.kill(os.getpid(), number))
        assert module.main(endless_words(program, tmp_path / "run", images, bursts)) == code
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert capsys.readouterr() == ("stopped before training began; nothing was saved\n", "")
    assert not (tmp_path / "run").exists()


def test_a_signal_before_training_frees_the_folder(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, train_nrgan, "TensorBoardLogger", 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train_nrgan.main(nrgan_words(tmp_path / "run", images)) == 143
    assert "stopped before training began" in capsys.readouterr().out
    gc.collect()
    with FileLock(tmp_path / "run" / LOCK, timeout=0):
        pass
    assert train_nrgan.main(nrgan_words(tmp_path / "run", images, "--overwrite")) == 0


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """Of nohup and of jobs in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with before_training(print):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_nothing_is_written_of_a_run_that_has_broken_down(tmp_path: Path) -> None:
    """NTGAN reads its losses now and then: the state and the denoiser are kept from before it broke down."""
    written: list[int] = []

    class Module:
        step, options, state_file = 4, SimpleNamespace(num_iter=10), None

        def refuse_divergence(self) -> None:
            raise InputError(f"diverged; the last good state is {self.state_file}")

    recorder = Recorder([Due(2, lambda _: written.append(1))], 4, tmp_path / "resume.ckpt")
    trainer: Any = SimpleNamespace(
        should_stop=False, is_global_zero=True, save_checkpoint=lambda *_, **__: written.append(2)
    )
    module = Module()
    recorder.on_train_start(trainer, module)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the last good state is .*resume\.ckpt"):
        recorder.on_train_batch_end(trainer, module)
    assert written == []
    del Module.refuse_divergence  # a module without one
    recorder.on_train_batch_end(trainer, module)
    assert written == [1, 2]


def test_a_full_disk_keeps_the_state_before(tmp_path: Path) -> None:
    file = tmp_path / "resume.ckpt"
    SyncedCheckpointIO().save_checkpoint({"step": 1}, file)
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # a write beyond fails as on a full disk
    try:
        with pytest.raises(InputError, match=r"cannot write .*resume.ckpt \(.*\): make room; the one saved before is"):
            SyncedCheckpointIO().save_checkpoint({"weights": torch.zeros(1 << 18)}, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["resume.ckpt"]


def test_a_disk_that_fills_in_training_says_that_the_state_is_whole(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "metrics.csv"))

    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, RunFolder, "add_metrics", 3, full)
        assert train_nrgan.main(nrgan_words(out, images, "--checkpoint_interval 1")) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"No space left on device: {out}/metrics.csv; make room" in said
    assert f"the last state is whole, --resume goes on from {out}/resume.ckpt" in said
    assert train_nrgan.main(nrgan_words(out, images, "--checkpoint_interval 1 --resume")) == 0
