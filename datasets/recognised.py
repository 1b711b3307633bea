"""Which kind of data set lies in a folder, told from the names of its files."""

import os
import re
from pathlib import Path

from datasets.frames import FORMATS
from noisemodel.sensor.raw import RAW_SUFFIXES

SIDD_FOLDER = re.compile(r"\d{4}_\d{3}_[A-Z0-9]{2}_\d{5}_\d{5}_\d{4,5}_[A-Z]")


def dataset_in(folder: str | Path) -> str:
    """The word of --dataset for a folder: sidd (its scene folders), raw (raw files and no others), else bursts."""
    raw = False
    for _, folders, files in os.walk(folder):
        if any(map(SIDD_FOLDER.fullmatch, folders)):
            return "sidd"
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        endings = {os.path.splitext(name)[1].lower() for name in files if not name.startswith(".")}
        if not endings.isdisjoint(FORMATS):
            return "bursts"
        raw = raw or not endings.isdisjoint(RAW_SUFFIXES)
    return "raw" if raw else "bursts"


def dataset_of(dataset: str | None, folder: str | Path) -> tuple[str, str]:
    """``dataset``, or the word for the folder, and a line that says so where it was recognised as no bursts."""
    if dataset is not None:
        return dataset, ""
    found = dataset_in(folder)
    about = {
        "raw": f"{folder} holds raw files: read as --dataset raw, with the levels and colours that they state",
        "sidd": f"{folder} holds SIDD's scene folders: read as --dataset sidd",
    }
    return found, about.get(found, "")
