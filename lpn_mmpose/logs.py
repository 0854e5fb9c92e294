"""The scalars that MMEngine writes while it trains."""
import json
import os.path as osp
from glob import escape, glob
from typing import Dict, List


def read_scalars(path: str) -> List[Dict]:
    """Read the scalars of a run, resumed or not.

    Args:
        path (str): Work directory, whose ``*/vis_data/scalars.json`` are
            joined in the order of their timestamps; or such a JSON file.

    Returns:
        list[dict]: The rows, ordered by step. Training rows have ``loss``,
        ``lr``, ``epoch``, ``iter`` and ``step`` (the iteration), validation
        rows the metrics and ``step`` (the epoch, or the iteration of an
        iteration-based run). Where a resumed run repeated a step, the later
        row counts.
    """
    files = [path]
    if osp.isdir(path):
        files = sorted(
            glob(osp.join(escape(path), '*', 'vis_data', 'scalars.json')))
    rows = {}
    for name in files:
        with open(name) as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a killed run ends in half a line
                rows['iter' in row, row['step']] = row
    return [rows[key] for key in sorted(rows)]
