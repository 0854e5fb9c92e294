"""Each point of docs/protocol.md, against a second computation of it."""

import json
import re
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmengine.utils import import_modules_from_strings
from mmpose.datasets.datasets import CocoDataset
from mmpose.registry import DATASETS, KEYPOINT_CODECS, METRICS, MODELS
from PIL import Image
from reference_evaluation import (
    COCO_STATS,
    MPII_GROUPS,
    annotated_box,
    box_to_center_scale,
    coco_stats,
    oks,
    pckh,
)
from scipy.io import savemat
from scipy.optimize import brentq
from synthetic import make_image, write_json

import lpn_mmpose  # noqa: F401

ROOT = Path(__file__).parents[1]
BODY = ROOT / 'configs/body_2d_keypoint'
COCO = BODY / 'lpn/coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
MPII = BODY / 'lpn/mpii/td-hm_lpn50_8xb32-150e_mpii-256x256.py'
#: The configs of the ten published rows, and of LPN at 384x288.
PUBLISHED = sorted(BODY.glob('lpn/coco/*.py')) + [MPII] + sorted(BODY.glob('*/*/*_official-*.py'))
RESULTS = 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json'


@cache
def read(path: Path) -> Config:
    cfg = Config.fromfile(path)
    import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture(scope='module')
def coco():
    return read(COCO)


@pytest.fixture(scope='module')
def mpii():
    return read(MPII)


def person(image_id, number, bbox, keypoints, flags, **more):
    """Return a COCO annotation."""
    triples = np.column_stack([keypoints, flags]) * (flags > 0)[:, None]
    return dict(
        dict(
            id=number,
            image_id=image_id,
            category_id=1,
            bbox=[float(v) for v in bbox],
            area=float(bbox[2] * bbox[3] * 0.6),
            iscrowd=0,
            num_keypoints=int((flags > 0).sum()),
            keypoints=triples.ravel().tolist(),
        ),
        **more,
    )


def write_coco(root: Path, annotations, detections, size=(640, 480)):
    """Write val2017 with images of one colour, annotations and detections."""
    numbers = sorted({a['image_id'] for a in annotations})
    images = [dict(id=i, file_name=f'{i:012d}.png', width=size[0], height=size[1]) for i in numbers]
    (root / 'data/coco/val2017').mkdir(parents=True)
    for image in images:
        cv2.imwrite(
            str(root / 'data/coco/val2017' / image['file_name']),
            np.full((size[1], size[0], 3), (128, 60, 200), np.uint8),
        )
    category = dict(id=1, name='person', keypoints=[], skeleton=[])
    write_json(
        root / 'data/coco/annotations/person_keypoints_val2017.json',
        dict(images=images, annotations=annotations, categories=[category]),
    )
    write_json(root / 'data/coco' / RESULTS, detections)


def random_coco(root: Path):
    """Twelve images of two to four persons, small ones and large ones.

    The detector finds most of them, some twice, and others that are not
    there. Each detection has a guess of its keypoints under ``pose``, which
    MMPose does not read.
    """
    rng = np.random.RandomState(0)
    annotations, detections = [], []
    for image_id in range(1, 13):
        for _ in range(rng.randint(2, 5)):
            height = rng.uniform(40, 300)
            box = np.array(
                [rng.uniform(-5, 500), rng.uniform(-5, 180), height * rng.uniform(0.3, 0.7), height]
            ).round(2)
            pose = box[:2] + rng.rand(17, 2) * box[2:]
            flags = rng.choice([0, 1, 2], 17, p=[0.2, 0.2, 0.6])
            annotations.append(person(image_id, len(annotations) + 1, box, pose, flags))
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                error = rng.randn(17, 2) * rng.uniform(0, 0.08) * height
                detections.append(
                    dict(
                        image_id=image_id,
                        category_id=1,
                        bbox=(box + rng.randn(4)).tolist(),
                        score=rng.rand(),
                        pose=(pose + error).tolist(),
                    )
                )
        for scale in (30, 60, 120, 240):
            corner = rng.uniform(0, 250, 2)
            box = [*corner, scale, 1.5 * scale]
            detections.append(
                dict(
                    image_id=image_id,
                    category_id=1,
                    bbox=box,
                    score=rng.rand(),
                    # a wrong pose is of another size than its box
                    pose=(corner + rng.rand(17, 2) * 100).tolist(),
                )
            )
    crowd = dict(iscrowd=1, num_keypoints=0)
    annotations.append(
        person(
            1, len(annotations) + 1, [10, 10, 300, 200], np.zeros((17, 2)), np.zeros(17), **crowd
        )
    )
    write_coco(root, annotations, detections)
    return annotations, detections


