"""Where the configs under test are, and options that make their runs small."""

from pathlib import Path

from mmengine.utils import get_installed_path

ROOT = Path(__file__).parents[1]
LPN = ROOT / 'configs/body_2d_keypoint/lpn'
COCO = LPN / 'coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
MPII = LPN / 'mpii/td-hm_lpn50_8xb32-150e_mpii-256x256.py'
LSPET = min(LPN.glob('lspet/td-hm_lpn50_*.py'))

#: Two iterations an epoch, everything in this process.
SMALL = [
    'train_dataloader.batch_size=2',
    'val_dataloader.batch_size=4',
    'test_dataloader.batch_size=4',
    'train_cfg.val_interval=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
] + [
    f'{split}_dataloader.{option}'
    for split in ('train', 'val', 'test')
    for option in ('num_workers=0', 'persistent_workers=False')
]
#: RTMDet-nano as MMPose brings it.
DETECTOR_CONFIG = str(
    Path(get_installed_path('mmpose'))
    / '.mim/demo/mmdetection_cfg/rtmdet_nano_320-8xb32_coco-person.py'
)
