"""Resuming: a run that was killed or stopped goes on to the bits of one that was not; other options are refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_runs as runs
from training_runs import metrics, model_tensors, resume_state, same, same_runs, train

ROOT = Path(__file__).parents[1]
STEPS = 6
# Kills the program itself: K names the moment, N the step after which (the files then stand at step N - 1, or N).
KILLER = """
import os, signal, sys
import torch
import noisemodel.training, train_gan_noisemodel as program
from noisemodel.training import NoiseGan, Recorder

torch.set_num_threads(1)
step_of = lambda gan: int(gan.step)
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)


def before_scoring(step):
    score = Recorder._score
    Recorder._score = lambda self, trainer, gan: kill() if step_of(gan) == step else score(self, trainer, gan)


def between_model_and_state(step):
    record = program.Records.__call__
    def wrapped(self, gan, score, keep):
        record(self, gan, score, keep)
        if step_of(gan) == step:
            kill()
    program.Records.__call__ = wrapped


def half_written_state(step):
    save, seen = torch.save, []
    def wrapped(checkpoint, path):
        seen.append(path)
        save(checkpoint, path)
        if len(seen) == step + 1:
            path.write_bytes(path.read_bytes()[:1000])
            kill()
    noisemodel.training.torch.save = wrapped


moments = sys.argv.pop(1).split(",")
for moment in moments:  # one process imports torch once and forks a victim for every moment
    name, step, out = moment.split(":")
    victim = os.fork()
    if not victim:
        globals()[name](int(step))
        sys.argv[-1] = out
        program.main()
        os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]), file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_bursts(tmp_path_factory.mktemp("resume") / "bursts")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        runs.quick(patch, folder)
        assert train(folder / "run", data, f"--num_iter {STEPS}") == 0
    return folder / "run"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def test_killed_runs_go_on_to_the_same_bits(data: Path, whole: Path, tmp_path: Path) -> None:
    moments = {"before_scoring": 1, "half_written_state": 3, "between_model_and_state": 5}
    (tmp_path / "killer.py").write_text(KILLER)
    spelled = ",".join(f"{name}:{step}:{tmp_path / name}" for name, step in moments.items())
    words = runs.words_of(tmp_path / "replaced", data, f"--num_iter {STEPS}")
    words = [*(w for w in words if w not in ("--save_path", str(tmp_path / "replaced"))), "--save_path", "replaced"]
    done = subprocess.run(
        [sys.executable, tmp_path / "killer.py", spelled, *words], capture_output=True, text=True, env=environment()
    )
    killed = [line for line in done.stderr.splitlines() if line.split()[0] in moments]
    assert killed == [f"{name} {-signal.SIGKILL}" for name in moments], done.stderr
    for name in moments:
        assert not same_runs_or_missing(tmp_path / name, whole)
        assert train(tmp_path / name, data, f"--num_iter {STEPS} --resume") == 0
        assert same_runs(tmp_path / name, whole), name
        assert not list((tmp_path / name).glob(".*.tmp")), "what a killed run was writing is cleared away"


def same_runs_or_missing(one: Path, other: Path) -> bool:
    return (one / "metrics.csv").exists() and metrics(one) == metrics(other)


def test_killed_from_outside_at_any_time(data: Path, whole: Path, tmp_path: Path) -> None:
    words = runs.words_of(tmp_path / "run", data, f"--num_iter {STEPS}")
    victim = subprocess.Popen(
        [sys.executable, ROOT / "train_gan_noisemodel.py", *words],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / "run" / "resume.ckpt").exists() and victim.poll() is None:
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    assert (tmp_path / "run" / "resume.ckpt").exists()
    assert train(tmp_path / "run", data, f"--num_iter {STEPS} --resume") == 0
    assert same_runs(tmp_path / "run", whole)


