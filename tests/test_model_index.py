"""Our models by name, our configs by scope, in both kinds of install."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmpose.apis import MMPoseInferencer

from lpn_mmpose.zoo import model_index

ROOT = Path(__file__).parents[1]
COCO_CONFIG = ROOT.joinpath(
    'configs', 'body_2d_keypoint', 'lpn', 'coco', 'td-hm_lpn50_8xb32-150e_coco-256x192.py'
)

METAFILE = """
Models:
- Name: td-hm_tiny_shipped
  Alias: [Tiny, tiny-pose]
  Config: configs/tiny/tiny.py
  Weights: lpn_mmpose/weights/tiny.pth
- Name: td-hm_tiny_url
  Config: configs/tiny/tiny.py
  Weights: https://example.com/tiny.pth
- Name: td-hm_tiny_lost
  Config: configs/tiny/tiny.py
  Weights: lpn_mmpose/weights/lost.pth
- Name: td-hm_tiny_unpublished
  Config: configs/tiny/tiny.py
"""


@pytest.fixture(params=['checkout', 'wheel'])
def root(request, tmp_path, monkeypatch):
    """The top of an install that carries the models above."""
    package = tmp_path / 'lpn_mmpose'
    root = tmp_path if request.param == 'checkout' else package / '.mim'
    tiny = root / 'configs' / 'tiny'
    tiny.mkdir(parents=True)
    (tiny / 'tiny.py').write_text(f'_base_ = {str(COCO_CONFIG)!r}')
    (tiny / 'metafile.yml').write_text(METAFILE)
    (root / 'model-index.yml').write_text('Import:\n- configs/tiny/metafile.yml\n')
    (package / 'weights').mkdir(parents=True)
    (package / 'weights' / 'tiny.pth').write_text('')
    monkeypatch.setattr(model_index, 'PACKAGE_DIR', package)
    return root


def test_mim_root(root):
    assert model_index.mim_root() == root


def test_mim_root_of_incomplete_install(tmp_path, monkeypatch):
    monkeypatch.setattr(model_index, 'PACKAGE_DIR', tmp_path / 'lpn_mmpose')
    with pytest.raises(FileNotFoundError, match='model-index.yml.*incomplete'):
        model_index.mim_root()


@pytest.mark.parametrize('name', ['td-hm_tiny_shipped', 'tiny', 'TINY', 'tiny-pose'])
def test_find_model(root, name):
    config, weights = model_index.find_model(name)
    assert config == str(root / 'configs/tiny/tiny.py')
    package = root.parent if root.name == '.mim' else root / 'lpn_mmpose'
    assert weights == str(package / 'weights' / 'tiny.pth')


def test_find_model_keeps_urls(root):
    _, weights = model_index.find_model('td-hm_tiny_url')
    assert weights == 'https://example.com/tiny.pth'


def test_find_model_of_others(root):
    assert model_index.find_model('human') is None


@pytest.mark.parametrize(
    'name, why', [('lost', r'lost\.pth is missing'), ('unpublished', 'none are published')]
)
def test_find_model_without_weights(root, name, why):
    with pytest.raises(
        FileNotFoundError, match=rf'td-hm_tiny_{name}.*{why}.*tiny\.py.*pose2d_weights'
    ):
        model_index.find_model(f'td-hm_tiny_{name}')


def test_inferencer_by_name(root):
    _, weights = model_index.find_model('tiny')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = MODELS.build(Config.fromfile(COCO_CONFIG).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), weights)
    inferencer = MMPoseInferencer(pose2d='tiny', det_model='whole_image', device='cpu')
    loaded = inferencer.inferencer.model.state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded[key], value), key
    image = np.zeros((64, 48, 3), dtype=np.uint8)
    result = next(inferencer(image))
    assert np.shape(result['predictions'][0][0]['keypoints']) == (17, 2)


def test_inferencer_knows_mmpose_models(root, monkeypatch):
    """A name that is not ours is still looked up in MMPose's index."""
    from mmengine.infer import BaseInferencer

    inferencer = BaseInferencer.__new__(MMPoseInferencer)
    inferencer.scope = 'mmpose'
    config, weights = inferencer._load_model_from_metafile('human')
    assert config.model.type == 'TopdownPoseEstimator'
    assert weights.startswith('https://download.openmmlab.com/')
    with pytest.raises(ValueError, match='Cannot find model: nobody'):
        inferencer._load_model_from_metafile('nobody')


def test_config_scope(root, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(
        "_base_ = 'lpn_mmpose::tiny/tiny.py'\nmodel = dict(head=dict(out_channels=5))\n"
    )
    cfg = Config.fromfile(child)
    assert cfg.model.head.out_channels == 5
    # as the Runner does, from the registries of MMEngine
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = MODELS.build(cfg.model)
    assert type(model.head).__name__ == 'LPNHead'
    assert model.head.final_layer.out_channels == 5


def test_config_scope_names_missing_file(root, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'lpn_mmpose::tiny/none.py'")
    with pytest.raises(FileNotFoundError, match='none.py'):
        Config.fromfile(child)


@pytest.mark.parametrize('root', ['wheel'], indirect=True)
def test_hub(root, monkeypatch):
    """``mmengine.hub`` reads installed packages alone, from ``.mim``."""
    monkeypatch.setattr('mmengine.hub.hub.get_installed_path', lambda package: str(root.parent))
    cfg = get_config('lpn_mmpose::tiny/tiny.py')
    assert cfg.model.backbone.type == 'LPN'


def test_list_models(root, monkeypatch):
    monkeypatch.setattr(MMPoseInferencer, '_get_repo_or_mim_dir', None)
    monkeypatch.setattr(
        'mmengine.infer.infer.BaseInferencer._get_repo_or_mim_dir', lambda scope: str(root)
    )
    names = MMPoseInferencer.list_models('lpn_mmpose')
    assert names[:3] == ['td-hm_tiny_shipped', 'Tiny', 'tiny-pose']
