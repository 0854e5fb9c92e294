#!/usr/bin/env python
"""Feed damaged files to everything that reads files of others.

A case is a good file that was changed: bytes flipped, cut or repeated, or
values of a JSON text replaced by odd ones. It must be read, and then keep what
the target promises, or be refused by InputError. Anything else is a failure:
another exception, a crash of the process, more than --seconds, or a file that a
malicious pickle would have left. Failures are written to --out. A case depends
on its number and --seed alone, so that --target T --first N --cases 1 repeats it.
"""

import argparse
import copy
import json
import os
import pickle
import random
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing import Array, Process
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests'))

ODD = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**400,
    -0.0,
    1e-320,
    1e308,
    float('nan'),
    float('inf'),
    '',
    '1',
    'nan',
    '-rf',
    '../x',
    '<b>\x00\n',
    '\ud800',
    [],
    {},
    [[]],
    [None],
    {'': None},
    {'id': 1},
)


class Refused(Exception):
    """The case was refused as it may be."""


def odd(rng):
    """Return a value that no reader expects."""
    if rng.random() < 0.05:
        value = rng.choice(([], 1, {}))
        for _ in range(rng.choice((5, 100, 3000))):
            value = [value] if rng.random() < 0.5 else {'a': value}
        return value
    return copy.deepcopy(rng.choice(ODD))


def places(value, path=()):
    """List the paths to all values inside of JSON content."""
    found = [path]
    if len(path) > 30:
        return found
    if isinstance(value, dict):
        found += [p for key, v in value.items() for p in places(v, (*path, key))]
    elif isinstance(value, list):
        found += [p for key, v in enumerate(value) for p in places(v, (*path, key))]
    return found


def changed_json(content, rng):
    """Return a copy of JSON content with one to four odd changes."""
    try:
        return _changed_json(content, rng)
    except RecursionError:  # of copying what is nested without end
        return content


def _changed_json(content, rng):
    content = json.loads(json.dumps(content))
    for _ in range(rng.randint(1, 4)):
        path = rng.choice(places(content))
        if not path:
            if rng.random() < 0.1:
                content = odd(rng)
            continue
        target = content
        for key in path[:-1]:
            target = target[key]
        act = rng.random()
        if act < 0.2:
            del target[path[-1]]
        elif act < 0.3 and isinstance(target, list):
            target.append(copy.deepcopy(target[path[-1]]))
        elif act < 0.4 and isinstance(target, dict):
            target[rng.choice(('', 'x', '0', 'bbox'))] = target.pop(path[-1])
        else:
            target[path[-1]] = odd(rng)
    return content


def json_bytes(content):
    """Write JSON by hand where Python's own recursion ends."""
    try:
        return json.dumps(content).encode('utf-8', 'surrogatepass')
    except RecursionError:
        return b'[' * 100_000


