"""Say how to install MMPose where it is missing, which pip alone cannot."""

import sys

#: As measured to work together (constraints.txt).
OPENMMLAB = (
    'mmcv-lite==2.1.0',
    'mmdet==3.3.0',
    'mmengine==0.10.7',
    'mmpose==1.3.2',
    'mmpretrain==1.2.0',
)


class _HintFinder:
    """Stand last on ``sys.meta_path``: asked for what no one else has found."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        # importlib.util.find_spec, which only looks whether it is there, gets None
        importer = sys._getframe(2).f_code.co_name
        if fullname in ('mmcv', 'mmengine', 'mmpose') and importer == '_find_and_load_unlocked':
            raise ModuleNotFoundError(
                f'No module named {fullname!r}; to install MMPose: '
                f"pip install 'lpn-mmpose[mmpose]' && pip install --no-deps {' '.join(OPENMMLAB)}",
                name=fullname,
            )
        return None


def install() -> None:
    """Put the hint in place; calling it again changes nothing."""
    if _HintFinder not in sys.meta_path:
        sys.meta_path.append(_HintFinder)
