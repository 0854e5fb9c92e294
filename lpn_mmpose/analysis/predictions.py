"""What ``tools/test.py --dump`` wrote, read back without trusting it."""

import pickle
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from ..errors import InputError
from ..evaluation.torso_pck import torso_sizes
from ..utils import unpickling
from ..utils.config import (
    evaluator_configs,
    ignores_orientation,
    innermost_datasets,
    test_pipeline,
)


def load_dump(path: str) -> list[dict]:
    """Read the data samples that ``tools/test.py --dump`` wrote.

    Args:
        path (str): Pickle file. It may come from anyone: only arrays,
            tensors, numbers, strings and containers are unpickled.

    Returns:
        list[dict]: Data samples, as :meth:`BaseDataElement.to_dict` gives
        them.

    Raises:
        InputError: If the file is missing, is no such dump, or refers to
            anything else.
    """
    try:
        with open(path, 'rb') as file:
            samples = unpickling.load_dump(file)
    except FileNotFoundError:
        raise InputError(
            f'predictions {path} do not exist; write them with tools/test.py --dump'
        ) from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f'predictions {path} are refused: {error}, and dumps of '
            'tools/test.py hold arrays and numbers alone'
        ) from None
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(
            f'predictions {path} cannot be read: {type(error).__name__}: {error}'
        ) from error
    if not (
        isinstance(samples, list)
        and samples
        and all(isinstance(sample, dict) for sample in samples)
    ):
        raise InputError(f'{path} holds no list of predictions; write it with tools/test.py --dump')
    return samples


def keypoint_meta(cfg: Config) -> dict:
    """Return the keypoints of a config's test data, without reading these.

    Args:
        cfg (Config): The config.

    Returns:
        dict: See :func:`parse_pose_metainfo`.
    """
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    dataset = cfg.test_dataloader.dataset
    if not dataset.get('metainfo'):  # that of a wrapper is of all its datasets
        dataset = next(innermost_datasets(dataset))
    return parse_pose_metainfo(dataset.get('metainfo') or DATASETS.get(dataset.type).METAINFO)


def person_unit(cfg: Config) -> tuple[str, float]:
    """Return in which unit a config's evaluator measures errors, and where.

    Returns:
        tuple:
        - unit (str): ``'torso'`` for :class:`TorsoPCKAccuracy`, ``'head'``
          for :class:`MpiiPCKAccuracy` and ours, for any other ``'bbox'``.
        - shift (float): What the evaluator adds to predictions, in pixels.
    """
    for evaluator in evaluator_configs(cfg, 'test'):
        if evaluator.get('type') == 'TorsoPCKAccuracy':
            return 'torso', 0.0
        if evaluator.get('type') in ('MpiiPCKAccuracy', 'OriginalMpiiPCKAccuracy'):
            # MPII counts from 1
            return 'head', 1.0 - evaluator.get('bias', 0.0)
    return 'bbox', 0.0


@dataclass
class EvaluatedPersons:
    """Predicted and annotated keypoints of N persons.

    Attributes:
        names (list[str]): The K keypoints' names.
        mirrored (np.ndarray): Index of each keypoint's mirror image (K, ),
            its own where it has none.
        predicted (np.ndarray): Predicted keypoints (N, K, 2) in pixels.
        annotated (np.ndarray): Ground truth (N, K, 2) in pixels.
        labelled (np.ndarray): Which of that is labelled, bool (N, K).
        sizes (np.ndarray): Sizes (N, ) in pixels, NaN where unknown.
        unit (str): What ``sizes`` are: ``'torso'``, ``'head'`` or ``'bbox'``.
        boxes (np.ndarray): Boxes (x1, y1, x2, y2) in shape (N, 4).
        images (list[str]): Paths of the N images.
        ids (list[int]): Ids of the N annotations.
        ignore_orientation (bool): Whether pixels are those of the images as the camera stored
            them.
    """

    names: list[str]
    mirrored: np.ndarray
    predicted: np.ndarray
    annotated: np.ndarray
    labelled: np.ndarray
    sizes: np.ndarray
    unit: str
    boxes: np.ndarray
    images: list[str]
    ids: list[int]
    ignore_orientation: bool = False


def read_persons(path: str, cfg: Config) -> EvaluatedPersons:
    """Read a dump of a top-down model.

    Args:
        path (str): See :func:`load_dump`.
        cfg (Config): Config of the test.

    Raises:
        InputError: If the dump cannot be used, is of other keypoints than
            the config, or has no ground truth.
    """
    samples = load_dump(path)
    meta, (unit, shift) = keypoint_meta(cfg), person_unit(cfg)
    names = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    shape = (1, len(names), 2)
    columns = []
    for index, sample in enumerate(samples):
        try:
            truth, pred = sample['gt_instances'], sample['pred_instances']
            visible = np.asarray(truth['keypoints_visible'], float)
            if visible.ndim == 3:  # as PCKAccuracy: [..., 1] are weights
                visible = visible[..., 0]
            columns.append(
                (
                    np.asarray(pred['keypoints'], float).reshape(shape)[0],
                    np.asarray(truth['keypoints'], float).reshape(shape)[0],
                    visible.reshape(shape[:2])[0] > 0,
                    np.asarray(truth['bboxes'], float).reshape(1, 4)[0],
                    float(np.ravel(truth['head_size'])[0]) if unit == 'head' else np.nan,
                    str(sample['img_path']),
                    int(sample.get('id', index)),
                )
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f'{path}, prediction {index} is not one of a person with the '
                f'{len(names)} keypoints of {cfg.filename}: '
                f'{type(error).__name__}: {error}'
            ) from None
    *arrays, images, ids = zip(*columns)
    predicted, annotated, labelled, boxes, heads = map(np.stack, arrays)
    if not annotated.any():
        raise InputError(
            f'{path} has no ground truth, as the boxes were detected; test '
            'with --cfg-options test_dataloader.dataset.bbox_file=None'
        )
    predicted += shift
    if unit == 'torso':
        sizes = torso_sizes(annotated, labelled, names)
    elif unit == 'head':
        sizes = heads
    else:
        sizes = np.ptp(boxes.reshape(-1, 2, 2), axis=1).max(-1)
    if not np.isfinite(sizes).any():
        raise InputError(f'{path} has no person whose {unit} is annotated')
    return EvaluatedPersons(
        names,
        np.asarray(meta['flip_indices']),
        predicted,
        annotated,
        labelled,
        sizes,
        unit,
        boxes,
        list(images),
        list(ids),
        ignores_orientation(test_pipeline(cfg)),
    )