def test_ctrl_c_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    words = runs.words_of(tmp_path / "run", data, "--num_iter 100000")
    victim = subprocess.Popen(
        [sys.executable, ROOT / "train_gan_noisemodel.py", *words],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while not (tmp_path / "run" / "resume.ckpt").exists() and victim.poll() is None:
        time.sleep(0.005)
    time.sleep(0.5)
    victim.send_signal(signal.SIGINT)
    out, err = victim.communicate(timeout=60)
    assert victim.returncode == 130 and "--resume goes on from" in out and err == ""


def test_stopped_by_the_clock_after_every_step(data: Path, whole: Path, tmp_path: Path) -> None:
    for step in range(1, STEPS + 1):
        resume = " --resume" if step > 1 else ""
        assert train(tmp_path / "run", data, f"--num_iter {STEPS} --max_time 0{resume}") == 0
        assert int(resume_state(tmp_path / "run")["state_dict"]["step"]) == step
    assert same_runs(tmp_path / "run", whole)


def test_the_clock_saves_the_step_that_it_ends_with(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, "--num_iter 100 --max_time 0") == 0  # scored every other step
    assert [row["step"] for row in metrics(tmp_path / "run")] == ["0", "1"]
    assert int(resume_state(tmp_path / "run")["state_dict"]["step"]) == 1


def test_a_finished_run_stays_as_it_is(data: Path, whole: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, f"--num_iter {STEPS}") == 0
    assert same_runs(tmp_path / "run", whole)
    assert train(tmp_path / "run", data, f"--num_iter {STEPS} --resume") == 0
    assert same_runs(tmp_path / "run", whole)


def test_more_steps_than_first_planned(data: Path, tmp_path: Path) -> None:
    # With constant steps of Adam the plan does not matter to the weights; the averaged model neither. Only which
    # model is kept may differ, since that depends on what half of the run a score falls in.
    for name, num_iter in (("straight", 5), ("short", 2)):
        assert train(tmp_path / name, data, f"--lr_decay false --num_iter {num_iter}") == 0
    assert train(tmp_path / "short", data, "--lr_decay false --num_iter 5 --resume") == 0
    one, other = (resume_state(tmp_path / name) for name in ("straight", "short"))
    assert same(one["state_dict"], other["state_dict"]) and same(one["optimizer_states"], other["optimizer_states"])
    assert metrics(tmp_path / "straight") == metrics(tmp_path / "short")
    # With decay the steps follow the new plan from where the run stands.
    assert train(tmp_path / "decaying", data, "--num_iter 2") == 0
    assert train(tmp_path / "decaying", data, "--num_iter 4 --resume") == 0
    groups = resume_state(tmp_path / "decaying")["optimizer_states"][1]["param_groups"]
    assert [row["step"] for row in metrics(tmp_path / "decaying")] == ["0", "1", "2", "3", "4"]
    assert all(group["lr"] == pytest.approx(group["first_lr"] * (1 - 3 / 4)) for group in groups)
    # Fewer steps than are done already are refused: nothing moves.
    assert train(tmp_path / "straight", data, "--lr_decay false --num_iter 3 --resume") == 2
    assert same(resume_state(tmp_path / "straight")["state_dict"], one["state_dict"])


def test_two_runs_of_one_command_are_the_same(data: Path, whole: Path, tmp_path: Path) -> None:
    torch.rand(7)  # the global generator has no say
    assert train(tmp_path / "again", data, f"--num_iter {STEPS}") == 0
    assert same_runs(tmp_path / "again", whole)
    assert not same(model_tensors(whole), {})


REFUSED = {
    "--resume --lr_physics 0.5": "--lr_physics was 0.02 when",
    "--resume --critic_width 5": "--critic_width was 4 when",
    "--resume --fix read.std=2DN": "--fix was [] when",
    "--resume --noiselist shot_read": "--noiselist was None when",
    "--resume --discriminator_loss real": "--discriminator_loss was 'residual' when",
    "": "holds a run; give --resume, --overwrite true, or another --save_path",
}


@pytest.mark.parametrize("words", REFUSED)
def test_another_run_is_not_touched(words: str, data: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = runs.listing(whole)
    assert train(whole, data, f"--num_iter {STEPS} {words}") == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and REFUSED[words] in shown and (not words or str(whole) in shown)
    assert runs.listing(whole) == before


def test_nothing_to_resume(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", data, "--resume") == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "run/resume.ckpt: nothing to resume; leave --resume out" in shown
    assert not (tmp_path / "run").exists()


def test_damaged_state(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", data) == 0
    good, config = (tmp_path / "run" / "resume.ckpt").read_bytes(), (tmp_path / "run" / "config.json").read_text()
    capsys.readouterr()
    for file, content, part in (
        ("resume.ckpt", good[:2000], "resume.ckpt is damaged; begin again with --overwrite true"),
        ("config.json", b"{", "config.json: cannot be read"),
    ):
        (tmp_path / "run" / file).write_bytes(content)
        before = runs.listing(tmp_path)
        assert train(tmp_path / "run", data, "--resume") == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and part in shown
        assert runs.listing(tmp_path) == before
        (tmp_path / "run" / "resume.ckpt").write_bytes(good)
        (tmp_path / "run" / "config.json").write_text(config)


def test_overwriting_clears_the_old_run(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, "--num_iter 5") == 0
    (tmp_path / "run" / ".model.safetensors.1.tmp").write_bytes(b"half")
    assert train(tmp_path / "run", data, "--num_iter 2 --overwrite") == 0
    assert [row["step"] for row in metrics(tmp_path / "run")] == ["0", "1", "2"]
    assert len(list((tmp_path / "run" / "tensorboard").glob("events*"))) == 1
    assert not list((tmp_path / "run").glob(".*.tmp"))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["num_iter"], config["overwrite"], config["resume"]) == (2, False, False)
