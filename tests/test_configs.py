from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample
from synthetic import make_all

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / 'configs/body_2d_keypoint').rglob('*.py'))
OURS = [c for c in CONFIGS if c.parents[1].name == 'lpn']
RECIPES = [c for c in OURS if c.parent.name in ('coco', 'mpii')]
PARAMS = {50: 2911153, 101: 5353458, 152: 7377459}


def name(path: Path) -> str:
    return path.stem


def read(path: Path) -> Config:
    cfg = Config.fromfile(path)
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp('configs'))


@pytest.mark.parametrize('path', CONFIGS, ids=name)
def test_everything_builds_and_runs(path, data, monkeypatch):
    """One sample goes from the training pipeline through the loss, one
    through the test pipeline and the model into the metric."""
    monkeypatch.chdir(data)
    cfg = read(path)
    model = MODELS.build(cfg.model)
    if path in OURS:
        assert path.stem.startswith(f'td-hm_lpn{model.backbone.depth}_')
    assert path.stem.endswith('{1}x{0}'.format(*cfg.codec.input_size))

    sample = DATASETS.build(cfg.train_dataloader.dataset)[0]
    width, height = cfg.codec.input_size
    assert sample['inputs'].shape == (3, height, width)
    batch = model.data_preprocessor(pseudo_collate([sample, sample]), True)
    losses = model(**batch, mode='loss')
    assert torch.isfinite(losses['loss_kpt'])

    model.eval()
    same = all(cfg[f'val_{part}'] == cfg[f'test_{part}'] for part in ('dataloader', 'evaluator'))
    for split in ('test',) if same else ('val', 'test'):
        loader = dict(cfg[f'{split}_dataloader'], num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader(loader)
        evaluator = Evaluator(cfg[f'{split}_evaluator'])
        evaluator.dataset_meta = loader.dataset.metainfo
        with torch.no_grad():
            for batch in loader:
                evaluator.process(model.test_step(batch), batch)
        metrics = evaluator.evaluate(len(loader.dataset))
        assert cfg.default_hooks.checkpoint.save_best in metrics


@pytest.mark.parametrize('path', RECIPES, ids=name)
def test_recipe_is_the_originals(path):
    cfg = read(path)
    batch_size = cfg.train_dataloader.batch_size
    assert batch_size == 32
    assert cfg.auto_scale_lr.base_batch_size == 8 * batch_size
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('Adam', 1e-3)
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.milestones, scheduler.gamma) == ([90, 120], 0.1)
    assert cfg.train_cfg.max_epochs == scheduler.end == 150
    assert cfg.model.test_cfg == dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True)
    assert cfg.codec.sigma == (3 if '384x288' in path.stem else 2)

    steps = [step.type for step in cfg.train_pipeline]
    assert 'RandomFlip' in steps and 'RandomHalfBody' not in steps
    (step,) = [s for s in cfg.train_pipeline if s.type == 'ClippedBBoxTransform']
    degrees, scale = (40, 0.3) if 'coco' in path.stem else (30, 0.25)
    assert step.rotate_factor == 2 * degrees
    assert step.scale_factor == (1 - scale, 1 + scale)
    assert step.shift_prob == 0


@pytest.mark.parametrize('path', RECIPES, ids=name)
def test_parameters_and_initialization(path):
    model = MODELS.build(read(path).model)
    params = sum(p.numel() for p in model.parameters())
    depth = model.backbone.depth
    assert params == PARAMS[depth] - 257 * ('mpii' in path.stem)
    model.init_weights()
    for key, weight in model.named_parameters():
        if weight.ndim == 4 and weight.numel() > 1000:
            # the last convolution of global context starts at zero
            std = 0 if 'channel_add_conv.3' in key else 0.001
            assert weight.std().item() == pytest.approx(std, rel=0.1), key


def test_coco_is_bgr_and_mpii_rgb():
    image = torch.zeros(3, 256, 256, dtype=torch.uint8)
    image[0] = 255  # blue, as OpenCV reads it
    mean = np.array([123.675, 116.28, 103.53])
    std = np.array([58.395, 57.12, 57.375])
    for path in RECIPES:
        model = MODELS.build(read(path).model)
        batch = dict(inputs=[image], data_samples=[PoseDataSample()])
        pixel = model.data_preprocessor(batch)['inputs'][0, :, 0, 0]
        blue = 0 if 'coco' in path.stem else 2
        expected = (np.eye(3)[blue] * 255 - mean) / std
        np.testing.assert_allclose(pixel, expected, atol=1e-4)


def test_originals_of_others_get_the_input_and_decoder_they_had():
    """SimpleBaseline's were trained on BGR, MPII's too, HRNet's on RGB."""
    others = [c for c in CONFIGS if c not in OURS]
    assert len(others) == 6
    for path in others:
        cfg = read(path)
        rgb = path.parents[1].name == 'hrnet'
        assert cfg.model.data_preprocessor.bgr_to_rgb == rgb, path
        codec = cfg.model.head.decoder
        assert codec.input_size == cfg.codec.input_size
        assert (codec.type, codec.beta) == ('BetaSoftArgmaxHeatmap', None)
        assert cfg.model.test_cfg == dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True)


def test_coco_boxes(data, monkeypatch):
    """The detector's by default, the annotated ones by ``bbox_file=None``."""
    monkeypatch.chdir(data)
    cfg = read(RECIPES[0])
    dataset = cfg.val_dataloader.dataset
    assert dataset.bbox_file.endswith('detections_AP_H_56_person.json')
    assert len(DATASETS.build(dataset)) == 2
    cfg.merge_from_dict({'val_dataloader.dataset.bbox_file': None})
    assert len(DATASETS.build(cfg.val_dataloader.dataset)) == 4

    (metric,) = Evaluator(cfg.val_evaluator).metrics
    assert (metric.nms_mode, metric.nms_thr) == ('oks_nms', 0.9)
    assert metric.keypoint_score_thr == 0.2
    assert metric.score_mode == 'bbox_keypoint'
