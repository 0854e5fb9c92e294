"""Our models and configs, findable by name from MMPose and MMEngine.

After ``import lpn_mmpose``, ``MMPoseInferencer(pose2d=NAME)`` knows the names
and aliases in our ``model-index.yml``, and MMEngine knows
``_base_ = 'lpn_mmpose::...'``.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..utils.import_hooks import when_imported

PACKAGE_DIR = Path(__file__).resolve().parents[1]
SCOPE = PACKAGE_DIR.name


def mim_root() -> Path:
    """Folder that holds ``configs/``, ``tools/`` and ``model-index.yml``.

    ``lpn_mmpose/.mim`` of an installed wheel, the top of the repository in a
    checkout.

    Raises:
        FileNotFoundError: If there is no model index in either.
    """
    folders = (PACKAGE_DIR / '.mim', PACKAGE_DIR.parent)
    for folder in folders:
        if (folder / 'model-index.yml').is_file():
            return folder
    raise FileNotFoundError(
        f'model-index.yml is neither in {folders[0]} nor in {folders[1]}: '
        'the installation of lpn_mmpose is incomplete, install it again'
    )


def metafiles() -> Iterator[dict]:
    """Read the metafiles that our model index names, in its order.

    Yields:
        dict: ``Models`` and, where there are any, ``Collections``, as
        OpenMMLab's metafiles have them.
    """
    from mmengine.fileio import load

    root = mim_root()
    for path in load(root / 'model-index.yml')['Import']:
        yield load(root / path)


def find_model(name: str) -> tuple[str, str] | None:
    """Look a model up in our model index.

    Args:
        name (str): ``Name`` or one of ``Alias`` in a metafile, in any case.

    Returns:
        tuple[str, str], optional: Path of its config, and path or URL of its
        weights. A relative path in the metafile is taken from the folder that
        holds the package. None if there is no such model.

    Raises:
        FileNotFoundError: If the model has no weights here.
    """
    root = mim_root()
    for model in (m for content in metafiles() for m in content['Models']):
        aliases = model.get('Alias', [])
        aliases = [aliases] if isinstance(aliases, str) else aliases
        if name.lower() not in (n.lower() for n in (model['Name'], *aliases)):
            continue
        config = str(root / model['Config'])
        weights = model.get('Weights')
        weights = weights[0] if isinstance(weights, list) else weights
        if weights and '://' in weights:
            return config, weights
        path = PACKAGE_DIR.parent / (weights or '')
        if not path.is_file():
            missing = f'{path} is missing' if weights else 'none are published'
            raise FileNotFoundError(
                f"No weights for model '{model['Name']}': {missing}. To use "
                f'weights of your own, give its config {config} and them: '
                'MMPoseInferencer(pose2d=CONFIG, pose2d_weights=WEIGHTS)'
            )
        return config, str(path)
    return None


def install() -> None:
    """Make our models and configs known; a second call changes nothing."""
    when_imported('mmengine.config.utils', _known_package)
    when_imported('mmengine.config.config', _config_scope)
    when_imported('mmengine.infer.infer', _inferencer_models)


def _known_package(config_utils: ModuleType) -> None:
    """For ``mmengine.hub.get_config`` and ``Inferencer.list_models``."""
    config_utils.MODULE2PACKAGE[SCOPE] = SCOPE


def _config_scope(config: ModuleType) -> None:
    """Resolve ``_base_ = 'lpn_mmpose::...'``.

    The scope of what it holds is MMPose's, in whose registries ours are.
    """
    from mmengine.utils import check_file_exist

    upstream = config.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str):
        scope, _, relative = cfg_path.partition('::')
        if scope != SCOPE:
            return upstream(cfg_path, filename)
        path = str(mim_root() / 'configs' / relative)
        check_file_exist(path)
        return path, 'mmpose'

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def _inferencer_models(infer: ModuleType) -> None:
    """Let inferencers look in our model index before that of their scope."""
    upstream = infer.BaseInferencer._load_model_from_metafile

    def load_model_from_metafile(self, model: str):
        found = find_model(model)
        if found is None:
            return upstream(self, model)
        config, weights = found
        return infer.Config.fromfile(config), weights

    infer.BaseInferencer._load_model_from_metafile = load_model_from_metafile
