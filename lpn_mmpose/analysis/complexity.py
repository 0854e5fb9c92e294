"""Size and cost of models."""

from collections.abc import Iterable, Sequence

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from terminaltables import AsciiTable, GithubFlavoredMarkdownTable
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from ..utils.config import input_size, load_config, register_modules
from ..zoo.published import PublishedRow, compare

#: Convolutions of the original's rule.
CONVS = (nn.Conv2d, nn.ConvTranspose2d)


def complexity(model: BasePoseEstimator, input_size: tuple[int, int]) -> dict:
    """Count parameters and operations of a pose estimator.

    Args:
        model (BasePoseEstimator): An MMPose model.
        input_size (tuple[int, int]): Size (w, h) of the input.

    Returns:
        dict:
        - input_shape (list[int]): (1, 3, H, W)
        - params (int): Parameters, trainable or not
        - macs (int): Multiply-accumulates of all convolutions and matrix
          products
        - gflops_original (float): What LPN's original code and SimpleBaseline's
          tables call GFLOPs: ``prod(weight.shape) * H_out * W_out`` summed
          over all convolutions and transposed convolutions (the latter thus
          at their output size), divided by 1024**3
    """
    parameter = next(model.parameters())
    images = parameter.new_zeros((1, 3, *input_size[::-1]))
    operations = 0

    def count(module, inputs, output):
        nonlocal operations
        operations += module.weight.numel() * output.shape[2:].numel()

    handles = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, CONVS)
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(images, None, mode='tensor')
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return dict(
        input_shape=list(images.shape),
        params=sum(p.numel() for p in model.parameters()),
        macs=counter.get_total_flops() // 2,
        gflops_original=operations / 1024**3,
    )


def settle(model: nn.Module, input_size: tuple[int, int]) -> nn.Module:
    """Give a random network the batch statistics of its own features.

    Otherwise the features fade to denormal numbers, which are slow.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, 3, *input_size[::-1]), None, 'tensor')
    return model.eval()


def published_complexity(rows: Iterable[PublishedRow]) -> list[dict]:
    """Set the size and cost of published models against their table.

    Args:
        rows (Iterable[PublishedRow]): Rows of the table.

    Returns:
        list[dict]: For each row ``method``, ``dataset`` and ``config``, what
        :func:`complexity` returns, and for ``params`` and
        ``gflops_original`` the published value, the difference to it in its
        unit and what explains that: ``published_params``,
        ``params_difference``, ``params_explanation``, and likewise for
        ``gflops``. An explanation is None where the digits differ.
    """
    results = []
    for row in rows:
        cfg = load_config(row.config_path)
        result = dict(method=row.method, dataset=row.dataset, config=row.config)
        register_modules(cfg)
        with torch.device('meta'):  # counts need no memory and no time
            model = MODELS.build(cfg.model)
        result.update(complexity(model, input_size(cfg)))
        values = dict(
            params=(result['params'] / 10**6, row.params),
            gflops=(result['gflops_original'], row.flops),
        )
        for key, (value, published) in values.items():
            difference, explanation = compare(value, published)
            result[f'published_{key}'] = published
            result[f'{key}_difference'] = difference
            result[f'{key}_explanation'] = explanation
        results.append(result)
    return results


def complexity_table(results: Sequence[dict], markdown: bool = False) -> str:
    """Lay out what :func:`published_complexity` returns.

    Args:
        results (Sequence[dict]): The rows.
        markdown (bool): A Markdown table instead of plain text. Default:
            False.
    """
    rows = [
        [
            'data',
            'method',
            'input',
            'parameters',
            'published',
            'difference',
            'GFLOPs',
            'published',
            'difference',
            'GMACs',
            'config',
        ]
    ]
    for result in results:
        row = [result['dataset'], result['method'], '{2}x{3}'.format(*result['input_shape'])]
        for key, value in (
            ('params', f'{result["params"]:,}'),
            ('gflops', f'{result["gflops_original"]:.3f}'),
        ):
            explanation = result[f'{key}_explanation'] or 'DIFFERS'
            published = result[f'published_{key}']
            row += [
                value,
                published,
                f'{result[f"{key}_difference"]:+.3f}{published[-1]} {explanation}',
            ]
        row += [f'{result["macs"] / 1e9:.3f}', result['config']]
        rows.append(row)
    table = (GithubFlavoredMarkdownTable if markdown else AsciiTable)(rows)
    table.justify_columns = dict.fromkeys(range(3, 10), 'right')
    return table.table
