"""Judge models: how well generated noise matches real noise, and how well noise is removed."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """A row of the table: the module whose ``main(words)`` runs it, and what it does."""

    module: str
    about: str


COMMANDS: dict[str, Command] = {
    "noise": Command("evaluate_noise", "generated against real noise, on bursts"),
    "sidd-noise": Command("evaluate_sidd", "generated against real noise on SIDD, per phone and ISO"),
    "sidd-denoise": Command("evaluate_sidd_denoise", "PSNR and SSIM on SIDD's validation blocks; benchmark submission"),
    "compare": Command("evaluate_compare", "two sources of noise, or real frames, side by side on the same images"),
    "nrgan": Command("evaluate_nrgan", "a trained NR-GAN: distances to the clean images, its noise against the truth"),
    "nrgan-denoise": Command("evaluate_nrgan_denoise", "GN2GC: a denoiser trained on what a trained NR-GAN generates"),
    "denoise": Command("evaluate_denoise", "PSNR and SSIM of trained denoisers on pairs of noisy and clean images"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first word names; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<13} {command.about}" for name, command in COMMANDS.items())
        print(f"usage: evaluate.py COMMAND [options]\n\n{__doc__}\n\ncommands:\n{rows}\n\nevaluate.py COMMAND --help")
        return 0
    if not words or words[0] not in COMMANDS:
        got = f"unknown command {words[0]!r}" if words else "no command"
        print(f"evaluate.py: error: {got}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    import_module("noisemodel")  # before torch
    return int(import_module(COMMANDS[words[0]].module).main(words[1:]))


if __name__ == "__main__":
    raise SystemExit(main())
