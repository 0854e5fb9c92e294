import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models

from lpn_mmpose.apis.demo import FoundBoxes
from lpn_mmpose.apis.demo import run_input as demo_of_one
from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector
from lpn_mmpose.runtime.media import find_inputs, keypoint_table, read_image

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / 'demo/demo.jpg'


def demo(*args):
    return subprocess.run(
        [sys.executable, ROOT / 'tools/demo.py', *map(str, args)], capture_output=True, text=True
    )


def test_photo(tmp_path):
    run = demo(PHOTO, '--out-dir', tmp_path)
    assert run.returncode == 0, run.stderr
    assert 'note: ' in run.stderr and 'DET=yolox-nano' in run.stderr
    *table, drawn, json_path = run.stdout.splitlines()
    assert table[-20].split() == ['keypoint', 'x', 'y', 'score']
    assert drawn == f'drawn  {tmp_path / "demo.jpg"}'
    assert json_path == f'JSON   {tmp_path / "demo.json"}'

    picture, photo = (cv2.imread(str(p)) for p in (tmp_path / 'demo.jpg', PHOTO))
    assert picture.shape == photo.shape
    changed = np.abs(picture.astype(int) - photo).max(-1) > 60
    assert 0.01 < changed.mean() < 0.5  # a skeleton, and not all over

    (person,) = json.loads((tmp_path / 'demo.json').read_text())
    keypoints = np.array(person['keypoints'])
    assert keypoints.shape == (19, 2)
    for line, (x, y), score in zip(table[-19:], keypoints, person['keypoint_scores']):
        assert line.split()[1:] == [f'{x:.1f}', f'{y:.1f}', f'{score:.2f}']
    # the worker stands upright: head above hips above ankles
    y = {line.split()[0]: float(line.split()[2]) for line in table[-19:]}
    assert y['head'] < y['left_hip'] < y['left_ankle']


def test_folder_and_video(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    (folder / 'notes.txt').write_text('no image')
    (folder / 'broken.jpg').write_bytes(b'no image')
    photo = cv2.imread(str(PHOTO))
    cv2.imwrite(str(folder / 'a.png'), photo)
    height, width = photo.shape[:2]
    writer = cv2.VideoWriter(
        str(folder / 'b.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (width // 2 * 2, height)
    )
    for _ in range(3):
        writer.write(photo[:, : width // 2 * 2])
    writer.release()

    run = demo(folder, '--out-dir', tmp_path / 'out')
    assert run.returncode == 1, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == f'{folder / "a.png"}: frames 1, persons 1'
    assert f'{folder / "b.avi"}: frames 3, persons 3' in lines
    (skipped,) = (line for line in lines if line.startswith('skipped'))
    assert 'broken.jpg' in skipped
    for line in lines:
        if line.startswith(('drawn', 'JSON')):
            assert Path(line.split(maxsplit=1)[1]).stat().st_size > 0
    assert len(json.loads((tmp_path / 'out/b.json').read_text())) == 3


@pytest.mark.parametrize('name', ['missing.jpg', 'empty', 'broken.jpg'])
def test_unusable_input_gives_one_line(name, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(InputError, match=name):
        read_image(find_inputs(tmp_path / name)[0].source)


def test_tool_ends_in_one_line(tmp_path):
    run = demo(tmp_path / 'missing.jpg')
    assert run.returncode == 2
    line = run.stderr.splitlines()[-1]
    assert line == f'error: {tmp_path / "missing.jpg"} does not exist'
    assert 'Traceback' not in run.stderr


def test_table():
    table = keypoint_table(['neck'], np.array([[1.25, 200.0]]), np.array([0.5]))
    assert table.splitlines()[1].split() == ['neck', '1.2', '200.0', '0.50']


def test_several_persons(tmp_path):
    """The runtime's boxes, and nobody where it finds nobody."""
    detector = tiny_models.save_detector(tmp_path / 'detector.onnx')
    folder = tmp_path / 'in'
    folder.mkdir()
    boxes = [(0, 48, 96, 144), (192, 96, 288, 192)]
    for name, persons in [('two', boxes), ('none', [])]:
        image, _ = tiny_models.scene(persons, (288, 192))
        cv2.imwrite(str(folder / f'{name}.png'), image)
    run = demo(folder, '--out-dir', tmp_path / 'out', '--det-model', detector)
    assert run.returncode == 0, run.stderr
    assert 'note:' not in run.stderr
    found = json.loads((tmp_path / 'out/two.json').read_text())
    assert sorted(person['bbox'][0] for person in found) == [list(box) for box in boxes]
    assert json.loads((tmp_path / 'out/none.json').read_text()) == []
    same = cv2.imread(str(tmp_path / 'out/none.png')) == cv2.imread(str(folder / 'none.png'))
    assert same.all()


def test_persons_below_the_inferencers_threshold(tmp_path):
    """A detector's own may be lower; the inferencer would take the whole picture."""
    model = str(tiny_models.save_detector(tmp_path / 'detector.onnx', score_thr=0.05))
    image, _ = tiny_models.scene([(0, 48, 96, 144)], (288, 192))
    empty, _ = tiny_models.scene([], (288, 192))
    faint = cv2.addWeighted(image, 0.2, empty, 0.8, 0)
    assert len(PersonDetector(model)(faint)[0]) > 0
    assert FoundBoxes(model).find(faint) == 0
    assert FoundBoxes(model).find(image) > 0


class Camera:
    """Gives the same frame; Ctrl-C is pressed while it is worked on."""

    def __init__(self, *_):
        self.reads = 0

    def get(self, _):
        return 0.0

    def read(self):
        self.reads += 1
        return True, np.zeros((48, 64, 3), np.uint8)

    def release(self):
        pass


def test_interrupt_ends_a_camera_and_keeps_its_frames(tmp_path, monkeypatch):
    monkeypatch.setattr('lpn_mmpose.runtime.media.open_video', Camera)
    item = find_inputs('7')[0]
    count = 0

    def inferencer(image, **_):
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
        yield dict(predictions=[[]], visualization=[image])

    picture, prediction = tmp_path / 'camera.mp4', tmp_path / 'camera.json'
    assert demo_of_one(item, inferencer, None, picture, prediction)[0] == 3
    assert len(json.loads(prediction.read_text())) == 3 and picture.stat().st_size > 0


def test_half_a_video_and_a_bad_file_of_two(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    writer = cv2.VideoWriter(
        str(folder / 'film.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48)
    )
    for frame in np.random.RandomState(0).randint(0, 256, (10, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    content = (folder / 'film.avi').read_bytes()
    (folder / 'film.avi').write_bytes(content[: len(content) // 2])
    (folder / 'text.jpg').write_text('no picture')
    run = demo(folder, '--out-dir', tmp_path / 'out')
    assert run.returncode == 1, run.stderr
    lines = run.stdout.splitlines()
    assert any(line.startswith('incomplete: ') and 'of 10 frames' in line for line in lines)
    assert lines[-1] == 'files: 1 done, 1 skipped'


@pytest.mark.parametrize(
    'option, value, message',
    [
        ('--model', 'lpn50-xyz', 'Cannot find model: lpn50-xyz'),
        ('--det-model', 'yolox', 'yolox-nano'),
        ('--out-dir', '/proc/out', '--out-dir /proc/out cannot be written'),
    ],
)
def test_what_cannot_be_used(tmp_path, option, value, message):
    run = demo(PHOTO, '--out-dir', tmp_path, option, value)
    assert run.returncode == 2 and 'Traceback' not in run.stderr
    (error,) = [line for line in run.stderr.splitlines() if line.startswith('error: ')]
    assert message in error
