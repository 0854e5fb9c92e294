"""COCO's and MPII's metrics as LPN's original code computes them."""

from collections.abc import Sequence

import numpy as np
from mmpose.evaluation.functional import keypoint_pck_accuracy
from mmpose.evaluation.metrics import CocoMetric, MpiiPCKAccuracy
from mmpose.registry import METRICS


@METRICS.register_module()
class OriginalCocoMetric(CocoMetric):
    """OKS-AP with predictions sized by their keypoints.

    AP (M) and AP (L) leave out wrong predictions of another size. COCO's tools
    take that size from a prediction's ``bbox``, which MMPose 1.3.2 writes, or
    else from the extent of its keypoints. LPN's original code, as HRNet's code,
    writes no ``bbox``. The other results are the same. Arguments are those of
    :class:`mmpose.evaluation.metrics.CocoMetric`.
    """

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep a batch's predictions, as the parent does, without boxes.

        Args:
            data_batch (Sequence[dict]): A batch of data.
            data_samples (Sequence[dict]): The model's outputs.
        """
        before = len(self.results)
        super().process(data_batch, data_samples)
        for pred, _ in self.results[before:]:
            pred.pop('bbox', None)


@METRICS.register_module()
class OriginalMpiiPCKAccuracy(MpiiPCKAccuracy):
    """PCKh with the original's bias and its "Mean@0.1".

    MPII's annotations count pixels from 1, and 1 is added to the predictions
    before they are compared. LPN's original code first subtracts the 1.0 of its
    setting ``TEST.BIAS``, so that its predictions are compared as they are;
    HRNet's code, with which SimpleBaseline's row was made, has no such
    setting. What both print as "Mean@0.1" is at a threshold of 0.11: the
    twelfth of the thresholds 0, 0.01, ... MMPose's ``PCK@0.1`` is at 0.10.

    Args:
        bias (float): Subtracted from x and y of the predictions, in pixels.
            Default: 0.
        **kwargs: Those of :class:`mmpose.evaluation.metrics.MpiiPCKAccuracy`.

    The metrics are MMPose's, in percent, and ``Mean@0.1``.
    """

    def __init__(self, bias: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.bias = bias

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from the results of all batches.

        Args:
            results (list): ``pred_coords``, ``gt_coords``, ``mask`` and
                ``head_size`` of each person.

        Returns:
            dict[str, float]: See the class.
        """
        results = [
            dict(result, pred_coords=result['pred_coords'] - self.bias) for result in results
        ]
        metrics = super().compute_metrics(results)
        pred, gt, mask, head_size = (
            np.concatenate([result[key] for result in results])
            for key in ('pred_coords', 'gt_coords', 'mask', 'head_size')
        )
        mask[:, 6:8] = False  # pelvis and thorax count in no mean
        accuracy, _, _ = keypoint_pck_accuracy(pred + 1, gt, mask, 0.11, head_size)
        counts = mask.sum(0)
        metrics['Mean@0.1'] = 100 * (accuracy * counts).sum() / counts.sum()
        return metrics
