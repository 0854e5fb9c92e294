"""The published tables, from the metafiles."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

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
        >>> from lpn_mmpose.zoo.published import compare
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
