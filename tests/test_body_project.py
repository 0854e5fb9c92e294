"""The scripts of projects/body."""

import importlib
import json
import os
import runpy
import sys
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS, TRANSFORMS
from synthetic import make_coco_style

from lpn_mmpose.dataset_converters.lspet import CROWDPOSE_KEYPOINTS
from lpn_mmpose.errors import InputError
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

    options = ['--data', data, '--sets', 'LSP']
    lines = run('evaluate.py', 'm.onnx', *options, '--joints', PoseRuntime=Model)
    assert lines[0] == '| PCK@0.2 | LSP (4) |'
    rows = dict(line.strip('| ').split(' | ') for line in lines[2:])
    assert float(rows.pop('m.onnx')) == pytest.approx(11 / 12, abs=6e-4)
    assert rows.pop('left_knee') == '0.000'
    assert rows == {name: '1.000' for name in LIMB_JOINTS if name != 'left_knee'}
    # models of the same name in two folders
    lines = run('evaluate.py', 'a/m.onnx', 'b/m.onnx', *options, PoseRuntime=Model)
    assert [line.split()[1] for line in lines[2:]] == ['a/m.onnx', 'b/m.onnx']


def test_what_evaluate_cannot_read(tmp_path, run, capsys):
    options = ['lpn50-lsp', '--data', tmp_path, '--sets', 'LSP']

    def error():
        with pytest.raises(SystemExit) as stop:
            run('evaluate.py', *options)
        assert stop.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    ann_file = tmp_path / 'lsp/annotations/lsp_val.json'
    assert f'{ann_file} not found' in error()
    coco = make_coco_style(ann_file, tmp_path / 'lsp/images', 1, 14)
    write(ann_file, coco, CROWDPOSE_KEYPOINTS)
    (image,) = (tmp_path / 'lsp/images').iterdir()
    image.write_text('')
    assert str(image) in error()
    ann_file.write_text('')
    assert str(ann_file) in error()


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


class SeesColours:
    """A teacher that knows keypoint j by its colour, and mirrored pictures as people do."""

    names = [
        joint['name']
        for joint in Config.fromfile(str(PROJECT.parents[1] / 'configs/_base_/datasets/body19.py'))
        .dataset_info['keypoint_info']
        .values()
    ][:17]

    def __init__(self, model, threads):
        pass

    def get_inputs(self):
        return [SimpleNamespace(name='input', shape=[1, 256, 256, 3])]

    def get_outputs(self):
        return [SimpleNamespace(shape=[1, 1, 17, 3])]

    def run(self, _, inputs):
        (crop,) = inputs['input']
        answer = np.zeros((17, 3))
        for j in range(17):
            y, x = np.nonzero((np.abs(crop - self.colour(j)) <= 1).all(-1))
            if len(x):
                answer[j] = (y.mean() + 0.5) / 256, (x.mean() + 0.5) / 256, 0.9
        if answer[1, 1] < answer[2, 1]:  # eyes
            answer[1:] = answer[1:].reshape(8, 2, 3)[:, ::-1].reshape(16, 3)
        return [answer[None, None]]

    @staticmethod
    def colour(j):
        return np.array([200, 14 * j + 5, 250 - 14 * j])


