import numpy as np
import pytest
from mmengine.structures import InstanceData

from lpn_mmpose.dataset_converters.lspet import CROWDPOSE_KEYPOINTS as NAMES
from lpn_mmpose.evaluation.torso_pck import TorsoPCKAccuracy, torso_sizes

INDEX = {name: i for i, name in enumerate(NAMES)}


def person(torso=100.0, **errors):
    """Return prediction and truth; ``errors`` are the joints' x errors."""
    truth = np.zeros((1, 14, 2))
    truth[0, INDEX['right_hip']] = truth[0, INDEX['left_hip']] = (0, torso)
    pred = truth.copy()
    for name, error in errors.items():
        pred[0, INDEX[name], 0] += error
    return pred, truth, np.ones((1, 14))


def evaluate(*persons, thr=(0.2, 0.1), datasets=None, **kwargs):
    metric = TorsoPCKAccuracy(thr=thr, **kwargs)
    metric.dataset_meta = dict(keypoint_id2name=dict(enumerate(NAMES)))
    for (pred, truth, visible), dataset in zip(persons, datasets or [None] * len(persons)):
        gt = InstanceData(keypoints=truth, keypoints_visible=visible)
        metric.process(
            [],
            [
                dict(
                    pred_instances=dict(keypoints=pred),
                    gt_instances=gt.to_dict(),
                    dataset_name=dataset,
                )
            ],
        )
    return metric.evaluate(len(persons))


def test_threshold_is_inclusive_and_in_units_of_the_torso():
    metrics = evaluate(person(left_wrist=20.0, neck=20.01, left_knee=10.0))
    assert metrics['torso/PCK@0.2'] == pytest.approx(13 / 14)
    assert metrics['torso/PCK@0.1'] == pytest.approx(12 / 14)
    assert metrics['torso/PCK@0.2/neck'] == 0
    assert metrics['torso/PCK@0.2/left_wrist'] == 1


def test_mean_is_over_keypoints_and_skips_unlabelled_ones():
    pred, truth, visible = person(left_ankle=50.0)
    visible[0, INDEX['left_ankle']] = 0
    metrics = evaluate((pred, truth, visible), person(right_wrist=50.0))
    assert metrics['torso/PCK@0.2/left_ankle'] == 1
    assert metrics['torso/PCK@0.2/right_wrist'] == 0.5
    assert metrics['torso/PCK@0.2'] == pytest.approx(13.5 / 14)
    visible[0, INDEX['neck']] = 0
    assert 'torso/PCK@0.2/neck' not in evaluate((pred, truth, visible))


def test_other_diagonal_and_persons_without_any():
    keypoints = np.zeros((3, 14, 2))
    keypoints[:, INDEX['right_hip'], 1] = 10
    keypoints[:, INDEX['left_hip'], 1] = 7
    labelled = np.ones((3, 14), bool)
    labelled[1:, INDEX['left_shoulder']] = False
    labelled[2, INDEX['left_hip']] = False
    sizes = torso_sizes(keypoints, labelled, NAMES)
    np.testing.assert_array_equal(sizes, [10, 7, np.nan])


def test_person_without_torso_is_left_out():
    pred, truth, visible = person(neck=90.0)
    visible[0, [INDEX['left_hip'], INDEX['right_hip']]] = 0
    metrics = evaluate((pred, truth, visible), person())
    assert metrics['torso/PCK@0.2'] == 1
    with pytest.raises(ValueError, match='torso'):
        evaluate((pred, truth, visible))


def test_each_dataset_and_their_mean():
    persons = [person(neck=90.0), person(), person(left_wrist=90.0, right_knee=15.0)]
    metrics = evaluate(*persons, datasets=['a', 'b', 'b'], by_dataset=True)
    assert metrics['torso/a/PCK@0.2'] == pytest.approx(13 / 14)
    assert metrics['torso/b/PCK@0.2'] == pytest.approx(13.5 / 14)
    assert metrics['torso/b/PCK@0.2/left_wrist'] == 0.5
    assert metrics['torso/PCK@0.2'] == pytest.approx(13.25 / 14)
    assert metrics['torso/PCK@0.1'] == pytest.approx(13 / 14)


def test_some_keypoints():
    """Others neither count nor are listed; the torso needs not be one."""
    pair = person(neck=90.0, left_wrist=90.0), person(neck=90.0)
    metrics = evaluate(*pair, keypoints=['left_wrist', 'right_wrist'])
    assert metrics['torso/PCK@0.2'] == 0.75
    assert metrics['torso/PCK@0.2/right_wrist'] == 1
    assert 'torso/PCK@0.2/neck' not in metrics
