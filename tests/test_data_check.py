import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from scipy.io import savemat
from synthetic import SIZE, make_all

from lpn_mmpose.datasets.data_check import check_split
from lpn_mmpose.errors import InputError

ROOT = Path(__file__).parents[1]
LPN = ROOT / 'configs/body_2d_keypoint/lpn'
COCO = LPN / 'coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
MPII = LPN / 'mpii/td-hm_lpn50_8xb32-150e_mpii-256x256.py'
LSPET = LPN / 'lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'


@pytest.fixture
def data(tmp_path, monkeypatch):
    make_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'data'


def edit(path, change):
    """Change a JSON file's content in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def problems(config, split='val'):
    report = check_split(Config.fromfile(config), split)
    return {kind: messages for kind, messages in report.problems.items()}


@pytest.mark.parametrize(
    'config, keypoints', [(COCO, 16), (MPII, 16), (LSPET, 13)], ids=['coco', 'mpii', 'lspet']
)
def test_whole_data(config, keypoints, data):
    for split in ('train', 'val'):
        report = check_split(Config.fromfile(config), split)
        assert not report.problems
        assert (report.images, report.persons) == (4, 4)
        assert report.keypoints == 4 * keypoints
        detected = config == COCO and split == 'val'
        assert report.detections == (2 if detected else 0)
        assert f'{split}: 4 images, 4 persons' in report.format()


def test_missing_files(data):
    (data / 'coco/annotations/person_keypoints_train2017.json').unlink()
    (data / 'coco/train2017').rename(data / 'coco/elsewhere')
    (data / 'coco/val2017/000000000002.jpg').unlink()
    found = problems(COCO, 'train')['missing files and folders']
    assert len(found) == 2
    assert any('train_dataloader.dataset.ann_file' in line for line in found)
    assert problems(COCO) == {'missing images': ['data/coco/val2017/000000000002.jpg']}


def test_without_detections_the_rest_is_checked(data):
    next(data.glob('coco/person_detection_results/*')).unlink()
    (data / 'coco/val2017/000000000002.jpg').unlink()
    found = problems(COCO)
    assert found.keys() == {'missing files and folders', 'missing images'}


def test_broken_images(data):
    folder = data / 'coco/val2017'
    whole = (folder / '000000000001.jpg').read_bytes()
    (folder / '000000000001.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / '000000000002.jpg').write_text('not an image')
    found = problems(COCO)
    assert found.keys() == {'unreadable images'}
    first, second = found['unreadable images']
    assert '000000000001.jpg' in first and 'truncated' in first
    assert '000000000002.jpg' in second


def test_coco_annotations_out_of_bounds(data):

    def change(content):
        one, two, three, four = content['annotations']
        one['keypoints'][:3] = SIZE[0] + 5, 20, 2
        two['bbox'][0] = -30
        three['bbox'][3] = 0
        assert four['keypoints'][14] == 0
        four['keypoints'][12:15] = -200, 20, 0  # not labelled: no matter

    edit(data / 'coco/annotations/person_keypoints_val2017.json', change)
    found = problems(COCO)
    (line,) = found.pop('keypoints outside of the image')
    assert f'annotation 1: ({SIZE[0] + 5}, 20) in 120x160' in line
    (line,) = found.pop('boxes outside of the image')
    assert 'annotation 2: xyxy [-30' in line
    (line,) = found.pop('empty boxes')
    assert 'annotation 3' in line
    assert not found


@pytest.mark.parametrize(
    'kind, message, change',
    [
        ('repeated ids', 'annotation 1', lambda c: c['annotations'][1].update(id=1)),
        (
            'annotations of unknown images',
            'image 99',
            lambda c: c['annotations'][0].update(image_id=99),
        ),
        ('malformed annotations', 'not 3 x 17', lambda c: c['annotations'][0]['keypoints'].pop()),
        (
            'visibility flags',
            'flag not 0, 1, 2',
            lambda c: c['annotations'][0]['keypoints'].__setitem__(2, 3),
        ),
        (
            'malformed annotations',
            'num_keypoints is 3, 16 are',
            lambda c: c['annotations'][0].update(num_keypoints=3),
        ),
        (
            'malformed boxes',
            'annotation 1: no bbox; training leaves',
            lambda c: c['annotations'][0].pop('bbox'),
        ),
        (
            'images of another size than annotated',
            '120x160, annotated 160x120',
            lambda c: c['images'][0].update(width=160, height=120),
        ),
        (
            'other keypoints than the dataset type',
            "'clock' has a, b",
            lambda c: c['categories'].append(dict(id=2, name='clock', keypoints=['a', 'b'])),
        ),
        ('nothing to read', 'no person', lambda c: c['annotations'].clear()),
    ],
)
def test_coco_annotations(kind, message, change, data):
    edit(data / 'coco/annotations/person_keypoints_train2017.json', change)
    found = problems(COCO, 'train')
    assert message in found[kind][0]


def test_annotation_file_is_no_json(data):
    path = data / 'coco/annotations/person_keypoints_train2017.json'
    path.write_text(path.read_text()[:100])
    found = problems(COCO, 'train')
    assert 'train2017.json' in found['unreadable annotation files'][0]


def test_detections(data):
    path = next(data.glob('coco/person_detection_results/*'))

    def change(content):
        content[0]['image_id'] = 99
        content[1]['bbox'][2] = 0

    edit(path, change)
    found = problems(COCO)
    assert 'image 99' in found['detections in unknown images'][0]
    assert 'detection 1' in found['malformed detections'][0]


def test_mpii_annotations(data):

    def change(content):
        content[0]['joints'][0] = [0, 5]  # MPII counts from 1
        content[1]['joints'][0] = [0, 5]
        content[1]['joints_vis'][0] = 0
        content[2]['scale'] = -1
        content[3]['joints'].pop()

    edit(data / 'mpii/annotations/mpii_val.json', change)
    found = problems(MPII)
    (line,) = found['keypoints outside of the image']
    assert 'entry 0: (-1, 4)' in line
    assert [line[:7] for line in found['malformed annotations']] == ['entry 2', 'entry 3']


@pytest.mark.parametrize(
    'boxes, message',
    [
        (np.zeros((2, 2, 3)), '(2, 2, 4)'),
        (np.zeros((2, 2, 4)), 'head box 0'),
    ],
)
def test_mpii_head_boxes(boxes, message, data):
    savemat(data / 'mpii/annotations/mpii_gt_val.mat', dict(headboxes_src=boxes))
    assert message in problems(MPII)['malformed annotations'][0]


def test_wrapped_datasets_are_counted_together(data):
    cfg = Config.fromfile(COCO)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='CombinedDataset', datasets=[inner, inner])
    assert check_split(cfg, 'train').persons == 8


def test_unknown_dataset_type_is_named(data):
    cfg = Config.fromfile(COCO)
    cfg.train_dataloader.dataset.type = 'NoSuchDataset'
    with pytest.raises(InputError, match='NoSuchDataset'):
        check_split(cfg, 'train')


def test_tool(data, capsys, monkeypatch):

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools/check_data.py'), run_name='__main__')
        return end.value.code or 0, capsys.readouterr()

    code, printed = run(COCO)
    assert code == 0 and '4/4' in printed.err, 'a progress bar'
    assert printed.out.splitlines()[-2:] == ['test: the data of val', 'all is well']
    for path in data.glob('coco/val2017/*'):
        path.unlink()
    code, printed = run(COCO, '--limit', 1)
    assert code == 1 and printed.out.splitlines()[-1] == '4 problems'
    assert 'and 3 more' in printed.out
    code, printed = run(COCO, '--splits', 'train')
    assert code == 0
    code, printed = run('no/such.py')
    assert code == 2 and 'no/such.py does not exist' in printed.err


def test_fix(data, capsys, monkeypatch):
    path = data / 'coco/annotations/person_keypoints_train2017.json'

    def change(content):
        content['annotations'][0]['area'] = None
        content['annotations'][1]['id'] = '2'
        content['annotations'][3].pop('bbox')

    edit(path, change)
    before, out = path.read_bytes(), data / 'fixed.json'

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', str(COCO), *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / 'tools/check_data.py'), run_name='__main__')
        return end.value.code, capsys.readouterr()

    code, printed = run('--splits', 'train', '--fix', out)
    assert code == 1 and path.read_bytes() == before
    assert f'{out}: 2 changes, 1 mistakes left' in printed.out
    first, second, *_ = json.loads(out.read_text())['annotations']
    assert first['area'] == pytest.approx(0.53 * first['bbox'][2] * first['bbox'][3])
    assert second['id'] == 5
    assert run('--splits', 'train', '--fix', path)[0] == 2
    assert run('--fix', out)[0] == 2, 'train and val have a file each'
    assert path.read_bytes() == before
