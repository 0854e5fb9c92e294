import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
#: Tools of a project, which only the repository has.
PROJECT_TOOLS = ('benchmark_inference.py', 'speed_accuracy.py')
#: What OpenMMLab's ``mim`` and ``_base_ = 'lpn_mmpose::...'`` look for.
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Put configs, tools and the model index into ``lpn_mmpose/.mim``.

    A wheel carries copies, an editable install has links to the checkout.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            mim = ROOT / 'lpn_mmpose' / '.mim'
            mim.mkdir(exist_ok=True)
            for name in MIM_FILES:
                link = mim / name
                if not link.exists():
                    link.unlink(missing_ok=True)
                    link.symlink_to(os.path.relpath(ROOT / name, mim))
            return
        mim = Path(self.build_lib) / 'lpn_mmpose' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_FILES:
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name,
                    mim / name,
                    ignore=shutil.ignore_patterns('__pycache__', *PROJECT_TOOLS),
                )
            else:
                shutil.copy(ROOT / name, mim / name)


setup(cmdclass=dict(build_py=BuildWithMim))
