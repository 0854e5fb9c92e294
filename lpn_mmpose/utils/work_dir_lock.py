"""One training at a time in a work directory."""

import os
import os.path as osp
import socket
import time
import warnings
from glob import escape, glob

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: The lock file's name in a work directory.
LOCK = '.lock'

#: Files of the locks that this process holds: closing one would give it up.
_held: dict[str, object] = {}


def lock_work_dir(work_dir: str) -> None:
    """Take a work directory for this process, until it ends.

    The operating system holds the lock and gives it up when the process ends,
    also by ``kill -9``; the file says who has it. Children do not inherit it,
    so that data workers that outlive a killed training do not keep it.

    Args:
        work_dir (str): Made if it is not there.

    Raises:
        InputError: If another process has it, or it cannot be written.
    """
    path = osp.abspath(osp.join(work_dir, LOCK))
    if path in _held:
        return
    try:
        os.makedirs(work_dir, exist_ok=True)
        file = open(path, 'a+')  # noqa: SIM115, it stays open as long as the process
    except OSError as error:
        raise InputError(
            f'work directory {work_dir} cannot be written ({error.strerror}); '
            'give another --work-dir'
        ) from error
    try:
        if fcntl is not None:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        owner = file.read().strip() or 'another process'
        file.close()
        raise InputError(
            f'work directory {work_dir} is in use by {owner}; wait for it or stop it, '
            'or give another --work-dir'
        ) from None
    except OSError as error:  # a file system without locks
        warnings.warn(f'{path} cannot be locked: {error}', stacklevel=2)
    file.truncate(0)
    started = time.strftime('%Y-%m-%d %H:%M:%S')
    file.write(f'process {os.getpid()} on {socket.gethostname()}, started {started}\n')
    file.flush()
    _held[path] = file
    # what killed processes had begun to write
    for partial in glob(osp.join(escape(work_dir), '.*.partial')):
        os.remove(partial)
