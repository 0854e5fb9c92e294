"""The five steps of docs/datasets.md, on little data."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = Path('projects/own_data/configs/td-hm_lpn50_1xb32-10e_planes-96x96.py')


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

    small = [
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
    ] + [
        f'{split}_dataloader.{option}'
        for split in ('train', 'val', 'test')
        for option in ('num_workers=0', 'persistent_workers=False')
    ]
    run('tools/train.py', CONFIG, '--work-dir', 'out', '--cfg-options', *small)
    printed = run(
        'tools/test.py', CONFIG, 'out/epoch_1.pth', '--work-dir', 'out', '--cfg-options', *small
    )
    assert any(line.startswith('PCK: ') for line in printed)
    assert any(line.startswith('coco/AP: ') for line in printed)