def predicted(sample, keypoints, scores):
    """Give a sample of the pipeline a prediction as the model's would be."""
    data_sample = sample['data_samples']
    truth = data_sample.gt_instances
    data_sample.pred_instances = InstanceData(
        keypoints=np.array(keypoints)[None],
        keypoint_scores=np.array(scores)[None],
        bboxes=truth.bboxes,
        bbox_scores=truth.bbox_scores,
    )
    return data_sample


def evaluate(evaluator, dataset, samples):
    evaluator = Evaluator(evaluator)
    evaluator.dataset_meta = dataset.metainfo
    evaluator.process(samples, None)
    return evaluator.evaluate(len(dataset))


def test_the_document_names_tests_that_exist():
    text = (ROOT / 'docs/protocol.md').read_text()
    named = re.findall(r'`(test_\w+)(?:\.py)?::(test_\w+)`', text)
    assert len(named) > 20
    for module, function in named:
        (path,) = ROOT.glob(f'tests/**/{module}.py')
        assert f'\ndef {function}(' in path.read_text(), f'{module}::{function}'
    ours = re.findall(r'\ndef (test_\w+)\(', Path(__file__).read_text())
    assert not set(ours[1:]) - {function for _, function in named}


def test_all_rows_are_evaluated_alike():
    """What is tested below on LPN-50 holds for the other rows, too."""
    for path in PUBLISHED:
        cfg, like = read(path), read(MPII if 'mpii' in path.name else COCO)
        for split in ('val', 'test'):
            found = cfg[f'{split}_dataloader'].dataset.to_dict()
            expected = like[f'{split}_dataloader'].dataset.to_dict()
            expected['pipeline'][2]['input_size'] = cfg.codec.input_size
            assert found == expected, path
            found = cfg[f'{split}_evaluator'].to_dict()
            expected = like[f'{split}_evaluator'].to_dict()
            bias = expected.pop('bias', None)
            assert found.pop('bias', None) == (bias if 'lpn' in path.name else None), path
            assert found == expected, path
        assert cfg.model.test_cfg == dict(
            flip_test=True, flip_mode='heatmap', shift_heatmap=True
        ), path


# ---- input


@pytest.mark.parametrize('path', [COCO, MPII], ids=['coco', 'mpii'])
def test_images_are_read_as_stored(path, tmp_path):
    """Not turned by their EXIF orientation."""
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    file = tmp_path / 'image.jpg'
    Image.new('RGB', (40, 30)).save(file, exif=exif)
    cfg = read(path)
    init_default_scope(cfg.default_scope)
    for split in ('val', 'test'):
        load = cfg[f'{split}_dataloader'].dataset.pipeline[0]
        load = DATASETS.build(dict(type='CocoDataset', lazy_init=True, pipeline=[load])).pipeline
        assert load(dict(img_path=str(file)))['img'].shape == (30, 40, 3)


BOXES = {
    'inside': ([100.5, 60.25, 80, 200], [100.5, 60.25, 179.5, 259.25]),
    'over the right and lower edge': ([600, 400, 90, 90], [600, 400, 639, 479]),
    # moved inside before it is clipped
    'over the left and upper edge': ([-10, -4, 50, 60], [0, 0, 49, 59]),
    'one pixel wide': ([20, 30, 1, 50], [20, 30, 20, 79]),
}