def test_pseudo_labels(tmp_path, run):
    """Two persons of discs, the second not annotated, and labels that lack or contradict."""
    rows = np.arange(8)
    left = np.stack([100 + 3 * (rows % 3), 20 + 30 * rows], -1)
    right = np.stack([60 - 3 * (rows % 3), 20 + 30 * rows], -1)
    person = np.vstack([[80, 8], np.stack([left, right], 1).reshape(16, 2)])
    other = person + (260, 0)
    image = np.zeros((260, 460, 3), np.uint8)
    for points in (person, other):
        for j, (x, y) in enumerate(points):
            image[y - 4 : y + 5, x - 4 : x + 5] = SeesColours.colour(j)[::-1]
    assert cv2.imwrite(str(tmp_path / 'a.png'), image)
    labels = {
        name: [*map(float, person[SeesColours.names.index(name)]), 2]
        for name in CROWDPOSE_KEYPOINTS[:12]
    }
    labels['left_elbow'] = [0, 0, 0]
    labels['right_wrist'] = [10, 200, 2]
    labels['top_head'], labels['neck'] = [80, 2, 2], [80, 30, 2]
    ann = dict(
        id=1,
        image_id=5,
        category_id=1,
        bbox=[40, 0, 80, 250],
        iscrowd=0,
        keypoints=sum(labels.values(), []),
        num_keypoints=13,
    )
    coco = dict(
        images=[dict(id=5, file_name='a.png', width=460, height=260)],
        annotations=[ann],
        categories=[dict(id=1, name='person', keypoints=list(labels))],
    )
    (tmp_path / 'a.json').write_text(json.dumps(coco))

    class Detector:
        def __init__(self, *_, **__):
            pass

        def __call__(self, image):
            # the annotated person, the other one, and somebody very small
            boxes = [[42, 2, 118, 248], [300, 0, 380, 250], [0, 0, 30, 30]]
            return np.float32(boxes), np.ones(3)

    names = {'PersonDetector': Detector, 'engines.onnxruntime_session': SeesColours}
    (tmp_path / 't.onnx').touch()
    args = (tmp_path / 't.onnx', 'd.onnx', tmp_path / 'a.json', tmp_path, '--drop-contradicted')
    run('pseudo_labels.py', *args, **names)
    (taught,), (found,) = (
        json.loads((tmp_path / f'a_{part}.json').read_text())['annotations']
        for part in ('taught', 'found')
    )
    keypoints = np.reshape(taught['keypoints'], (19, 3))
    seen = keypoints[:, 2] > 0
    # the wrist is nobody's, the face and the elbow are the teacher's, the head the labels'
    assert np.flatnonzero(~seen).tolist() == [SeesColours.names.index('right_wrist')]
    assert np.abs(keypoints[:17, :2] - person)[seen[:17]].max() < 1.5
    assert keypoints[17:].tolist() == [[80, 2, 2], [80, 30, 2]]
    assert taught['num_keypoints'] == 18
    keypoints = np.reshape(found['keypoints'], (19, 3))
    assert np.abs(keypoints[:17, :2] - other).max() < 1.5
    assert (keypoints[17:] == 0).all() and found['num_keypoints'] == 17
    assert found['bbox'] == [300, 0, 80, 250] and found['id'] != taught['id']
    # what is there is not made again
    (tmp_path / 'a.json').unlink()
    run('pseudo_labels.py', *args, **names)


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'a.json cannot be read'),
        ({}, 'not a COCO-style JSON'),
        (
            dict(images=[], annotations=[], categories=[dict(keypoints=['nose'])]),
            'has no persons',
        ),
        (
            dict(
                images=[dict(id=1, file_name='a.png')],
                annotations=[dict(id=1, image_id=1)],
                categories=[dict(keypoints=['nose'])],
            ),
            'no.onnx does not exist',
        ),
    ],
)
def test_pseudo_labels_name_what_is_wrong(tmp_path, run, capsys, content, message):
    if content is not None:
        (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(SystemExit) as stop:
        run('pseudo_labels.py', tmp_path / 'no.onnx', 'd.onnx', tmp_path / 'a.json', tmp_path)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('a_*.json'))


@pytest.fixture
def distillation(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT))
    init_default_scope('mmpose')
    yield importlib.import_module('distillation')
    for registry, name in (
        (TRANSFORMS, 'TeacherFeatures'),
        (TRANSFORMS, 'PackTeacherInputs'),
        (MODELS, 'DistilledPoseEstimator'),
    ):
        registry.module_dict.pop(name)
    del sys.modules['distillation']


@pytest.fixture
def clock(monkeypatch):
    """The module, with a clock that goes on by a second at each look at it."""
    monkeypatch.syspath_prepend(str(PROJECT))
    module = importlib.import_module('clock')
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=count().__next__))
    yield module
    HOOKS.module_dict.pop('CosineByClock')
    del sys.modules['clock']


