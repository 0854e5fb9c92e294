import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.errors import InputError
from lpn_mmpose.zoo.publishing import publish

TOOL = Path(__file__).parents[1] / 'tools/model_converters/publish_model.py'


@pytest.fixture
def checkpoint(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    model[0].weight.data.uniform_(-1, 1)
    path = tmp_path / 'epoch_3.pth'
    torch.save(
        dict(
            state_dict=model.state_dict(),
            optimizer=torch.optim.Adam(model.parameters()).state_dict(),
            message_hub=dict(log_scalars={}),
            meta=dict(cfg='depth = 50', epoch=3, seed=1, dataset_meta=dict(sigmas=np.arange(3.0))),
        ),
        path,
    )
    return path


def test_keeps_weights_and_meta_alone(checkpoint, tmp_path):
    path = publish(checkpoint, tmp_path / 'out/lpn.pth')
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'lpn-{sha[:8]}.pth'
    assert path.stat().st_size < checkpoint.stat().st_size

    from mmengine.runner.checkpoint import _load_checkpoint

    small = _load_checkpoint(str(path), map_location='cpu')
    full = _load_checkpoint(str(checkpoint), map_location='cpu')
    assert set(small) == {'state_dict', 'meta'}
    assert set(small['meta']) == {'epoch', 'dataset_meta'}
    weight, half = (c['state_dict']['0.weight'] for c in (full, small))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), weight, rtol=1e-3, atol=1e-4)
    counter = small['state_dict']['1.num_batches_tracked']
    assert counter.dtype == torch.int64


def test_fp32_is_exact(checkpoint, tmp_path):
    path = publish(checkpoint, tmp_path / 'lpn.pth', half=False, digest=False)
    assert path == tmp_path / 'lpn.pth'
    small, full = (torch.load(p, weights_only=True)['state_dict'] for p in (path, checkpoint))
    assert all(torch.equal(small[key], full[key]) for key in full)


def test_leaves_out_what_only_training_needs(checkpoint, tmp_path):
    path = publish(checkpoint, tmp_path / 'lpn.pth', digest=False, leave_out=['1'])
    assert set(torch.load(path, weights_only=True)['state_dict']) == {'0.weight', '0.bias'}
    with pytest.raises(InputError, match='2.*only 0, 1'):
        publish(checkpoint, tmp_path / 'not.pth', leave_out=['2'])
    assert not (tmp_path / 'not.pth').exists()


def test_tool_names_what_it_cannot_read(tmp_path):
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'bare.pth')
    (tmp_path / 'junk.pth').write_text('junk')
    for name, message in (
        ('no.pth', 'does not exist'),
        ('junk.pth', 'cannot be read'),
        ('bare.pth', 'not an MMEngine checkpoint'),
    ):
        run = subprocess.run(
            [sys.executable, TOOL, tmp_path / name, tmp_path / 'dst.pth'],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 2
        assert message in run.stderr and 'Traceback' not in run.stderr
        assert name in run.stderr.splitlines()[-1]
