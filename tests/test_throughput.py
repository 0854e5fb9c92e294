"""The benchmark of lpn-pose beside its networks, with tiny ones."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny_models
from paths import ROOT

SIZE = (288, 192)
PERSONS = [(0, 48, 96, 144), (192, 96, 288, 192)]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder of photographs, and a video of which some frames show nobody."""
    folder = tmp_path_factory.mktemp('throughput')
    tiny_models.save_pose(folder / 'pose.onnx')
    tiny_models.save_detector(folder / 'detector.onnx')
    (folder / 'photographs').mkdir()
    video = cv2.VideoWriter(str(folder / 'film.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE)
    for i, count in enumerate((0, 1, 2, 2, 2, 0)):
        image, _ = tiny_models.scene(PERSONS[:count], SIZE)
        video.write(image)
        cv2.imwrite(str(folder / f'photographs/{i}.png'), image)
    video.release()
    (folder / 'one').mkdir()
    cv2.imwrite(str(folder / 'one/0.png'), np.zeros((9, 9, 3), np.uint8))
    (folder / 'empty').mkdir()
    (folder / 'broken.mp4').write_text('no video')
    return folder


def throughput(data, source, *options):
    tool = ROOT / 'projects/cpu_benchmark/throughput.py'
    models = ['--det', data / 'detector.onnx', '--model', data / 'pose.onnx']
    arguments = map(str, [tool, data / source, *models, '--no-draw', *options])
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    'source, options, count, ways',
    [
        ('film.avi', (), '6 frames', 2),
        ('film.avi', ('--track', '--rounds', 2), '6 frames', 2),
        ('photographs', ('--workers', 2), '4 photographs', 1),
    ],
)
def test_both_speeds(data, source, options, count, ways):
    run = throughput(data, source, '--rounds', 1, *options)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(count)
    ratios = re.findall(r'(-?[\d.]+) x the time, (-?[\d.]+) x the speed', run.stdout)
    assert len(ratios) == 2 * ways
    for time, speed in ratios if ways == 2 else ():  # of few photographs the start is all
        assert float(time) > 0
        assert float(time) * float(speed) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    'source, options, text',
    [
        ('missing.mp4', (), 'missing.mp4 does not exist'),
        ('empty', (), 'empty holds no image or video'),
        ('broken.mp4', (), 'broken.mp4 cannot be read as a video'),
        ('one', (), 'one holds 1 photographs'),
        ('photographs', ('--workers', 6), 'more are needed'),
        ('film.avi', ('--rounds', 0), '--rounds must be positive, got 0'),
        ('photographs', ('--workers', 0), '--workers must be positive, got 0'),
        ('photographs', ('--track',), 'are for videos'),
        ('film.avi', ('--det', 'none.onnx'), 'none.onnx'),
    ],
)
def test_what_cannot_be_measured(data, source, options, text):
    run = throughput(data, source, *options)
    assert run.returncode == 2
    assert text in run.stderr
    assert 'Traceback' not in run.stderr
