import io
import json
import os
import resource
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import tiny_models

from lpn_mmpose.runtime.cli import main
from lpn_mmpose.runtime.media import find_inputs
from lpn_mmpose.runtime.results import BoxFile

SIZE = (288, 192)
PERSONS = [(0, 48, 96, 144), (192, 96, 288, 192)]


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return dict(
        model=tiny_models.save_pose(folder / 'pose.onnx'),
        det=tiny_models.save_detector(folder / 'detector.onnx'),
    )


@pytest.fixture
def folder(tmp_path):
    """Two photographs, one of them of two persons, and rubbish."""
    folder = tmp_path / 'in'
    folder.mkdir()
    for number, boxes in [(7, PERSONS), (8, PERSONS[1:])]:
        image, _ = tiny_models.scene(boxes, SIZE)
        cv2.imwrite(str(folder / f'{number:06d}.png'), image)
    (folder / 'broken.jpg').write_bytes(b'no image')
    (folder / 'notes.txt').write_text('no image')
    return folder


def make_video(path, frames=12, size=SIZE):
    """A person who walks to the right, 4 px a frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, size)
    assert writer.isOpened()
    truth = []
    for t in range(frames):
        image, points = tiny_models.scene([(48 + 4 * t, 48, 144 + 4 * t, 144)], size)
        writer.write(image)
        truth.append(points[0])
    writer.release()
    return np.array(truth)


def count_frames(path):
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


@pytest.fixture
def lpn_pose(models, tmp_path, capsys):

    def run(source, *args, out='out'):
        args = [
            str(v)
            for v in (
                source,
                '--model',
                models['model'],
                '--out',
                tmp_path / out,
                '--threads',
                1,
                *args,
            )
        ]
        try:
            status = main(args)
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err

    return run


def load(path):
    return json.loads(Path(path).read_text())


def test_image(lpn_pose, folder, tmp_path):
    status, lines, _ = lpn_pose(folder / '000008.png')
    assert status == 0
    table, (files, *written) = lines[:7], lines[7:]
    assert table[0].split() == ['keypoint', 'x', 'y', 'score']
    assert files == (
        'files: 1 done, 0 done before, 0 skipped; 1 images and frames now, 1 persons in all'
    )
    out = tmp_path / 'out'
    assert [line.split() for line in written] == [
        ['drawn', str(out / 'visualizations/000008.png')],
        ['MMPose', str(out / 'predictions/000008.json')],
        ['COCO', str(out / 'results.json')],
    ]
    (person,) = load(out / 'predictions/000008.json')
    assert person['bbox'] == [[0, 0, *SIZE]] and person['bbox_score'] == 1
    keypoints = np.array(person['keypoints'])
    for row, name, (x, y) in zip(table[1:], tiny_models.NAMES, keypoints):
        assert row.split()[:3] == [name, f'{x:.1f}', f'{y:.1f}']
    (result,) = load(out / 'results.json')
    triples = np.reshape(result['keypoints'], (6, 3))
    np.testing.assert_allclose(triples[:, :2], keypoints)
    np.testing.assert_allclose(triples[:, 2], person['keypoint_scores'])
    assert result['image_id'] == 8 and result['category_id'] == 1
    assert result['bbox'] == [0, 0, *SIZE]
    drawn = cv2.imread(str(out / 'visualizations/000008.png'))
    assert (drawn != cv2.imread(str(folder / '000008.png'))).any()


def test_folder_with_a_detector(lpn_pose, folder, models, tmp_path):
    status, lines, err = lpn_pose(folder, '--det', models['det'], '--det-thr', 0.6)
    assert status == 1  # one cannot be read
    (skipped,) = (line for line in lines if line.startswith('skipped'))
    assert 'broken.jpg cannot be read as an image' in skipped
    assert 'Traceback' not in err
    results = load(tmp_path / 'out/results.json')
    assert sorted(r['image_id'] for r in results) == [7, 7, 8]
    boxes = sorted(r['bbox'] for r in results)
    expected = [[x, y, 96, 96] for x, y, _, _ in PERSONS]
    np.testing.assert_allclose(boxes, [expected[0]] + 2 * [expected[1]])
    names = {p.name for p in (tmp_path / 'out').rglob('*') if p.is_file()}
    assert names == {
        'settings.json',
        'done.jsonl',
        'results.json',
        '000007.json',
        '000008.json',
        '000007.png',
        '000008.png',
    }


def test_a_second_run_goes_on(lpn_pose, folder, tmp_path):
    assert lpn_pose(folder)[0] == 1
    out = tmp_path / 'out'
    before = load(out / 'results.json')
    kept = out / 'predictions/000007.json'
    time = kept.stat().st_mtime_ns
    (out / 'predictions/000008.json').unlink()
    status, lines, _ = lpn_pose(folder)
    assert status == 1
    assert lines[-4].startswith('files: 1 done, 1 done before, 1 skipped; 1 ')
    assert kept.stat().st_mtime_ns == time
    assert load(out / 'results.json') == before

    status, _, err = lpn_pose(folder, '--kpt-thr', 0.5)
    assert status == 2 and 'kpt_thr 0.3, and now it is 0.5' in err
    status, lines, _ = lpn_pose(folder, '--kpt-thr', 0.5, '--overwrite')
    assert lines[-4].startswith('files: 2 done, 0 done before')


def test_interrupted_run_leaves_no_half_file(lpn_pose, folder, tmp_path, monkeypatch):
    from lpn_mmpose.runtime import cli as command

    make_video(folder / 'walk.avi')
    draw, calls = command.draw_poses, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return draw(*args, **kwargs)

    monkeypatch.setattr(command, 'draw_poses', interrupted)
    status, _, err = lpn_pose(folder)
    assert status == 130 and 'goes on from here' in err
    predictions = tmp_path / 'out/predictions'
    assert not (predictions / 'walk.json').exists()
    assert not (tmp_path / 'out/visualizations/walk.mp4').exists()
    status, lines, _ = lpn_pose(folder)
    assert lines[-4].startswith('files: 1 done, 2 done before')
    assert len(load(predictions / 'walk.json')) == 12


@pytest.mark.parametrize('flags', [(), ('--track',), ('--smooth',), ('--track', '--smooth')])
def test_video(lpn_pose, models, tmp_path, flags):
    truth = make_video(tmp_path / 'walk.avi')
    status, lines, _ = lpn_pose(
        tmp_path / 'walk.avi', '--det', models['det'], '--det-thr', 0.4, *flags
    )
    assert status == 0
    assert lines[0] == (
        'files: 1 done, 0 done before, 0 skipped; 12 images and frames now, 12 persons in all'
    )
    frames = load(tmp_path / 'out/predictions/walk.json')
    assert [frame['frame_id'] for frame in frames] == list(range(12))
    persons = [frame['instances'] for frame in frames]
    assert [len(p) for p in persons] == [1] * 12
    keypoints = np.array([p['keypoints'] for (p,) in persons])
    error = np.abs(keypoints - truth).max()
    assert error < (12 if '--smooth' in flags else 6)
    assert all(p.get('track_id') == (0 if flags else None) for (p,) in persons)
    results = load(tmp_path / 'out/results.json')
    assert [r['image_id'] for r in results] == list(range(1, 13))
    assert [r['frame_id'] for r in results] == list(range(12))
    assert count_frames(tmp_path / 'out/visualizations/walk.mp4') == 12


@pytest.mark.parametrize('flags', [(), ('--track',)])
@pytest.mark.parametrize('threads', [1, 2, 3])
def test_a_video_gives_what_its_frames_give(lpn_pose, models, tmp_path, flags, threads):
    from lpn_mmpose.runtime import PersonDetector, PoseRuntime, PoseTracker
    from lpn_mmpose.runtime.media import open_video

    film = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE)
    for count in (0, 2, 2, 2, 1, 2, 2, 0, 0, 2, 1):
        writer.write(tiny_models.scene(PERSONS[:count], SIZE)[0])
    writer.release()
    status, _, _ = lpn_pose(film, '--det', models['det'], '--threads', threads, *flags)
    assert status == 0
    detect, pose = (
        PersonDetector(models['det'], score_thr=0.3, iou_thr=0.3),
        PoseRuntime(models['model']),
    )
    track, capture = PoseTracker(pose, detect, find_every=30), open_video(str(film))
    frames = load(tmp_path / 'out/predictions/film.json')
    counts = []
    for frame in frames:
        image = capture.read()[1]
        found = track(image) if flags else pose(image, detect(image)[0])
        keypoints, scores = (found.keypoints, found.scores) if flags else found
        persons = frame['instances']
        counts.append(len(persons))
        assert len(persons) == len(keypoints)
        for person, points, values in zip(persons, keypoints, scores):
            np.testing.assert_allclose(person['keypoints'], points, atol=1e-3)
            np.testing.assert_allclose(person['keypoint_scores'], values, atol=1e-4)
    assert len(frames) == 11 and {0, 2} <= set(counts)


def test_tracking_saves_the_detector(lpn_pose, models, tmp_path, monkeypatch):
    from lpn_mmpose.runtime import PersonDetector

    calls = []

    def counted(detect):
        return lambda *args: calls.append(1) or detect(*args)

    for name in ('__call__', 'submit'):
        monkeypatch.setattr(PersonDetector, name, counted(getattr(PersonDetector, name)))
    make_video(tmp_path / 'walk.avi')
    args = (tmp_path / 'walk.avi', '--det', models['det'], '--no-draw')
    assert lpn_pose(*args)[0] == 0 and len(calls) == 12
    calls.clear()
    assert lpn_pose(*args, '--track', out='tracked')[0] == 0
    assert len(calls) == 1
    assert not list((tmp_path / 'tracked/visualizations').iterdir())


def test_tracking_looks_for_newcomers_in_a_box_file(lpn_pose, tmp_path):
    film = tmp_path / 'film.avi'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE)
    boxes = []
    for frame in range(8):
        persons = PERSONS[: 1 if frame < 3 else 2]
        writer.write(tiny_models.scene(persons, SIZE)[0])
        boxes += [
            dict(file_name='film.avi', frame_id=frame, bbox=[x1, y1, x2 - x1, y2 - y1], score=1)
            for x1, y1, x2, y2 in persons
        ]
    writer.release()
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    args = (film, '--bboxes', tmp_path / 'boxes.json', '--no-draw', '--track')
    assert lpn_pose(*args, '--detect-every', 2)[0] == 0
    counts = [len(f['instances']) for f in load(tmp_path / 'out/predictions/film.json')]
    assert counts[:3] == [1, 1, 1] and counts[-3:] == [2, 2, 2]


@pytest.mark.parametrize('flags', [(), ('--track',), ('--smooth',)])
def test_camera(lpn_pose, models, tmp_path, monkeypatch, flags):
    make_video(tmp_path / 'walk.avi')
    open_file, opened = cv2.VideoCapture, []

    def capture(source):
        opened.append(source)
        return open_file(str(tmp_path / 'walk.avi') if source == 3 else source)

    monkeypatch.setattr(cv2, 'VideoCapture', capture)
    args = ('3', '--max-frames', 5, '--det', models['det'], *flags)
    status, lines, _ = lpn_pose(*args)
    assert status == 0 and opened[0] == 3
    assert '5 images and frames now' in lines[0]
    assert count_frames(tmp_path / 'out/visualizations/camera3.mp4') == 5
    assert 'camera 3' in load(tmp_path / 'out/results.json')[0]['file_name']
    # a camera is never done
    assert '0 done before' in lpn_pose(*args)[1][0]


def test_stream_is_an_input():
    (item,) = find_inputs('rtsp://camera/1')
    assert item.live and item.frames and item.source == 'rtsp://camera/1'


def test_equal_stems_keep_their_results_apart(lpn_pose, tmp_path):
    folder = tmp_path / 'twins'
    folder.mkdir()
    image, _ = tiny_models.scene(PERSONS, SIZE)
    for name in ('a.png', 'a.jpg', 'b.png'):
        cv2.imwrite(str(folder / name), image)
    assert lpn_pose(folder)[0] == 0
    names = {p.name for p in (tmp_path / 'out/predictions').iterdir()}
    assert names == {'a.png.json', 'a.jpg.json', 'b.json'}
    ids = [r['image_id'] for r in load(tmp_path / 'out/results.json')]
    assert ids == [1, 2, 3]


XYWH = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in PERSONS]


@pytest.mark.parametrize(
    'content, ids',
    [
        ({'000007.png': PERSONS, '000008.png': PERSONS[1:]}, [7, 7, 8]),
        (
            [
                dict(image_id=7, bbox=XYWH[0], score=0.9),
                dict(image_id=7, bbox=XYWH[1], score=0.8),
                dict(file_name='000008.png', bbox=XYWH[1]),
            ],
            [7, 7, 8],
        ),
        (
            dict(
                images=[dict(id=70, file_name='x/000007.png'), dict(id=80, file_name='000008.png')],
                annotations=[
                    dict(image_id=70, bbox=XYWH[0]),
                    dict(image_id=70, bbox=XYWH[1]),
                    dict(image_id=70, bbox=XYWH[1], iscrowd=1),
                    dict(image_id=80, bbox=XYWH[1]),
                ],
            ),
            [70, 70, 80],
        ),
    ],
)
def test_boxes_from_a_file(lpn_pose, folder, tmp_path, content, ids):
    (folder / 'broken.jpg').unlink()
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    assert lpn_pose(folder, '--bboxes', tmp_path / 'boxes.json')[0] == 0
    results = load(tmp_path / 'out/results.json')
    assert [r['image_id'] for r in results] == ids
    assert [r['bbox'] for r in results] == XYWH + XYWH[1:]
    for result, box in zip(results, PERSONS + PERSONS[1:]):
        _, truth = tiny_models.scene([box], SIZE)
        xy = np.reshape(result['keypoints'], (6, 3))[:, :2]
        np.testing.assert_allclose(xy, truth[0], atol=2.5)


def test_image_ids_are_those_of_the_annotations(lpn_pose, folder, tmp_path):
    """Also where there are more files than annotated ones."""
    content = dict(
        images=[dict(id=20, file_name='000008.png')],
        annotations=[dict(id=1, image_id=20, category_id=1, bbox=[192, 96, 96, 96])],
        categories=[dict(id=1, name='person')],
    )
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    lpn_pose(folder, '--bboxes', tmp_path / 'boxes.json')
    results = load(tmp_path / 'out/results.json')
    assert [(r['image_id'], r['file_name']) for r in results] == [(20, '000008.png')]


def test_own_results_are_boxes(lpn_pose, models, tmp_path):
    make_video(tmp_path / 'walk.avi')
    lpn_pose(tmp_path / 'walk.avi', '--det', models['det'], '--det-thr', 0.4)
    boxes = BoxFile(tmp_path / 'out/results.json')
    status, lines, _ = lpn_pose(
        tmp_path / 'walk.avi', '--bboxes', tmp_path / 'out/results.json', out='again'
    )
    assert status == 0 and '12 persons in all' in lines[0]
    again = load(tmp_path / 'again/results.json')
    for result in again:
        (box,) = boxes.get('walk.avi', result['frame_id'])[0]
        np.testing.assert_allclose(result['bbox'][:2], box[:2])


@pytest.mark.parametrize(
    'text, message',
    [
        ('nothing', 'cannot be read as JSON'),
        ('[{"bbox": [0, 0, 5, 5]}]', 'holds no boxes'),
        ('{"a.png": [[5, 5, 1, 9]]}', 'have an empty box'),
        ('{"a.png": [[5, 5, 9]]}', 'holds no boxes'),
        ('{"other.png": [[5, 5, 9, 9]]}', 'has no box for'),
    ],
)
def test_unusable_boxes(lpn_pose, folder, tmp_path, text, message):
    (tmp_path / 'boxes.json').write_text(text)
    status, _, err = lpn_pose(folder, '--bboxes', tmp_path / 'boxes.json')
    assert status == 2 and message in err
    assert err.startswith('error: ') and err.count('\n') == 1
    assert 'boxes.json' in err


@pytest.mark.parametrize(
    'args, message',
    [
        (('missing.jpg',), 'missing.jpg does not exist'),
        (('in/broken.jpg',), 'in/broken.jpg cannot be read as an image'),
        (('broken.mp4',), 'broken.mp4 cannot be read as a video'),
        (('in/000007.png', '--track'), '--track and --smooth are for videos'),
        (('in', '--bboxes', 'b', '--det', 'd'), 'give one'),
        (('in', '--det', 'none.onnx'), 'model none.onnx is neither a file'),
        (('in', '--threads', '0'), '--threads must be positive'),
        (('in', '--out', 'broken.mp4'), 'broken.mp4 cannot be written'),
    ],
)
def test_unusable_arguments(lpn_pose, folder, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    status, lines, err = lpn_pose(*args)
    assert status == 2 and not lines
    assert message in err.splitlines()[-1]


def test_smooth_without_its_package(lpn_pose, tmp_path, monkeypatch):
    import sys

    make_video(tmp_path / 'walk.avi', 2)
    monkeypatch.setitem(sys.modules, 'OneEuroFilter', None)
    status, _, err = lpn_pose(tmp_path / 'walk.avi', '--smooth')
    assert status == 2 and 'pip install OneEuroFilter' in err


def box_of(index):
    return (16 * index, 48, 16 * index + 96, 144)


def test_phones_pictures(lpn_pose, tmp_path):
    """Photographs of each orientation and videos of each rotation: the same persons."""
    folder, boxes, truth = tmp_path / 'in', {}, {}
    folder.mkdir()
    for index, orientation in enumerate(pictures.STORED):
        image, (points,) = tiny_models.scene([box_of(index)], SIZE)
        for suffix in ('.jpg', '.png', '.webp'):
            name = f'photo{orientation}{suffix}'
            pictures.photograph(folder / name, image, orientation)
            boxes[name], truth[name] = [box_of(index)], points
    for index, angle in enumerate(pictures.TURNED):
        image, (points,) = tiny_models.scene([box_of(index)], SIZE)
        pictures.film(folder / f'film{angle}.mp4', [image] * 2, angle)
        boxes[f'film{angle}.mp4'], truth[f'film{angle}.mp4'] = [box_of(index)], points
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    assert lpn_pose(folder, '--bboxes', tmp_path / 'boxes.json')[0] == 0
    results = load(tmp_path / 'out/results.json')
    assert len(results) == 3 * 8 + 2 * 4
    for result in results:
        xy = np.reshape(result['keypoints'], (6, 3))[:, :2]
        np.testing.assert_allclose(xy, truth[result['file_name']], atol=4)
    for path in (tmp_path / 'out/visualizations').iterdir():
        capture = cv2.VideoCapture(str(path))
        assert capture.read()[1].shape[1::-1] == SIZE, path


def test_names_in_folders_and_files_that_are_replaced(lpn_pose, folder, tmp_path):
    """Each file has its own result: of its folder, and of what is under its name now."""

    def keypoints(path):
        return np.array(load(tmp_path / 'out/predictions' / path)[0]['keypoints'])

    def draw(path, box):
        path.parent.mkdir(exist_ok=True)
        image, (points,) = tiny_models.scene([box], SIZE)
        cv2.imwrite(str(path), image)
        return points

    (folder / 'broken.jpg').unlink()
    boxes = {'': (0, 48, 96, 144), 'sub': (192, 48, 288, 144)}
    truth = {key: draw(folder / key / 'a.png', box) for key, box in boxes.items()}
    names = {str(Path(key, 'a.png')): [box] for key, box in boxes.items()}
    content = {**names, '000007.png': PERSONS, '000008.png': PERSONS[1:]}
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    args = (folder, '--bboxes', tmp_path / 'boxes.json')
    assert lpn_pose(*args)[0] == 0
    for key in boxes:
        np.testing.assert_allclose(keypoints(Path(key, 'a.json')), truth[key], atol=2.5)

    # another picture under the name: the same boxes, other poses
    image, _ = tiny_models.scene([], SIZE)
    before = keypoints('sub/a.json')
    cv2.imwrite(str(folder / 'sub/a.png'), image)
    status, lines, _ = lpn_pose(*args)
    assert status == 0 and lines[-4].startswith('files: 1 done, 3 done before')
    assert np.abs(keypoints('sub/a.json') - before).max() > 5
    np.testing.assert_allclose(keypoints('a.json'), truth[''], atol=2.5)

    # a file of another folder does not pass for the one that was done
    draw(tmp_path / 'other/a.png', (96, 48, 192, 144))
    status, _, err = lpn_pose(tmp_path / 'other', '--bboxes', tmp_path / 'boxes.json')
    assert status == 2 and str(folder / 'a.png') in err and str(tmp_path / 'other/a.png') in err


def test_boxes_that_changed_are_other_settings(lpn_pose, folder, tmp_path):
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(json.dumps({'000007.png': PERSONS}))
    assert lpn_pose(folder / '000007.png', '--bboxes', boxes)[0] == 0
    boxes.write_text(json.dumps({'000007.png': PERSONS[1:]}))
    status, _, err = lpn_pose(folder / '000007.png', '--bboxes', boxes)
    assert status == 2 and 'bboxes boxes.json' in err


@pytest.mark.parametrize(
    'content, kept',
    [
        # the category named person, or a name or an id that is given
        (dict(categories=[dict(id=1, name='person'), dict(id=2, name='dog')]), {(): '01'}),
        (dict(categories=[dict(id=2, name='person'), dict(id=1, name='dog')]), {(): '2'}),
        (
            dict(categories=[dict(id=1, name='man'), dict(id=2, name='dog')]),
            {('--bbox-category', 'dog'): '2', ('--bbox-category', '1'): '01', (): None},
        ),
        # without names, COCO's person
        ({}, {(): '01', ('--bbox-thr', '0'): '013', ('--bbox-thr', '0.8'): '0'}),
    ],
)
def test_boxes_of_persons_alone(lpn_pose, folder, tmp_path, content, kept):
    boxes = [(0, 0, 50, 50), (10, 0, 60, 50), (20, 0, 70, 50), (30, 0, 80, 50)]
    entries = [
        dict(image_id=7, category_id=1, score=0.9),
        dict(image_id='7', category_id='1', score=0.5),
        dict(image_id=7.0, category_id=2, score=0.9),
        dict(image_id=7, category_id=1, score=0.1),
    ]
    for entry, (x1, y1, x2, y2) in zip(entries, boxes):
        entry['bbox'] = [x1, y1, x2 - x1, y2 - y1]
    if content:
        content = dict(content, images=[dict(id=7, file_name='000007.png')], annotations=entries)
    (tmp_path / 'boxes.json').write_text(json.dumps(content or entries))
    for i, (flags, expected) in enumerate(kept.items()):
        args = (folder / '000007.png', '--bboxes', tmp_path / 'boxes.json', *flags)
        status, lines, err = lpn_pose(*args, out=f'out{i}')
        if expected is None:
            assert status == 2 and 'man, dog' in err and '--bbox-category' in err
            continue
        assert status == 0
        found = [r['bbox'] for r in load(tmp_path / f'out{i}/results.json')]
        assert found == [entries[int(k)]['bbox'] for k in expected]
        left_out = len(entries) - len(expected)
        (line,) = [line for line in lines if line.startswith('boxes left out')]
        assert sum(int(word) for word in line.split() if word.isdecimal()) == left_out


def test_entries_without_a_usable_box_are_counted(lpn_pose, folder, tmp_path):
    entries = [
        dict(id=1, image_id=7, bbox=XYWH[0]),
        dict(id=2, image_id=7),
        dict(id=3, image_id=7, bbox=[0, 0, float('inf'), 5]),
        dict(id=4, image_id=7, bbox=[0, 0, float('nan'), 5]),
        dict(id=5, image_id=7, bbox=[0, 0, 0, 5]),
        dict(id=6, image_id=99, bbox=XYWH[0]),
        dict(id=7, bbox=XYWH[0]),
        dict(id=8, image_id='7', bbox=[str(v) for v in XYWH[1]]),
        'no entry',
        dict(id=9, image_id=7, bbox=[0, 0, 1e30, 1e30]),
        dict(id=10, image_id=7, bbox=XYWH[0], iscrowd=1),
    ]
    content = dict(images=[dict(id='7', file_name='in/000007.png')], annotations=entries)
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    status, lines, _ = lpn_pose(folder / '000007.png', '--bboxes', tmp_path / 'boxes.json')
    assert status == 1
    results = load(tmp_path / 'out/results.json')
    assert [r['bbox'] for r in results] == XYWH
    assert {r['image_id'] for r in results} == {'7'}
    (line,) = [line for line in lines if line.startswith('boxes left out')]
    for part in (
        '1 have no box of four numbers (the first: annotation 2)',
        '3 have a number that is no pixel (the first: annotation 3)',
        '1 have an empty box (the first: annotation 5)',
        '2 are of no image that is known (the first: annotation 6)',
        '1 are no objects (the first: entry 8)',
        '1 of a crowd',
    ):
        assert part in line


def test_boxes_by_path(tmp_path):
    """A path is a key; what could be two files' boxes is no one's."""

    def boxes(*names):
        content = {name: [[i, 0, i + 9, 9]] for i, name in enumerate(names)}
        (tmp_path / 'boxes.json').write_text(json.dumps(content))
        return BoxFile(tmp_path / 'boxes.json')

    def first(file, name):
        return [int(row[0]) for row in file.get(name)[0]]

    here = {name: tmp_path / 'p' / name for name in ('a.png', 's/a.png', 's/b.png')}
    file = boxes('a.png', './s/a.png', str(tmp_path / 'p/s/b.png'), 'z.png')
    assert file.assign(here) == 3
    assert [first(file, name) for name in here] == [[0], [1], [2]]
    file = boxes('q/p/a.png', 'p/s/a.png', 'b.png')
    file.assign(here)
    assert [first(file, name) for name in here] == [[0], [1], [2]]
    with pytest.raises(ValueError, match=r'a\.png could be t/a\.png or u/a\.png'):
        boxes('t/a.png', 'u/a.png').assign({'a.png': tmp_path / 'a.png'})
    with pytest.raises(ValueError, match=r'could be of r/a\.png or s/a\.png'):
        boxes('a.png').assign({n: tmp_path / n for n in ('r/a.png', 's/a.png')})
    with pytest.raises(ValueError, match=r'could be of r/7\.png or s/7\.png'):
        (tmp_path / 'boxes.json').write_text(json.dumps([dict(image_id=7, bbox=[0, 0, 5, 5])]))
        BoxFile(tmp_path / 'boxes.json').assign({n: n for n in ('r/7.png', 's/7.png')})


def test_one_bad_file_does_not_end_the_folder(lpn_pose, folder, tmp_path):
    image, _ = tiny_models.scene(PERSONS, SIZE)
    (folder / 'apple.heic').write_bytes(b'\0\0\0\x18ftypheic')
    pictures.film(folder / 'fast.mp4', [image] * 2, 0, fps=119.88)
    (folder / 'old.wmv').write_bytes(b'no video')
    status, lines, _ = lpn_pose(folder)
    assert status == 1
    skipped = [line for line in lines if line.startswith('skipped')]
    assert len(skipped) == 3 and 'convert it to JPEG' in skipped[0]
    assert 'files: 3 done, 0 done before, 3 skipped' in lines[-4]
    assert count_frames(tmp_path / 'out/visualizations/fast.mp4') == 2


@pytest.mark.parametrize('limit, status', [((), 1), (('--max-frames', '3'), 0)])
def test_half_a_video_is_said_to_be_one(lpn_pose, tmp_path, limit, status):
    film = tmp_path / 'film.avi'
    image, _ = tiny_models.scene(PERSONS, SIZE)
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'MJPG'), 10, SIZE)
    for _ in range(10):
        writer.write(image)
    writer.release()
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 2])
    ended, lines, _ = lpn_pose(film, *limit)
    assert ended == status
    incomplete = [line for line in lines if line.startswith('incomplete')]
    read = count_frames(tmp_path / 'out/visualizations/film.mp4')
    if status:
        assert incomplete == [f'incomplete: {film} is damaged: {read} of 10 frames can be read']
    else:
        assert not incomplete and read == 3
    # nothing is done again, and what is missing is said again
    again, lines, _ = lpn_pose(film, *limit)
    assert again == status
    assert [line for line in lines if line.startswith('incomplete')] == incomplete
    assert any(line.startswith('files: 0 done, 1 done before') for line in lines)


def mp4_of(seconds, version):
    """What an MP4 file says of its length, after content of more than 32 bits."""

    def box(name, content):
        return struct.pack('>I4s', 8 + len(content), name) + content

    times = struct.pack('>QQIQ' if version else '>IIII', 1, 2, 600, round(600 * seconds))
    header = box(b'mvhd', bytes([version, 0, 0, 0]) + times + bytes(80))
    content = struct.pack('>I4sQ', 1, b'mdat', 20) + bytes(4)
    return box(b'ftyp', b'isom') + content + box(b'moov', box(b'iods', b'') + header)


@pytest.mark.parametrize(
    'name, content, seconds, lost',
    [
        ('screen.mkv', b'film', 4.0, False),
        ('cut.mkv', b'film', 2.0, True),
        ('trimmed.mp4', mp4_of(0.6, 0), 0.5, False),
        ('trimmed.mov', mp4_of(0.6, 1), 0.5, False),
        ('cut.mp4', mp4_of(4, 0), 0.5, True),
        ('cut.mov', mp4_of(4, 1), 4.0, True),
        ('broken.mp4', mp4_of(0.6, 0)[:-90], 0.5, True),
    ],
    ids=lambda value: '' if isinstance(value, bytes) else str(value),
)
def test_fewer_frames_than_said(lpn_pose, tmp_path, monkeypatch, name, content, seconds, lost):
    """A recording of a changing rate, or what was trimmed, has no more than can be read."""
    image, _ = tiny_models.scene(PERSONS, SIZE)
    times = np.linspace(0, seconds, 6) * 1000

    class Capture:
        count = 0

        def read(self):
            self.count += 1
            return self.count <= 6, image

        def get(self, prop):
            at = times[min(self.count, 6) - 1]
            return {
                cv2.CAP_PROP_FPS: 10.0,
                cv2.CAP_PROP_FRAME_COUNT: 40.0,
                cv2.CAP_PROP_POS_MSEC: at,
            }[prop]

        def release(self):
            pass

    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr('lpn_mmpose.runtime.media.open_video', lambda source: Capture())
    status, lines, _ = lpn_pose(tmp_path / name, '--no-draw')
    assert status == lost
    assert any(line.startswith('incomplete') for line in lines) == lost


def test_names_that_are_no_text(lpn_pose, folder, tmp_path, monkeypatch):
    """OpenCV would end the process at such a video, and print() at any such name."""
    odd = os.fsdecode(b'caf\xe9')
    image, _ = tiny_models.scene(PERSONS, SIZE)
    try:
        cv2.imwrite(str(tmp_path / 'a.png'), image)
        os.replace(tmp_path / 'a.png', folder / f'{odd}.png')
    except OSError:
        pytest.skip('this file system takes no such names')
    pictures.film(tmp_path / 'b.mp4', [image] * 2, 0)
    os.replace(tmp_path / 'b.mp4', folder / f'{odd}.mp4')
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), encoding='utf-8'))
    status, _, _ = lpn_pose(folder)
    sys.stdout.flush()
    lines = sys.stdout.buffer.getvalue().decode().splitlines()
    assert status == 1
    skipped = [line for line in lines if line.startswith('skipped')]
    assert len(skipped) == 2 and 'caf\\xe9.mp4: OpenCV takes no videos' in skipped[1]
    assert 'files: 3 done, 0 done before, 2 skipped' in '\n'.join(lines)
    # and where the results would be
    os.remove(folder / f'{odd}.mp4')
    make_video(folder / 'c.avi')
    status, _, err = lpn_pose(folder / 'c.avi', out=odd)
    assert status == 2 and 'is not UTF-8' in err


def test_a_name_without_room_for_a_suffix(lpn_pose, folder, tmp_path):
    long = 'é' * 120
    for end in 'xy':
        (folder / '000007.png').rename(folder / f'{long}{end}.png')
        (folder / '000008.png').replace(folder / '000007.png') if end == 'x' else None
    make_video(folder / f'{long}.avi', 2)
    status, lines, _ = lpn_pose(folder, '--format', 'openpose')
    assert status == 1  # of broken.jpg
    assert any(line.startswith('files: 3 done, 0 done before, 1 skipped') for line in lines)
    assert len(list((tmp_path / 'out/predictions').iterdir())) == 3
    names = {result['file_name'] for result in load(tmp_path / 'out/results.json')}
    assert names == {f'{long}x.png', f'{long}y.png', f'{long}.avi'}
    _, lines, _ = lpn_pose(folder, '--format', 'openpose')
    assert any(line.startswith('files: 0 done, 3 done before') for line in lines)


def test_a_video_with_a_colon_in_its_name(lpn_pose, tmp_path, monkeypatch):
    make_video(tmp_path / 'take1:wide.avi', 3)
    monkeypatch.chdir(tmp_path)
    status, _, _ = lpn_pose('take1:wide.avi', '--no-draw')
    assert status == 0


def test_boxes_of_names_written_otherwise(lpn_pose, folder, tmp_path):
    """macOS takes letters and their accents apart."""
    (folder / 'broken.jpg').unlink()
    (folder / '000008.png').rename(folder / 'Jose\u0301.png')
    boxes = {'Jos\xe9.png': [PERSONS[1]], '000007.png': []}
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    status, lines, _ = lpn_pose(folder, '--bboxes', tmp_path / 'boxes.json')
    assert status == 0 and '1 persons in all' in '\n'.join(lines)


def test_pictures_that_a_box_file_does_not_name(lpn_pose, folder, tmp_path):
    (folder / 'broken.jpg').unlink()
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps({'000008.png': [PERSONS[1]]}))
    status, lines, _ = lpn_pose(folder, '--bboxes', path)
    assert status == 1
    (line,) = (line for line in lines if line.startswith('without boxes'))
    assert '1 files are not named' in line and '000007.png' in line
    # COCO results name those alone in which there is somebody
    x1, y1, x2, y2 = PERSONS[1]
    result = dict(image_id=8, category_id=1, bbox=[x1, y1, x2 - x1, y2 - y1], score=1.0)
    path.write_text(json.dumps([result]))
    status, lines, _ = lpn_pose(folder, '--bboxes', path, out='results')
    assert status == 0 and not any(line.startswith('without boxes') for line in lines)


def test_boxes_of_a_picture_of_another_size(lpn_pose, folder, tmp_path):
    (folder / 'broken.jpg').unlink()
    width, height = SIZE
    images = [
        dict(id=7, file_name='000007.png', width=width, height=height),
        dict(id=8, file_name='000008.png', width=height, height=width),
    ]
    anns = [dict(id=i, image_id=i, category_id=1, bbox=[0, 0, 60, 90]) for i in (7, 8)]
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(dict(images=images, annotations=anns)))
    status, lines, _ = lpn_pose(folder, '--bboxes', path)
    assert status == 1
    (line,) = (line for line in lines if line.startswith('skipped'))
    assert '000008.png' in line and '288x192' in line and '192x288' in line


def test_results_are_not_inputs(lpn_pose, folder, tmp_path):
    status, _, err = lpn_pose(folder, out='in')
    assert status == 2 and 'give another' in err
    assert not (folder / 'visualizations').exists()


def test_a_picture_that_its_format_cannot_hold(lpn_pose, folder, tmp_path):
    """It is skipped; the others are done."""
    (folder / 'broken.jpg').unlink()
    # a photograph is drawn in its own format; this one's sides are too long for it
    content = cv2.imencode('.png', np.zeros((8, 16500, 3), np.uint8))[1].tobytes()
    (folder / 'wide.webp').write_bytes(content)
    status, lines, _ = lpn_pose(folder)
    assert status == 1
    (skipped,) = [line for line in lines if line.startswith('skipped')]
    assert 'wide.webp' in skipped and '16500x8' in skipped
    assert any(line.startswith('files: 2 done, 0 done before, 1 skipped') for line in lines)


@pytest.mark.skipif(os.name != 'posix', reason='names are bytes on POSIX')
def test_a_name_that_is_no_text(lpn_pose, folder, tmp_path):
    (folder / 'broken.jpg').unlink()
    name = os.fsdecode(b'caf\xe9.png')
    (folder / '000007.png').rename(folder / name)
    status, _, err = lpn_pose(folder, '--format', 'csv')
    assert status == 0, err
    assert r'caf\udce9.png' in (tmp_path / 'out/results.csv').read_text()
    names = {result['file_name'] for result in load(tmp_path / 'out/results.json')}
    assert names == {name, '000008.png'}


def test_full_disk(lpn_pose, folder, tmp_path):
    """Status 3 and one line; what was done stays, and the next call goes on."""
    (folder / 'broken.jpg').unlink()
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    cv2.imwrite(str(folder / 'large.png'), noise)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        status, lines, err = lpn_pose(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 3 and not lines
    line = err.splitlines()[-1]
    assert line.startswith('error: ') and 'goes on from here' in line
    assert 'Traceback' not in err
    done = {path.name for path in (tmp_path / 'out/predictions').iterdir()}
    assert done == {'000007.json', '000008.json'}
    status, lines, _ = lpn_pose(folder)
    assert status == 0 and lines[-4].startswith('files: 1 done, 2 done before')


@pytest.mark.parametrize('text', ['{"model": ', '[]', ''])
def test_damaged_settings(lpn_pose, folder, tmp_path, text):
    assert lpn_pose(folder / '000007.png')[0] == 0
    (tmp_path / 'out/settings.json').write_text(text)
    status, _, err = lpn_pose(folder / '000007.png')
    assert status == 2 and 'settings.json' in err and '--overwrite' in err
    assert err.startswith('error: ') and err.count('\n') == 1
    assert lpn_pose(folder / '000007.png', '--overwrite')[0] == 0


def test_damaged_ledger_only_costs_time(lpn_pose, folder, tmp_path):
    (folder / 'broken.jpg').unlink()
    assert lpn_pose(folder)[0] == 0
    ledger = tmp_path / 'out/done.jsonl'
    ledger.write_text(ledger.read_text()[:-9])
    status, lines, _ = lpn_pose(folder)
    assert status == 0 and lines[-4].startswith('files: 1 done, 1 done before')
    assert lpn_pose(folder)[1][-4].startswith('files: 0 done, 2 done before')


def test_layout(models, folder, tmp_path):
    photo = folder / '000008.png'
    args = [str(photo), '--out', str(tmp_path / 'coco'), '--layout', 'coco', '--no-draw']
    # the shipped model
    assert main(args) == 0
    (result,) = json.loads((tmp_path / 'coco/results.json').read_text())
    assert len(result['keypoints']) == 3 * 17


def test_layout_that_a_model_lacks(models, folder, tmp_path, capsys):
    args = [str(folder), '--out', str(tmp_path / 'out'), '--model', str(models['model'])]
    with pytest.raises(SystemExit) as end:
        main([*args, '--layout', 'crowdpose'])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'crowdpose' in line and 'left_elbow' in line and 'neck' in line
