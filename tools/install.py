#!/usr/bin/env python3
"""Create a virtual environment with MMPose and this package, from wheels.

    python3 tools/install.py VENV [--demo | --runtime] [--torch-index URL]

With --demo, only what `make demo` needs is installed; without it also what
exports, tests and mim need. With --runtime, MMPose and PyTorch are left out:
what then runs are lpn_mmpose.runtime and the command lpn-pose. --torch-index
names a package index to take torch and torchvision from, as that of the CPU's
builds. What is already there is not installed again.

MMPose needs two phases (see requirements/openmmlab.txt). `uv` installs where
it is found, pip otherwise. Uses the standard library alone and runs on any
Python 3, to be able to say that one is too old.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUPPORTED = ((3, 10), (3, 15))
STAMP = 'lpn_mmpose.json'
PIP_OPTIONS = ['--disable-pip-version-check', '--retries', '2']
#: Files of requirements/, without and with what `make demo` does not need.
DEMO = ['base', 'mmpose', 'runtime']
EVERYTHING = DEMO + ['mim', 'tensorboard', 'deploy', 'tests']


def fail(message):
    """End with one line."""
    sys.exit('error: ' + message)


def requirements(*names):
    """Return pip's options for files of requirements/."""
    options = []
    for name in names:
        options += ['--requirement', os.path.join(ROOT, 'requirements', name + '.txt')]
    return options


def write_constraints(path, torch_index):
    """Write the constraints, without those of torch where it is another's."""
    with open(os.path.join(ROOT, 'constraints.txt')) as file:
        lines = file.readlines()
    if torch_index:
        lines = [line for line in lines if not re.match('torch(vision)?[=<>]', line)]
    with open(path, 'w') as file:
        file.writelines(lines)


def fingerprint():
    """Return a digest of all that decides what is installed."""
    digest = hashlib.sha256(sys.version.encode())
    folder = os.path.join(ROOT, 'requirements')
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for path in paths + [os.path.join(ROOT, 'constraints.txt'), __file__]:
        with open(path, 'rb') as file:
            digest.update(file.read())
    return digest.hexdigest()


def check_python():
    """End with one line if this Python cannot be used."""
    version = '.'.join(map(str, sys.version_info[:2]))
    if not SUPPORTED[0] <= sys.version_info < SUPPORTED[1]:
        fail(
            'Python %s is not supported: give one from 3.10 to 3.14, '
            'make PYTHON=python3.13' % version
        )
    for module in ('venv', 'ensurepip'):
        if importlib.util.find_spec(module) is None:
            fail(
                'this Python has no module %r: install it (on Debian and '
                'Ubuntu: apt install python%s-venv)' % (module, version)
            )


def check_network(python):
    """End with one line if pip cannot fetch a small wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, '-m', 'pip', 'download', '--quiet', '--no-deps']
        command += PIP_OPTIONS + ['--timeout', '20', '--dest', folder, 'six']
        run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if run.returncode:
        last = run.stderr.decode(errors='replace').strip().split('\n')[-1]
        fail(
            'pip cannot reach a package index (%s): check the network, or '
            'the proxy and index settings of pip' % last
        )


def install(python, *options):
    """Run `uv pip install` or `pip install`, ending with one line on failure.

    uv does not read pip's settings: where it fails, pip has a try.
    """
    uv = shutil.which('uv')
    if uv:
        command = [uv, 'pip', 'install', '--python', python]
        if subprocess.call(command + list(options)) == 0:
            return
        print('uv failed, see above; trying pip', flush=True)
    # modules are compiled when they are first imported
    command = [python, '-m', 'pip', 'install', '--no-compile'] + PIP_OPTIONS
    if subprocess.call(command + list(options)):
        fail('pip failed, see above; the same command goes on from here')


def install_packages(python, names, torch_index):
    """Install files of requirements/ in the order that MMPose needs."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'constraints.txt')
        write_constraints(path, torch_index)
        constrained = ['--constraint', path]
        if torch_index:
            install(python, '--index-url', torch_index, 'torch>=2.6', 'torchvision')
        install(python, *(constrained + requirements(*names)))
        install(python, *(['--no-deps'] + constrained + requirements('openmmlab')))


