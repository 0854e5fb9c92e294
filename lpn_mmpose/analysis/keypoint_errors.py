"""Where a model's predictions are wrong."""

import numpy as np
from matplotlib.figure import Figure

from ..evaluation.torso_pck import joint_accuracy
from .predictions import EvaluatedPersons

#: Thresholds of the PCK curve.
THRESHOLDS = np.arange(0, 0.505, 0.01).round(2)


def distances(persons: EvaluatedPersons) -> np.ndarray:
    """Return the errors (N, K) in pixels."""
    return np.linalg.norm(persons.predicted - persons.annotated, axis=-1)


def find_swaps(persons: EvaluatedPersons, thr: float) -> np.ndarray:
    """Find the joints that a model took for those of the other side.

    A joint is swapped when its prediction is nearer to the ground truth of
    its mirror image than to its own, and at most ``thr`` times the person's
    size from it: an *inversion* in the terms of "Benchmarking and Error
    Diagnosis in Multi-Instance Pose Estimation", ICCV'2017.

    Args:
        persons (EvaluatedPersons): From :func:`read_persons`.
        thr (float): Threshold in units of the persons' sizes.

    Returns:
        np.ndarray: bool (N, K); False where one of the two joints is not
        labelled.
    """
    mirrored = persons.mirrored
    other = np.linalg.norm(persons.predicted - persons.annotated[:, mirrored], axis=-1)
    comparable = persons.labelled & persons.labelled[:, mirrored]
    comparable &= mirrored != np.arange(len(mirrored))
    near = other <= thr * persons.sizes[:, None]
    return comparable & near & (other < distances(persons))


def rank(persons: EvaluatedPersons, thr: float) -> np.ndarray:
    """Order the persons from the worst to the best.

    The worst have the smallest share of labelled joints right; among equals,
    the largest mean error, of which a joint counts at most ten sizes.

    Args:
        persons (EvaluatedPersons): From :func:`read_persons`.
        thr (float): Threshold in units of the persons' sizes.

    Returns:
        np.ndarray: Indices of the persons that have a size and a labelled
        joint.
    """
    labelled = persons.labelled
    limits = thr * persons.sizes[:, None]
    error = distances(persons)
    counts = np.maximum(labelled.sum(1), 1)
    share = ((error <= limits) & labelled).sum(1) / counts
    relative = np.minimum(error, 10 * persons.sizes[:, None])
    mean = (relative * labelled).sum(1) / counts / persons.sizes
    order = np.lexsort((-mean, share))
    usable = np.isfinite(persons.sizes) & labelled.any(1)
    return order[usable[order]]


def analyse(persons: EvaluatedPersons, thr: float) -> dict:
    """Measure errors joint by joint.

    Args:
        persons (EvaluatedPersons): From :func:`read_persons`.
        thr (float): Threshold in units of the persons' sizes, at which a
            joint is right or swapped.

    Returns:
        dict:
        - unit (str), thr (float): What a threshold of 1 is; ``thr``
        - persons, measured (int): All persons; those that have a size
        - mean (dict): ``pck`` at ``thr``, the mean over the joints, and
          ``pck_sides_forgiven``, had every swapped joint been right
        - swaps (dict): ``count``; ``of``, the labelled joints whose mirror
          image is labelled, too; ``persons`` with at least one
        - joints (dict): Of each keypoint ``labelled`` (a count), and the
          shares ``right``, ``swapped`` (and not right) and ``elsewhere``,
          which sum to 1, and ``swaps`` (a count); shares of what is nowhere
          labelled are None
        - curve (dict): ``thresholds``, ``mean`` and, in ``joints``, the PCK
          of each keypoint at each threshold
    """
    error, swapped = distances(persons), find_swaps(persons, thr)
    labelled = persons.labelled & np.isfinite(persons.sizes)[:, None]
    args = labelled, persons.sizes

    right = joint_accuracy(error, *args, thr)
    # a swapped joint has its mirror image's error, which is below thr
    forgiven = joint_accuracy(np.where(swapped, 0, error), *args, thr)
    curves = np.stack([joint_accuracy(error, *args, t) for t in THRESHOLDS])
    paired = labelled & labelled[:, persons.mirrored]
    paired &= persons.mirrored != np.arange(len(persons.mirrored))

    def values(array):
        return [None if np.isnan(v) else round(float(v), 6) for v in array]

    joints = {}
    for i, name in enumerate(persons.names):
        shares = values([right[i], forgiven[i] - right[i], 1 - forgiven[i]])
        joints[name] = dict(
            labelled=int(labelled[:, i].sum()),
            right=shares[0],
            swapped=shares[1],
            elsewhere=shares[2],
            swaps=int(swapped[:, i].sum()),
        )
    return dict(
        unit=persons.unit,
        thr=thr,
        persons=len(persons.sizes),
        measured=int(np.isfinite(persons.sizes).sum()),
        mean=dict(pck=float(np.nanmean(right)), pck_sides_forgiven=float(np.nanmean(forgiven))),
        swaps=dict(
            count=int(swapped.sum()), of=int(paired.sum()), persons=int(swapped.any(1).sum())
        ),
        joints=joints,
        curve=dict(
            thresholds=THRESHOLDS.tolist(),
            mean=values(np.nanmean(curves, axis=1)),
            joints={name: values(curves[:, i]) for i, name in enumerate(persons.names)},
        ),
    )


