"""How fast a config trains on this machine, and where the time goes."""

import multiprocessing
import platform
import statistics
import time
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmpose.registry import DATASETS, HOOKS, MODELS
from tqdm import tqdm

from ..engine.autocast_optim_wrapper import bfloat16_is_fast
from ..models.heads.lpn_head import GroupedDeconv
from ..utils.config import register_modules
from ..utils.timing import interleave

#: The training as PyTorch does it when nobody asks for more.
PLAIN = dict(deconv=False, channels_last=False, reuse_memory=False, fused=False)

#: Rows of the table, each with what it has on top of the first.
ROWS = {
    'plain float32, NCHW': {},
    '+ split deconvolution': dict(deconv=True),
    '+ channels_last': dict(deconv=True, channels_last=True),
    '+ memory reuse': dict(deconv=True, channels_last=True, reuse_memory=True),
    '+ fused optimizer': dict(deconv=True, channels_last=True, reuse_memory=True, fused=True),
    '+ bfloat16': dict(
        deconv=True, channels_last=True, reuse_memory=True, fused=True, bfloat16=True
    ),
    '+ compile': dict(deconv=True, channels_last=True, reuse_memory=True, fused=True, compile=True),
}

#: The parts of a step.
PARTS = ('forward', 'backward', 'step')


def default_row() -> str:
    """Return the row that LSP's config is on this machine."""
    return '+ bfloat16' if bfloat16_is_fast() else '+ fused optimizer'


def synchronize() -> None:
    """Wait for the device."""
    if get_device() == 'cuda':
        torch.cuda.synchronize()


class Trainer:
    """One model in training, stepped by hand.

    Args:
        cfg (Config): Config of the training.
        batch (dict): A batch as the data loader gives it.
        deconv (bool): Whether grouped deconvolutions are split.
        channels_last (bool): Whether to train in this layout.
        reuse_memory (bool): Whether the allocator keeps its memory.
        fused (bool): Whether the optimizer is fused.
        bfloat16 (bool): Whether to autocast.
        compile (bool): Whether to compile the step, as MMEngine does.
    """

    def __init__(
        self,
        cfg: Config,
        batch: dict,
        deconv: bool,
        channels_last: bool,
        reuse_memory: bool,
        fused: bool,
        bfloat16: bool = False,
        compile: bool = False,
    ) -> None:
        register_modules(cfg)
        self.batch = batch
        self.model = MODELS.build(cfg.model).to(get_device()).train()
        if not deconv:
            for module in self.model.modules():
                if isinstance(module, GroupedDeconv):
                    module.split = False
        runner = SimpleNamespace(model=self.model, logger=MMLogger.get_current_instance())
        for name, enable in (
            ('ChannelsLastHook', channels_last),
            ('ReuseMemoryHook', reuse_memory),
        ):
            HOOKS.build(dict(type=name, enable=enable)).before_run(runner)
        wrapper = dict(cfg.optim_wrapper.to_dict(), type='OptimWrapper')
        wrapper.pop('dtype', None)
        wrapper.pop('loss_scale', None)
        wrapper['optimizer'].pop('fused', None)
        if fused:
            wrapper['optimizer']['fused'] = True
        if bfloat16:
            wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')
        self.optim_wrapper = build_optim_wrapper(self.model, wrapper)
        self.train_step = None
        if compile:
            self.train_step = torch.compile(self.model.train_step)

    def __call__(self) -> list[float]:
        """Train one step.

        Returns:
            list[float]: Seconds of the whole step and, if it is not compiled,
            of each of ``PARTS``.
        """
        synchronize()
        times = [time.perf_counter()]
        if self.train_step is not None:
            self.train_step(self.batch, self.optim_wrapper)
            synchronize()
            return [time.perf_counter() - times[0]]
        with self.optim_wrapper.optim_context(self.model):
            data = self.model.data_preprocessor(self.batch, True)
            losses = self.model(**data, mode='loss')
        loss, _ = self.model.parse_losses(losses)
        synchronize()
        times.append(time.perf_counter())
        loss = self.optim_wrapper.scale_loss(loss)
        self.optim_wrapper.backward(loss)
        synchronize()
        times.append(time.perf_counter())
        self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()
        synchronize()
        times.append(time.perf_counter())
        return [times[-1] - times[0]] + [b - a for a, b in zip(times, times[1:])]


def work(connection, cfg: Config, batch: dict, threads: int, settings: dict) -> None:
    """Serve steps of one row; memory options are those of a process."""
    torch.set_num_threads(threads)
    trainer = Trainer(cfg, batch, **settings)
    while connection.recv():
        connection.send(trainer())


