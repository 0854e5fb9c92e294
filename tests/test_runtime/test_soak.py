import pytest
import tiny_models

from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.soak import growth, resident_mb, soak, soak_mixed


def test_memory_is_flat(tmp_path):
    pose = PoseRuntime(tiny_models.save_pose(tmp_path / 'pose.onnx'), threads=1)
    records = soak(pose, 100, every=2)
    assert [frame for frame, _ in records] == list(range(2, 101, 2))
    assert growth(records) < 0.05
    assert records[-1][1] == pytest.approx(resident_mb(), rel=0.1)


def test_a_leak_is_seen(tmp_path):
    pose = PoseRuntime(tiny_models.save_pose(tmp_path / 'pose.onnx'), threads=1)
    kept, leak = [], int(resident_mb() * 5e3)  # half a percent

    def leaking(image, boxes):
        kept.append(bytearray(b'x' * leak))
        return pose(image, boxes)

    assert growth(soak(leaking, 60, every=1)) > 0.05


def test_growth():
    flat = [(i, 100.0 if i else 50.0) for i in range(10)]
    assert growth(flat) == 0
    assert growth([(i, 100.0 + i) for i in range(20)]) == pytest.approx((118 - 103) / 103, abs=0.01)


def test_mixed_and_broken_input(tmp_path):
    path = tiny_models.save_pose(tmp_path / 'pose.onnx')
    rounds = soak_mixed(PoseRuntime(path, threads=1), '--model', str(path), '--threads', '1')
    records = [next(rounds) for _ in range(3)]
    rounds.close()
    # six photographs, 12 frames and what is left of half the video
    assert {record.images for record in records} == {records[0].images}
    assert 100 + 6 + 12 < records[0].images < 100 + 6 + 24
    assert records[2].handles <= records[0].handles and records[2].threads <= records[0].threads


def test_mixed_soak_fails_where_broken_input_is_taken(tmp_path):
    taking = soak_mixed(lambda image, boxes=None: None)
    with pytest.raises(RuntimeError, match='was taken for an image'):
        next(taking)
