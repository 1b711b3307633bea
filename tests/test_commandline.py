"""What a user may type, and the one line that answers what is wrong."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from noisemodel import commandline
from noisemodel.commandline import REQUIRED, argument, option
from noisemodel.errors import InputError


@dataclass(frozen=True)
class Training:
    network: Literal["noUnet", "Unet"] = option("noUnet", "the learned part")
    batch_size: int = option(1, "images per step (100% of them differ)")
    lr: float = option(1e-4, "learning rate")
    nodes: int = option(1, "machines", aliases=("-n",))
    gpus: int = option(1, "devices per machine; 0 is CPU", aliases=("-g",))
    nr: int = option(0, "rank of this machine", aliases=("-nr",))
    data_root: Path = option(Path("data"), "input folder")
    save_path: Path | None = option(None, "output folder")
    preset: Literal["demo", "published"] | None = option(None, "a row of the table of presets")
    notes: str = option("", "kept in the config")
    resume: bool = option(False, "continue the run")
    fix: tuple[str, ...] = option((), "parameters held, NAME=VALUE")
    weights: tuple[float, ...] = option((1.0, 0.5), "weights of the losses")


@dataclass(frozen=True)
class Copying:
    checkpoint: Path = argument("the model")
    images: tuple[Path, ...] = argument("clean pictures")
    out: Path = option(REQUIRED, "output folder", aliases=("-o",))
    seed: int = option(0, "names the noise")

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"--seed must not be negative, got {self.seed}")


def parse(*argv, config_class=Training):
    return commandline.parse(config_class, argv, description="Learn a camera's noise.")


def complaint(capsys, *argv, config_class=Training) -> str:
    """The one line on stderr, without the program's name."""
    with pytest.raises(SystemExit) as stop:
        parse(*argv, config_class=config_class)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.endswith("\n")
    program, error = captured.err.rstrip("\n").split(": error: ", 1)
    assert " " not in program
    return error


def test_defaults_are_the_dataclass_defaults():
    assert parse() == Training()


def test_every_kind_of_value():
    words = "--network Unet --batch_size 4 --lr 1e-3 --save_path runs/a --preset demo --notes 1e3 --resume true"
    expected = Training(
        network="Unet", batch_size=4, lr=1e-3, save_path=Path("runs/a"), preset="demo", notes="1e3", resume=True
    )
    assert parse(*words.split()) == expected


def test_short_names():
    assert parse("-n", "2", "-g", "0", "-nr", "1") == Training(nodes=2, gpus=0, nr=1)
    assert parse("--nodes=2", "--gpus=0", "--nr=1") == Training(nodes=2, gpus=0, nr=1)


def test_list_of_values():
    config = parse("--fix", "shot.gain=0.42DN", "read.std=2e-", "--weights", "2", "1e-3", "--lr", "1")
    assert config == Training(fix=("shot.gain=0.42DN", "read.std=2e-"), weights=(2.0, 1e-3), lr=1.0)


@pytest.mark.parametrize(
    ("words", "value"),
    [("--resume", True), ("--resume true", True), ("--resume False", False), ("--resume=false", False)],
)
def test_bool_is_read_not_judged_by_its_length(words, value):
    assert parse(*words.split()).resume is value


