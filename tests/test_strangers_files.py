"""Files of strangers: nothing in them runs, nothing is written elsewhere."""

import io
import json
import os
import pickle
import tarfile
import time
import zipfile

import cv2
import numpy as np
import pytest
import torch
from mmpose.apis import MMPoseInferencer
from paths import LSPET, ROOT

from lpn_mmpose.dataset_converters.archives import unpack
from lpn_mmpose.datasets.data_check import check_split
from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime.media import read_image
from lpn_mmpose.runtime.results import BoxFile
from lpn_mmpose.utils.config import load_config


class Malicious:
    """What unpickles by calling a function, here one that leaves a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), 'w')


def write_pickles(folder, marker):
    """Write the same checkpoint in every format that PyTorch reads; yield the files."""
    content = dict(state_dict={'backbone.conv1.weight': Malicious(marker)}, meta=dict(epoch=1))
    for name, save in {
        'zip': lambda path: torch.save(content, path),
        'legacy': lambda path: torch.save(content, path, _use_new_zipfile_serialization=False),
        'pickle': lambda path: path.write_bytes(pickle.dumps(content, protocol=2)),
    }.items():
        path = folder / f'{name}.pth'
        save(path)
        yield path


def work_dir(path, checkpoint, stage=''):
    folder = path / stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'epoch_1.pth').write_bytes(checkpoint.read_bytes())
    return path


#: Arguments of each tool that reads a checkpoint, from its path and a folder.
READERS = {
    'train load_from': lambda p, d: (
        'train.py',
        LSPET,
        '--work-dir',
        d / 'a',
        '--cfg-options',
        f'load_from={p}',
    ),
    'train resume': lambda p, d: (
        'train.py',
        LSPET,
        '--resume',
        '--work-dir',
        work_dir(d / 'b', p),
    ),
    'iterative': lambda p, d: (
        'iterative_train.py',
        LSPET,
        '--stages',
        1,
        '--work-dir',
        work_dir(d / 'c', p, 'stage_0'),
    ),
    'test': lambda p, d: ('test.py', LSPET, p, '--work-dir', d / 'd'),
    'publish': lambda p, d: ('model_converters/publish_model.py', p, d / 'published.pth'),
    'convert': lambda p, d: ('model_converters/official_to_mmpose.py', p, d / 'out.pth'),
    'convert back': lambda p, d: (
        'model_converters/official_to_mmpose.py',
        p,
        d / 'out.pth',
        '--inverse',
        '--config',
        LSPET,
    ),
    'export': lambda p, d: ('deployment/export.py', LSPET, p, '-o', d / 'out.onnx'),
    'errors': lambda p, d: (
        'analysis/analyze_errors.py',
        LSPET,
        p,
        '--out-dir',
        d / 'errors',
    ),
}


@pytest.mark.parametrize('reader', READERS)
def test_pickles_run_nothing(reader, run, tmp_path, capsys):
    marker = tmp_path / 'was here'
    for path in write_pickles(tmp_path, marker):
        with pytest.raises(SystemExit) as end:
            run(*READERS[reader](path, tmp_path))
        assert not marker.exists(), path
        assert end.value.code == 2
        (line,) = [ln for ln in capsys.readouterr().err.splitlines() if 'error: ' in ln]
        assert '.pth' in line
    # the file itself is harmful: a plain unpickler runs it
    with path.open('rb') as file:
        pickle.load(file)
    assert marker.exists()


def test_inferencer_runs_nothing(tmp_path):
    marker = tmp_path / 'was here'
    for path in write_pickles(tmp_path, marker):
        with pytest.raises(pickle.UnpicklingError):
            MMPoseInferencer(pose2d=str(LSPET), pose2d_weights=str(path), device='cpu')
        assert not marker.exists(), path


@pytest.mark.parametrize('url', ['https://example.org/config.py', 'file:///tmp/config.py'])
def test_configs_of_a_url_are_refused(url):
    with pytest.raises(InputError, match='is a URL, and a config runs code'):
        load_config(url)


ESCAPES = [
    '../../images/000000001.jpg',
    '/images/000000002.jpg',
    'images/../../000000003.jpg',
    '..\\images\\000000004.jpg',
    'images/-rf.jpg',
    'images/<b>.jpg',
]


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_archives_write_inside_alone(kind, tmp_path):
    source, target = tmp_path / f'strange.{kind}', tmp_path / 'inside/data'
    if kind == 'zip':
        with zipfile.ZipFile(source, 'w') as archive:
            for name in ESCAPES:
                archive.writestr(name, b'jpeg')
    else:
        with tarfile.open(source, 'w') as archive:
            for name in ESCAPES:
                info = tarfile.TarInfo(name)
                info.size = 4
                archive.addfile(info, io.BytesIO(b'jpeg'))
            link = tarfile.TarInfo('images/000000005.jpg')
            link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
            archive.addfile(link)
    unpack([str(source)], str(target), 'mpii')
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*') if p.is_file()}
    assert written == {
        source.name,
        'inside/data/images/000000001.jpg',
        'inside/data/images/000000002.jpg',
    }
    assert not os.path.lexists(target / 'images/000000005.jpg')


def test_archive_with_another_size_than_it_says(tmp_path):
    """A member that unpacks to more than its header says is an error."""
    source = tmp_path / 'strange.zip'
    with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('images/000000001.jpg', bytes(1 << 20))
    content = bytearray(source.read_bytes())
    for signature, place in ((b'PK\x03\x04', 22), (b'PK\x01\x02', 24)):
        at = content.index(signature) + place
        content[at : at + 4] = (10).to_bytes(4, 'little')
    source.write_bytes(content)
    with pytest.raises(InputError, match='cannot be unpacked'):
        unpack([str(source)], str(tmp_path / 'data'), 'mpii')


@pytest.mark.parametrize('text', ['[' * 200_000, '{"a":' * 200_000, '9' * 10_000])
def test_annotations_nested_without_end(text, data, tmp_path, monkeypatch):
    monkeypatch.chdir(data)
    cfg = load_config(str(LSPET))
    bomb = tmp_path / 'bomb.json'
    bomb.write_text(text)
    cfg.val_dataloader.dataset.ann_file = str(bomb)
    report = check_split(cfg, 'val')
    assert 'bomb.json' in report.problems['unreadable annotation files'][0]


def test_names_like_flags_and_markup(data, run, tmp_path, monkeypatch, capsys):
    """Image names are text: they select no option and are printed as they are."""
    folder = data / 'data/lspet'
    content = json.loads((folder / 'annotations/lspet_val.json').read_text())
    names = ['--help', '-rf.jpg', '<b>$(id)&.jpg', 'a\nb.jpg']
    for image, name in zip(content['images'], names):
        (tmp_path / name).write_bytes((folder / 'images' / image['file_name']).read_bytes())
        image['file_name'] = name
    (tmp_path / '-val.json').write_text(json.dumps(content))
    options = [
        f'val_dataloader.dataset.ann_file={tmp_path}/-val.json',
        f'val_dataloader.dataset.data_prefix.img={tmp_path}/',
    ]
    with pytest.raises(SystemExit) as end:
        run(ROOT / 'tools/check_data.py', LSPET, '--splits', 'val', '--cfg-options', *options)
    out = capsys.readouterr().out
    assert not end.value.code, out
    assert 'val: 4 images' in out


def test_png_that_claims_to_be_larger_than_its_file(tmp_path):
    """OpenCV 4.11 takes half a minute and 4 GB to see that it is not."""
    picture = cv2.imencode('.png', np.zeros((24, 20, 3), np.uint8))[1].tobytes()
    (tmp_path / 'whole.png').write_bytes(picture)
    assert read_image(tmp_path / 'whole.png').shape == (24, 20, 3)
    at = picture.index(b'IDAT') - 4
    (tmp_path / 'a.png').write_bytes(picture[:at] + b'\xf0' + picture[at + 1 :])
    begin = time.process_time()
    with pytest.raises(InputError, match='a.png cannot be read'):
        read_image(tmp_path / 'a.png')
    assert time.process_time() - begin < 1


@pytest.mark.parametrize('text', ['[' * 200_000, '{"a":' * 200_000])
def test_boxes_nested_without_end(text, tmp_path):
    (tmp_path / 'boxes.json').write_text(text)
    with pytest.raises(InputError, match='boxes.json cannot be read as JSON'):
        BoxFile(tmp_path / 'boxes.json')