@pytest.fixture
def truncation(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT))
    yield importlib.import_module('truncation')
    TRANSFORMS.module_dict.pop('RandomTruncation')
    del sys.modules['truncation']


@pytest.mark.parametrize('side', range(4))
@pytest.mark.parametrize('visible_shape', [(1, 6), (1, 6, 2)])
def test_truncation(truncation, side, visible_shape):
    """As the crop of a picture that really ends there."""
    image = np.full((120, 90, 3), 200, np.uint8)
    keypoints = np.float32([[22, 25], [58, 28], [38, 60], [44, 68], [25, 100], [56, 96]])[None]
    box = np.float32([[20, 20, 60, 110]])
    before = dict(img=image, bbox=box, keypoints=keypoints)
    before['keypoints_visible'] = np.ones(visible_shape, np.float32)
    transform = truncation.RandomTruncation(
        prob=1, keep=(0.5, 0.5), sides=np.eye(4)[side], min_keypoints=3, margin=0.1
    )
    after = transform(dict(before))
    limits = np.float32([0, 0, 90, 120])
    limits[side] = (40, 65, 40, 65)[side]
    x1, y1, x2, y2 = limits.astype(int)
    assert (after['img'][y1:y2, x1:x2] == 200).all()
    assert after['img'].sum() == 200 * 3 * (x2 - x1) * (y2 - y1)
    inside = ((keypoints[0] >= limits[:2]) & (keypoints[0] < limits[2:])).all(-1)
    visible = after['keypoints_visible'].reshape(6, -1)
    np.testing.assert_array_equal(visible, np.repeat(inside[:, None], visible.shape[1], 1))
    left, tight = keypoints[0][inside], box[0].copy()
    tight[:2] = np.maximum(tight[:2], left.min(0) - 9)
    tight[2:] = np.minimum(tight[2:], left.max(0) + 9)
    tight[side] = limits[side]
    np.testing.assert_allclose(after['bbox'][0], tight)
    # what came in is the data set's and stays
    assert (image == 200).all() and (before['keypoints_visible'] == 1).all()
    assert box.tolist() == [[20, 20, 60, 110]]
    # too few would be left, or none is cut
    for still in (dict(prob=1, min_keypoints=6), dict(prob=0)):
        whole = truncation.RandomTruncation(keep=(0.5, 0.5), sides=np.eye(4)[side], **still)
        same = whole(dict(before))
        assert all(same[key] is value for key, value in before.items())


@pytest.fixture
def teacher(tmp_path):
    """One whose feature maps are the picture, smaller."""
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node
    pool = partial(node, 'AveragePool', ['picture'])
    graph = onnx.helper.make_graph(
        [
            node('Cast', ['input'], ['float'], to=onnx.TensorProto.FLOAT),
            node('Transpose', ['float'], ['picture'], perm=[0, 3, 1, 2]),
            pool(['deep'], kernel_shape=[32, 32], strides=[32, 32]),
            pool(['fine'], kernel_shape=[8, 8], strides=[8, 8]),
        ],
        'teacher',
        [info('input', onnx.TensorProto.INT32, [1, 256, 256, 3])],
        [
            info('deep', onnx.TensorProto.FLOAT, [1, 3, 8, 8]),
            info('fine', onnx.TensorProto.FLOAT, [1, 3, 32, 32]),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / 'teacher.onnx')
    return str(tmp_path / 'teacher.onnx')


def person_samples(folder, pipeline, size=(300, 200)):
    """Four times the same person through a pipeline, in the picture's own colours."""
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8), size)
    path = folder / f'{size[0]}.png'
    assert cv2.imwrite(str(path), picture)
    pipeline = Compose(
        [TRANSFORMS.build(step) for step in pipeline if step['type'] != 'YOLOXHSVRandomAug']
    )
    info = Config.fromfile(str(PROJECT.parents[1] / 'configs/_base_/datasets/body19.py'))
    meta = parse_pose_metainfo(info.dataset_info)
    keypoints = np.stack([np.linspace(80, 220, 19), np.linspace(50, 150, 19)], -1)[None]
    samples = []
    for seed in range(4):
        np.random.seed(seed)
        samples.append(
            pipeline(
                dict(
                    img_path=str(path),
                    bbox=np.float32([[60, 30, 240, 170]]),
                    bbox_score=np.ones(1, np.float32),
                    keypoints=keypoints.astype(np.float32),
                    keypoints_visible=np.ones((1, 19), np.float32),
                    **{k: meta[k] for k in ('flip_indices', 'upper_body_ids', 'lower_body_ids')},
                    dataset_keypoint_weights=meta['dataset_keypoint_weights'],
                )
            )
        )
    return samples


