"""What ``tools/demo.py`` does: poses in photographs and videos, as pictures."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from mmpose.apis import MMPoseInferencer
from tqdm import tqdm

from ..errors import InputError
from ..runtime.media import check_readable, list_inputs, person_tables


def run(args: argparse.Namespace) -> list[str]:
    """Draw the poses of all inputs and write them as JSON.

    Args:
        args (Namespace): ``input``, ``model``, ``weights``, ``det_model``,
            ``det_weights``, ``device`` and ``out_dir`` of ``tools/demo.py``.

    Returns:
        list[str]: Lines to print: the keypoints of a single image, else a
        line for each file, and the paths of what was written.

    Raises:
        InputError: If an input cannot be used; of a folder, all of them.
    """
    files = list_inputs(args.input)
    if Path(args.out_dir).resolve() == files[0].resolve().parent:
        raise InputError(
            f'--out-dir {args.out_dir} is the folder of the '
            'input, which would be drawn over; give another'
        )
    single = len(files) == 1
    if single:
        check_readable(files[0])
    with redirect_stdout(sys.stderr):  # MMEngine prints what it loads
        inferencer = MMPoseInferencer(
            pose2d=args.model,
            pose2d_weights=args.weights,
            det_model=args.det_model,
            det_weights=args.det_weights,
            det_cat_ids=[0],
            device=args.device,
            show_progress=False,
        )
    names = inferencer.inferencer.model.dataset_meta['keypoint_id2name']
    out_dir = Path(args.out_dir)
    lines, done = [], 0
    for file in tqdm(files, unit='file', disable=single):
        try:
            check_readable(file)
        except InputError as error:
            lines.append(f'skipped: {error}')
            continue
        frames = [
            result['predictions'][0]
            for result in inferencer(str(file), vis_out_dir=str(out_dir), pred_out_dir=str(out_dir))
        ]
        done += 1
        if single and len(frames) == 1:
            persons = frames[0]
            lines += person_tables(
                [names[i] for i in range(len(names))],
                [person['keypoints'] for person in persons],
                [person['keypoint_scores'] for person in persons],
            )
        else:
            persons = sum(map(len, frames))
            lines.append(f'{file}: frames {len(frames)}, persons {persons}')
        prediction = out_dir / f'{file.stem}.json'
        lines += [f'drawn  {out_dir / file.name}', f'JSON   {prediction}']
    if not done:
        raise InputError(f'none of the files in {args.input} can be read')
    return lines
