"""Downloads from a server on this machine that fails in the usual ways."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import public_detectors as public
import pytest

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector
from lpn_mmpose.runtime import download as module
from lpn_mmpose.runtime.download import download, main, unpack_detector

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.content`` as ``server.behaviour`` says."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        if server.busy:
            server.busy -= 1
            self.send_error(503)
            return
        if server.status != 200:
            self.send_error(server.status)
            return
        start, etag = 0, f'"{hashlib.sha256(server.content).hexdigest()[:8]}"'
        wanted = self.headers.get('Range')
        if wanted and server.ranges and self.headers.get('If-Range') in (None, etag):
            start = int(wanted.removeprefix('bytes=').rstrip('-'))
            self.send_response(206)
            end = len(server.content)
            self.send_header('Content-Range', f'bytes {start}-{end - 1}/{end}')
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header('Content-Length', str(len(body)))
        if server.validator:
            self.send_header('ETag', etag)
        self.end_headers()
        if server.gate is not None:
            server.gate.wait(30)
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.content, server.requests, server.cuts = CONTENT, [], []
    server.status, server.ranges, server.validator, server.gate = 200, True, True, None
    server.busy = 0
    server.url = f'http://127.0.0.1:{server.server_address[1]}/model.onnx'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'cache' / 'model.onnx'


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.suffix != '.lock')


def test_download_once(server, path):
    for _ in range(2):
        assert download(server.url, path, (SHA256,)) == path
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert names(path.parent) == ['model.onnx']


def test_cut_connections_are_resumed(server, path):
    server.cuts = [1000, 200_000, 5]
    download(server.url, path, (SHA256,))
    assert path.read_bytes() == CONTENT
    starts = [headers.get('Range') for _, headers in server.requests]
    assert starts == [None, 'bytes=1000-', 'bytes=201000-', 'bytes=201005-']


def test_busy_server_is_asked_again(server, path):
    server.busy = 2
    download(server.url, path, (SHA256,))
    assert path.read_bytes() == CONTENT and len(server.requests) == 3


def test_another_process_goes_on(server, path):
    server.cuts = [300_000] + [0] * 10
    with pytest.raises(InputError, match=f'put it at {path}'):
        download(server.url, path, (SHA256,))
    assert path.with_name('model.onnx.part').stat().st_size == 300_000
    server.cuts, server.requests[:] = [], []
    download(server.url, path)
    assert path.read_bytes() == CONTENT
    assert [headers.get('Range') for _, headers in server.requests] == ['bytes=300000-']


@pytest.mark.parametrize('ranges, validator', [(False, True), (True, False), (True, True)])
def test_a_part_of_another_file_is_not_completed(server, path, ranges, validator):
    server.ranges, server.validator = ranges, validator
    server.cuts = [300_000] + [0] * 10
    with pytest.raises(InputError):
        download(server.url, path)
    server.cuts, server.content = [], CONTENT[::-1]
    download(server.url, path)
    assert path.read_bytes() == CONTENT[::-1]


def test_part_with_more_than_there_is(server, path):
    server.cuts = [300_000] + [0] * 10
    with pytest.raises(InputError):
        download(server.url, path, (SHA256,))
    server.cuts, server.status = [], 416
    with pytest.raises(InputError, match='416'):
        download(server.url, path, (SHA256,))
    server.status = 200
    assert download(server.url, path, (SHA256,)).read_bytes() == CONTENT


def test_wrong_digest(server, path):
    with pytest.raises(InputError, match='damaged on its way') as caught:
        download(server.url, path, ('0' * 64,), 'yolox-nano')
    assert SHA256 in str(caught.value) and 'yolox-nano' in str(caught.value)
    assert not path.exists()
    assert not any(name.endswith('.onnx.part') for name in names(path.parent))


def test_first_digest_is_recorded(server, path):
    download(server.url, path)
    record = path.with_name('model.onnx.sha256')
    assert record.read_text().split() == [SHA256, 'model.onnx']
    path.write_bytes(b'something else')
    with pytest.raises(InputError, match='not model.onnx'):
        download(server.url, path)
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(InputError, match='another file by now'):
        download(server.url, path)
    assert not path.exists()
    server.content = CONTENT
    download(server.url, path)


def test_file_put_by_hand(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    download(server.url, path, (SHA256,))
    assert not server.requests
    path.write_bytes(b'a page that says: log in first')
    with pytest.raises(InputError, match='delete it'):
        download(server.url, path, (SHA256,))


@pytest.mark.parametrize('status', [404, 503])
def test_server_refuses(server, path, status):
    server.status = status
    with pytest.raises(InputError, match=f'{status}.*put it at {path}'):
        download(server.url, path)


def test_no_network(server, path):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=f'refused.*get {server.url} .* put it at {path}.*proxy'):
        download(server.url, path)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='/dev/full is of Linux')
def test_full_disk(server, path):
    path.parent.mkdir()
    part = path.with_name('model.onnx.part')
    part.symlink_to('/dev/full')
    with pytest.raises(InputError, match=f'No space left.*{module.CACHE}') as caught:
        download(server.url, path, (SHA256,))
    assert '\n' not in str(caught.value)
    assert not path.exists()
    part.unlink()
    download(server.url, path, (SHA256,))


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=f'cannot be written to {tmp_path / "file"}'):
        download(server.url, tmp_path / 'file' / 'model.onnx')


def test_two_processes(server, path):
    server.gate = threading.Event()
    code = (
        'import sys; from pathlib import Path; from lpn_mmpose.runtime.download import download; '
        'download(sys.argv[1], Path(sys.argv[2]), (sys.argv[3],))'
    )
    runs = [
        subprocess.Popen([sys.executable, '-c', code, server.url, path, SHA256]) for _ in range(2)
    ]
    threading.Timer(1, server.gate.set).start()
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(server.requests) == 1
    assert path.read_bytes() == CONTENT


def test_proxy_from_the_environment(server, path, monkeypatch):
    monkeypatch.setenv('http_proxy', server.url.rpartition('/')[0])
    download('http://models.invalid/model.onnx', path, (SHA256,))
    ((asked, _),) = server.requests
    assert asked == 'http://models.invalid/model.onnx'


def test_zip_stays_in_its_folder(tmp_path):
    archive = tmp_path / 'in' / 'model.zip'
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, 'w') as content:
        content.writestr('../../end2end.onnx', b'model')
        content.writestr('/etc/pipeline.json', b'{}')
        content.writestr('../evil.py', b'')
    file = unpack_detector(archive, tmp_path / 'in' / 'cache')
    assert file.read_bytes() == b'model'
    assert names(file.parent) == ['end2end.onnx', 'pipeline.json']
    everything = {p.name for p in tmp_path.rglob('*') if p.is_file() and p.suffix != '.lock'}
    assert everything == {'model.zip', 'end2end.onnx', 'pipeline.json'}


@pytest.mark.parametrize('files', [[], ['a.onnx', 'b.onnx']])
def test_zip_without_a_model(tmp_path, files):
    with zipfile.ZipFile(tmp_path / 'model.zip', 'w') as content:
        for name in files:
            content.writestr(name, b'')
    with pytest.raises(InputError, match=', '.join(files) or 'none'):
        unpack_detector(tmp_path / 'model.zip', tmp_path / 'cache')


def test_damaged_zip(tmp_path):
    (tmp_path / 'model.zip').write_bytes(b'no zip')
    with pytest.raises(InputError, match='model.zip is no zip file'):
        unpack_detector(tmp_path / 'model.zip', tmp_path / 'cache')


@pytest.fixture
def table(server, tmp_path, monkeypatch):
    """Return a function that puts a detector on the server and into the table."""
    monkeypatch.setenv(module.CACHE, str(tmp_path / 'cache'))

    def put(file, sha256=None, **given):
        server.content = file.read_bytes()
        entry = dict(
            url=server.url.replace('model.onnx', file.name),
            sha256=sha256,
            size_mb=None,
            licence='MIT',
            source='here',
            input=given,
        )
        path = tmp_path / 'table.json'
        path.write_text(json.dumps({'tiny': entry}))
        monkeypatch.setattr(module, 'TABLE', path)

    return put


def test_detector_by_name(server, table, tmp_path, capsys):
    """The table says how images go in, and a zip file is unpacked."""
    file = public.save_dets(tmp_path / 'end2end.onnx')
    with zipfile.ZipFile(tmp_path / 'tiny.zip', 'w') as archive:
        archive.write(file, '20230831/end2end.onnx')
    table(tmp_path / 'tiny.zip', mean=0, std=255)
    for _ in range(2):
        boxes, scores = PersonDetector('tiny')(np.full((128, 192, 3), 255, np.uint8))
        assert len(boxes) == 2 and scores.min() > 0.99
    assert len(server.requests) == 1
    assert main([]) == 0
    out = capsys.readouterr().out
    assert 'tiny' in out and 'recorded at the first download' in out and 'here' in out


def test_command(table, tmp_path, capsys):
    table(public.save_yolox(tmp_path / 'yolox.onnx'), ['1' * 64])
    with pytest.raises(SystemExit) as end:
        main(['tiny'])
    assert end.value.code == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith('error: what was downloaded as tiny')


def test_shipped_table():
    table = module.known_detectors()
    assert set(table) == {'yolox-nano', 'yolox-tiny', 'rtmdet-nano', 'rtmdet-m'}
    for detector in table.values():
        assert detector.url.startswith('https://') and detector.licence == 'Apache-2.0'
        assert all(len(bytes.fromhex(digest)) == 32 for digest in detector.sha256)