def test_ground_truth_boxes(coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = np.full(17, 2)
    annotations = [
        person(1, i, box, np.full((17, 2), 50.0), flags)
        for i, (box, _) in enumerate(BOXES.values(), 1)
    ]
    write_coco(tmp_path, annotations, [])
    config = dict(coco.val_dataloader.dataset, bbox_file=None, pipeline=[])
    dataset = DATASETS.build(config)
    # a box without width, the last one, is no crop: left out
    expected = [xyxy for _, xyxy in BOXES.values()][:-1]
    found = [dataset.get_data_info(i)['bbox'][0] for i in range(len(dataset))]
    np.testing.assert_allclose(found, expected)
    for (bbox, _), box in zip(BOXES.values(), found):
        x, y, w, h = annotated_box(bbox, 640, 480)
        np.testing.assert_allclose(box, [x, y, x + w, y + h])

    # the switch: MMPose's boxes are a pixel larger
    theirs = DATASETS.build(dict(config, type='CocoDataset'))
    difference = theirs.get_data_info(0)['bbox'][0] - found[0]
    np.testing.assert_allclose(difference, [0, 0, 1, 1])
    trained = dict(coco.train_dataloader.dataset)
    assert trained['type'] == coco.val_dataloader.dataset.type


def test_detected_boxes(coco, tmp_path, monkeypatch):
    """All of them, as they are, from the file with human AP 56.4."""
    monkeypatch.chdir(tmp_path)
    boxes = [[-10.5, -4, 50, 60], [600, 400, 90, 90], [1, 2, 3, 4]]
    scores = [0.9, 0.3, 0.0001]
    detections = [
        dict(image_id=1, category_id=1, bbox=box, score=score) for box, score in zip(boxes, scores)
    ]
    dog = dict(image_id=1, category_id=18, bbox=[1, 1, 9, 9], score=1)
    flags = np.full(17, 2)
    write_coco(
        tmp_path,
        [person(1, 1, [5, 5, 9, 9], np.full((17, 2), 9.0), flags)],
        detections[:1] + [dog] + detections[1:],
    )
    for split in ('val', 'test'):
        config = coco[f'{split}_dataloader'].dataset
        assert config.bbox_file == f'data/coco/{RESULTS}'
        dataset = DATASETS.build(config)
        found = [dataset.get_data_info(i) for i in range(len(dataset))]
        x, y, w, h = np.transpose(boxes)
        np.testing.assert_allclose(
            [info['bbox'][0] for info in found], np.transpose([x, y, x + w, y + h]), rtol=1e-6
        )
        np.testing.assert_allclose(np.ravel([info['bbox_score'] for info in found]), scores)


@pytest.mark.parametrize(
    'path',
    [COCO, COCO.with_name(COCO.name.replace('256x192', '384x288'))],
    ids=['256x192', '384x288'],
)
@pytest.mark.parametrize(
    'bbox',
    [[100, 60, 80, 200], [50, 80, 300, 90], [-20, 3, 30, 40]],
    ids=['tall', 'wide', 'square, outside'],
)
def test_box_to_crop(path, bbox, tmp_path, monkeypatch):
    """1.25 times the box that has the input's aspect ratio; the crop maps
    its center to the middle, one scale for both axes."""
    monkeypatch.chdir(tmp_path)
    points = np.arange(34.0).reshape(17, 2) * 7
    write_coco(
        tmp_path,
        [person(1, 1, [5, 5, 9, 9], points, np.full(17, 2))],
        [dict(image_id=1, category_id=1, bbox=bbox, score=1)],
    )
    cfg = read(path)
    pipeline = cfg.val_dataloader.dataset.pipeline
    assert [step.type for step in pipeline] == [
        'LoadImage',
        'GetBBoxCenterScale',
        'TopdownAffine',
        'PackPoseInputs',
    ]
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=pipeline[:3]))
    results = dataset.pipeline(dict(dataset.get_data_info(0), keypoints=points[None]))
    width, height = cfg.codec.input_size
    center, size = box_to_center_scale(bbox, width / height)
    np.testing.assert_allclose(results['input_center'], center, rtol=1e-5)
    np.testing.assert_allclose(results['input_scale'], size, rtol=1e-5)
    expected = (points - center) * width / size[0] + (width / 2, height / 2)
    np.testing.assert_allclose(results['transformed_keypoints'][0], expected, atol=2e-3)
    assert results['img'].shape == (height, width, 3)