def describe(persons: EvaluatedPersons, indices: np.ndarray, thr: float) -> list[dict]:
    """Describe single persons.

    Returns:
        list[dict]: ``image``, ``id``, ``right`` and ``labelled`` (counts),
        ``swaps`` (a count) and ``mean_error`` (in units of the size) of each
        of the persons ``indices``.
    """
    error, swapped = distances(persons), find_swaps(persons, thr)
    right = (error <= thr * persons.sizes[:, None]) & persons.labelled
    lines = []
    for i in indices:
        labelled = persons.labelled[i]
        mean = error[i, labelled].mean() / persons.sizes[i]
        lines.append(
            dict(
                image=persons.images[i],
                id=persons.ids[i],
                right=int(right[i].sum()),
                labelled=int(labelled.sum()),
                swaps=int(swapped[i].sum()),
                mean_error=float(mean) if np.isfinite(mean) else None,
            )
        )
    return lines


def draw_pck(result: dict) -> Figure:
    """Draw the PCK curves.

    Args:
        result (dict): From :func:`analyse`.

    Returns:
        Figure: A colour for each part of the body, dashed on the right.
    """
    figure = Figure((9, 5.5), layout='constrained')
    axes = figure.subplots()
    curve, colors = result['curve'], {}
    for name, values in curve['joints'].items():
        part = name.replace('left_', '').replace('right_', '')
        colors.setdefault(part, f'C{len(colors) % 10}')
        axes.plot(
            curve['thresholds'],
            [np.nan if value is None else value for value in values],
            '--' if name.startswith('right_') else '-',
            color=colors[part],
            linewidth=1.2,
            label=name,
        )
    axes.plot(curve['thresholds'], curve['mean'], 'k', linewidth=3, label='mean')
    axes.axvline(result['thr'], color='grey', linewidth=0.8)
    axes.set(
        xlabel=f'threshold / {result["unit"]} size',
        ylabel='PCK',
        xlim=(0, curve['thresholds'][-1]),
        ylim=(0, 1),
        title=f'PCK@{result["thr"]:g} {result["mean"]["pck"]:.3f}, {result["measured"]} persons',
    )
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper')
    return figure


def draw_outcomes(result: dict) -> Figure:
    """Draw which share of each joint is right, swapped or elsewhere.

    Args:
        result (dict): From :func:`analyse`.
    """
    figure = Figure((9, 5.5), layout='constrained')
    axes = figure.subplots()
    names = [n for n, joint in result['joints'].items() if joint['labelled']]
    left = np.zeros(len(names))
    for key, color in (
        ('right', 'tab:green'),
        ('swapped', 'tab:orange'),
        ('elsewhere', 'tab:grey'),
    ):
        shares = np.array([result['joints'][name][key] for name in names])
        axes.barh(names, shares, left=left, color=color, label=key)
        for y, (start, share) in enumerate(zip(left, shares)):
            if share >= 0.04:
                axes.text(
                    start + share / 2, y, f'{share:.0%}', ha='center', va='center', fontsize=8
                )
        left = left + shares
    axes.invert_yaxis()
    swaps = result['swaps']
    axes.set(
        xlim=(0, 1),
        xlabel='share of labelled joints',
        title=f'at {result["thr"]:g} of the {result["unit"]} size; left and '
        f'right swapped: {swaps["count"]} of {swaps["of"]} joints',
    )
    figure.legend(loc='outside lower center', ncols=3)
    return figure
