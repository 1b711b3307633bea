"""Imports go one way (docs: the layout); read from the source, imports inside functions included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("noisemodel", "datasets", "nrgan", "denoisers")
LONGEST_FILE = 300

# What a unit of noisemodel may import of noisemodel. A unit without a row may import all but training.
GROUND = {"errors", "streams"}
PHYSICS = GROUND | {"sensor", "components", "families", "quantities", "pieces", "physical"}
MAY_IMPORT = {
    "errors": set(),
    "streams": set(),
    "commandline": {"errors"},
    "sensor": GROUND,
    "components": GROUND | {"sensor"},
    "families": GROUND | {"sensor", "pieces", "family_draws", "family_laws"},
    "family_draws": GROUND,
    "family_laws": GROUND | {"family_draws"},
    "networks": GROUND | {"sensor"},
    "quantities": GROUND | {"sensor", "components"},
    "pieces": set(),
    "physical": PHYSICS,
    "generator": PHYSICS | {"networks"},
}
ONLY_FOR_NOISEMODEL_AND_SCRIPTS = {"training", "legacy"}
TRAINERS = {"pytorch_lightning", "lightning"}
IMPORT_TRAINERS = {"training", "lightning_parts"}  # the game of noisemodel, and what nrgan's training shares with it


def imported_names(source: str, package: list[str]) -> Iterator[str]:
    """Absolute dotted names that a module imports; ``from a import b`` gives a.b, for b may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violation(importer: list[str], imported: list[str], scripts: set[str]) -> str | None:
    """Why the module ``importer`` may not import ``imported``, both as parts of a dotted name; None if it may."""
    room, unit = importer[0], importer[1] if len(importer) > 1 else ""
    target, target_unit = imported[0], imported[1] if len(imported) > 1 else ""
    if target in scripts:
        return "a package imports no root script"
    if room == "noisemodel" and target in TRAINERS and unit not in IMPORT_TRAINERS:
        return "only training and lightning_parts of noisemodel import pytorch_lightning"
    if target in PACKAGES and target not in (room, "noisemodel"):
        return "only root scripts join packages"
    if target != "noisemodel":
        return None
    if room != "noisemodel":
        return f"{target_unit} is not for other packages" if target_unit in ONLY_FOR_NOISEMODEL_AND_SCRIPTS else None
    if unit == target_unit:
        return None
    if unit in MAY_IMPORT and target_unit not in MAY_IMPORT[unit]:
        return f"noisemodel.{unit} may import {', '.join(sorted(MAY_IMPORT[unit])) or 'nothing'} of noisemodel"
    return "nothing in noisemodel imports its training" if target_unit == "training" else None


def violations(root: Path) -> list[str]:
    """One line per import of the packages under ``root`` that goes against the arrows."""
    scripts = {path.stem for path in root.glob("*.py")}
    found = []
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        package, module = parts[:-1], parts[:-1] if parts[-1] == "__init__" else parts
        for name in imported_names(path.read_text(), package):
            if reason := violation(module, name.split("."), scripts):
                found.append(f"{path.relative_to(root)} imports {name}: {reason}")
    return found


def test_imports_follow_the_arrows():
    assert violations(ROOT) == []


def test_files_are_short_enough_to_read():
    paths = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def write_tree(root: Path, file: str, source: str) -> None:
    (root / "viewnoise.py").write_text("import datasets, denoisers, nrgan, noisemodel.training\n")
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(source)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("noisemodel/sensor/levels.py", "from ..components import base"),
        ("noisemodel/sensor/__init__.py", "from ..physical import PhysicalNoise"),
        ("noisemodel/sensor/levels.py", "def read():\n    from noisemodel import physical"),
        ("noisemodel/components/base.py", "import noisemodel.physical"),
        ("noisemodel/components/base.py", "from .. import families"),
        ("noisemodel/components/base.py", "from noisemodel import stream"),
        ("noisemodel/families.py", "from .generator import NoiseGenerator"),
        ("noisemodel/physical.py", "from . import generator"),
        ("noisemodel/networks.py", "import noisemodel.generator as g"),
        ("noisemodel/generator.py", "from .checkpoint import load"),
        ("noisemodel/generator.py", "class A:\n    def f(self):\n        import pytorch_lightning.callbacks"),
        ("noisemodel/losses.py", "from pytorch_lightning import LightningModule"),
        ("noisemodel/checkpoint.py", "from .training import Trainer"),
        ("noisemodel/__init__.py", "from .training import Trainer"),
        ("noisemodel/training.py", "import datasets.simulated"),
        ("noisemodel/evaluation/report.py", "from denoisers import unet"),
        ("noisemodel/sources.py", "import viewnoise"),
        ("datasets/bursts.py", "from noisemodel.training import Trainer"),
        ("nrgan/training.py", "from noisemodel import legacy"),
        ("nrgan/training.py", "import datasets"),
        ("denoisers/unet.py", "import os, nrgan.networks"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path, file, source):
    write_tree(tmp_path, file, source)
    (found,) = violations(tmp_path)
    assert found.startswith(f"{file} imports ")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("noisemodel/sensor/__init__.py", "from .levels import Levels"),
        ("noisemodel/sensor/levels.py", "import math\nfrom ..errors import InputError\nfrom . import mosaic"),
        ("noisemodel/components/base.py", "from noisemodel.sensor.levels import Levels\nfrom ..streams import stream"),
        ("noisemodel/generator.py", "from .networks import UNet\nfrom .physical import PhysicalNoise"),
        ("noisemodel/checkpoint.py", "from .generator import NoiseGenerator\nfrom . import legacy"),
        ("noisemodel/training.py", "import pytorch_lightning as pl\nfrom .losses import gradient_penalty"),
        ("noisemodel/__init__.py", "from .checkpoint import load, save\nfrom .streams import stream"),
        ("nrgan/training.py", "import pytorch_lightning\nfrom noisemodel import stream\nfrom .legacy import read"),
        (
            "datasets/simulated.py",
            "import noisemodel\nfrom noisemodel.physical import PhysicalNoise\nfrom . import bursts",
        ),
    ],
)
def test_a_right_import_passes(tmp_path, file, source):
    write_tree(tmp_path, file, source)
    assert violations(tmp_path) == []
