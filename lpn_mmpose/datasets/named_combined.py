"""Several data sets as one, with a name for each."""

from collections.abc import Sequence

from mmpose.datasets import CombinedDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class NamedCombinedDataset(CombinedDataset):
    """A :class:`CombinedDataset` that says which set a sample is from.

    MMPose's sub-datasets carry the name of their metainfo, which sets with
    the same joints share. Metrics find the name given here at the data
    samples' ``dataset_name``.

    Args:
        names (Sequence[str]): A name for each of ``datasets``.
        **kwargs: Those of :class:`mmpose.datasets.CombinedDataset`.

    Raises:
        ValueError: If the names are not as many as the data sets or not
            unique.
    """

    def __init__(self, names: Sequence[str], **kwargs) -> None:
        super().__init__(**kwargs)
        self.names = list(names)
        if not len(self.datasets) == len(self.names) == len(set(names)):
            raise ValueError(f'names must be {len(self.datasets)} different ones, got {self.names}')

    def get_data_info(self, idx: int) -> dict:
        """Return the parent's sample ``idx`` with its ``dataset_name``."""
        info = super().get_data_info(idx)
        info['dataset_name'] = self.names[self._get_subset_index(idx)[0]]
        return info
