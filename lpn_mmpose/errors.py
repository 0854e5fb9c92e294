"""How tools and commands say that something given to them is unusable."""

import sys
from typing import NoReturn


class InputError(ValueError):
    """A file or value that the user gave cannot be used."""


def fail(error: Exception | str, status: int = 2) -> NoReturn:
    """End the program with the error as one line and exit status 2, or another."""
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    sys.exit(status)
