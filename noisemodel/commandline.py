"""The one way programs read their options: a frozen dataclass is the config; command line and file are views of it."""

import argparse
import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from noisemodel.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
REQUIRED: Any = dataclasses.MISSING
UNUSABLE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)  # also where no path is named
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def option(default: Any, help: str, *, aliases: Sequence[str] = ()) -> Any:
    """A field read from ``--name VALUE``; a ``tuple[X, ...]`` takes many values, a bool may stand alone.

    Args:
        default: its value when not given; REQUIRED if it must be given.
        help: one line for ``--help``.
        aliases: other spellings, e.g. ``("-n",)``.
    """
    return dataclasses.field(default=default, kw_only=True, metadata={"help": help, "flags": tuple(aliases)})


def argument(help: str) -> Any:
    """A field read from its place on the command line; a ``tuple[X, ...]`` takes one or more."""
    return dataclasses.field(kw_only=True, metadata={"help": help})


Presets = Mapping[str, Mapping[str, Any]]


def parse(
    config_class: type[Config], argv: Sequence[str] | None = None, *, description: str, presets: Presets | None = None
) -> Config:
    """Read a config from the command line, and from the file that ``--config`` names; flags win over the file.

    Args:
        config_class: a frozen dataclass whose fields come from ``option`` and ``argument``.
        argv: the words after the program's name; ``sys.argv[1:]`` if None.
        description: what the program does, for ``--help``.
        presets: settings by the name that the option ``--preset`` takes; a file and flags win over them.
    Returns: the config, each field checked against its annotation.
    Raises: SystemExit(2) after one line on stderr for bad input, SystemExit(0) after ``--help``.
    """
    hints = get_type_hints(config_class)
    flags = {f.name: _flags(f) or (f.name,) for f in dataclasses.fields(config_class)}
    try:
        words = _file_first(sys.argv[1:] if argv is None else argv, hints)
        parser = _parser(config_class, hints, description)
        found = parser.parse_args(words)
        if presets and found["preset"] is not None:
            settings = presets[found["preset"]].items()
            first = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings]
            found = parser.parse_args([*first, *words])
        return config_class(**{name: tuple(v) if isinstance(v := found[name], list) else v for name in flags})
    except argparse.ArgumentError as error:
        _complain(_explain(str(error), hints, flags))
    except InputError as error:
        _complain(str(error))
    raise SystemExit(2)


def run(
    program: Callable[[Config], object],
    cls: type[Config],
    description: str,
    argv: Sequence[str] | None = None,
    presets: Presets | None = None,
) -> int:
    """Parse the options, call ``program(config)``, and put into one line what the user can put right.

    Returns: the exit code: 0; 2 for an InputError or a path that cannot be used; 130 when interrupted, 143 when
        terminated.
    """
    config = parse(cls, argv, description=description, presets=presets)
    try:
        program(config)
    except InputError as error:
        _complain(str(error))
    except OSError as error:
        if not error.filename and not isinstance(error, UNUSABLE):
            raise
        _complain(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt as stop:
        return 128 + (stop.args[0] if stop.args and isinstance(stop.args[0], int) else 2)  # the signal's number
    else:
        return 0
    return 2


def to_dict(config: "DataclassInstance") -> dict[str, Any]:
    """The config as JSON can hold it (paths as text, tuples as lists); ``--config`` reads it back."""
    return dict(json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def _complain(problem: str) -> None:
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(problem.split())}", file=sys.stderr)


def _flags(field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    return (f"--{field.name}", *field.metadata["flags"]) if "flags" in field.metadata else ()


def _parser(config_class: type[Config], hints: Mapping[str, Any], description: str) -> ArgumentParser:
    parser = ArgumentParser(Path(sys.argv[0]).name, description=description, exit_on_error=False, allow_abbrev=False)
    parser.formatter_class = argparse.HelpFormatter
    parser.add_argument("--config", metavar="FILE", action="config", help="YAML or JSON file of options; flags win")
    for field in dataclasses.fields(config_class):
        hint, flags, help = hints[field.name], _flags(field), field.metadata["help"]
        about: dict[str, Any] = {"type": hint}
        if get_origin(hint) is tuple:
            about = {"type": get_args(hint)[0], "nargs": "*" if flags else "+"}
        elif hint is bool:
            about |= {"nargs": "?", "const": True}
        elif choices := [choice for part in get_args(hint) for choice in get_args(part)]:
            about["metavar"] = "{" + ",".join(map(str, choices)) + "}"
        if flags and field.default is REQUIRED:
            about["required"], help = True, f"{help} (required)"
        elif flags:
            about["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
            help = f"{help} (default: {json.dumps(field.default, default=str)})"
        parser.add_argument(*(flags or [field.name]), help=help.replace("%", "%%"), **about)
    return parser


def _file_first(argv: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    """Check the keys of the ``--config`` files, and put these first, since jsonargparse lets the last word win."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", action="append", default=[])
    found, rest = finder.parse_known_args(argv)
    for path in found.config:
        try:
            content = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise InputError(f"--config: {error.strerror}: {path}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"--config: {path} is neither YAML nor JSON: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"--config: {path} must hold option names and values, got {type(content).__name__}")
        for key, value in content.items():
            if key not in hints:
                raise InputError(f"--config: {path}: unknown option {key!r}{_nearest(str(key), hints)}")
            if get_origin(hints[key]) is tuple and not isinstance(value, list):
                raise InputError(f"--config: {path}: {key} must be a list, got {value!r}")
    return [word for path in found.config for word in ("--config", path)] + rest


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else "; --help lists the options"


def _describe(hint: Any) -> str:
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, parts))
    if get_origin(hint) is tuple:
        return _describe(parts[0])
    return " or ".join(map(_describe, parts)) if parts else WORDS.get(hint, "null")


def _explain(message: str, hints: Mapping[str, Any], flags: Mapping[str, tuple[str, ...]]) -> str:
    """The message of jsonargparse as one line that says what would do."""
    if "surrogates not allowed" in message:
        return "a name on the command line is not UTF-8; rename the file or folder"
    if bad_value := re.match(r'Parser key "(\w+)".*(?:Got|Given) value: (.*)$', message, re.DOTALL):
        name, got = bad_value.groups()
        return f"{flags[name][0]} must be {_describe(hints[name])}, got {got!r}"
    if missing := re.match(r"the following arguments are required: (.*)$", message):
        return "missing: " + ", ".join(flags[name][0] for name in missing[1].split(", "))
    if unknown := re.match(r"unrecognized arguments: (.*)$", message, re.DOTALL):
        word = next((word.split("=")[0] for word in unknown[1].split() if word.startswith("-")), None)
        known = [flag for spellings in flags.values() for flag in spellings]
        return f"unknown option {word}{_nearest(word, known)}" if word else f"unexpected argument {unknown[1]!r}"
    return message