def test_optional_can_be_taken_back(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("preset: demo\n")
    assert parse("--config", str(file), "--preset", "null").preset is None


def test_positionals_and_required():
    expected = Copying(checkpoint=Path("m"), images=(Path("a.png"), Path("b.png")), out=Path("x"))
    assert parse("m", "a.png", "b.png", "-o", "x", config_class=Copying) == expected
    assert parse("-o", "x", "m", "a.png", "b.png", config_class=Copying) == expected


@pytest.mark.parametrize("where", ["before", "after"])
def test_flags_win_over_the_file(tmp_path, where):
    file = tmp_path / "config.yaml"
    file.write_text("batch_size: 8\nlr: 1e-2\nfix: [shot.gain=1DN]\n")
    words = ["--config", str(file)]
    words = [*words, "--lr", "1"] if where == "after" else ["--lr", "1", *words]
    assert parse(*words) == Training(batch_size=8, lr=1.0, fix=("shot.gain=1DN",))


@pytest.mark.parametrize(
    "config",
    [
        Training(save_path=Path("runs/a"), fix=("a=1",), resume=True, preset="published", notes="true"),
        Copying(checkpoint=Path("m"), images=(Path("a"),), out=Path("o"), seed=3),
    ],
)
def test_the_stored_config_is_read_back(tmp_path, config):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(commandline.to_dict(config), indent=2))
    assert parse("--config", str(file), config_class=type(config)) == config


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("--bach_size 3", "unknown option --bach_size; did you mean --batch_size?"),
        ("--batch-size=3", "unknown option --batch-size; did you mean --batch_size?"),
        ("--batch 3", "unknown option --batch; did you mean --batch_size?"),
        ("-x", "unknown option -x; --help lists the options"),
        ("extra", "unexpected argument 'extra'"),
        ("--batch_size x", "--batch_size must be a whole number, got 'x'"),
        ("--batch_size 2.5", "--batch_size must be a whole number, got '2.5'"),
        ("--batch_size True", "--batch_size must be a whole number, got 'True'"),
        ("--lr fast", "--lr must be a number, got 'fast'"),
        ("--resume maybe", "--resume must be true or false, got 'maybe'"),
        ("--network unet", "--network must be one of noUnet, Unet, got 'unet'"),
        ("--preset x", "--preset must be one of demo, published or null, got 'x'"),
        ("--weights 1 a", "--weights must be a number, got 'a'"),
        ("--nodes", "argument --nodes/-n: expected one argument"),
        ("--config", "argument --config: expected one argument"),
        ("--config nowhere.yaml", "--config: No such file or directory: nowhere.yaml"),
    ],
)
def test_bad_words(capsys, words, error):
    assert complaint(capsys, *words.split()).startswith(error)


def test_what_is_missing_is_named(capsys):
    assert complaint(capsys, config_class=Copying) == "missing: checkpoint, images, --out"
    assert complaint(capsys, "m", "-o", "x", config_class=Copying) == "missing: images"


def test_the_config_checks_itself(capsys):
    assert (
        complaint(capsys, "m", "a", "-o", "x", "--seed=-1", config_class=Copying)
        == "--seed must not be negative, got -1"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("bach_size: 3", "unknown option 'bach_size'; did you mean batch_size?"),
        ("batch_size: true", "--batch_size must be a whole number, got 'True'"),
        ("batch_size: '4.5'", "--batch_size must be a whole number, got '4.5'"),
        ("network: unet", "--network must be one of noUnet, Unet, got 'unet'"),
        ("fix: shot.gain=1", "fix must be a list, got 'shot.gain=1'"),
        ("weights: [1, a]", "--weights must be a number, got 'a'"),
        ("- a\n- b", "must hold option names and values, got list"),
        ("batch_size: [", "is neither YAML nor JSON"),
        ("\x00", "is neither YAML nor JSON"),
    ],
)
def test_bad_file(capsys, tmp_path, text, error):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert error in complaint(capsys, "--config", str(file))


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Learn a camera's noise." in shown
    assert "images per step (100% of them differ) (default: 1)" in shown
    assert "{noUnet,Unet}" in shown and "{demo,published}" in shown and '(default: "data")' in shown
    assert "(default: null)" in shown and "-nr" in shown and "(default: false)" in shown
    assert "(default: [1.0, 0.5])" in shown and "(default: [])" in shown


@pytest.mark.parametrize(
    ("raised", "code", "error"),
    [
        (None, 0, ""),
        (
            InputError("white level must exceed black level,\n got 1 <= 2 DN"),
            2,
            "white level must exceed black level, got 1 <= 2 DN",
        ),
        (FileNotFoundError(2, "No such file or directory", "a.png"), 2, "No such file or directory: a.png"),
        (IsADirectoryError(21, "Is a directory", "runs"), 2, "Is a directory: runs"),
        (PermissionError(13, "Permission denied", "x"), 2, "Permission denied: x"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_code_and_line(capsys, raised, code, error):
    def program(config: Training) -> None:
        assert config.batch_size == 2
        if raised is not None:
            raise raised

    assert commandline.run(program, Training, "Learn.", ["--batch_size", "2"]) == code
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == bool(error) and stderr.rstrip("\n").endswith(error)


def test_a_mistake_of_ours_keeps_its_traceback():
    def program(config: Training) -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        commandline.run(program, Training, "Learn.", [])
