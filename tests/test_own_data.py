"""The steps of docs/datasets.md, on little data."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from paths import SMALL
from synthetic import make_coco_style

ROOT = Path(__file__).parents[1]
CONFIG = Path('projects/own_data/configs/td-hm_lpn50_1xb32-10e_planes-96x96.py')
SHORT = [*SMALL, 'train_dataloader.batch_size=4', 'train_cfg.max_epochs=1']
PERSONS = CONFIG.with_name('td-hm_lpn50_2xb16-20e_persons-192x144.py')


def test_five_steps(tmp_path, monkeypatch, capsys, plain_config_text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'projects').symlink_to(ROOT / 'projects')

    def run(script, *args):
        monkeypatch.setattr(sys, 'argv', [script, *map(str, args)])
        runpy.run_path(str(ROOT / script), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    made = run('projects/own_data/make_planes.py', '--images', 8)
    counts = [int(re.search(r'(\d+) planes', line)[1]) for line in made]
    with pytest.raises(SystemExit) as end:
        run('tools/check_data.py', CONFIG)
    assert not end.value.code
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (f'train: 8 images, {counts[0]} persons, {6 * counts[0]} keypoints')
    assert out[-1] == 'all is well'

    run('tools/train.py', CONFIG, '--work-dir', 'out', '--cfg-options', *SHORT)
    printed = run(
        'tools/test.py', CONFIG, 'out/epoch_1.pth', '--work-dir', 'out', '--cfg-options', *SHORT
    )
    assert any(line.startswith('PCK: ') for line in printed)
    assert any(line.startswith('coco/AP: ') for line in printed)


def test_persons_from_the_shipped_weights(tmp_path, monkeypatch, capsys, plain_config_text):
    monkeypatch.chdir(tmp_path)
    for name in ('projects', 'lpn_mmpose'):
        (tmp_path / name).symlink_to(ROOT / name)
    for split in ('train', 'val'):
        folder = Path('data/persons')
        make_coco_style(folder / f'{split}.json', folder / split, 8, 17)
    args = ['tools/train.py', PERSONS, '--work-dir', 'out', '--cfg-options', *SHORT]
    monkeypatch.setattr(sys, 'argv', list(map(str, args)))
    runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
    assert 'torso/persons/PCK@0.2' in capsys.readouterr().out
    shipped = torch.load(Config.fromfile(str(PERSONS)).load_from)['state_dict']
    trained = torch.load('out/epoch_1.pth', weights_only=False)['state_dict']
    assert shipped.keys() == trained.keys()
    for name, value in shipped.items():
        if value.is_floating_point() and 'running' not in name:
            torch.testing.assert_close(trained[name], value.float(), rtol=0, atol=0.01)