# ---- training


def test_target_is_a_gaussian_at_a_whole_pixel(coco):
    """Of sigma 2, within 6 pixels, at int(x / 4 + 0.5); weight 0 where the
    joint is unlabelled or its Gaussian outside."""
    codec = KEYPOINT_CODECS.build(coco.codec)
    keypoints = np.array(
        [[[101.9, 38.1], [102.0, 38.0], [-27.0, 40.0], [-25.0, 40.0], [50.0, 60.0]]]
    )
    visible = np.array([[1.0, 1.0, 1.0, 1.0, 0.0]], np.float32)
    encoded = codec.encode(keypoints, visible)
    y, x = np.mgrid[:64, :48]
    for k, (u, v) in enumerate([(25, 10), (26, 10)]):
        near = (abs(x - u) <= 6) & (abs(y - v) <= 6)
        expected = np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8) * near
        np.testing.assert_allclose(encoded['heatmaps'][k], expected, atol=1e-6)
    # int() rounds towards 0: -25 / 4 + 0.5 to -5, whose Gaussian ends at 1
    assert encoded['heatmaps'][3].any() and not encoded['heatmaps'][4].any()
    np.testing.assert_array_equal(encoded['keypoint_weights'], [[1, 1, 1, 1, 0]])
    # a Gaussian that ends just before the heatmap is an empty target; one
    # further away has no weight
    far = codec.encode(np.array([[[-31.0, 40.0], [-35.0, 40.0], [240.0, 40.0]]]))
    assert not far['heatmaps'].any()
    np.testing.assert_array_equal(far['keypoint_weights'], [[1, 0, 0]])


def test_augmentation_is_clipped_not_truncated(coco, mpii):
    """Scale: normal, clipped at one std; angle: at two, in 60 % of cases."""
    for cfg, scale_std, degrees in ((coco, 0.3, 40), (mpii, 0.25, 30)):
        init_default_scope(cfg.default_scope)
        (step,) = [s for s in cfg.train_pipeline if s.type == 'ClippedBBoxTransform']
        pipeline = DATASETS.build(
            dict(type='CocoDataset', lazy_init=True, pipeline=[step])
        ).pipeline
        count = 40000
        np.random.seed(0)
        results = pipeline(dict(bbox_center=np.zeros((count, 2)), bbox_scale=np.ones((count, 2))))
        assert not results['bbox_center'].any()
        scale, angle = results['bbox_scale'][:, 0], results['bbox_rotation']
        assert scale.min() == pytest.approx(1 - scale_std)
        assert scale.max() == pytest.approx(1 + scale_std)
        at_bounds = np.isclose(abs(scale - 1), scale_std).mean()
        assert at_bounds == pytest.approx(0.3173, abs=0.01)
        assert abs(angle).max() == pytest.approx(2 * degrees)
        assert (angle == 0).mean() == pytest.approx(0.4, abs=0.01)
        turned = angle[angle != 0]
        assert np.isclose(abs(turned), 2 * degrees).mean() == pytest.approx(0.0455, abs=0.005)
        assert (abs(turned) < degrees).mean() == pytest.approx(0.6827, abs=0.01)


