import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample
from paths import COCO, LSPET, MPII
from synthetic import make_keypoints

from lpn_mmpose.analysis import keypoint_errors, predictions
from lpn_mmpose.errors import InputError
from lpn_mmpose.evaluation import TorsoPCKAccuracy

LEFT, RIGHT, HEAD = 0, 1, 2
NAMES = ['left_hand', 'right_hand', 'head']


def persons(*predicted, labelled=True, sizes=100.0):
    """Persons with hands at x 0 and 100 and the head at 50, one a row."""
    predicted = np.array(predicted, float)[..., None] * [1.0, 0.0]
    count = len(predicted)
    annotated = np.tile([[0.0, 0], [100, 0], [50, 0]], (count, 1, 1))
    return predictions.EvaluatedPersons(
        NAMES,
        np.array([RIGHT, LEFT, HEAD]),
        predicted,
        annotated,
        np.broadcast_to(labelled, (count, 3)).copy(),
        np.broadcast_to(sizes, count).astype(float),
        'torso',
        np.tile([0.0, 0, 100, 100], (count, 1)),
        [f'{i}.jpg' for i in range(count)],
        list(range(count)),
    )


def test_swaps():
    data = persons(
        [100, 0, 50],  # both swapped
        [80, 80, 80],  # the left one is at the threshold, the right one right
        [79, 21, 50],  # too far from either
        [0, 100, 50],
    )
    np.testing.assert_array_equal(
        keypoint_errors.find_swaps(data, 0.2),
        [[True, True, False], [True, False, False], [False] * 3, [False] * 3],
    )
    data.labelled[0, LEFT] = False
    assert not keypoint_errors.find_swaps(data, 0.2)[0].any()
    data.sizes[1] = np.nan
    assert not keypoint_errors.find_swaps(data, 0.2).any()


def test_analyse():
    data = persons(
        [100, 0, 50], [0, 100, 50], [0, 50, 90], [0, 0, 0], sizes=[100, 100, 100, np.nan]
    )
    data.labelled[2, LEFT] = False
    result = keypoint_errors.analyse(data, 0.2)
    assert (result['persons'], result['measured']) == (4, 3)
    assert result['swaps'] == dict(count=2, of=4, persons=1)
    left, right, head = (result['joints'][name] for name in NAMES)
    assert left == dict(labelled=2, right=0.5, swapped=0.5, elsewhere=0, swaps=1)
    assert right['labelled'] == 3 and right['swaps'] == 1
    for key in ('right', 'swapped', 'elsewhere'):
        assert right[key] == pytest.approx(1 / 3, abs=1e-6)
    assert head['right'] == pytest.approx(2 / 3, abs=1e-6)
    assert result['mean']['pck'] == pytest.approx((1 / 2 + 1 / 3 + 2 / 3) / 3)
    assert result['mean']['pck_sides_forgiven'] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    curve = dict(zip(result['curve']['thresholds'], result['curve']['joints']['head']))
    assert curve[0.39] == pytest.approx(2 / 3, abs=1e-6) and curve[0.4] == 1


def test_joint_that_is_nowhere_labelled():
    result = keypoint_errors.analyse(persons([0, 100, 50], labelled=[True, True, False]), 0.2)
    assert result['joints']['head'] == dict(
        labelled=0, right=None, swapped=None, elsewhere=None, swaps=0
    )
    assert result['mean']['pck'] == 1
    assert keypoint_errors.draw_pck(result).axes
    (bars,) = keypoint_errors.draw_outcomes(result).axes
    assert len(bars.get_yticklabels()) == 2


def test_rank_and_describe():
    data = persons(
        [0, 100, 50],
        [0, 100, 90],
        [30, 130, 80],
        [100, 0, 90],
        [0, 100, 99],
        sizes=[100, 100, 100, 100, np.nan],
    )
    order = keypoint_errors.rank(data, 0.2)
    assert order.tolist() == [3, 2, 1, 0]
    (worst,) = keypoint_errors.describe(data, order[:1], 0.2)
    assert worst == dict(
        image='3.jpg', id=3, right=0, labelled=3, swaps=2, mean_error=pytest.approx(0.8)
    )


def sample(count, index=1, shift=0.0, **truth):
    keypoints = make_keypoints(count, index)[None]
    gt = InstanceData(
        keypoints=keypoints,
        keypoints_visible=np.ones((1, count)),
        bboxes=np.array([[10.0, 20, 70, 110]]),
    )
    for key, value in truth.items():
        gt.set_field(value, key)
    return PoseDataSample(
        metainfo=dict(img_path='a.jpg', id=index, size=(1, 2)),
        gt_instances=gt,
        pred_instances=InstanceData(keypoints=keypoints + shift),
    ).to_dict()


def dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return str(path)


def test_pck_is_the_metrics(tmp_path):
    samples = [sample(14, i, shift=2.0 * i) for i in range(8)]
    data = predictions.read_persons(dump(tmp_path / 'a.pkl', samples), Config.fromfile(LSPET))
    metric = TorsoPCKAccuracy()
    metric.dataset_meta = dict(keypoint_id2name=dict(enumerate(data.names)))
    metric.process([], samples)
    expected = metric.evaluate(len(samples))
    result = keypoint_errors.analyse(data, 0.2)
    assert 0 < result['mean']['pck'] < 1
    assert result['mean']['pck'] == expected['torso/PCK@0.2']
    for name, joint in result['joints'].items():
        assert joint['right'] == pytest.approx(expected[f'torso/PCK@0.2/{name}'], abs=1e-6)
    at = result['curve']['thresholds'].index(0.1)
    assert result['curve']['mean'][at] == pytest.approx(expected['torso/PCK@0.1'], abs=1e-6)


@pytest.mark.parametrize(
    'config, count, unit, size, shift',
    [
        (COCO, 17, 'bbox', 90, 0),
        (MPII, 16, 'head', 25, 0),  # 1 for MPII, minus the original's bias
    ],
)
def test_units_of_other_evaluators(config, count, unit, size, shift, tmp_path):
    path = dump(tmp_path / 'a.pkl', [sample(count, head_size=np.array([[25.0]]))])
    data = predictions.read_persons(path, Config.fromfile(config))
    assert (data.unit, data.sizes.tolist()) == (unit, [size])
    np.testing.assert_allclose(data.predicted - data.annotated, shift)
    assert data.labelled.all() and data.images == ['a.jpg']


def test_predictions_that_do_not_fit(tmp_path):
    cfg = Config.fromfile(LSPET)
    path = dump(tmp_path / 'a.pkl', [sample(17)])
    with pytest.raises(InputError, match='a.pkl, prediction 0 .* 14 keypoints'):
        predictions.read_persons(path, cfg)
    detected = sample(14, keypoints=np.zeros((1, 14, 2)))
    path = dump(tmp_path / 'a.pkl', [detected])
    with pytest.raises(InputError, match='bbox_file=None'):
        predictions.read_persons(path, cfg)


def test_dump_keeps_arrays_tensors_and_containers(tmp_path):
    content = dict(
        array=np.arange(6, dtype=np.float32).reshape(2, 3),
        scalar=np.float64(0.5),
        tensor=torch.arange(4.0).reshape(2, 2)[:, 1],
        names=('a', ['b', 1, None]),
        ordered=OrderedDict(a=1.5),
    )
    (loaded,) = predictions.load_dump(dump(tmp_path / 'a.pkl', [content]))
    np.testing.assert_array_equal(loaded['array'], content['array'])
    assert loaded['array'].dtype == np.float32
    assert torch.equal(loaded['tensor'], content['tensor'])
    for key in ('scalar', 'names', 'ordered'):
        assert loaded[key] == content[key]


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    'function, name',
    [
        (os.mkdir, 'mkdir'),
        (eval, 'eval'),
        (getattr, 'getattr'),
        (torch.load, 'load'),
    ],
)
def test_dump_runs_no_code(function, name, tmp_path):
    path = dump(tmp_path / 'a.pkl', [Call(function, str(tmp_path / 'made'))])
    with pytest.raises(InputError, match=rf'a.pkl are refused: .*\.{name}'):
        predictions.load_dump(path)
    assert not (tmp_path / 'made').exists()


def test_storage_of_a_tensor_runs_no_code(tmp_path):
    hidden = tmp_path / 'hidden.pth'
    torch.save(Call(os.mkdir, str(tmp_path / 'made')), hidden)
    load = Call(torch.storage._load_from_bytes, hidden.read_bytes())
    with pytest.raises(InputError, match='a.pkl are refused'):
        predictions.load_dump(dump(tmp_path / 'a.pkl', [load]))
    assert not (tmp_path / 'made').exists()


def test_files_that_are_no_dumps(tmp_path):
    with pytest.raises(InputError, match='no.pkl do not exist'):
        predictions.load_dump('no.pkl')
    text = tmp_path / 'a.pkl'
    for content in (b'', b'not a pickle', pickle.dumps(dict(a=1)), pickle.dumps([])):
        text.write_bytes(content)
        with pytest.raises(InputError, match='a.pkl'):
            predictions.load_dump(str(text))
