"""Functions that run when another package is imported, not before."""

import sys
from collections.abc import Callable
from types import ModuleType

Hook = Callable[[ModuleType], None]


class _PostImportFinder:
    """Run hooks on modules right after they are imported.

    It stands first on ``sys.meta_path``, lets the other finders find the
    module, and extends its loader's ``exec_module``.
    """

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self.hooks:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._extend(spec.loader, self.hooks[fullname])
                return spec
        return None

    @staticmethod
    def _extend(loader, hooks: list[Hook]) -> None:

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # the class's own is seen again
            loader.exec_module(module)
            for hook in hooks:
                hook(module)

        loader.exec_module = exec_module


_finder = _PostImportFinder()


def when_imported(name: str, hook: Hook) -> None:
    """Call ``hook(module)`` once the module ``name`` is there.

    At once if it is already imported, else right after its import and before
    the importer sees it. A hook that is already registered is left alone.

    Args:
        name (str): Full name of the module.
        hook (Callable): Takes the module, changes it in place.
    """
    hooks = _finder.hooks.setdefault(name, [])
    if hook in hooks:
        return
    hooks.append(hook)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    if name in sys.modules:
        hook(sys.modules[name])