def assert_learns(model, batch):
    """The student comes nearer to the teacher's feature maps."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(8):
        data = model.data_preprocessor(dict(batch), training=True)
        loss = model(**data, mode='loss')
        optimizer.zero_grad()
        sum(loss.values()).backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in loss.items()})
    assert losses[-1]['loss_teacher_deep'] < 0.7 * losses[0]['loss_teacher_deep']
    assert losses[-1]['loss_teacher_fine'] < 0.9 * losses[0]['loss_teacher_fine']


@pytest.mark.parametrize('config', ['distilled.py', 'larger_input.py', 'truncated.py'])
def test_distillation(tmp_path, distillation, clock, truncation, teacher, config):
    """The teacher sees what the student sees, and the student learns it."""
    config = Config.fromfile(str(PROJECT / 'configs' / config))
    pipeline = config.train_pipeline
    for step in pipeline:
        if step.type == 'TeacherFeatures':
            step.model = teacher
    samples = person_samples(tmp_path, pipeline)
    for sample in samples:
        labels = sample['data_samples'].gt_instance_labels
        fine = labels.teacher_fine[0].permute(1, 2, 0).float().numpy()[..., ::-1]
        seen = cv2.resize(
            sample['inputs'].permute(1, 2, 0).numpy(),
            fine.shape[1::-1],
            interpolation=cv2.INTER_AREA,
        )
        assert np.corrcoef(seen.ravel(), fine.ravel())[0, 1] > 0.97

    with pytest.raises(ValueError, match='multiples of 32'):
        distillation.TeacherFeatures(teacher, input_size=(144, 192))
    config.model.update(deep_channels=(512, 3), fine_channels=(256, 3))
    torch.manual_seed(0)
    assert_learns(MODELS.build(config.model), pseudo_collate(samples))


@pytest.fixture
def on_gpu(distillation, truncation):
    yield importlib.import_module('on_gpu')
    for registry, names in (
        (TRANSFORMS, ('NamePicture', 'TruncateRegion', 'PackWarp')),
        (MODELS, ('DeviceCrops', 'DeviceDistilledPoseEstimator')),
    ):
        for name in names:
            registry.module_dict.pop(name)
    del sys.modules['on_gpu']


def test_training_on_gpu(tmp_path, on_gpu, clock, teacher, monkeypatch):
    """Crops and heatmaps are those of the ordinary pipeline, and the student learns from them."""
    config = Config.fromfile(str(PROJECT / 'configs/on_gpu.py'))
    pipeline, codec = config.train_pipeline, config.codec
    pipeline[1].update(prob=0.6, sides=(0.25, 0.25, 0.25, 0.25))

    def two_pictures(steps):
        sizes = ((300, 200), (250, 230))
        return [sample for size in sizes for sample in person_samples(tmp_path, steps, size)]

    stacked = default_collate(two_pictures(pipeline))
    ordinary = [
        dict(type='LoadImage'),
        dict(pipeline[1], type='RandomTruncation'),
        *pipeline[2:-1],
        dict(type='TopdownAffine', input_size=codec['input_size']),
        dict(type='GenerateTarget', encoder=codec),
        dict(type='PackPoseInputs'),
    ]
    usual = pseudo_collate(two_pictures(ordinary))
    plain = dict(config.model.data_preprocessor, megapixels=0.12)
    kinds = ('hide_prob', 'blur_prob', 'light_prob', 'grey_prob', 'noise_prob')
    plain.update(dict.fromkeys(kinds, 0))
    preprocessor = MODELS.build(plain)
    crops = preprocessor.crop(preprocessor.place(stacked), codec['input_size'])
    for crop, expected in zip(crops, usual['inputs']):
        # OpenCV counts in 32nds of a pixel
        torch.testing.assert_close(crop, expected.float(), atol=8, rtol=0)
        assert (crop - expected).abs().mean() < 0.6
    labels = preprocessor(stacked, training=True)['data_samples']
    for i, sample in enumerate(usual['data_samples']):
        torch.testing.assert_close(labels['heatmaps'][i], sample.gt_fields.heatmaps)
        weights = sample.gt_instance_labels.keypoint_weights[0]
        assert torch.equal(labels['keypoint_weights'][i], weights)

    # the teacher sees more pixels of the same, in RGB, and what is hidden, too
    shrunk = torch.nn.functional.interpolate(labels['crops'], crops.shape[2:], mode='area')
    assert torch.corrcoef(torch.stack([shrunk.flip(1).ravel(), crops.ravel()]))[0, 1] > 0.99
    expected = MODELS.build(plain)(usual, training=True)['inputs']
    for kind in (None, *kinds):
        torch.manual_seed(1)
        augmented = MODELS.build(plain if kind is None else dict(plain, **{kind: 1}))
        batch = augmented(stacked, training=True)
        assert torch.equal(batch['data_samples']['crops'], labels['crops'])
        assert ((batch['inputs'] - expected).abs().mean() < 0.02) == (kind is None)
        assert batch['inputs'].shape == expected.shape

    config.model.update(deep_channels=(512, 3), fine_channels=(256, 3), teacher=teacher)
    config.model.data_preprocessor.megapixels = 0.12
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    assert_learns(model, stacked)
    # the teacher is no part of what is saved
    kept = {key.split('.')[0] for key in model.state_dict()}
    assert kept == {'backbone', 'head', 'hints'}
    with pytest.raises(InputError, match='raise megapixels'):
        MODELS.build(dict(plain, megapixels=0.1))(stacked, training=True)
    with pytest.raises(InputError, match='none.png cannot be read'):
        preprocessor(dict(stacked, img_path=['none.png'] * 8), training=True)
    with pytest.raises(InputError, match='300.png cannot be read as an image of'):
        turned = dict(stacked, shape=stacked['shape'][::-1])
        MODELS.build(plain)(turned, training=True)
    with pytest.raises(InputError, match='none.png cannot be read'):
        TRANSFORMS.build(pipeline[0])(dict(img_path='none.png'))
    with pytest.raises(ValueError, match='heatmaps'):
        other = dict(config.model.data_preprocessor, codec=dict(codec, sigma=2))
        MODELS.build(dict(config.model, data_preprocessor=other))
    with pytest.raises(InputError, match='movenet_teacher.py'):
        MODELS.build(dict(config.model, teacher='none.onnx'))
    monkeypatch.setattr(on_gpu, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match='pip install onnx2torch'):
        MODELS.build(config.model)


class Line(BaseModel):
    """Two weights, which are to be 0."""

    def __init__(self):
        super().__init__()
        self.quick, self.slow = (torch.nn.Parameter(torch.ones(())) for _ in range(2))

    def forward(self, inputs, mode):
        return dict(loss=self.quick**2 + self.slow**2) if mode == 'loss' else [None]


class Rates(Hook):
    def __init__(self, stop_after=None):
        self.rates, self.stop_after, self.evaluated = [], stop_after, []

    def after_val(self, runner):
        self.evaluated.append(runner.iter)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        quick, slow = runner.optim_wrapper.get_lr()['lr']
        assert slow == pytest.approx(quick / 10)
        self.rates.append(quick)
        if runner.iter + 1 == self.stop_after:
            runner.train_loop.stop_training = True


class Takes(list):
    """Samples, each of which takes a look at the clock, which is a second."""

    def __getitem__(self, index):
        sys.modules['clock'].time.monotonic()
        return super().__getitem__(index)


def train_by_clock(work_dir, rates, by_epoch, resume=False):
    hook = dict(type='CosineByClock', hours=20 / 3600, warmup=2)
    Runner(
        Line(),
        str(work_dir),
        train_dataloader=dict(
            batch_size=1,
            dataset=Takes([dict(inputs=0)] * 4),
            sampler=dict(type='DefaultSampler'),
        ),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1),
            paramwise_cfg=dict(custom_keys=dict(slow=dict(lr_mult=0.1))),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=100, val_interval=50)
        if by_epoch
        else dict(by_epoch=False, max_iters=400, val_interval=3),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=1)),
        val_dataloader=dict(
            batch_size=1,
            dataset=[dict(inputs=0)],
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        val_cfg={},
        val_evaluator=[],
        custom_hooks=[hook, rates],
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}{resume}{id(rates)}',
    ).train()


@pytest.mark.parametrize('by_epoch', [True, False])
def test_learning_rate_by_clock(tmp_path, clock, by_epoch):
    """It ends at zero, and so does a training that was stopped and goes on."""
    train = partial(train_by_clock, by_epoch=by_epoch)
    whole = Rates()
    train(tmp_path / 'whole', whole)
    # an iteration takes two seconds, one for its sample; the time between epochs and of evaluations
    # does not count, nor the first sample after them of a training by iterations
    assert len(whole.rates) == (12 if by_epoch else 15)
    index = np.arange(len(whole.rates))
    seconds = 2 * (index + 1) if by_epoch else 2 * (index - index // 3)
    expected = 0.05 * (1 + np.cos(np.pi * np.minimum(seconds / 20, 1)))
    expected[0] /= 2
    np.testing.assert_allclose(whole.rates, expected, atol=1e-6)
    assert whole.rates[-1] == pytest.approx(0, abs=1e-9)
    assert whole.evaluated == ([12] if by_epoch else [3, 6, 9, 12, 15])

    parts = Rates(stop_after=8), Rates()
    train(tmp_path / 'parts', parts[0])
    train(tmp_path / 'parts', parts[1], resume=True)
    assert len(parts[0].rates) == 8
    np.testing.assert_allclose(parts[0].rates, whole.rates[:8], atol=1e-6)
    if by_epoch:
        np.testing.assert_allclose(parts[1].rates, whole.rates[8:], atol=1e-6)
    else:  # going through the samples that it has had takes none of its hours
        assert parts[1].rates[0] == pytest.approx(parts[0].rates[-1], abs=1e-6)
        assert parts[1].rates[-1] == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match='hours'):
        clock.CosineByClock(hours=0)
    over = Rates()
    train(tmp_path / 'parts', over, resume=True)
    assert not over.rates


@pytest.fixture
def pack(monkeypatch, capsys, tmp_path):
    """``pack.py`` in a folder with the data of two sets and a config that trains on them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(PROJECT)
    module = importlib.import_module('pack')
    sets = []
    for name, images in (('a', 3), ('b', 2)):
        make_coco_style(
            Path('data', name, 'annotations/train.json'), Path('data', name, 'i'), images, 4
        )
        sets.append(
            dict(
                data_root=f'data/{name}',
                ann_file='annotations/train.json',
                data_prefix=dict(img='i'),
            )
        )
    Path('first.pth').write_bytes(bytes(range(256)) * 8)
    Path('train.py').write_text(
        "load_from = 'first.pth'\nmodel = dict()\n"
        f'train_dataloader = dict(dataset=dict(datasets={sets}))\n'
    )

    def pack(*args):
        monkeypatch.setattr(sys, 'argv', ['pack.py', *map(str, args)])
        module.main()
        return capsys.readouterr().out.splitlines()

    return pack


