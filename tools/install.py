#!/usr/bin/env python3
"""Create a virtual environment with MMPose and this package, from wheels.

    python3 tools/install.py VENV [--runtime]

MMPose needs two phases (see requirements/openmmlab.txt). With --runtime, it
is left out, and PyTorch with it: what then runs are lpn_mmpose.runtime and
the command lpn-pose. What is already there is not installed again. Uses the
standard library alone and runs on any Python 3, to be able to say that one is
too old.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUPPORTED = ((3, 10), (3, 13))
#: xtcocotools has wheels below this version of Python.
XTCOCOTOOLS_WHEELS = (3, 12)
STAMP = 'lpn_mmpose.json'
PIP_OPTIONS = ['--disable-pip-version-check', '--retries', '2']


def fail(message):
    """End with one line."""
    sys.exit('error: ' + message)


def requirements(*names):
    """Return pip's options for files of requirements/, constrained."""
    options = ['--constraint', os.path.join(ROOT, 'constraints.txt')]
    for name in names:
        path = os.path.join(ROOT, 'requirements', name + '.txt')
        options += ['--requirement', path]
    return options


def fingerprint():
    """Return a digest of all that decides what is installed."""
    digest = hashlib.sha256(sys.version.encode())
    folder = os.path.join(ROOT, 'requirements')
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for path in paths + [os.path.join(ROOT, 'constraints.txt'), __file__]:
        with open(path, 'rb') as file:
            digest.update(file.read())
    return digest.hexdigest()


def has_compiler():
    """Tell whether a C extension can be built for this Python."""
    header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
    compiler = (sysconfig.get_config_var('CC') or 'cc').split()[0]
    found = any(shutil.which(name) for name in (compiler, 'cc', 'gcc', 'clang'))
    return found and os.path.isfile(header)


def check_python(runtime=False):
    """End with one line if this Python cannot be used."""
    version = '.'.join(map(str, sys.version_info[:2]))
    if not SUPPORTED[0] <= sys.version_info < SUPPORTED[1]:
        fail(
            'Python %s is not supported: give one from 3.10 to 3.12 '
            '(3.10 and 3.11 need no compiler), make PYTHON=python3.11' % version
        )
    if not runtime and sys.version_info >= XTCOCOTOOLS_WHEELS and not has_compiler():
        fail(
            'xtcocotools has no wheel for Python %s and there is no C '
            'compiler (or no Python.h) to build it: install one, or give '
            'Python 3.10 or 3.11, make PYTHON=python3.11' % version
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


def pip(python, *options):
    """Run pip install, ending with one line after pip's own if it fails."""
    command = [python, '-m', 'pip', 'install'] + PIP_OPTIONS + list(options)
    if subprocess.call(command):
        fail('pip failed, see above; the same command goes on from here')


def install_packages(python):
    """Install the requirements in the order that MMPose needs."""
    pip(python, *requirements('base', 'mmpose', 'mim', 'tensorboard', 'runtime', 'deploy', 'tests'))
    options = ['--no-deps', '--no-build-isolation']
    if sys.version_info >= XTCOCOTOOLS_WHEELS:
        options += ['--no-binary', 'xtcocotools']
    pip(python, *(options + requirements('openmmlab')))


def check_runtime(python):
    """End with one line if the runtime fails or PyTorch is there."""
    code = (
        'import importlib.util, lpn_mmpose.runtime.command, onnxruntime\n'
        'assert importlib.util.find_spec("torch") is None, "torch is in"'
    )
    run = subprocess.run([python, '-c', code], stderr=subprocess.PIPE)
    if run.returncode:
        fail(
            'the runtime does not work without PyTorch (%s)'
            % run.stderr.decode(errors='replace').strip().split('\n')[-1]
        )


def main():
    names = [name for name in sys.argv[1:] if name != '--runtime']
    runtime = '--runtime' in sys.argv[1:]
    if len(names) != 1 or names[0].startswith('-'):
        fail('usage: install.py VENV [--runtime]')
    venv = os.path.abspath(names[0])
    python = os.path.join(venv, 'bin', 'python')
    path = os.path.join(venv, STAMP)
    stamp = {}
    if os.path.isfile(path) and os.path.exists(python):
        with open(path) as file:
            stamp = json.load(file)
    wanted = {'requirements': fingerprint(), 'checkout': ROOT}
    if runtime:
        wanted['runtime'] = True
    if stamp == wanted:
        return
    if stamp and stamp.get('runtime') != wanted.get('runtime'):
        fail(
            '%s holds the other of the two environments, with and without '
            'PyTorch: give another folder' % venv
        )
    check_python(runtime)
    start = time.time()
    print(
        'setting up %s with Python %s; this takes minutes' % (venv, sys.version.split()[0]),
        flush=True,
    )
    if not os.path.exists(python):
        subprocess.check_call([sys.executable, '-m', 'venv', venv])
    if stamp.get('requirements') != wanted['requirements']:
        check_network(python)
        if not runtime:
            install_packages(python)
    if runtime:
        pip(python, *(requirements() + ['--editable', ROOT + '[runtime]']))
        check_runtime(python)
    else:
        pip(python, '--quiet', '--no-deps', '--no-build-isolation', '--editable', ROOT)
    with open(path, 'w') as file:
        json.dump(wanted, file)
    print('environment ready in %.0f s' % (time.time() - start), flush=True)


if __name__ == '__main__':
    main()
