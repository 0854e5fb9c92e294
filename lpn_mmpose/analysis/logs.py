"""What MMEngine writes while it trains, read back and drawn."""

import json
import math
import os.path as osp
from collections.abc import Sequence
from glob import escape, glob

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import InputError

#: Of validation rows, what is not a metric.
NO_METRICS = ('data_time', 'time', 'step')
#: Metrics that are errors: the lowest is the best.
ERRORS = ('EPE', 'MPJPE', 'NME', 'loss')


def log_files(path: str) -> list[str]:
    """List the scalars of a run, in the order in which they were written.

    Args:
        path (str): Work directory, its folder of one start of the run (named
            by the time), or a JSON file of scalars.

    Raises:
        InputError: If there are none.
    """
    if not osp.exists(path):
        raise InputError(f'{path} does not exist')
    if not osp.isdir(path):
        return [path]
    for pattern in ('*/vis_data/scalars.json', 'vis_data/scalars.json'):
        # the folders are named by the time at which they were made
        files = sorted(glob(osp.join(escape(path), pattern)))
        if files:
            return files
    raise InputError(f'{path} is no work directory: it has no */vis_data/scalars.json')


def read_file(path: str) -> list[dict]:
    """Read a JSON file of scalars, a row a line.

    Raises:
        InputError: If a line is not a row, other than the last one, which a
            killed run leaves unfinished.
    """
    rows = []
    with open(path, errors='replace') as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row['step'] + 0
        except (KeyError, TypeError, ValueError):
            if number == len(lines):
                break
            raise InputError(
                f'{path}, line {number} is no row of scalars as MMEngine writes them'
            ) from None
        rows.append(row)
    return rows


def read_scalars(path: str) -> tuple[list[dict], list[dict]]:
    """Read the scalars of a run, resumed or not.

    Of a run that was started several times, a later start counts from its
    first row on.

    Args:
        path (str): See :func:`log_files`.

    Returns:
        tuple:
        - training (list[dict]): Rows with ``loss``, ``lr``, ``iter``,
          ``step`` (the iteration, from 1) and, of runs that count epochs,
          ``epoch``.
        - validation (list[dict]): Rows with the metrics and ``step`` (the
          epoch, or the iteration of a run that counts iterations).

    Raises:
        InputError: If there are no rows.
    """
    training, validation = [], []
    for file in log_files(path):
        rows = read_file(file)
        new = [row for row in rows if 'iter' in row]
        if new:
            begin = new[0]['step']
            training = [row for row in training if row['step'] < begin]
            begin = new[0].get('epoch', begin)
            validation = [row for row in validation if row['step'] < begin]
        training += new
        steps = [row['step'] for row in rows if 'iter' not in row]
        validation = [row for row in validation if row['step'] not in steps]
        validation += [row for row in rows if 'iter' not in row]
    if not training and not validation:
        raise InputError(f'{path} holds no scalars yet')
    return training, validation


def metric_names(validation: Sequence[dict]) -> list[str]:
    """List the metrics of validation rows.

    Left out are those that belong to one keypoint, ``PCK@0.2/neck`` beside
    ``PCK@0.2``.
    """
    names = dict.fromkeys(name for row in validation for name in row)
    return [
        name
        for name in names
        if name not in NO_METRICS and not any(name.startswith(f'{other}/') for other in names)
    ]


