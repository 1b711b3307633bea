"""The one exception for what a user can put right."""


class InputError(ValueError):
    """Bad input from outside: one line that says what was wrong, what was got, and what would do.

    Library code raises it at the edge; every command turns it into that line on stderr and exit code 2.
    """
