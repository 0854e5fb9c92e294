"""``lpn-pose`` with several processes, other layouts and detectors of other projects."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import public_detectors as public
import pytest
import tiny_models

from lpn_mmpose.runtime import cli
from lpn_mmpose.runtime import download as download_module
from lpn_mmpose.runtime.workers import run_apart

SIZE = (288, 192)
PERSONS = [(0, 48, 96, 144), (192, 96, 288, 192)]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return tiny_models.save_pose(tmp_path_factory.mktemp('models') / 'pose.onnx')


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return tiny_models.save_detector(tmp_path_factory.mktemp('models') / 'detector.onnx')


def make_folder(folder, count):
    folder.mkdir()
    for i in range(count):
        boxes = [(x1 + i, y1, x2 + i, y2) for x1, y1, x2, y2 in PERSONS[: 1 + i % 2]]
        cv2.imwrite(str(folder / f'{i:04d}.png'), tiny_models.scene(boxes, SIZE)[0])
    return folder


def command(*args):
    return [sys.executable, '-m', 'lpn_mmpose.runtime.cli', *map(str, args)]


def run(capsys, *args):
    try:
        status = cli.main(list(map(str, args)))
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err


def ledger(out):
    path = out / 'done.jsonl'
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line)['key'] for line in lines if line]


def test_workers_do_as_one(tmp_path, model, detector, capsys):
    folder = make_folder(tmp_path / 'in', 12)
    (folder / 'broken.jpg').write_bytes(b'no image')
    outs = []
    for workers in (1, 3):
        outs.append(tmp_path / f'out{workers}')
        args = (folder, '--model', model, '--det', detector, '--det-thr', 0.6, '--threads', 1)
        status, lines, _ = run(capsys, *args, '--out', outs[-1], '--workers', workers)
        assert status == 1
        assert any('broken.jpg cannot be read' in line for line in lines)
        assert any(
            line.startswith('files: 12 done, 0 done before, 1 skipped; 12') for line in lines
        )
        assert sorted(ledger(outs[-1])) == [f'{i:04d}' for i in range(12)]
    files = [{p.relative_to(out) for p in out.rglob('*') if p.is_file()} for out in outs]
    assert files[0] == files[1]
    for name in files[0] - {Path('done.jsonl')}:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
    _, lines, _ = run(capsys, *args, '--out', outs[-1], '--workers', 2)
    assert lines[-4].startswith('files: 0 done, 12 done before, 1 skipped')


def wait_for(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(pid):
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not os.path.exists('/proc/self/stat'), reason='reads /proc')
def test_killed_run_is_resumed(tmp_path, model, detector):
    """Nothing is lost, nothing is done twice, and no process is left."""
    count, out = 120, tmp_path / 'out'
    args = (make_folder(tmp_path / 'in', count), '--model', model, '--det', detector)
    args = command(*args, '--out', out, '--threads', 1, '--workers', 2)
    killed = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(ledger(out)) > 5)
    workers = children(killed.pid)
    assert len(workers) >= 2
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    def gone(pid):
        try:
            return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
        except OSError:
            return True

    wait_for(lambda: all(map(gone, workers)), 20)
    done = ledger(out)
    assert 5 < len(done) < count
    before = {key: (out / f'predictions/{key}.json').stat().st_mtime_ns for key in done}
    second = subprocess.run(args, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert f'files: {count - len(done)} done, {len(done)} done before, 0 skipped' in second.stdout
    assert sorted(ledger(out)) == [f'{i:04d}' for i in range(count)]
    for key, stamp in before.items():
        assert (out / f'predictions/{key}.json').stat().st_mtime_ns == stamp
    results = json.loads((out / 'results.json').read_text())
    assert {result['image_id'] for result in results} == set(range(count))


class Deadly:
    """Doubles numbers; kills its process on one of them."""

    def __call__(self, item):
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * item


def test_a_process_that_dies_takes_no_other_item_with_it():
    results = dict(run_apart(Deadly(), range(8), 2))
    assert results == {i: None if i == 3 else 2 * i for i in range(8)}


class Failing:
    def __call__(self, item):
        raise OSError(28, 'No space left on device')


def test_a_full_disk_ends_all():
    with pytest.raises(OSError, match='No space'):
        list(run_apart(Failing(), range(12), 2))


def test_two_runs_into_one_folder(tmp_path, model, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    folder = make_folder(tmp_path / 'in', 1)
    with cli.folder_locked(out):
        status, _, err = run(capsys, folder, '--model', model, '--out', out)
    assert status == 2 and 'in use by another lpn-pose' in err
    assert run(capsys, folder, '--model', model, '--out', out)[0] == 0


def test_whole_picture_is_said(tmp_path, model, detector, capsys):
    folder = make_folder(tmp_path / 'in', 1)
    args = (folder, '--model', model, '--out')
    err = run(capsys, *args, tmp_path / 'a')[2]
    (note,) = (line for line in err.splitlines() if line.startswith('note:'))
    assert 'one person' in note and '--det yolox-nano' in note
    assert 'note:' not in run(capsys, *args, tmp_path / 'b', '--det', detector)[2]


def test_layouts_of_others(tmp_path, model, detector, capsys):
    folder = make_folder(tmp_path / 'in', 2)
    writer = cv2.VideoWriter(str(folder / 'walk.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE)
    for t in range(4):
        writer.write(tiny_models.scene([(48 + 4 * t, 48, 144 + 4 * t, 144)], SIZE)[0])
    writer.release()
    out = tmp_path / 'out'
    args = (folder, '--model', model, '--det', detector, '--out', out, '--no-draw', '--track')
    args += ('--det-thr', 0.6)
    status, lines, _ = run(capsys, *args, '--format', 'csv', 'openpose')
    assert status == 0
    assert f'CSV     {out / "results.csv"}' in lines
    with (out / 'results.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    results = json.loads((out / 'results.json').read_text())
    assert len(rows) == len(results) == 3 + 4
    for row, result in zip(rows, results):
        assert row['file'] == result['file_name']
        assert row['frame_id'] == str(result.get('frame_id', ''))
        assert row['track_id'] == str(result.get('track_id', ''))
        found = [float(row[f'{name}_x']) for name in tiny_models.NAMES]
        np.testing.assert_allclose(found, result['keypoints'][::3], atol=0.006)
    names = sorted(p.name for p in (out / 'openpose').iterdir())
    assert names == [
        '0000_keypoints.json',
        '0001_keypoints.json',
        *(f'walk_{t:012d}_keypoints.json' for t in range(4)),
    ]
    people = json.loads((out / 'openpose/0001_keypoints.json').read_text())['people']
    assert len(people) == 2
    # layouts can be asked for later, and nothing is done again
    status, lines, _ = run(capsys, *args)
    assert any(line.startswith('files: 0 done, 3 done before') for line in lines)
    # frames that are no more leave no files
    run(capsys, *args, '--overwrite', '--max-frames', 2, '--format', 'openpose')
    assert sorted(p.name for p in (out / 'openpose').iterdir()) == names[:4]


def test_public_detector_in_the_command(tmp_path, model, capsys):
    folder = make_folder(tmp_path / 'in', 1)
    file = public.save_dets(tmp_path / 'end2end.onnx')
    args = (folder, '--model', model, '--det', file, '--out', tmp_path / 'out')
    status, _, err = run(capsys, *args)
    assert status == 2 and '--det-input' in err
    status, _, err = run(capsys, *args, '--det-input', 'mean')
    assert status == 2 and 'name=value' in err
    assert run(capsys, *args, '--det-input', 'mean=0', 'std=255')[0] == 0
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert len(results) == 2
    status, _, err = run(capsys, *args, '--det-input', 'mean=9', 'std=255')
    assert status == 2 and 'det_input' in err


def test_detector_by_name_in_the_command(tmp_path, model, monkeypatch, capsys):
    """A name is looked up in the table; here its file was put in place by hand."""
    monkeypatch.setenv(download_module.CACHE, str(tmp_path / 'cache'))
    entry = dict(
        url='http://127.0.0.1:9/yolox.onnx',
        sha256=None,
        size_mb=None,
        licence='MIT',
        source='here',
        input={},
    )
    table = tmp_path / 'table.json'
    table.write_text(json.dumps({'tiny-yolox': entry}))
    monkeypatch.setattr(download_module, 'TABLE', table)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    folder = make_folder(tmp_path / 'in', 2)
    args = (folder, '--model', model, '--out', tmp_path / 'out', '--det', 'tiny-yolox')
    status, _, err = run(capsys, *args)
    place = tmp_path / 'cache/detectors/yolox.onnx'
    assert status == 2 and f'put it at {place}' in err.splitlines()[-1]
    public.save_yolox(place)
    assert run(capsys, *args)[0] == 0


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='displays of X and Wayland')
def test_show_without_a_display(tmp_path, model, monkeypatch, capsys):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    folder = make_folder(tmp_path / 'in', 1)
    status, _, err = run(capsys, folder, '--model', model, '--out', tmp_path / 'out', '--show')
    assert status == 2 and '--show needs a display' in err


def test_show(tmp_path, model, monkeypatch, capsys):
    """Every picture is shown, and q closes the window without ending the run."""
    shown = []
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(cv2, 'namedWindow', lambda *_: None)
    monkeypatch.setattr(cv2, 'imshow', lambda _, picture: shown.append(picture.shape))
    monkeypatch.setattr(cv2, 'destroyWindow', lambda _: shown.append('closed'))
    monkeypatch.setattr(cv2, 'waitKey', lambda _: ord('q') if len(shown) == 2 else -1)
    folder = make_folder(tmp_path / 'in', 4)
    assert run(capsys, folder, '--model', model, '--out', tmp_path / 'out', '--show')[0] == 0
    assert shown == [(SIZE[1], SIZE[0], 3)] * 2 + ['closed']
    assert len(ledger(tmp_path / 'out')) == 4


@pytest.fixture
def interruptible():
    """A shell's background jobs, as of some CI, start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Camera:
    """Gives the same frame 500 times; Ctrl-C is pressed at the tenth."""

    def __init__(self, *_):
        self.frame, self.reads = tiny_models.scene(PERSONS, SIZE)[0], 0

    def get(self, _):
        return 0.0

    def read(self):
        self.reads += 1
        if self.reads == 10:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        return self.reads <= 500, self.frame.copy()

    def release(self):
        pass


def test_interrupt_ends_a_camera_and_keeps_its_frames(tmp_path, model, monkeypatch, capsys):
    monkeypatch.setattr('lpn_mmpose.runtime.media.open_video', Camera)
    before = signal.getsignal(signal.SIGINT)
    status, lines, _ = run(capsys, 7, '--model', model, '--out', tmp_path / 'out')
    assert status == 0 and lines[0].startswith('files: 1 done')
    frames = json.loads((tmp_path / 'out/predictions/camera7.json').read_text())
    assert 9 <= len(frames) < 60
    assert [frame['frame_id'] for frame in frames] == list(range(len(frames)))
    assert (tmp_path / 'out/visualizations/camera7.mp4').stat().st_size > 0
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_video_is_not_half_there(tmp_path, model, monkeypatch, capsys, interruptible):
    video = tmp_path / 'walk.avi'
    video.write_bytes(b'read by the camera above')
    monkeypatch.setattr('lpn_mmpose.runtime.media.open_video', Camera)
    status, _, err = run(capsys, video, '--model', model, '--out', tmp_path / 'out')
    assert status == 130 and 'goes on from here' in err
    assert not [
        p for p in (tmp_path / 'out').rglob('*walk*') if p.is_file() and '.part' not in p.name
    ]
