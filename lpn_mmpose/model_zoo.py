"""The published tables, from the metafiles, and the page that shows them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from .model_index import metafiles, mim_root


@dataclass(frozen=True)
class PublishedRow:
    """A row of LPN's published tables, and how to reproduce it here.

    Attributes:
        method (str): Its name in the tables, e.g. ``'lpn_50'``.
        dataset (str): ``'COCO'`` or ``'MPII'``.
        name (str): Name of our model.
        config (str): Its config, from the top of the repository.
        params (str): Published number of parameters, e.g. ``'2.9M'``.
        flops (str): Published FLOPs, e.g. ``'1.0G'``.
        metrics (dict[str, float]): Published results, AP and AR of COCO or
            PCKh of MPII, from 0 to 1.
        original_file (str): File of the original weights.
        original_weights (str): Web page where that is found.
    """

    method: str
    dataset: str
    name: str
    config: str
    params: str
    flops: str
    metrics: dict[str, float]
    original_file: str
    original_weights: str

    @property
    def config_path(self) -> str:
        """Path of the config in this installation."""
        return str(mim_root() / self.config)


def published_rows() -> list[PublishedRow]:
    """List the rows of both published tables, MPII's first."""
    contents = list(metafiles())
    collections = {
        collection['Name']: collection
        for content in contents
        for collection in content.get('Collections', [])
    }
    rows = []
    for model in (m for content in contents for m in content['Models']):
        metadata = model['Metadata']
        if 'Published As' not in metadata:
            continue
        collection = collections[model['In Collection']]
        rows.append(
            PublishedRow(
                method=metadata['Published As'],
                dataset=metadata['Training Data'],
                name=model['Name'],
                config=model['Config'],
                params=metadata['Published Parameters'],
                flops=metadata['Published FLOPs'],
                metrics=model['Results'][0]['Metrics'],
                original_file=metadata['Original File'],
                original_weights=collection['Metadata']['Original Weights'],
            )
        )
    return rows


def compare(value: float, published: str) -> tuple[float, str | None]:
    """Compare a number with how it was printed.

    Args:
        value (float): The number.
        published (str): A decimal number and its unit of one letter, which
            is also that of ``value``.

    Returns:
        tuple:
        - difference (float): ``value`` minus the printed number.
        - explanation (str, optional): ``'rounded'`` or ``'cut off'`` if that
          is how ``value`` gives the printed digits, None if it does not.

    Example:
        >>> from lpn_mmpose.model_zoo import compare
        >>> compare(2.911153, '2.9M')
        (0.011153, 'rounded')
        >>> compare(5.353458, '5.3M')
        (0.053458, 'cut off')
    """
    printed = Decimal(published[:-1])
    exact = Decimal(str(value))
    explanation = None
    for name, rounding in (('rounded', ROUND_HALF_UP), ('cut off', ROUND_DOWN)):
        if exact.quantize(printed, rounding=rounding) == printed:
            explanation = name
            break
    return float(exact - printed), explanation


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
            f'{report["rounds"]} interleaved rounds. The release publishes about '
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
        "The two tables of [LPN's release]"
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