def benchmark(
    cfg: Config,
    batch_size: int | None = None,
    repeats: int = 5,
    threads: int | None = None,
    rows: Sequence[str] = tuple(ROWS),
    samples: int = 100,
) -> dict:
    """Time the rows of ``ROWS``, interleaved, one process each.

    Args:
        cfg (Config): Config of a training whose data are there.
        batch_size (int, optional): Default: the config's.
        repeats (int): Timed steps of each row.
        threads (int, optional): CPU threads. Default: PyTorch's.
        rows (Sequence[str]): Which rows.
        samples (int): Images to time the data pipeline with.

    Returns:
        dict: ``device``, ``torch``, ``threads``, ``batch_size``,
        ``input_size``, ``data_ms`` (ms an image for one worker) and ``rows``,
        a list with ``name``, ``images_per_second`` (median), ``spread``
        (slowest and fastest step, img/s) and, in ms an image, ``forward``,
        ``backward`` and ``step``.
    """
    register_modules(cfg)
    threads = threads or torch.get_num_threads()
    loader = cfg.train_dataloader
    batch_size = batch_size or loader.batch_size
    dataset = DATASETS.build(loader.dataset)
    images = max(samples, batch_size)
    start = time.perf_counter()
    loaded = [dataset[i * len(dataset) // images] for i in tqdm(range(images), 'data', leave=False)]
    data_ms = 1e3 * (time.perf_counter() - start) / images
    batch = pseudo_collate(loaded[:batch_size])

    context = multiprocessing.get_context('spawn')
    workers = {}

    def step(name: str) -> list[float]:
        connection = workers[name][1]
        connection.send(True)
        try:
            return connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(
                f'the process of "{name}" ended; its error is above, or '
                'it ran out of memory: try a smaller batch'
            ) from error

    try:
        for name in rows:
            connection, theirs = context.Pipe()
            process = context.Process(
                target=work,
                args=(theirs, cfg, batch, threads, {**PLAIN, **ROWS[name]}),
                daemon=True,
            )
            process.start()
            theirs.close()
            workers[name] = process, connection
        # two steps to warm up, in which compiling happens
        calls = [(name, partial(step, name)) for name in rows]
        times = interleave(calls, repeats, warm_up=2, measure=lambda call: call())
    finally:
        for process, connection in workers.values():
            if process.is_alive():
                connection.send(False)
            connection.close()
            process.join()

    table = []
    for name in rows:
        columns = list(zip(*times[name]))
        row = dict(
            name=name,
            images_per_second=batch_size / statistics.median(columns[0]),
            spread=[batch_size / max(columns[0]), batch_size / min(columns[0])],
        )
        row.update(
            {
                part: 1e3 * statistics.median(column) / batch_size
                for part, column in zip(PARTS, columns[1:])
            }
        )
        table.append(row)
    device = platform.processor() or platform.machine()
    if get_device() == 'cuda':
        device = torch.cuda.get_device_name()
    return dict(
        device=device,
        torch=torch.__version__,
        threads=threads,
        batch_size=batch_size,
        input_size=list(batch['inputs'][0].shape[:0:-1]),
        data_ms=data_ms,
        rows=table,
    )


def format_table(result: dict) -> str:
    """Return :func:`benchmark`'s result as text."""
    width, height = result['input_size']
    lines = [
        f'{result["device"]}, torch {result["torch"]}, '
        f'{result["threads"]} threads, batch {result["batch_size"]}, '
        f'{width}x{height}',
        f'data pipeline: {result["data_ms"]:.1f} ms an image for one worker',
        f'{"":24}{"img/s":>8}{"ratio":>7}   {"spread":15}'
        f'{"forward":>9}{"backward":>10}{"step":>7}  ms an image',
    ]
    first = result['rows'][0]['images_per_second']
    for row in result['rows']:
        slow, fast = row['spread']
        spread = f'{slow:.1f} to {fast:.1f}'
        parts = ''.join(
            f'{row[part]:>{size}.1f}' for part, size in zip(PARTS, (9, 10, 7)) if part in row
        )
        default = ' (default)' if row['name'] == default_row() else ''
        lines.append(
            f'{row["name"]:24}{row["images_per_second"]:>8.2f}'
            f'{row["images_per_second"] / first:>7.2f}   '
            f'{spread:15}{parts}{default}'
        )
    return '\n'.join(lines)