def check_torch(python, venv):
    """End with one line if torch and torchvision are of different builds."""
    code = (
        'import importlib.util\n'
        'if importlib.util.find_spec("torch"):\n'
        '    import torch\n'
        '    try:\n'
        '        import torchvision\n'
        '    except Exception as error:\n'
        '        print("torch", torch.__version__, "and its torchvision:", error)'
    )
    run = subprocess.run([python, '-c', code], stdout=subprocess.PIPE)
    if run.stdout:
        fail(
            '%s: both must come from one index; see TORCH_INDEX in docs/install.md and '
            'the settings of pip, then remove %s and try again'
            % (' '.join(run.stdout.decode(errors='replace').split()), venv)
        )


def check_version(venv, python):
    """End with one line if an environment has another Python than this one."""
    code = 'import sys; print("%d.%d" % sys.version_info[:2])'
    found = subprocess.check_output([python, '-c', code]).decode().strip()
    version = '%d.%d' % sys.version_info[:2]
    if found != version:
        fail(
            '%s has Python %s, and this is Python %s: say PYTHON=python%s, give another VENV, '
            'or remove it' % (venv, found, version, found)
        )


def install_package(python, *options):
    """Install this checkout in place.

    By a path, not by an import hook: the hook comes last, and whoever works in
    the folder that holds the checkout would import its folder in the package's
    place, which has the same name.
    """
    install(python, *(options + ('--config-settings', 'editable_mode=compat', '--editable', ROOT)))


def install_runtime(python):
    """Install this package as pip alone would, and see that it works."""
    constraints = os.path.join(ROOT, 'constraints.txt')
    install_package(python, '--constraint', constraints)
    code = (
        'import importlib.util, lpn_mmpose.runtime, onnxruntime\n'
        'assert importlib.util.find_spec("torch") is None, "torch is in"'
    )
    run = subprocess.run([python, '-c', code], stderr=subprocess.PIPE)
    if run.returncode:
        fail(
            'the runtime does not work without PyTorch (%s)'
            % run.stderr.decode(errors='replace').strip().split('\n')[-1]
        )


def parse_args():
    parser = argparse.ArgumentParser(
        description='Create a virtual environment with MMPose and this package.'
    )
    parser.add_argument('venv', metavar='VENV')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        '--demo',
        action='store_const',
        const='demo',
        dest='kind',
        help='only what `make demo` needs',
    )
    kind.add_argument(
        '--runtime',
        action='store_const',
        const='runtime',
        dest='kind',
        help='without MMPose and PyTorch',
    )
    parser.add_argument(
        '--torch-index',
        metavar='URL',
        default='',
        help="package index of torch and torchvision (default: pip's)",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    venv = os.path.abspath(args.venv)
    python = os.path.join(venv, 'bin', 'python')
    path = os.path.join(venv, STAMP)
    there = {}
    if os.path.isfile(path) and os.path.exists(python):
        with open(path) as file:
            there = json.load(file)
    kind = args.kind or 'everything'
    if there:
        if 'runtime' in (kind, there.get('kind')) and kind != there.get('kind'):
            fail(
                '%s holds the other of the two environments, with and without '
                'PyTorch: give another folder' % venv
            )
        if there.get('kind') == 'everything':  # has what the demo needs
            kind = 'everything'
    torch_index = args.torch_index or there.get('torch_index', '')
    wanted = {
        'requirements': fingerprint(),
        'checkout': ROOT,
        'kind': kind,
        'torch_index': torch_index,
    }
    if there == wanted:
        return
    check_python()
    if os.path.exists(python):
        check_version(venv, python)
    start = time.time()
    print(
        'setting up %s with Python %s; this takes minutes' % (venv, sys.version.split()[0]),
        flush=True,
    )
    if not os.path.exists(python) and subprocess.call([sys.executable, '-m', 'venv', venv]):
        fail('%s cannot be made, see above: give another VENV' % venv)
    if dict(wanted, checkout=there.get('checkout')) != there:
        if not shutil.which('uv'):
            check_network(python)
        if kind != 'runtime':
            names = EVERYTHING if kind == 'everything' else DEMO
            install_packages(python, names, torch_index)
            check_torch(python, venv)
    if kind == 'runtime':
        install_runtime(python)
    else:
        install_package(python, '--quiet', '--no-deps', '--no-build-isolation')
    with open(path, 'w') as file:
        json.dump(wanted, file)
    print('environment ready in %.0f s' % (time.time() - start), flush=True)


if __name__ == '__main__':
    main()
