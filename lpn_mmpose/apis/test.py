"""What ``tools/test.py`` does, with a checkpoint or an exported model."""

import argparse
from types import ModuleType

import mmengine
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from ..datasets.data_check import require_data
from ..errors import InputError, fail
from ..runtime.engines import SUFFIXES, load_engine
from ..utils.checkpoint import check_checkpoint
from ..utils.config import ignores_orientation, load_config, test_pipeline
from .mmpose_tools import merge_args, mmpose_tool, prepare_launcher


def use_exported(cfg: Config, path: str) -> None:
    """Let a config's test be one of an exported model.

    Args:
        cfg (Config): The config, changed in place.
        path (str): An exported pose model.

    Raises:
        InputError: If it cannot be used, or finds other keypoints than the
            test data have.
    """
    names = load_engine(path, 'pose').meta.keypoint_names
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = cfg.test_dataloader.dataset
        meta = DATASETS.build({**dataset, 'lazy_init': True}).metainfo
    wanted = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    if list(names) != wanted:
        raise InputError(
            f'model {path} finds {len(names)} keypoints ({names[0]}, ...), '
            f'and the test data of {cfg.filename} have '
            f'{len(wanted)} ({wanted[0]}, ...)'
        )
    cfg.model = dict(
        type='ExportedPoseEstimator',
        model=path,
        ignore_orientation=ignores_orientation(test_pipeline(cfg)),
    )
    cfg.load_from = None
    # it averages weights, of which there are none here
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']


def test_config(args: argparse.Namespace, tool: ModuleType) -> Config:
    """Return the checked config of a test run.

    Args:
        args (Namespace): From ``tool.parse_args()``.
        tool (module): MMPose's ``tools/test.py``.

    Raises:
        InputError: If something that the user named cannot be used.
    """
    cfg = merge_args(load_config(args.config), args, tool)
    require_data(cfg, 'test')
    if args.checkpoint.endswith(tuple(SUFFIXES)):
        if cfg.launcher != 'none':
            raise InputError(
                f'{args.checkpoint} is an exported model, which has threads of its own: test it '
                'by tools/test.py, without a launcher'
            )
        use_exported(cfg, args.checkpoint)
    else:
        check_checkpoint(args.checkpoint, cfg)
    return cfg


def test() -> None:
    """Run ``tools/test.py``."""
    tool = mmpose_tool('test')
    args = tool.parse_args()
    try:
        cfg = test_config(args, tool)
        prepare_launcher(cfg)
    except InputError as error:
        fail(error)
    metrics = Runner.from_cfg(cfg).test()
    if is_main_process():
        if args.out:
            mmengine.dump(metrics, args.out)
        for name, value in metrics.items():
            print(f'{name}: {value:.4f}')
