"""Words of a command line that choose among SIDD's images."""

from noisemodel.errors import InputError


def asked_cameras(text: str | None) -> tuple[str, ...]:
    """Phones joined with commas, as a command line has them."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def asked_isos(text: str | None) -> tuple[int, ...]:
    """ISOs joined with commas; raises InputError for anything else."""
    words = [] if text is None else text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise InputError(f"--iso must be whole numbers joined with commas, such as 100,800, got {text!r}")
    return tuple(map(int, words))
