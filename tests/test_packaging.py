"""The files that set a machine up agree with each other."""

import importlib.metadata
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

import noisemodel

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in PYPROJECT["project"]["optional-dependencies"].items()
}
PINNED_BY_TORCH = re.compile("nvidia-|cuda-|triton")


def pins(lines: list[str]) -> dict[str, str]:
    """The ``name==version`` lines as {canonical name: version}."""
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text().splitlines())


def installed_closure(requirements: list[Requirement]) -> set[str]:
    """Names of the installed packages that the requirements bring, at any depth."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, deeper) for deeper in ("", *needed.extras)]
    return found


def test_the_version_is_told_once():
    assert noisemodel.__version__ == PYPROJECT["project"]["version"]


def test_torch_is_the_version_that_was_tried():
    assert CONSTRAINTS["torch"] == "2.13.0"


@pytest.mark.parametrize("requirement", [*RUNTIME, *(r for group in EXTRAS.values() for r in group)], ids=str)
def test_each_direct_dependency_is_pinned_within_its_bound(requirement):
    assert requirement.specifier
    assert requirement.specifier.contains(CONSTRAINTS[canonicalize_name(requirement.name)])


def test_each_package_an_install_brings_is_pinned():
    brought = {name for name in installed_closure([*RUNTIME, *EXTRAS["test"]]) if not PINNED_BY_TORCH.match(name)}
    assert brought - CONSTRAINTS.keys() == set()


def test_environment_is_in_step_with_constraints():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    listed = pins(pip["pip"])
    assert python == "python=3.11" and PYPROJECT["project"]["requires-python"] == ">=3.11"
    assert listed.keys() == {canonicalize_name(requirement.name) for requirement in [*RUNTIME, *EXTRAS["test"]]}
    assert listed.items() <= CONSTRAINTS.items()
    assert pip["pip"][0] == "-c constraints.txt" and pip["pip"][-1] == "-e ."


def test_the_wheel_leaves_datasets_out():
    packages = find_packages(str(ROOT), **PYPROJECT["tool"]["setuptools"]["packages"]["find"])
    assert "noisemodel" in packages
    assert {package.split(".")[0] for package in packages} <= {"noisemodel", "nrgan", "denoisers"}


def test_our_datasets_comes_before_an_installed_one():
    assert (ROOT / "datasets" / "__init__.py").is_file()  # a folder without it loses to any installed package


def test_console_commands_are_shipped_modules():
    targets = {target.split(":")[0] for target in PYPROJECT["project"]["scripts"].values()}
    assert targets <= set(PYPROJECT["tool"]["setuptools"]["py-modules"])
    assert [name for name in sorted(targets) if not (ROOT / f"{name}.py").is_file()] == []


def test_the_documented_commands_exist():
    targets = re.findall(r"^([\w.-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= told <= set(targets)


def test_ci_runs_the_tests_as_a_user_does():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text().splitlines()