# ---- flip test and decoding


@pytest.mark.parametrize('path', [COCO, MPII], ids=['coco', 'mpii'])
def test_flip_pairs(path):
    meta = DATASETS.get(read(path).val_dataloader.dataset.type).METAINFO
    dataset = CocoDataset(metainfo=meta, lazy_init=True)
    pairs = dict(
        coco=[(j, j + 1) for j in range(1, 17, 2)],
        mpii=[(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)],
    )
    expected = np.arange(17 if 'coco' in path.name else 16)
    for a, b in pairs['coco' if 'coco' in path.name else 'mpii']:
        expected[[a, b]] = b, a
    np.testing.assert_array_equal(dataset.metainfo['flip_indices'], expected)


@pytest.mark.parametrize('path', [COCO, MPII], ids=['coco', 'mpii'])
def test_flip_test_averages_a_shifted_flip(path):
    """The flipped image's heatmaps: flipped, pairs swapped, moved right by
    one pixel whose column is kept, and averaged."""
    cfg = read(path)
    head = MODELS.build(cfg.model.head)
    width, height = cfg.codec.heatmap_size
    rng = np.random.RandomState(0)
    number = head.out_channels
    plain, flipped = rng.rand(2, 1, number, height, width).astype(np.float32)
    outputs = iter([plain, flipped])
    head.forward = lambda feats: torch.from_numpy(next(outputs).copy())
    meta = DATASETS.get(cfg.val_dataloader.dataset.type).METAINFO
    meta = CocoDataset(metainfo=meta, lazy_init=True).metainfo
    samples = [type('Sample', (), dict(metainfo=meta))()]  # all that a head reads of it
    _, fields = head.predict([(), ()], samples, dict(cfg.model.test_cfg, output_heatmaps=True))
    swapped = flipped[:, meta['flip_indices']][..., ::-1]
    columns = [0, *range(width - 1)]
    expected = (plain + swapped[..., columns]) / 2
    np.testing.assert_allclose(fields[0].heatmaps, expected[0], rtol=1e-6)


@pytest.mark.parametrize('path', PUBLISHED, ids=lambda path: path.stem)
def test_decoder_of_each_row(path):
    """LPN: beta 160 and then the quarter offset; the others: the maximum and
    the quarter offset."""
    cfg = read(path)
    codec = KEYPOINT_CODECS.build(cfg.model.head.decoder)
    is_lpn = 'lpn' in path.name
    assert codec.beta == (160 if is_lpn else None)
    assert codec.quarter_offset
    # the middle of two equal pixels, 20 and 21, the left one's side higher
    width, height = codec.heatmap_size
    heatmaps = np.zeros((1, height, width), np.float32)
    heatmaps[0, 10, 19:23] = 0.5, 0.8, 0.8, 0.4
    keypoints, scores = codec.decode(heatmaps)
    # LPN: 20.5 is nearest to 21, whose left neighbour is the higher one
    expected = 20.5 - 0.25 if is_lpn else 20 + 0.25
    assert keypoints[0, 0, 0] / 4 == pytest.approx(expected, abs=1e-4)
    assert keypoints[0, 0, 1] / 4 == 10
    assert scores == np.float32(0.8)


# ---- COCO's metric


def coco_metric(cfg, dataset, tmp_path):
    metric = METRICS.build(
        dict(
            cfg.val_evaluator,
            ann_file=None,
            format_only=True,
            outfile_prefix=str(tmp_path / 'results'),
        )
    )
    metric.dataset_meta = dataset.metainfo
    return metric


def coco_results(cfg, tmp_path, detections, poses, scores):
    """Write predictions as the config's metric does and read them."""
    flags = np.full(17, 2)
    write_coco(tmp_path, [person(1, 1, [5, 5, 9, 9], np.full((17, 2), 9.0), flags)], detections)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    metric = coco_metric(cfg, dataset, tmp_path)
    metric.process(
        None, [predicted(dataset[i], poses[i], scores[i]).to_dict() for i in range(len(dataset))]
    )
    metric.evaluate(len(dataset))
    return json.loads((tmp_path / 'results.keypoints.json').read_text())


