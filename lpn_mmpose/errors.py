"""How tools and commands say that something given to them is unusable."""

import sys
from typing import NoReturn


class InputError(ValueError):
    """A file or value that the user gave cannot be used."""


def fail(error: Exception) -> NoReturn:
    """End the program with exit code 2 and the error as one line."""
    print('error:', ' '.join(str(error).split()), file=sys.stderr)
    sys.exit(2)
