"""The original's networks, rebuilt here, on the original's weights."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.body import CocoDataset, MpiiDataset
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import lpn_mmpose.codecs
import lpn_mmpose.models  # noqa: F401
from lpn_mmpose.zoo.original_checkpoints import from_original

GOLDEN = Path(__file__).parents[1] / 'golden'
REFERENCE = runpy.run_path(str(GOLDEN / 'reference_weights.py'))
CASES = {
    'lpn50_coco_256x192_gc': (50, (192, 256), CocoDataset),
    'lpn101_coco_256x192_gc': (101, (192, 256), CocoDataset),
    'lpn50_mpii_256x256_gc': (50, (256, 256), MpiiDataset),
}


def pose_estimator(depth, input_size, out_channels):
    codec = dict(
        type='BetaSoftArgmaxHeatmap',
        input_size=input_size,
        heatmap_size=tuple(side // 4 for side in input_size),
        sigma=2,
    )
    return MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(type='LPN', depth=depth),
            head=dict(type='LPNHead', out_channels=out_channels, decoder=codec),
            test_cfg=dict(
                flip_test=True, flip_mode='heatmap', shift_heatmap=True, output_heatmaps=True
            ),
        )
    ).eval()


@pytest.mark.parametrize('name', CASES)
def test_heatmaps(name):
    depth, input_size, dataset = CASES[name]
    metainfo = parse_pose_metainfo(dataset.METAINFO)
    model = pose_estimator(depth, input_size, metainfo['num_keypoints'])
    manifest = json.loads((GOLDEN / f'{name}.json').read_text())
    weights = REFERENCE['build'](manifest)
    model.load_state_dict(
        from_original({k: torch.from_numpy(v) for k, v in weights.items()}), strict=True
    )

    golden = np.load(GOLDEN / f'{name}.npz')
    inputs = torch.from_numpy(REFERENCE['input_for']((1, 3, input_size[1], input_size[0])))
    sample = PoseDataSample(
        metainfo=dict(
            flip_indices=metainfo['flip_indices'],
            input_size=input_size,
            input_center=np.array([30.0, 40.0]),
            input_scale=np.array(input_size, float),
        )
    )
    sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
    with torch.no_grad():
        heatmaps = model(inputs, None, mode='tensor')
        (sample,) = model(inputs, [sample], mode='predict')
    flip_heatmaps = sample.pred_fields.heatmaps[None]
    for actual, expected in (
        (heatmaps, golden['heatmaps']),
        (flip_heatmaps, golden['flip_heatmaps']),
    ):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    'depth, input_size, out_channels, params',
    [
        (50, (192, 256), 17, 2911153),
        (101, (192, 256), 17, 5353458),
        (152, (192, 256), 17, 7377459),
        (50, (256, 256), 16, 2910896),
    ],
)
def test_published_parameters(depth, input_size, out_channels, params):
    model = pose_estimator(depth, input_size, out_channels)
    assert sum(p.numel() for p in model.parameters()) == params
