"""Checkpoints that a killed process or a full disk cannot leave half written."""

import os
import os.path as osp
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import InputError


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """A :class:`mmengine.fileio.LocalBackend` that writes all or nothing.

    MMEngine writes a checkpoint in place, and after an evaluation with a new
    best result once more over the same file: a process killed at that moment
    leaves a broken file where the only good one was. It also removes the
    oldest checkpoint, or the best one, before it writes the new one; here it
    goes when that is whole. Switched on by
    ``default_hooks.checkpoint.backend_args=dict(backend='atomic')``.
    """

    #: What :meth:`remove` was asked for since the last :meth:`put`. MMEngine
    #: makes a backend for every call, hence one list for all.
    _outdated: set[str] = set()

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` beside ``filepath``, rename it, then remove the outdated.

        Args:
            obj (bytes): The content.
            filepath (str or Path): Where it goes. The folder is created if
                it does not exist.

        Raises:
            InputError: If it cannot be written; nothing is lost then.
        """
        folder, name = osp.split(filepath)
        partial = osp.join(folder, f'.{name}.{os.getpid()}.partial')
        try:
            os.makedirs(folder or '.', exist_ok=True)
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, filepath)
        except OSError as error:
            raise InputError(
                f'{filepath} cannot be written ({error.strerror}); those before it are whole: '
                'make room and go on with --resume'
            ) from error
        finally:
            if osp.exists(partial):
                os.remove(partial)
        while self._outdated:
            path = self._outdated.pop()
            if path != osp.abspath(filepath) and osp.isfile(path):
                os.remove(path)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file once the next one is written.

        Args:
            filepath (str or Path): The file.
        """
        self._outdated.add(osp.abspath(filepath))
