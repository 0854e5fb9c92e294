"""The page ``docs/model_zoo.md``, written from the metafiles."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .model_index import metafiles
from .published import published_rows

CONVERTER = 'tools/model_converters/official_to_mmpose.py'
TITLES = {
    'MPII': 'MPII val, 256x256, flip test: PCKh@0.5 in percent',
    'COCO': 'COCO val2017, 256x192, flip test, person boxes of a detector with human AP 56.4',
}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _link(model: dict[str, Any], text: str) -> str:
    """Link to a model's config from ``docs/``."""
    return f'[{text}](../{model["Config"]})'


def _published_table(models: Sequence[dict[str, Any]]) -> str:
    """Lay out one of the published tables, with the digits printed there."""
    names = list(models[0]['Results'][0]['Metrics'])
    rows = []
    for model in models:
        metadata = model['Metadata']
        values = list(model['Results'][0]['Metrics'].values())
        if metadata['Training Data'] == 'MPII':
            # SimpleBaseline's are printed with one decimal, LPN's with two
            digits = max(len(repr(value)) for value in values) - 4
            printed = [f'{100 * value:.{digits}f}' for value in values]
        else:
            printed = [f'{value:.3f}' for value in values]
        rows.append(
            [
                _link(model, metadata['Published As']),
                f'{metadata["Parameters"]:,}',
                metadata['Published FLOPs'],
                *printed,
            ]
        )
    return _table(['method', 'parameters', 'FLOPs', *names], rows)


def _speed_section(report: dict[str, Any], picture: str) -> str:
    """Lay out what ``tools/analysis/speed_accuracy.py`` measured."""
    rows = [
        [
            result['method'],
            result['dataset'],
            result['runtime'],
            *(f'{result[kind]["fps"]:.2f}' for kind in ('flip', 'no_flip')),
            *(f'{result[kind]["ms"]:.1f}' for kind in ('flip', 'no_flip')),
        ]
        for result in report['results']
    ]
    machine = report['machine']
    return '\n\n'.join(
        [
            '## Speed on a CPU',
            f'Measured on {machine["cpu"]} ({machine["capability"]}) with torch '
            f'{machine["torch"]}, {report["threads"]} thread(s), one process, one '
            'person at a time: the network alone, median of '
            f'{report["rounds"]} interleaved rounds. The original code publishes about '
            '17, 14 and 11 images per second for LPN-50, 101 and 152, 10 for '
            'SimpleBaseline-50, 6 and 4 for HRNet-W32 and W48, with flip test, '
            'on a Core i7-8700K.',
            f'![Images per second, AP and parameters]({picture})',
            _table(
                ['method', 'data', 'runtime', 'FPS, flip test', 'FPS', 'ms, flip test', 'ms'], rows
            ),
            'Measure it on your machine: `python tools/analysis/speed_accuracy.py`.',
        ]
    )


def _sections(speed: Path | None) -> Iterator[str]:
    """Yield the page's paragraphs."""
    contents = list(metafiles())
    models = [model for content in contents for model in content['Models']]
    published = [m for m in models if 'Published As' in m['Metadata']]
    yield '# Model zoo'
    yield (
        'Written by `python tools/model_zoo.py` from the metafiles in '
        '[`configs/`](../configs); change those.'
    )
    yield '## Published results'
    yield (
        "The two tables of [LPN's original code]"
        '(https://github.com/zhang943/lpn-pytorch): its own results and '
        "those it quotes. Not trained by us; each row's config evaluates "
        'the original weights ([how to get them](#weights)) as the '
        'original code does. Parameters are exact, FLOPs as printed there; '
        '`python tools/analysis/get_flops.py --table` counts both and '
        'shows the difference.'
    )
    for dataset, title in TITLES.items():
        yield f'### {title}'
        yield _published_table(
            [model for model in published if model['Metadata']['Training Data'] == dataset]
        )
    yield '## Our models'
    yield _table(
        ['model', 'data', 'parameters', 'result', 'weights'],
        [
            [
                _link(model, f'`{model["Name"]}`'),
                model['Metadata']['Training Data'],
                f'{model["Metadata"]["Parameters"]:,}',
                ', '.join(
                    f'{name} {value}'
                    for result in model.get('Results', [])
                    for name, value in result['Metrics'].items()
                )
                or 'not trained',
                f'[in the package](../{model["Weights"]})' if 'Weights' in model else '–',
            ]
            for model in models
            if model not in published
        ],
    )
    yield '## Weights'
    yield (
        "The originals lie in their authors' web folders, which a browser "
        'can download from; there is nothing for `mim download` to fetch. '
        'Convert a file, and its published row can be tested:'
    )
    yield (
        f'```bash\npython {CONVERTER} lpn_50_256x192.pth lpn50.pth\n'
        'python tools/test.py configs/body_2d_keypoint/lpn/coco/'
        'td-hm_lpn50_8xb32-150e_coco-256x192.py lpn50.pth\n```'
    )
    yield (
        'The converter finds the model by the weights, uses every key of '
        'the file or names those that it cannot, and writes the '
        "original's format back, bit by bit, with `--inverse`."
    )
    yield _table(
        ['data', 'method', 'file', 'folder'],
        [
            [
                row.dataset,
                row.method,
                f'`{row.original_file}`',
                f'[web folder]({row.original_weights})',
            ]
            for row in published_rows()
        ],
    )
    if speed is not None:
        yield _speed_section(json.loads(speed.read_text()), speed.with_suffix('.png').name)


def page(speed: Path | None = None) -> str:
    """Write the page ``docs/model_zoo.md``.

    Args:
        speed (Path, optional): What ``tools/analysis/speed_accuracy.py``
            wrote, beside its picture and the page. Default: None.

    Returns:
        str: Markdown.
    """
    return '\n\n'.join(_sections(speed)) + '\n'
