"""What happens at a bad file of a large data set: an error, or a line and on with the rest."""

import sys
from collections.abc import Callable

from noisemodel.errors import InputError

Complain = Callable[[InputError], None]


def complain_by(skip: bool, warn: Callable[[str], None] | None) -> Complain:
    """A function that takes the error of a bad file: it raises it, or, with ``skip``, says that the file is left out.

    Args:
        skip: whether bad files are left out.
        warn: takes the line; without it the line goes to stderr.
    """

    def complain(error: InputError) -> None:
        if not skip:
            raise error
        line = f"left out: {error}"
        if warn is None:
            print(line, file=sys.stderr)
        else:
            warn(line)

    return complain
