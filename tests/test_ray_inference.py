"""projects/ray_inference: lists, the plan, rows; and with Ray, a run that goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.media import read_image

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / 'projects/ray_inference'
DEMO = ROOT / 'demo/demo.jpg'


@pytest.fixture
def project(monkeypatch):
    """The project's modules, as its commands import them."""
    monkeypatch.syspath_prepend(PROJECT)
    import folders
    import shards

    yield folders, shards
    for name in ('folders', 'shards'):
        sys.modules.pop(name)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    (folder / 'sub').mkdir(parents=True)
    for name in ('b.jpg', 'a.png', 'sub/c.heic', 'film.mp4', '.hidden.jpg', 'notes.txt'):
        (folder / name).write_bytes(b'')
    return folder


def test_images_of_a_folder(project, photos):
    folders, _ = project
    folder, names, notes = folders.find_images(str(photos))
    assert folder.address == str(photos)
    assert names == ['a.png', 'b.jpg', 'sub/c.heic']
    assert 'left out: 1 videos (film.mp4' in notes[0]
    folder, names, _ = folders.find_images(str(photos / 'b.jpg'))
    assert (folder.address, names) == (str(photos), ['b.jpg'])


def test_a_name_that_no_parquet_file_holds(project, photos):
    folders, _ = project
    try:
        (photos / os.fsdecode(b'caf\xe9.jpg')).write_bytes(b'')
    except OSError:
        pytest.skip('this file system takes no such names')
    with pytest.raises(InputError, match=r'caf\\xe9.jpg is not UTF-8: rename'):
        folders.find_images(str(photos))


@pytest.mark.parametrize(
    'name, text',
    [
        ('a.txt', 'b.jpg\n\n {root}/sub/c.heic\nb.jpg\n'),
        ('a.jsonl', '"b.jpg"\n{{"file_name": "sub/c.heic", "id": 7}}\n{{"image": "b.jpg"}}\n'),
    ],
)
def test_lists_of_images(project, photos, tmp_path, name, text):
    folders, _ = project
    (tmp_path / name).write_text(text.format(root=photos))
    folder, names, notes = folders.find_images(str(tmp_path / name), str(photos))
    assert (folder.address, names) == (str(photos), ['b.jpg', 'sub/c.heic'])
    assert '1 names stand twice' in notes[0]


