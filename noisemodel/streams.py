"""Named random streams: the same (seed, purpose) gives the same numbers, whatever was drawn before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator seeded with blake2b(seed, purpose), e.g. ``stream(0, "train", step)``.

    Args:
        seed: the run's seed.
        purpose: names and numbers that say what is drawn and where, e.g. ``"validation", 3``.
        device: where the numbers are drawn; the same stream gives other numbers on another device type.
    Returns: a fresh ``torch.Generator``; nobody keeps one between steps.
    """
    name = "\x1f".join([str(int(seed)), *map(str, purpose)])
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let library layers, which draw their start weights from torch's global generator, draw from ``generator``.

    The global generator is as before when the block ends.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator.get_state())
        yield
