import io
import json
import runpy
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from scipy.io import loadmat, savemat
from synthetic import make_coco, make_mpii

from lpn_mmpose.dataset_converters import convert_mpii, unpack
from lpn_mmpose.dataset_converters.archives import target_of
from lpn_mmpose.datasets.data_check import check_split
from lpn_mmpose.errors import InputError

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools/dataset_converters'
LPN = ROOT / 'configs/body_2d_keypoint/lpn'
COCO = LPN / 'coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
MPII = LPN / 'mpii/td-hm_lpn50_8xb32-150e_mpii-256x256.py'


def whole(config):
    cfg = Config.fromfile(config)
    return not any(check_split(cfg, split).problems for split in ('train', 'val'))


@pytest.fixture
def run(monkeypatch, capsys):

    def run(tool, *args):
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
        except SystemExit as end:
            return end.code, capsys.readouterr().err
        return 0, capsys.readouterr().out

    return run


@pytest.fixture
def coco_archives(tmp_path):
    """COCO's archives as they are downloaded."""
    make_coco(tmp_path / 'made')
    for split in ('train2017', 'val2017'):
        with zipfile.ZipFile(tmp_path / f'{split}.zip', 'w') as archive:
            for path in (tmp_path / 'made' / split).iterdir():
                archive.write(path, f'{split}/{path.name}')
    with zipfile.ZipFile(tmp_path / 'annotations_trainval2017.zip', 'w') as archive:
        for path in (tmp_path / 'made/annotations').iterdir():
            archive.write(path, f'annotations/{path.name}')
        archive.writestr('annotations/captions_val2017.json', '{}')
    return [*sorted(tmp_path.glob('*.zip')), *tmp_path.glob('made/person_detection_results/*')]


def test_coco(coco_archives, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out = run('coco_to_mmpose.py', *coco_archives)
    assert code == 0
    assert sorted(out.splitlines()) == [
        'data/coco/annotations: 2 files',
        'data/coco/person_detection_results: 1 files',
        'data/coco/train2017: 4 files',
        'data/coco/val2017: 4 files',
    ]
    assert whole(COCO)
    # broken files are written again, whole ones are left
    image = tmp_path / 'data/coco/val2017/000000000001.jpg'
    other = tmp_path / 'data/coco/val2017/000000000002.jpg'
    image.write_text('')
    before = other.stat().st_mtime_ns
    assert run('coco_to_mmpose.py', *coco_archives)[0] == 0
    assert whole(COCO) and other.stat().st_mtime_ns == before


def test_bad_archives(coco_archives, run, tmp_path):
    code, err = run('coco_to_mmpose.py', tmp_path / 'no.zip')
    assert code == 2 and 'no.zip does not exist' in err
    code, err = run('mpii_to_mmpose.py', coco_archives[-1])
    assert code == 2 and 'none of the files of mpii' in err
    with pytest.raises(InputError, match='cannot be unpacked'):
        packed = tmp_path / 'images.tar.gz'
        with tarfile.open(packed, 'w:gz') as archive:
            info = tarfile.TarInfo('images/1.jpg')
            info.size = 100000
            archive.addfile(info, io.BytesIO(np.random.RandomState(0).bytes(info.size)))
        packed.write_bytes(packed.read_bytes()[:50000])
        unpack([packed], tmp_path / 'out', 'mpii')


def test_nothing_is_written_outside(tmp_path):
    assert target_of('../../val2017/000000000001.jpg', 'coco') == 'val2017/000000000001.jpg'
    assert target_of('images/../../x.jpg', 'mpii') == ''
    assert target_of('xannot/train.json', 'mpii') == ''


@pytest.mark.parametrize(
    'names',
    [
        ('annot/train.json', 'annot/valid.json', 'annot/gt_valid.mat'),
        ('mpii_train.json', 'mpii_val.json', 'mpii_gt_val.mat'),
    ],
    ids=['hrnet', 'mmpose'],
)
def test_mpii(names, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_mpii(tmp_path / 'made')
    made = tmp_path / 'made/annotations'
    with tarfile.open('mpii_human_pose_v1.tar.gz', 'w:gz') as archive:
        archive.add(tmp_path / 'made/images', 'images')
    with tarfile.open('annotations.tar', 'w') as archive:
        for name, file in zip(names, ('mpii_train.json', 'mpii_val.json', 'mpii_gt_val.mat')):
            archive.add(made / file, name)
    code, out = run('mpii_to_mmpose.py', 'mpii_human_pose_v1.tar.gz', 'annotations.tar')
    assert code == 0
    assert out.splitlines() == ['data/mpii/images: 4 files', 'data/mpii/annotations: 3 files']
    assert whole(MPII)


@pytest.fixture
def original(tmp_path):
    """MPII's structure: two training images and one for testing."""
    make_mpii(tmp_path / 'made', 3)

    def rect(number, joints=16):
        point = [dict(x=10.0 + j, y=20.0 + number, id=j, is_visible=j % 2) for j in range(joints)]
        return dict(
            x1=1.0 + number,
            y1=2.0,
            x2=31.0 + number,
            y2=42.0,
            annopoints=dict(point=point),
            scale=2.0 + number,
            objpos=dict(x=50.0 + number, y=60.0),
        )

    unlabelled = dict(x1=1.0, y1=2.0, x2=3.0, y2=4.0)
    names = [f'{i:09d}.jpg' for i in (1, 2, 3)]
    rects = [[rect(0), rect(1, 15)], rect(2), unlabelled]
    savemat(
        tmp_path / 'mpii_human_pose_v1_u12_1.mat',
        dict(
            RELEASE=dict(
                annolist=[dict(image=dict(name=name), annorect=r) for name, r in zip(names, rects)],
                img_train=[1, 1, 0],
            )
        ),
    )
    return tmp_path / 'mpii_human_pose_v1_u12_1.mat'


def test_mpii_original_annotations(original, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('val.txt').write_text('000000001.jpg\n')
    code, out = run('mpii_to_mmpose.py', 'made/images', original, '--val-images', 'val.txt')
    assert code == 0
    assert out.splitlines()[-2:] == [
        'data/mpii/annotations/mpii_train.json: 1 persons',
        'data/mpii/annotations/mpii_val.json: 2 persons',
    ]
    assert whole(MPII)
    folder = tmp_path / 'data/mpii/annotations'
    (train,) = json.loads((folder / 'mpii_train.json').read_text())
    assert train['image'] == '000000002.jpg'
    assert (train['center'], train['scale']) == ([52, 60], 4)
    assert train['joints'] == [[10 + j, 22] for j in range(16)]
    assert train['joints_vis'] == [1] * 16, 'occluded joints are labelled'
    _, second = json.loads((folder / 'mpii_val.json').read_text())
    assert second['joints_vis'] == [1] * 15 + [0]
    heads = loadmat(folder / 'mpii_gt_val.mat')['headboxes_src']
    np.testing.assert_array_equal(heads[..., 1], [[2, 2], [32, 42]])


def test_mpii_bad_originals(original, tmp_path):
    with pytest.raises(InputError, match='9.jpg'):
        convert_mpii(original, tmp_path, {'9.jpg'})
    other = tmp_path / 'other.mat'
    savemat(other, dict(a=1))
    with pytest.raises(InputError, match='other.mat'):
        convert_mpii(other, tmp_path, {'000000001.jpg'})