def changed_bytes(data, rng):
    """Return bytes with one to eight of them, or parts, changed."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if not data:
            break
        at = rng.randrange(len(data))
        act = rng.random()
        if act < 0.5:
            data[at] = rng.randrange(256)
        elif act < 0.6:
            del data[at:]
        elif act < 0.75:
            del data[at : at + rng.randint(1, 64)]
        elif act < 0.9:
            data[at:at] = rng.randbytes(rng.randint(1, 64))
        else:
            data[at:at] = data[at : at + rng.randint(1, 4096)]
    return bytes(data)


# --- targets: each returns the function that makes and reads a case


def annotations(folder) -> Callable:
    from synthetic import make_coco_style

    from lpn_mmpose.datasets.annotations import inspect, repair
    from lpn_mmpose.errors import InputError

    good = make_coco_style(folder / 'coco.json', folder / 'images', 3, 4)
    names = ['a', 'b', 'c', 'd']

    def case(rng, path):
        path.write_bytes(json_bytes(changed_json(good, rng)))
        try:
            content = json.loads(path.read_bytes())
        except (RecursionError, ValueError) as error:  # as check_data refuses them
            raise Refused from error
        try:
            fixed, _, left = repair(content, names)
        except InputError as error:
            raise Refused from error
        assert not [f for f in inspect(fixed, names) if f.fix], 'something was left to put right'
        assert all(f.message for f in left)

    return case


def check_data(folder) -> Callable:
    from mmengine.config import Config
    from synthetic import make_coco_style

    from lpn_mmpose.datasets.data_check import check_split
    from lpn_mmpose.errors import InputError

    good = make_coco_style(folder / 'coco.json', folder / 'images', 3, 14)
    cfg = Config.fromfile(
        ROOT / 'configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'
    )
    cfg.val_dataloader.dataset.update(data_root='', data_prefix=dict(img=f'{folder}/images/'))

    def case(rng, path):
        data = json_bytes(changed_json(good, rng))
        path.write_bytes(changed_bytes(data, rng) if rng.random() < 0.3 else data)
        cfg.val_dataloader.dataset.ann_file = str(path)
        try:
            report = check_split(cfg, 'val')
        except InputError as error:
            raise Refused from error
        assert report.format()
        if report.problems:
            raise Refused

    return case


def boxes(folder) -> Callable:
    import numpy as np

    from lpn_mmpose.errors import InputError
    from lpn_mmpose.runtime.results import BoxFile

    box = [1.0, 2.0, 30.0, 40.0]
    layouts = (
        {'1.jpg': [box, box], 'b.jpg': []},
        [dict(image_id=1, category_id=1, bbox=box, score=0.5), dict(file_name='b.jpg', bbox=box)],
        dict(
            images=[dict(id=1, file_name='1.jpg', width=64, height=64)],
            annotations=[dict(id=1, image_id=1, category_id=1, bbox=box, iscrowd=0)],
            categories=[dict(id=1, name='person')],
        ),
    )

    def case(rng, path):
        data = json_bytes(changed_json(rng.choice(layouts), rng))
        path.write_bytes(changed_bytes(data, rng) if rng.random() < 0.3 else data)
        try:
            file = BoxFile(path)
            file.assign({name: folder / name for name in ('1.jpg', 'b.jpg')})
            for name in ('1.jpg', 'b.jpg'):
                given, scores = file.get(name)
                assert np.isfinite(given).all() and len(given) == len(scores)
                assert (given[:, :2] < given[:, 2:]).all()
        except InputError as error:
            raise Refused from error

    return case


def images(folder) -> Callable:
    import cv2
    import numpy as np

    from lpn_mmpose.errors import InputError
    from lpn_mmpose.runtime.media import read_image

    picture = np.random.RandomState(0).randint(0, 256, (24, 20, 3), np.uint8)
    files = [
        (suffix, cv2.imencode(suffix, picture)[1].tobytes())
        for suffix in ('.jpg', '.png', '.bmp', '.tif', '.webp')
    ]

    def case(rng, path):
        suffix, data = rng.choice(files)
        path = path.with_suffix(suffix)
        path.write_bytes(changed_bytes(data, rng))
        try:
            image = read_image(path)
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        except InputError as error:
            raise Refused from error
        finally:
            path.replace(path.with_suffix(''))

    return case


def videos(folder) -> Callable:
    import cv2
    import numpy as np

    from lpn_mmpose.errors import InputError
    from lpn_mmpose.runtime.media import FrameReader, Input

    pictures = np.random.RandomState(0).randint(0, 256, (8, 48, 64, 3), np.uint8)
    files = []
    for suffix, codec in (('.mp4', 'mp4v'), ('.avi', 'MJPG'), ('.mkv', 'mp4v')):
        path = folder / f'good{suffix}'
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
        for picture in pictures:
            writer.write(picture)
        writer.release()
        files.append((suffix, path.read_bytes()))

    def case(rng, path):
        suffix, data = rng.choice(files)
        path = path.with_suffix(suffix)
        path.write_bytes(changed_bytes(data, rng))
        try:
            reader = FrameReader(Input(str(path), path.name, path.stem, True), limit=100)
            assert 0 < reader.fps < 1000
            count = 0
            for count, image in enumerate(reader, 1):
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            assert count >= 7 or reader.total != 8 or reader.lost(count), 'frames miss silently'
        except InputError as error:
            raise Refused from error
        finally:
            path.replace(path.with_suffix(''))

    return case


def metadata(folder) -> Callable:
    import tiny_models

    from lpn_mmpose.runtime.model_meta import ModelMeta

    good = json.loads(tiny_models.pose_meta(sigmas=(0.1,) * 6).to_json())

    def case(rng, path):
        text = json_bytes(changed_json(good, rng)).decode('utf-8', 'surrogatepass')
        path.write_text(text)
        try:
            meta = ModelMeta.from_json(text)
        except ValueError as error:
            raise Refused from error
        assert ModelMeta.from_json(meta.to_json()) == meta

    return case


def models(folder) -> Callable:
    import numpy as np
    import openvino
    import tiny_models

    from lpn_mmpose.errors import InputError
    from lpn_mmpose.runtime.engines import load_engine
    from lpn_mmpose.runtime.model_meta import KEY

    path = tiny_models.save_pose(folder / 'pose.onnx')
    files = [('.onnx', path.read_bytes())]
    network = openvino.Core().read_model(path)
    network.set_rt_info(tiny_models.pose_meta().to_json(), [KEY])
    openvino.save_model(network, folder / 'pose.xml', compress_to_fp16=False)
    files.append(('.xml', (folder / 'pose.xml').read_bytes()))
    weights = (folder / 'pose.bin').read_bytes()
    image = np.zeros((1, 128, 96, 3), np.uint8)

    def case(rng, path):
        suffix, good = rng.choice(files)
        path = path.with_suffix(suffix)
        path.write_bytes(changed_bytes(good, rng))
        if suffix == '.xml':
            short = rng.random() < 0.2
            path.with_suffix('.bin').write_bytes(changed_bytes(weights, rng) if short else weights)
        try:
            engine = load_engine(path, 'pose', threads=1)
            width, height = engine.meta.input_size
            if (width, height) == (96, 128):
                assert len(engine(image)[0]) == 1
        except InputError as error:
            raise Refused from error
        finally:
            path.replace(path.with_suffix(''))

    return case


def checkpoints(folder) -> Callable:
    import torch

    from lpn_mmpose.errors import InputError
    from lpn_mmpose.utils.checkpoint import load_checkpoint

    marker = folder / 'was here'

    class Malicious:
        def __reduce__(self):
            return open, (str(marker), 'w')

    def saved(content, **settings):
        torch.save(content, folder / 'good.pth', **settings)
        return (folder / 'good.pth').read_bytes()

    good = dict(state_dict={'a.weight': torch.zeros(3, 2)}, meta=dict(epoch=1, iter=2))
    files = []
    for content in (good, dict(good, meta=Malicious())):
        files += [
            saved(content),
            saved(content, _use_new_zipfile_serialization=False),
            pickle.dumps(dict(state_dict={}, meta=content['meta']), protocol=2),
        ]

    def case(rng, path):
        data = rng.choice(files)
        path.write_bytes(changed_bytes(data, rng) if rng.random() < 0.95 else data)
        try:
            assert isinstance(load_checkpoint(str(path)), dict)
        except InputError as error:
            raise Refused from error
        finally:
            if marker.exists():
                marker.unlink()
                raise AssertionError('the pickle was run')

    return case


TARGETS = {
    f.__name__: f
    for f in (annotations, check_data, boxes, images, videos, metadata, models, checkpoints)
}


def out_of_time(*_):
    raise TimeoutError('too slow')


def work(name, args, state, folder):
    """Run the cases of a target; ``state`` is next case, read, refused, failed."""
    import lpn_mmpose  # noqa: F401

    warnings.simplefilter('ignore')
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.devnull, 'w') as null:  # what native readers print
        os.dup2(null.fileno(), 2)
    case = TARGETS[name](folder)
    signal.signal(signal.SIGALRM, out_of_time)
    while state[0] < args.first + args.cases:
        number, path = state[0], folder / 'case'
        signal.setitimer(signal.ITIMER_REAL, args.seconds)
        try:
            case(random.Random(f'{args.seed} {name} {number}'), path)
            state[1] += 1
        except Refused:
            state[2] += 1
        except BaseException as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if isinstance(error, KeyboardInterrupt):
                raise
            state[3] += 1
            text = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
            print(f'{name} {number}: {text}', flush=True)
            if path.exists():
                path.replace(args.out / f'{name}_{number}')
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        state[0] += 1


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--cases', type=int, default=1000, help='of each target (default: 1000)')
    parser.add_argument('--target', nargs='+', choices=TARGETS, default=list(TARGETS))
    parser.add_argument('--first', type=int, default=0, help='number of the first case')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--seconds', type=float, default=20, help='a case may take (default: 20)')
    parser.add_argument('--out', type=Path, default=Path('outputs/fuzz'), help='for failures')
    return parser.parse_args()


def main():
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    total = Counter()
    for name in args.target:
        state = Array('q', [args.first, 0, 0, 0])
        begin = time.monotonic()
        while state[0] < args.first + args.cases:
            process = Process(target=work, args=(name, args, state, args.out / 'work' / name))
            process.start()
            process.join()
            if process.exitcode:  # of the process, not of the case: a native crash
                print(f'{name} {state[0]}: the process ended with {process.exitcode}')
                case = args.out / 'work' / name / 'case'
                if case.exists():
                    case.replace(args.out / f'{name}_{state[0]}')
                state[3] += 1
                state[0] += 1
        _, read, refused, failed = state
        total.update(cases=args.cases, failed=failed)
        print(
            f'{name}: {args.cases} cases, {read} read, {refused} refused, {failed} failed, '
            f'{time.monotonic() - begin:.0f} s',
            flush=True,
        )
    print(f'{total["cases"]} cases, {total["failed"]} failed')
    sys.exit(bool(total['failed']))


if __name__ == '__main__':
    main()