def test_score_is_box_times_mean_of_visible_keypoints(coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    poses = np.random.RandomState(0).rand(3, 17, 2) * 400
    scores = np.full((3, 17), 0.1)
    scores[0, :3] = 0.2, 0.21, 0.8  # 0.2 itself does not count
    scores[1] = 0.5
    detections = [
        dict(image_id=1, category_id=1, bbox=[9, 9, 90, 90], score=score)
        for score in (0.5, 0.25, 1)
    ]
    results = coco_results(coco, tmp_path, detections, poses, scores)
    found = {r['keypoints'][0]: r['score'] for r in results}
    assert [found[pose[0, 0]] for pose in poses] == pytest.approx(
        [0.5 * (0.21 + 0.8) / 2, 0.25 * 0.5, 0]
    )
    # no box: COCO's tools take a prediction's area from its keypoints
    assert all('bbox' not in result for result in results)


def test_oks_nms(coco, tmp_path, monkeypatch):
    """Above 0.9 the lower score goes; sizes are those of the crops."""
    monkeypatch.chdir(tmp_path)
    width, height = coco.codec.input_size
    box = [50, 50, 60, 200]
    _, size = box_to_center_scale(box, width / height)
    area = np.prod(size)
    pose = np.random.RandomState(0).rand(17, 2) * 200
    limit = brentq(lambda shift: oks(pose, pose + shift, area) - 0.9, 0, 40)
    below, above = limit + 0.1, limit - 0.1
    # neither the box's area nor that of its 1.25-fold gives the same
    assert oks(pose, pose + above, np.prod(box[2:])) < 0.9
    assert oks(pose, pose + above, np.prod(box[2:]) * 1.25**2) < 0.9
    detections = [dict(image_id=1, category_id=1, bbox=box, score=score) for score in (0.5, 0.9)]
    for index, (shift, kept) in enumerate([(above, [0.9]), (below, [0.9, 0.5])]):
        folder = tmp_path / str(index)
        folder.mkdir()
        monkeypatch.chdir(folder)
        results = coco_results(
            coco, folder, detections, np.stack([pose, pose + shift]), np.ones((2, 17))
        )
        assert [r['score'] for r in results] == pytest.approx(kept)


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    root = tmp_path_factory.mktemp('crowd')
    return root, *random_coco(root)


def predictions_of(cfg, annotations, detections, found_boxes):
    """Return each sample's prediction and what a second computation needs."""
    boxed = (
        detections
        if found_boxes
        else [
            dict(
                image_id=a['image_id'],
                bbox=annotated_box(a['bbox'], 640, 480),
                score=1.0,
                pose=np.reshape(a['keypoints'], (17, 3))[:, :2],
            )
            for a in annotations
            if a['num_keypoints']
        ]
    )
    rng = np.random.RandomState(1)
    width, height = cfg.codec.input_size
    persons = []
    for d in boxed:
        pose = np.array(d['pose'])
        if not found_boxes:
            pose = pose + rng.randn(17, 2) * 0.04 * d['bbox'][3]
        persons.append(
            dict(
                image_id=d['image_id'],
                keypoints=pose,
                keypoint_scores=rng.rand(17),
                box_score=d['score'],
                crop_size=box_to_center_scale(d['bbox'], width / height)[1],
            )
        )
    return persons


@pytest.mark.parametrize('found_boxes', [True, False], ids=['detected', 'annotated'])
def test_coco_results_equal_a_second_computation(found_boxes, coco, crowd, monkeypatch):
    """MMPose and xtcocotools against NumPy and pycocotools."""
    root, annotations, detections = crowd
    monkeypatch.chdir(root)
    config = dict(coco.val_dataloader.dataset)
    if not found_boxes:
        config['bbox_file'] = None
    dataset = DATASETS.build(config)
    persons = predictions_of(coco, annotations, detections, found_boxes)
    assert len(dataset) == len(persons)
    samples = [
        predicted(dataset[i], p['keypoints'], p['keypoint_scores']) for i, p in enumerate(persons)
    ]
    results = evaluate(coco.val_evaluator, dataset, samples)
    expected = coco_stats(coco.val_evaluator.ann_file, persons)
    assert 0.1 < expected['AP'] < 0.9
    for key in COCO_STATS:
        assert results[f'coco/{key}'] == pytest.approx(expected[key], abs=5e-5), key

    # the switch: MMPose sizes wrong predictions by their boxes
    theirs = evaluate(dict(coco.val_evaluator, type='CocoMetric'), dataset, samples)
    same = [key for key in COCO_STATS if key not in ('AP (M)', 'AP (L)')]
    for key in same:
        assert theirs[f'coco/{key}'] == results[f'coco/{key}']
    if found_boxes:
        for key in ('AP (M)', 'AP (L)'):
            assert abs(theirs[f'coco/{key}'] - results[f'coco/{key}']) > 0.001


# ---- MPII


@pytest.fixture(scope='module')
def mpii_data(tmp_path_factory):
    """Forty persons with gaps in their joints, heads of several sizes."""
    root = tmp_path_factory.mktemp('mpii')
    folder = root / 'data/mpii'
    rng = np.random.RandomState(0)
    make_image(folder / 'images/000000001.jpg', np.zeros((0, 2)), 0)
    joints = rng.uniform(1, 120, (40, 16, 2)).round(2)
    visible = rng.rand(40, 16) < 0.8
    people = [
        dict(
            image='000000001.jpg',
            center=[60.0, 70.0],
            scale=0.4 + 0.01 * i,
            joints=joints[i].tolist(),
            joints_vis=visible[i].astype(int).tolist(),
        )
        for i in range(40)
    ]
    corners = rng.uniform(0, 60, (2, 40))
    heads = np.stack([corners, corners + rng.uniform(15, 60, (2, 40))])
    heads[1, :, :4] = heads[0, :, :4] + 12  # small: one pixel counts
    write_json(folder / 'annotations/mpii_val.json', people)
    savemat(folder / 'annotations/mpii_gt_val.mat', dict(headboxes_src=heads))
    # errors from nothing to two heads
    head = np.linalg.norm(heads[1] - heads[0], axis=0)[:, None, None]
    errors = rng.randn(40, 16, 2) * head * rng.uniform(0, 0.5, (40, 16, 1))
    return root, joints, visible, heads, joints - 1 + errors


def test_mpii_box_to_crop(mpii, mpii_data, monkeypatch):
    """Center 15 scales lower and counted from 0; 200 pixels a scale, times
    1.25."""
    monkeypatch.chdir(mpii_data[0])
    dataset = DATASETS.build(mpii.val_dataloader.dataset)
    for i in (0, 39):
        meta = dataset[i]['data_samples'].metainfo
        scale = 0.4 + 0.01 * i
        np.testing.assert_allclose(meta['input_center'], [59, 69 + 15 * scale], rtol=1e-6)
        np.testing.assert_allclose(meta['input_scale'], [250 * scale] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    'path', [p for p in PUBLISHED if 'mpii' in p.name], ids=lambda path: path.stem
)
def test_mpii_results_equal_a_second_computation(path, mpii_data, monkeypatch):
    """PCKh of every column; LPN's bias of one pixel, the head's 0.6, the
    threshold of 0.11 and the joints left out."""
    root, joints, visible, heads, predictions = mpii_data
    monkeypatch.chdir(root)
    cfg = read(path)
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    samples = [predicted(dataset[i], predictions[i], np.ones(16)) for i in range(40)]
    bias = 1 if 'lpn' in path.name else 0
    expected = pckh(predictions, joints, visible, heads, bias)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        results = evaluate(evaluator, dataset, samples)
        found = {key: results[f'{key} PCK'] for key in MPII_GROUPS}
        found.update(
            {'Mean': results['PCK'], 'PCK@0.1': results['PCK@0.1'], 'Mean@0.1': results['Mean@0.1']}
        )
        assert found == pytest.approx(expected, abs=5e-5)
    assert 30 < expected['Mean'] < 90
    # every constant of the definition is one that these data can tell
    assert expected['PCK@0.1'] < expected['Mean@0.1'] - 0.1
    assert pckh(predictions, joints, visible, heads, 1 - bias) != expected
    assert pckh(predictions, joints, visible, heads / 0.6, bias) != expected


def test_mpii_zero_based_training_and_the_bias(mpii, mpii_data, monkeypatch):
    """A network that answers what it is trained on is right in HRNet's
    evaluation; the original's takes one pixel from it."""
    root, joints, visible, heads, _ = mpii_data
    monkeypatch.chdir(root)
    config = dict(mpii.train_dataloader.dataset, ann_file='annotations/mpii_val.json', pipeline=[])
    trained = DATASETS.build(config)
    targets = np.concatenate([trained.get_data_info(i)['keypoints'] for i in range(40)])
    np.testing.assert_allclose(targets, joints - 1, atol=1e-4)
    dataset = DATASETS.build(mpii.val_dataloader.dataset)
    samples = [predicted(dataset[i], targets[i], np.ones(16)) for i in range(40)]
    for bias in (0, 1):
        results = evaluate(dict(mpii.val_evaluator, bias=bias), dataset, samples)
        expected = pckh(targets, joints, visible, heads, bias)
        assert results['PCK@0.1'] == pytest.approx(expected['PCK@0.1'])
        assert (expected['PCK@0.1'] == 100) == (bias == 0)


def test_flip_test_moves_mpii_keypoints_to_the_right(mpii):
    """Half a pixel of the input to the right: what the bias makes up for."""
    codec = KEYPOINT_CODECS.build(mpii.codec)
    x = np.linspace(40, 210, 60)
    keypoints = np.stack([x, x], -1)[None]

    def heatmaps(points):
        """Ideal, at the exact positions."""
        v, u = np.mgrid[:64, :64]
        center = points[0, :, :, None, None] / 4
        return np.exp(-((u - center[:, 0]) ** 2 + (v - center[:, 1]) ** 2) / 8).astype(np.float32)

    mirrored = keypoints.copy()
    mirrored[..., 0] = 255 - mirrored[..., 0]
    flipped = heatmaps(mirrored)[..., ::-1]
    shifted = flipped[..., [0, *range(63)]]
    for maps, bias in ((heatmaps(keypoints), 0.0), ((heatmaps(keypoints) + shifted) / 2, 0.5)):
        decoded, _ = codec.decode(maps)
        error = (decoded - keypoints)[0].mean(0)
        np.testing.assert_allclose(error, [bias, 0], atol=0.12)


@pytest.mark.parametrize('path', [COCO, MPII], ids=['coco', 'mpii'])
def test_samples_reach_the_model_as_they_are(path, crowd, mpii_data, monkeypatch):
    """The mean and std that the original code states, on pixels from 0 to 1."""
    monkeypatch.chdir(crowd[0] if 'coco' in path.name else mpii_data[0])
    cfg = read(path)
    sample = DATASETS.build(cfg.val_dataloader.dataset)[0]
    model = MODELS.build(cfg.model)
    inputs = model.data_preprocessor(pseudo_collate([sample]))['inputs'][0]
    image = sample['inputs'].numpy().astype(float) / 255
    if 'mpii' in path.name:
        image = image[::-1]
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    std = np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(inputs, (image - mean) / std, atol=1e-4)
