"""PCK normalised by the torso's diagonal, as used for Leeds Sports Pose."""

from collections.abc import Sequence

import numpy as np
from mmpose.evaluation.metrics import PCKAccuracy
from mmpose.registry import METRICS

#: The joints of arms and legs, which every layout of bodies has.
LIMB_JOINTS = tuple(
    f'{side}_{joint}'
    for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
    for side in ('left', 'right')
)

#: Torso diagonals in the order in which they are tried.
DIAGONALS = (('left_shoulder', 'right_hip'), ('right_shoulder', 'left_hip'))


def torso_sizes(keypoints: np.ndarray, labelled: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return each person's torso diagonal.

    Args:
        keypoints (np.ndarray): Ground-truth keypoints (N, K, 2) in pixels.
        labelled (np.ndarray): Which of them are labelled, bool (N, K).
        names (Sequence[str]): The K keypoints' names.

    Returns:
        np.ndarray: ``|left shoulder - right hip|`` (N, ) in pixels, the other
        diagonal where one of the two is unlabelled, NaN where neither can be
        taken.
    """
    sizes = np.full(len(keypoints), np.nan)
    for pair in reversed(DIAGONALS):
        a, b = (list(names).index(name) for name in pair)
        both = labelled[:, a] & labelled[:, b]
        sizes[both] = np.linalg.norm(keypoints[both, a] - keypoints[both, b], axis=-1)
    return sizes


def joint_accuracy(
    error: np.ndarray, labelled: np.ndarray, sizes: np.ndarray, thr: float
) -> np.ndarray:
    """Return how many of each joint are right.

    A joint is right when its error is at most ``thr`` times the person's
    size.

    Args:
        error (np.ndarray): Distances from the ground truth (N, K) in pixels.
        labelled (np.ndarray): Which joints are labelled, bool (N, K).
        sizes (np.ndarray): Persons' sizes (N, ) in pixels; persons with NaN
            are left out.
        thr (float): Threshold in units of ``sizes``.

    Returns:
        np.ndarray: Accuracies (K, ) from 0 to 1, NaN for joints that are
        nowhere labelled.
    """
    labelled = labelled & np.isfinite(sizes)[:, None]
    right = ((error <= thr * sizes[:, None]) & labelled).sum(0)
    counts = labelled.sum(0)
    return np.where(counts > 0, right / np.maximum(counts, 1), np.nan)


@METRICS.register_module()
class TorsoPCKAccuracy(PCKAccuracy):
    """Percentage of Correct Keypoints, normalised by the torso.

    A labelled joint is right when its error is at most ``thr`` times the
    distance from left shoulder to right hip (the other diagonal where one of
    them is unlabelled). Persons with neither diagonal are left out. The mean
    is over the keypoints' accuracies, as in
    :func:`mmpose.evaluation.functional.keypoint_pck_accuracy`.

    Args:
        thr (Sequence[float]): Thresholds. Default: ``(0.2, 0.1)``.
        keypoints (Sequence[str], optional): Names of the keypoints that
            count. Default: all.
        by_dataset (bool): Whether to evaluate the samples of each
            ``dataset_name`` on their own, as those of
            :class:`lpn_mmpose.datasets.NamedCombinedDataset`. Default: False.
        collect_device (str): See :class:`PCKAccuracy`. Default: ``'cpu'``.
        prefix (str, optional): Prefix of the metric names. Default:
            ``'torso'``.

    The metrics are ``PCK@0.2``, ``PCK@0.1`` (means, from 0 to 1) and
    ``PCK@0.2/<keypoint name>`` for the first threshold. With ``by_dataset``
    each of them has the name of the data set in front of it, and ``PCK@0.2``
    and ``PCK@0.1`` are the means over the data sets.
    """

    default_prefix = 'torso'

    def __init__(
        self,
        thr: Sequence[float] = (0.2, 0.1),
        keypoints: Sequence[str] | None = None,
        by_dataset: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(norm_item=(), collect_device=collect_device, prefix=prefix)
        self.thr = tuple(thr)
        self.keypoints = keypoints
        self.by_dataset = by_dataset

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep a batch's keypoints and the names of their data sets."""
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[-len(data_samples) :], data_samples):
            result['dataset_name'] = sample.get('dataset_name')

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from the results of all batches.

        Args:
            results (list): ``pred_coords``, ``gt_coords``, ``mask`` and
                ``dataset_name`` of each person, as :meth:`process` keeps
                them.

        Returns:
            dict[str, float]: See the class.

        Raises:
            ValueError: If no person (of a data set) has a torso diagonal
                labelled.
        """
        if not self.by_dataset:
            return self._evaluate(results)
        parts: dict[str, list] = {}
        for result in results:
            parts.setdefault(result['dataset_name'], []).append(result)
        metrics = {}
        for name, part in parts.items():
            for metric, value in self._evaluate(part).items():
                metrics[f'{name}/{metric}'] = value
        for thr in self.thr:
            metrics[f'PCK@{thr}'] = float(np.mean([metrics[f'{name}/PCK@{thr}'] for name in parts]))
        return metrics

    def _evaluate(self, results: list) -> dict[str, float]:
        pred, gt, labelled = (
            np.concatenate([result[key] for result in results])
            for key in ('pred_coords', 'gt_coords', 'mask')
        )
        names = [self.dataset_meta['keypoint_id2name'][i] for i in range(gt.shape[1])]
        sizes = torso_sizes(gt, labelled, names)
        if not np.isfinite(sizes).any():
            raise ValueError(
                'no person has both joints of a torso diagonal '
                f'{DIAGONALS} labelled: PCK has no unit'
            )
        error = np.linalg.norm(pred - gt, axis=-1)
        if self.keypoints is not None:
            kept = [names.index(name) for name in self.keypoints]
            error, labelled, names = error[:, kept], labelled[:, kept], list(self.keypoints)

        metrics = {}
        for thr in self.thr:
            accuracy = joint_accuracy(error, labelled, sizes, thr)
            metrics[f'PCK@{thr}'] = float(np.nanmean(accuracy))
            if thr == self.thr[0]:
                metrics.update(
                    {
                        f'PCK@{thr}/{name}': float(value)
                        for name, value in zip(names, accuracy)
                        if np.isfinite(value)
                    }
                )
        return metrics