def curve(rows: tuple[list[dict], list[dict]], key: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Return one scalar of a run.

    Args:
        rows (tuple): From :func:`read_scalars`.
        key (str): Name of the scalar.

    Returns:
        tuple:
        - steps (np.ndarray): In shape (N, ).
        - values (np.ndarray): In shape (N, ); N is 0 if the run lacks it.
        - unit (str): ``'epoch'`` or ``'iteration'``.
    """
    training, validation = rows
    # a validation row has "time", too
    source = training if any(key in row for row in training) else validation
    unit = 'iteration'
    if source is validation and any('epoch' in row for row in training):
        unit = 'epoch'
    points = [(row['step'], row[key]) for row in source if key in row]
    steps, values = np.array(points, float).reshape(-1, 2).T
    return steps, values, unit


def default_keys(runs: Sequence[tuple[list[dict], list[dict]]]) -> list[str]:
    """Return the loss, the learning rate and the metrics that runs have."""
    names = [name for _, val in runs for name in metric_names(val)]
    return [
        key
        for key in dict.fromkeys(['loss', 'lr', *names])
        if any(len(curve(run, key)[0]) for run in runs)
    ]


def summary(rows: tuple[list[dict], list[dict]]) -> list[str]:
    """Say in lines how far a run is: the last loss, last and best metrics.

    The best metric is the highest, of :data:`ERRORS` the lowest.
    """
    training, validation = rows
    lines = []
    if training:
        row = training[-1]
        epoch = f'epoch {row["epoch"]}, ' if 'epoch' in row else ''
        values = [f'{key} {row[key]:.4g}' for key in ('loss', 'lr') if key in row]
        lines.append(f'{epoch}iteration {row["iter"]}: ' + ', '.join(values))
    for name in metric_names(validation):
        steps, values, unit = curve(rows, name)
        error = any(word in name for word in ERRORS)
        best = values.argmin() if error else values.argmax()
        lines.append(
            f'{name}: last {values[-1]:.4f} ({unit} {steps[-1]:.0f}),'
            f' best {values[best]:.4f} ({unit} {steps[best]:.0f})'
        )
    return lines


def draw_curves(
    runs: dict[str, tuple[list[dict], list[dict]]], keys: Sequence[str], title: str = ''
) -> Figure:
    """Draw scalars, a panel each with all runs in it.

    Args:
        runs (dict): From a legend to what :func:`read_scalars` returned.
        keys (Sequence[str]): Names of scalars.
        title (str): Default: none.

    Returns:
        Figure: Of matplotlib, which needs no display.
    """
    columns = math.ceil(math.sqrt(len(keys)))
    lines = -(-len(keys) // columns)
    figure = Figure((5 * columns, 3.6 * lines + 0.5), layout='constrained')
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel in panels[len(keys) :]:
        panel.remove()
    for panel, key in zip(panels, keys):
        units = []
        for name, rows in runs.items():
            steps, values, unit = curve(rows, key)
            if not len(steps):
                panel.plot([], [])  # a run keeps its colour in every panel
                continue
            units.append(unit)
            panel.plot(steps, values, label=name, marker='.' if len(steps) < 50 else None)
        panel.set(title=key, xlabel=' / '.join(dict.fromkeys(units)))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    handles = panels[0].get_lines()
    if len(runs) > 1:
        figure.legend(handles, list(runs), loc='outside lower center', ncols=min(len(runs), 4))
    figure.suptitle(title or next(iter(runs)) if len(runs) == 1 else title)
    return figure


def iteration_times(
    rows: tuple[list[dict], list[dict]], include_outliers: bool = False
) -> dict[str, float]:
    """Return the times of a run's training iterations.

    Args:
        rows (tuple): From :func:`read_scalars`.
        include_outliers (bool): Whether the first row of each epoch counts,
            in whose time the data loader starts. Default: False.

    Returns:
        dict: ``seconds`` an iteration, and ``data_seconds`` of it spent
        waiting for data; NaN where no row is left.
    """
    training = [row for row in rows[0] if 'time' in row]
    if not include_outliers:
        training = [
            row
            for before, row in zip(training, training[1:])
            if before.get('epoch') == row.get('epoch')
        ]
    if not training:
        return dict(seconds=float('nan'), data_seconds=float('nan'))
    return dict(
        seconds=float(np.mean([row['time'] for row in training])),
        data_seconds=float(np.mean([row.get('data_time', 0) for row in training])),
    )