def contents(folder):
    return {str(path): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}


def test_packed_data_are_the_same_elsewhere(pack, monkeypatch, tmp_path):
    size = 0.006
    lines = pack('train.py', 'packed', '--part-mb', size)
    parts = sorted(Path('packed').iterdir())
    assert [line.split()[0] for line in lines] == list(map(str, parts))
    assert len(parts) > 1 and all(part.stat().st_size <= size * 1e6 for part in parts)

    there = tmp_path / 'there'
    there.mkdir()
    monkeypatch.chdir(there)
    assert pack('--unpack', tmp_path / 'packed') == ['8 files']
    here = {str(p): p for p in map(Path, ('first.pth', *contents('data')))}
    for name, path in here.items():
        original = tmp_path / name
        if path.suffix == '.jpg':
            difference = cv2.imread(str(original)).astype(int) - cv2.imread(name)
            assert np.abs(difference).mean() < 8
        else:
            assert path.read_bytes() == original.read_bytes()
    assert {str(p.relative_to(tmp_path)) for p in (tmp_path / 'data').rglob('*.*')} == {
        name for name in here if name.startswith('data')
    }


def test_packing_goes_on_with_what_is_missing(pack):
    pack('train.py', 'packed', '--part-mb', 0.003)
    before = contents('packed')
    lost = sorted(before)[1]
    assert lost != max(before)
    Path(lost).unlink()
    pack('train.py', 'packed')
    after = contents('packed')
    assert all(after[name] == content for name, content in before.items() if name != lost)
    names = [name for part in after for name in ZipFile(part).namelist()]
    assert len(names) == len(set(names)) == 8


