"""SIDD (Abdelhamed 2018): five phones, ten scenes, noisy and clean images of each; Small, Medium and Full.

https://www.eecs.yorku.ca/~kamel/sidd/. Every phone and ISO is a data set of its own: a camera at one setting.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from datasets.burst import Burst, BurstSet
from datasets.frames import Frames
from datasets.mat73 import open_mat73_image
from datasets.mat_errors import Complain, complain_by
from datasets.sidd_index import Instance, find_instances
from datasets.sidd_metadata import CFA_OF_PHONE, Metadata, read_metadata
from datasets.sidd_srgb import WHITE, open_png
from datasets.stacks import JoinedStack, Stack
from noisemodel.errors import InputError
from noisemodel.sensor import Levels
from noisemodel.sensor.noise_profile import NoiseProfile

__all__ = ["Instance", "Metadata", "find_instances", "load_sidd", "load_sidd_group", "read_metadata"]

RAW_LEVELS, SRGB_LEVELS = Levels(0.0, 1.0, clip=(0.0, 1.0)), Levels(0.0, WHITE, clip=(0.0, 1.0))
# Side of the three crops by which two ground truths are compared [image pixels].
_COMPARED = 32


def load_sidd(
    root: str | Path,
    *,
    cameras: Sequence[str] = (),
    iso: Sequence[int] = (),
    split: str | Path | None = None,
    part: str | None = None,
    skip_bad_files: bool = False,
    srgb: bool = False,
    warn: Callable[[str], None] | None = None,
) -> list[BurstSet]:
    """Open SIDD's images, one set per phone and ISO, named "sidd/S6/3200".

    An instance is a burst of the frames that are there, with the GT image as its truth; frames whose GT images differ
    are bursts of their own. Only headers are read here; pixels are read by crop.

    Args:
        root, cameras, iso, split, part: as `find_instances`.
        skip_bad_files: warn of a bad file and go on without its frame.
        srgb: the PNG pairs, as planes R, G, B, instead of raw mosaics.
        warn: takes one line for each file left out; without it they go to stderr.
    Raises: InputError if nothing is found, or a file is missing, damaged or of the wrong kind.
    """
    complain = complain_by(skip_bad_files, warn)
    groups: dict[tuple[str, int], list[Instance]] = {}
    for instance in find_instances(root, cameras=cameras, iso=iso, split=split, part=part):
        groups.setdefault((instance.phone, instance.iso), []).append(instance)
    sets = [_group(*key, groups[key], srgb, complain) for key in sorted(groups)]
    left = [found for found in sets if found is not None]
    if not left:
        raise InputError(f"every instance of {root} that was asked for has a bad file; fetch the data set again")
    return left


def load_sidd_group(
    root: str | Path,
    *,
    cameras: Sequence[str] = (),
    iso: Sequence[int] = (),
    split: str | Path | None = None,
    part: str | None = None,
    skip_bad_files: bool = False,
) -> BurstSet:
    """Open the raw images of one phone at one ISO; arguments as `load_sidd`.

    Raises: InputError as `load_sidd`, and if more than one phone and ISO is meant.
    """
    found = find_instances(root, cameras=cameras, iso=iso, split=split, part=part)
    groups = sorted({(instance.phone, instance.iso) for instance in found})
    if len(groups) > 1:
        names = ", ".join(f"{phone}/{number}" for phone, number in groups)
        raise InputError(f"one phone and one ISO make a data set, {root} has {names}; give --cameras and --iso")
    (only,) = load_sidd(root, cameras=cameras, iso=iso, split=split, part=part, skip_bad_files=skip_bad_files)
    return only


def _group(phone: str, iso: int, instances: Sequence[Instance], srgb: bool, complain: Complain) -> BurstSet | None:
    """The bursts of one phone at one ISO; None if no file is good."""
    bursts: list[Burst] = []
    cfa = None if srgb else CFA_OF_PHONE.get(phone)
    stated: NoiseProfile | None = None
    for instance in instances:
        try:
            if not srgb:
                metadata = _checked_metadata(instance, cfa)
                cfa, stated = metadata.cfa, stated or _stated_noise(metadata)
            bursts += _bursts(instance, srgb, complain)
        except InputError as error:
            complain(error)
    layout, levels = ("planes", SRGB_LEVELS) if srgb else ("mosaic", RAW_LEVELS)
    name = f"sidd/{phone}/{iso}"
    return BurstSet(name, levels, layout, cfa, tuple(bursts), stated_noise=stated) if bursts else None


def _stated_noise(metadata: Metadata) -> NoiseProfile | None:
    """What the phone claims; None without a claim, or where its numbers make no profile."""
    try:
        return NoiseProfile(metadata.noise_profile) if metadata.noise_profile else None
    except InputError:
        return None


def _checked_metadata(instance: Instance, known: str | None) -> Metadata:
    """The metadata of an instance.

    Raises: InputError if they are bad, or contradict what is known of the phone.
    """
    path = instance.file("METADATA", instance.frames[0])
    found = read_metadata(path)
    if known is not None and found.cfa != known:
        raise InputError(
            f"{path} says {found.cfa}, but the mosaic of {instance.phone} is {known}; is it in its own folder?"
        )
    return found


def _bursts(instance: Instance, srgb: bool, complain: Complain) -> list[Burst]:
    """One burst, or one per ground truth where the frames have different ones."""
    pairs = []
    for frame in instance.frames:
        try:
            pairs.append((frame, *_pair(instance, frame, srgb)))
        except InputError as error:
            complain(error)
    truths = [_fingerprint(truth) if len(pairs) > 1 else b"" for _, _, truth in pairs]
    bursts = []
    for print_ in dict.fromkeys(truths):
        same = [pair for pair, found in zip(pairs, truths, strict=True) if found == print_]
        one_truth = len(same) == len(pairs)
        name = instance.folder.name if one_truth else f"{instance.folder.name}/{same[0][0]:03d}"
        noisy = JoinedStack.of([stack for _, stack, _ in same])
        truth = Frames(same[0][2].path, same[0][2], {})
        layout, levels = ("planes", SRGB_LEVELS) if srgb else ("mosaic", RAW_LEVELS)
        bursts.append(Burst(name, "scene", Frames(noisy.path, noisy, {}), layout, levels, truth_source=truth))
    return bursts


def _pair(instance: Instance, frame: int, srgb: bool) -> tuple[Stack, Stack]:
    """The noisy image of a frame and its ground truth.

    Raises: InputError if one is bad, or they differ in size.
    """
    space, opener = ("SRGB", open_png) if srgb else ("RAW", open_mat73_image)
    noisy, truth = (opener(instance.file(kind, frame, space)) for kind in ("NOISY", "GT"))
    height, width = noisy.shape[-2:]
    if truth.shape != noisy.shape:
        found = "x".join(map(str, truth.shape[-2:]))
        raise InputError(f"{truth.path} is {found}, but {noisy.path} is {height}x{width}; fetch both again")
    if not srgb and (height % 2 or width % 2):
        raise InputError(f"a mosaic has even height and width, {noisy.path} has {height}x{width}; fetch it again")
    return noisy, truth


def _fingerprint(image: Stack) -> bytes:
    """A digest of three crops along the diagonal and of the size."""
    height, width = image.shape[-2:]
    digest = blake2b(str(image.shape).encode(), digest_size=16)
    frames = Frames(image.path, image, {})
    for place in (0.25, 0.5, 0.75):
        top, left = int(place * height), int(place * width)
        crop = frames.read([0], slice(top, top + _COMPARED), slice(left, left + _COMPARED))
        digest.update(np.ascontiguousarray(crop).tobytes())
    return digest.digest()
