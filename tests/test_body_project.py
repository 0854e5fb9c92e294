"""The scripts of projects/body."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from synthetic import make_coco_style

from lpn_mmpose.dataset_converters.lspet import CROWDPOSE_KEYPOINTS
from lpn_mmpose.evaluation.torso_pck import LIMB_JOINTS

PROJECT = Path(__file__).parents[1] / 'projects/body'


@pytest.fixture
def run(monkeypatch, capsys):
    def run(script, *args, **names):
        monkeypatch.setattr(sys, 'argv', [script, *map(str, args)])
        path = str(PROJECT / script)
        for name, value in names.items():
            monkeypatch.setattr(f'lpn_mmpose.runtime.{name}', value)
        runpy.run_path(path, run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run


def write(path, coco, names):
    coco['categories'][0]['keypoints'] = list(names)
    path.write_text(json.dumps(coco))


def test_table_of_held_out_sets(tmp_path, run):
    """Against a model that is right but for one joint of every person."""
    data = tmp_path / 'data'
    ann_file = data / 'lsp/annotations/lsp_val.json'
    coco = make_coco_style(ann_file, data / 'lsp/images', 4, 14)
    write(ann_file, coco, CROWDPOSE_KEYPOINTS)
    truth = {
        tuple(np.float32(a['bbox'])[:2]): np.reshape(a['keypoints'], (14, 3))[:, :2]
        for a in coco['annotations']
    }

    class Model:
        # another layout, with a joint that the data do not have
        names = ['nose', *reversed(CROWDPOSE_KEYPOINTS)]

        def __init__(self, model, threads):
            self.meta = SimpleNamespace(keypoint_names=self.names)

        def __call__(self, image, boxes):
            (box,) = boxes
            found = np.zeros((1, 15, 2))
            found[0, 1:] = truth[tuple(box[:2])][::-1]
            found[0, self.names.index('left_knee')] += 1000
            return found, None

    lines = run(
        'evaluate.py', 'm.onnx', '--data', data, '--sets', 'LSP', '--joints', PoseRuntime=Model
    )
    assert lines[0] == '| PCK@0.2 | LSP (4) |'
    rows = dict(line.strip('| ').split(' | ') for line in lines[2:])
    assert float(rows.pop('m.onnx')) == pytest.approx(11 / 12, abs=6e-4)
    assert rows.pop('left_knee') == '0.000'
    assert rows == {name: '1.000' for name in LIMB_JOINTS if name != 'left_knee'}


def test_blazepose(tmp_path, run, monkeypatch):
    """A stand-in finds the first of two persons, all but its left wrist."""
    ann_file = tmp_path / 'lspet/annotations/lspet_val.json'
    coco = make_coco_style(ann_file, tmp_path / 'lspet/images', 2, 14)
    write(ann_file, coco, CROWDPOSE_KEYPOINTS)
    truth = np.reshape(coco['annotations'][0]['keypoints'], (14, 3))[:, :2]
    points = np.zeros((33, 2))
    # CrowdPose's limbs come in pairs from the shoulders down, BlazePose's too
    points[[*range(11, 17), *range(23, 29)]] = truth[:12] / (120, 160)
    points[15] += 1
    landmarks = SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y) for x, y in points])
    answers = iter([landmarks, None])

    class Pose:
        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def process(self, image):
            return SimpleNamespace(pose_landmarks=next(answers))

    fake = SimpleNamespace(solutions=SimpleNamespace(pose=SimpleNamespace(Pose=Pose)))
    monkeypatch.setitem(sys.modules, 'mediapipe', fake)
    lines = run('blazepose.py', '--data', tmp_path)
    assert lines[0] == 'persons found: 0.500 of 2'
    everyone, those = (float(part.split()[-1]) for part in lines[1].split(','))
    # in image 1 the second joint is not labelled, in image 2 the third
    assert those == pytest.approx(10 / 11, abs=6e-4)
    assert everyone == pytest.approx((9 * 0.5 + 1 + 0 + 0) / 12, abs=6e-4)


def test_missing_data_are_named(tmp_path, run):
    with pytest.raises(SystemExit, match='lspet_val.json not found'):
        run('evaluate.py', 'lpn50-lsp', '--data', tmp_path)


def test_start_weights_keep_the_joints(tmp_path, run):
    old = {
        'head.final_layer.weight': torch.arange(14.0)[:, None, None, None]
        .expand(14, 3, 1, 1)
        .half(),
        'head.final_layer.bias': torch.arange(14.0).half(),
        'backbone.stem.conv.weight': torch.ones(2).half(),
    }
    torch.save(dict(state_dict=old), tmp_path / 'old.pth')
    run('start_weights.py', tmp_path / 'old.pth', tmp_path / 'new.pth')
    new = torch.load(tmp_path / 'new.pth')['state_dict']
    bias = new['head.final_layer.bias']
    # left shoulder, right ankle, head and neck in COCO's order and after it
    assert bias[[5, 16, 17, 18]].tolist() == [0, 11, 12, 13]
    assert bias[:5].tolist() == [0] * 5
    weight = new['head.final_layer.weight']
    assert weight.shape == (19, 3, 1, 1) and (weight[5:, 0, 0, 0] == bias[5:]).all()
    assert 0 < weight[:5].abs().max() < 0.01
    assert new['backbone.stem.conv.weight'].dtype == torch.float32
