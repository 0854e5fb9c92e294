"""Models with random weights whose outputs are not flat."""

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch.nn.modules.batchnorm import _BatchNorm


def save_random(config, path, change=None):
    """Save a model with random weights as MMEngine does."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    # norm layers that know their inputs, or random weights fade the image
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 320, 320), None, 'tensor')
    if change is not None:
        change(model)
    meta = {}
    if cfg.default_scope == 'mmdet':
        meta['dataset_meta'] = dict(classes=('person',), palette=[(0, 0, 0)])
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


def spread_boxes(detector):
    """Scores about 0.5, and boxes that overlap their neighbours."""
    head = detector.bbox_head
    for cls, reg in zip(head.rtm_cls, head.rtm_reg):
        torch.nn.init.normal_(cls.weight, std=0.01)
        torch.nn.init.zeros_(cls.bias)
        torch.nn.init.constant_(reg.bias, 3.0)
