"""Pickles of strangers, read without running their code.

A pickle runs code by calling a global. Here no other globals are found than
those that make arrays, tensors and what MMEngine saves.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

#: Methods that checkpoints of MMEngine's Runner name, as (class, method).
_checkpoint_methods = set()


def allow_methods(owner: type, *names: str) -> None:
    """Let checkpoints name methods of a class."""
    _checkpoint_methods.update((owner, name) for name in names)


def _checkpoint_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, which could reach anything, in checkpoints."""
    if not isinstance(owner, type) or (owner, name) not in _checkpoint_methods:
        raise pickle.UnpicklingError(
            f'Unsupported global: GLOBAL getattr({owner!r},{name!r}) was not an allowed global'
        )
    return getattr(owner, name)


def _array_makers() -> Iterator[tuple[str, str, Callable]]:
    """Yield module, name and function of what makes NumPy's arrays and scalars."""
    for value in (np.empty(0), np.float64(0)):
        function = value.__reduce__()[0]
        for package in ('numpy.core', 'numpy._core'):  # NumPy 1 and 2
            yield f'{package}.multiarray', function.__name__, function


def checkpoint_globals() -> list:
    """Return the globals, beyond torch's own, in checkpoints of MMEngine's Runner.

    ``HistoryBuffer`` comes from the message hub and names its methods; NumPy
    arrays and scalars come from it, from the best score and ``dataset_meta``.

    Returns:
        list: For ``torch.serialization.add_safe_globals``.
    """
    from mmengine.logging import HistoryBuffer

    allow_methods(HistoryBuffer, 'min', 'max', 'mean', 'current')
    number_types = '?' + np.typecodes['AllInteger'] + np.typecodes['Float']
    allowed = [HistoryBuffer, np.ndarray, np.dtype]
    allowed += {type(np.dtype(code)) for code in number_types}
    allowed.append((_checkpoint_method, 'builtins.getattr'))
    # a function is known to pickle by its path, which NumPy 2 has changed
    allowed += [(function, f'{module}.{name}') for module, name, function in _array_makers()]
    return allowed


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for ``codecs.encode``, which knows other codecs, too."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'encoding {encoding}')
    return text.encode(encoding)


def _load_storage(content: bytes):
    """Stand in for torch's own, which would unpickle anything."""
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


class _DumpUnpickler(pickle.Unpickler):
    """Unpickler of arrays, tensors, numbers, strings and containers."""

    def __init__(self, file: BinaryIO) -> None:
        import torch

        super().__init__(file)
        self._allowed = {
            ('_codecs', 'encode'): _encode,
            ('collections', 'OrderedDict'): OrderedDict,
            ('numpy', 'dtype'): np.dtype,
            ('numpy', 'ndarray'): np.ndarray,
            ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
            ('torch.storage', '_load_from_bytes'): _load_storage,
        }
        for module, name, function in _array_makers():
            self._allowed[module, name] = function

    def find_class(self, module: str, name: str) -> Any:
        """Find one of the allowed globals alone."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f'it refers to {module}.{name}') from None


def load_dump(file: BinaryIO) -> Any:
    """Unpickle data samples that ``tools/test.py --dump`` wrote.

    Args:
        file (BinaryIO): The open file.

    Raises:
        pickle.UnpicklingError: If it refers to any other global.
    """
    return _DumpUnpickler(file).load()