def test_what_is_no_list_is_named(project, photos, tmp_path):
    folders, _ = project
    path = tmp_path / 'a.jsonl'
    for text, message in [
        ('"b.jpg"\n7', 'line 2: no name'),
        ('{', 'line 1: no JSON'),
        ('"/elsewhere/b.jpg"', '/elsewhere/b.jpg is not in .*--root'),
        ('"../b.jpg"', 'is not in'),
        ('', 'holds no image'),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            folders.find_images(str(path), str(photos))
    with pytest.raises(InputError, match='nowhere does not exist'):
        folders.find_images('nowhere')
    with pytest.raises(InputError, match='--root is for a list'):
        folders.find_images(str(photos), str(photos))


def test_plan_stays(project, tmp_path):
    """What was planned keeps its part, whatever is added and whatever --batch is."""
    folders, shards = project
    out = folders.LocalFolder(tmp_path)
    plan = shards.Plan(out)
    plan.add(['a', 'b', 'c'], 2)
    first = plan.parts
    assert [part.images for part in first] == [['a', 'b'], ['c']]
    out.write(f'poses/{first[1].name}', b'')
    plan = shards.Plan(out)
    assert plan.parts == first
    assert plan.missing() == first[:1] and plan.made() == first[1:]
    new = plan.unplanned(['aa', 'b', 'c', 'd', 'e'])
    assert new == ['aa', 'd', 'e']
    plan.add(new, 3)
    plan = shards.Plan(out)
    assert plan.parts[:2] == first and plan.parts[2].images == new
    assert len({part.name for part in plan.parts}) == 3
    assert [path.name[0] for path in tmp_path.rglob('.*')] == []
    (tmp_path / 'plan/00000002.jsonl').write_text('{"name": "x"')
    with pytest.raises(InputError, match='00000002.jsonl is damaged'):
        shards.Plan(out)


def test_settings_do_not_mix(project, tmp_path):
    folders, shards = project
    out = folders.LocalFolder(tmp_path)
    shards.keep_settings(out, dict(images='/photos', layout=None))
    shards.keep_settings(out, dict(images='/photos', layout=None))
    with pytest.raises(InputError, match='holds results with layout None, and now it is coco'):
        shards.keep_settings(out, dict(images='/photos', layout='coco'))


def test_few_images_are_shared(project):
    _, shards = project
    assert [shards.default_batch(*case) for case in [(3, 2), (80, 2), (10**6, 100)]] == [
        1,
        10,
        1000,
    ]


def test_rows_of_images(project, photos):
    """The keypoints are those of the runtime; every image has a row, and what is wrong a reason."""
    folders, shards = project
    (photos / 'b.jpg').write_bytes(DEMO.read_bytes())
    estimate = shards.Estimator(shards.Models({}), folders.LocalFolder(photos))
    (row,) = estimate('b.jpg')
    keypoints, scores = PoseRuntime(threads=1)(read_image(DEMO))
    np.testing.assert_allclose(row['keypoints'], keypoints[0], atol=1e-3)
    np.testing.assert_allclose(row['keypoint_scores'], scores[0], atol=1e-5)
    assert (row['image'], row['person'], row['error'], row['bbox_score']) == ('b.jpg', 0, None, 1)
    for name, reason in [
        ('a.png', 'a.png cannot be read as an image'),
        ('sub/c.heic', 'convert it to JPEG'),
        ('gone.jpg', 'gone.jpg does not exist'),
        ('sub', 'cannot be read: Is a directory'),
    ]:
        (row,) = estimate(name)
        assert (row['image'], row['person']) == (name, None) and reason in row['error']
    nobody = shards.person_rows('x.jpg', *map(np.zeros, [(0, 4), 0, (0, 19, 2), (0, 19)]))
    assert nobody == [dict.fromkeys(shards.COLUMNS) | dict(image='x.jpg')]


def test_storage_is_asked_again(project, monkeypatch):
    folders, _ = project
    monkeypatch.setattr(folders, 'PAUSE', 0)

    class Weak:
        asked = 0

        def read(self, name):
            self.asked += 1
            if name == 'gone' or self.asked < 3:
                raise FileNotFoundError if name == 'gone' else OSError
            return b'content'

    weak = Weak()
    assert folders.read_patiently(weak, 'there') == b'content' and weak.asked == 3
    with pytest.raises(FileNotFoundError):
        folders.read_patiently(weak, 'gone')
    assert weak.asked == 4


def test_a_part_is_made_once_and_again_alike(project, photos, tmp_path):
    pq = pytest.importorskip('pyarrow.parquet')
    folders, shards = project
    (photos / 'b.jpg').write_bytes(DEMO.read_bytes())
    out = folders.LocalFolder(tmp_path / 'out')
    part = shards.Part('part-00000000.parquet', ['a.png', 'b.jpg'])
    args = shards.Models({}), folders.LocalFolder(photos), out
    outcome = shards.Worker(*args).make(part)
    assert (outcome.images, outcome.persons, len(outcome.errors)) == (2, 1, 1)
    assert not outcome.failure and out.within('trying') == set()
    first = pq.read_table(tmp_path / 'out/poses' / part.name)
    assert first['image'].to_pylist() == part.images
    assert json.loads(first.schema.metadata[b'lpn_mmpose'])['keypoints'][0] == 'nose'
    assert shards.Worker(*args).make(part).images == 0  # it is there
    assert shards.Worker(*args, redo=True).make(part).images == 2
    assert pq.read_table(tmp_path / 'out/poses' / part.name).equals(first)
    broken = shards.Worker(shards.Models({}), folders.LocalFolder(tmp_path / 'none'), out)
    assert 'is no folder on' in broken.make(part).failure


def test_run_goes_on(photos, tmp_path):
    """Interrupted, as by a part that is lost; and with images that came later."""
    pytest.importorskip('ray')
    import pyarrow.parquet as pq

    def run():
        command = [sys.executable, PROJECT / 'run.py', photos, '--out', out, '--actors', '1']
        done = subprocess.run([*command, '--batch', '1'], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    out = tmp_path / 'out'
    (photos / 'b.jpg').write_bytes(DEMO.read_bytes())
    assert 'images: 3 done, 0 done before, 2 of them now unreadable; 1 persons' in run()
    (out / 'poses/part-00000001.parquet').unlink()
    (photos / 'ab.jpg').write_bytes(DEMO.read_bytes())
    assert 'images: 2 done, 2 done before, 0 of them now unreadable; 2 persons' in run()
    rows = pq.read_table(out / 'poses').to_pylist()
    assert sorted(row['image'] for row in rows) == ['a.png', 'ab.jpg', 'b.jpg', 'sub/c.heic']
    assert [bool(row['error']) for row in rows] == [row['person'] is None for row in rows]
