"""Samples of what ``tools/analysis/sweep_mmpose.py`` does as a whole."""

from pathlib import Path

import mmpose
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from lpn_mmpose.analysis import sweep
from lpn_mmpose.compat import MissingOpError

CONFIGS = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint'
HUMANART = 'topdown_heatmap/humanart/td-hm_ViTPose-{}_8xb64-210e_humanart-256x192.py'


@pytest.mark.parametrize(
    'config',
    [
        'topdown_heatmap/coco/td-hm_mobilenetv2_8xb64-210e_coco-256x192.py',
        'rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
        'dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py',  # a compiled op
        'edpose/coco/edpose_res50_8xb2-50e_coco-800x1333.py',
        'topdown_heatmap/coco/td-hm_pvt-s_8xb64-210e_coco-256x192.py',  # not on meta
        HUMANART.format('small'),  # of mmpretrain
        HUMANART.format('large'),  # of mmcls, its former name
    ],
)
def test_models_build(config):
    assert (CONFIGS / config).is_file()
    assert list(sweep.build_failures([CONFIGS / config])) == [(str(CONFIGS / config), None)]


def test_former_names_build_the_same_model():
    init_default_scope('mmpose')
    former, today = (
        Config.fromfile(CONFIGS / path).model.backbone
        for path in (
            HUMANART.format('large'),
            'topdown_heatmap/coco/td-hm_ViTPose-large_8xb64-210e_coco-256x192.py',
        )
    )
    assert former.type.startswith('mmcls.') and today.type.startswith('mmpretrain.')
    for cfg in (former, today):
        cfg.init_cfg = None
        cfg.arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=8)
    image = torch.rand(1, 3, 256, 192)
    backbones = [MODELS.build(cfg) for cfg in (former, today)]
    for backbone in backbones:
        backbone.eval()  # returns nothing
    backbones[0].load_state_dict(backbones[1].state_dict())
    outputs = [backbone(image)[0] for backbone in backbones]
    assert outputs[0].shape == (1, 16, 16, 12) and torch.equal(*outputs)


def test_dekr_names_the_op_that_it_lacks():
    """The one model that mmcv-lite cannot run; full mmcv can."""
    init_default_scope('mmpose')
    cfg = Config.fromfile(CONFIGS / 'dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py')
    head = MODELS.build(cfg.model.head)
    features = torch.rand(1, cfg.model.head.in_channels, 8, 8)
    try:
        head((features,))
    except MissingOpError as error:
        assert 'deform_conv_forward' in str(error)
    else:
        from mmcv.ops import get_compiler_version

        assert get_compiler_version()


def test_failures_are_named(tmp_path):
    good, bad, broken = (tmp_path / f'{name}.py' for name in ('good', 'bad', 'broken'))
    good.write_text("model = dict(type='mmpose.ResNet', depth=18)")
    bad.write_text("model = dict(type='mmpose.ResNet', depth=17)")
    broken.write_text('model = dict(')
    outcomes = dict(sweep.build_failures([good, bad, broken]))
    assert outcomes[str(good)] is None
    assert 'invalid depth 17' in outcomes[str(bad)]
    assert outcomes[str(broken)]


def test_modules_that_do_not_import_are_named(tmp_path, monkeypatch):
    package = tmp_path / 'swept'
    (package / 'inner').mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / 'fine.py').write_text('')
    (package / 'inner/__init__.py').write_text('import no_such_module')
    monkeypatch.syspath_prepend(tmp_path)
    outcomes = dict(sweep.import_failures(['swept']))
    assert outcomes['swept.fine'] is None
    assert "No module named 'no_such_module'" in outcomes['swept.inner']


def test_modules_of_mmpose_import():
    """The codecs and the models; the tool sweeps all."""
    outcomes = list(sweep.import_failures(['mmpose.codecs', 'mmpose.models', 'mmpose.evaluation']))
    assert len(outcomes) > 100
    assert [outcome for outcome in outcomes if outcome[1]] == []