def test_archives_of_other_files_are_not_taken_for_those_asked_for(pack, capsys):
    pack('train.py', 'packed')
    before = contents('packed')
    ann_file = Path('data/b/annotations/train.json')
    time = ann_file.stat().st_mtime
    for options, changed, named in ([['--quality', 80], 0, 'part-01.zip'], [[], 60, str(ann_file)]):
        os.utime(ann_file, (time, time + changed))
        with pytest.raises(SystemExit):
            pack('train.py', 'packed', *options)
        assert named in capsys.readouterr().err
        assert contents('packed') == before
    os.utime(ann_file, (time, time))
    assert pack('train.py', 'packed') and contents('packed') == before


def test_packing_names_what_is_wrong(pack, capsys):
    def refused(*args):
        with pytest.raises(SystemExit):
            pack(*args)
        return capsys.readouterr().err

    assert '--part-mb' in refused('train.py', 'packed', '--part-mb', 0.001)
    assert 'part-*.zip' in refused('--unpack', 'data')
    assert '--unpack' in refused('train.py')
    Path('away').mkdir()
    with ZipFile('away/part-01.zip', 'w') as archive:
        archive.writestr('../x.xz', b'')
    assert '../x' in refused('--unpack', 'away')
    assert not Path('../x').exists()
    whole = Path('away/part-01.zip').read_bytes()
    for damaged in (whole[:-30], b'', whole.replace(b'../x', b'.../')):
        Path('away/part-01.zip').write_bytes(damaged)
        assert 'part-01.zip' in refused('--unpack', 'away')
    assert 'part-01.zip' in refused('train.py', 'away')
    assert 'first.pth' in refused('train.py', 'first.pth')
    for option in (['--quality', 101], ['--part-mb', 'nan']):
        assert option[0] in refused('train.py', 'packed', *option)
    Path('tests.py').write_text('model = dict()')
    assert 'train_dataloader' in refused('tests.py', 'packed')
    for content in ('[]', '{}', '{"images": [{}]}', 'no JSON'):
        Path('broken.json').write_text(content)
        option = 'train_dataloader.dataset.datasets.0.ann_file=../../broken.json'
        assert 'broken.json' in refused('train.py', 'packed', '--cfg-options', option)
    photograph = next(Path('data/a/i').iterdir())
    photograph.write_bytes(b'no image')
    assert photograph.name in refused('train.py', 'packed')
    photograph.unlink()
    assert photograph.name in refused('train.py', 'packed')
    assert 'relative' in refused(
        'train.py', 'packed', '--cfg-options', f'load_from={Path("first.pth").resolve()}'
    )
