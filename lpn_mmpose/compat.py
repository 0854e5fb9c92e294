"""Patches of upstream releases that do not work together as they are.

Each patch is a function named after what it patches. It takes the upstream module
just after that was imported, states the versions in which the defect was seen,
and does nothing where upstream is whole. :func:`install` puts all of them in
place without importing anything.
"""

import functools
import importlib.machinery
import importlib.util
import os.path as osp
import pickle
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace

from .utils.import_hooks import when_imported


def install() -> None:
    """Put every patch in place; calling it again changes nothing."""
    if _XtcocotoolsFinder not in sys.meta_path:
        sys.meta_path.insert(0, _XtcocotoolsFinder)
    when_imported('mmcv', missing_compiled_ops)
    when_imported('mmengine.registry.registry', former_mmcls)
    when_imported('mmengine.config.config', base_configs_of_wheels)
    when_imported('mmpretrain.models.backbones.vision_transformer', former_output_of_vit)
    when_imported('mmengine.runner.checkpoint', weights_only_checkpoints)
    when_imported('mmengine.optim.scheduler.param_scheduler', one_cycle_checkpoints)
    when_imported('mmengine.runner.runner', compiled_preprocessing)
    when_imported('mmengine.utils.package_utils', packages_by_pkg_resources)
    when_imported('mmengine.utils.dl_utils.misc', missing_find_loader)
    when_imported('mmcv.utils.ext_loader', missing_find_loader)
    when_imported('mmpose.codecs.utils.gaussian_heatmap', gaussians_of_any_sigma)
    when_imported('mmpose.visualization.opencv_backend_visualizer', array_as_radius)
    when_imported('mmpose.structures.utils', json_predictions)
    when_imported('mmpose.utils.tensor_utils', bfloat16_in_numpy)
    when_imported('mmpose.apis.inferencers.base_mmpose_inferencer', upright_photographs)
    when_imported('mmcv.video.io', upright_videos)


def _replace(function: FunctionType, replacement: FunctionType) -> None:
    """Replace a function wherever it has been imported by its own name."""
    for module in list(sys.modules.values()):
        namespace = getattr(module, '__dict__', {})
        if namespace.get(function.__name__) is function:
            namespace[function.__name__] = replacement


class MissingOpError(NotImplementedError):
    """A compiled op of MMCV was called where only mmcv-lite is installed."""


def missing_compiled_ops(mmcv: ModuleType) -> None:
    """Let ``mmcv.ops`` be imported where ``mmcv._ext`` was not compiled.

    Seen in mmcv-lite 2.1.0 with mmpose 1.3.2 and mmdet 3.3.0, which import
    ``mmcv.ops`` unconditionally. A placeholder takes the extension's place:
    its ``nms`` is torchvision's, every other op raises
    :class:`MissingOpError` when called. ``check_ops_exist`` and
    ``mmcv_full_available`` still say no, as the placeholder has no loader.
    """
    name = f'{mmcv.__name__}._ext'
    if importlib.util.find_spec(name) is not None:
        return

    def nms(boxes, scores, iou_threshold, offset):
        from torchvision.ops import nms

        if offset:  # widths and heights are x2 - x1 + offset
            boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
        return nms(boxes, scores, iou_threshold)

    def missing_op(op: str) -> Callable:
        if op.startswith('__'):  # the import system probes for these
            raise AttributeError(f'module {name!r} has no attribute {op!r}')

        def raise_missing(*args, **kwargs):
            raise MissingOpError(
                f"MMCV's compiled op '{op}' is not in mmcv-lite. To use it, "
                'install full mmcv in its place: pip uninstall mmcv-lite, '
                f'then pip install mmcv=={mmcv.__version__}'
            )

        return raise_missing

    ext = ModuleType(name)
    ext.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    ext.nms = nms
    ext.__getattr__ = missing_op
    sys.modules[name] = ext


class _XtcocotoolsFinder:
    """Find the package of this name that :func:`missing_xtcocotools` names."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        return missing_xtcocotools() if fullname == 'xtcocotools' else None


def missing_xtcocotools() -> importlib.machinery.ModuleSpec | None:
    """Evaluate keypoints without xtcocotools, on pycocotools.

    xtcocotools 1.14.3 has no wheel for Python >= 3.12, and its wheels fail to
    import with NumPy >= 2 ("numpy.dtype size changed"); mmpose 1.3.2 imports
    it unconditionally. In both cases the name stands for
    :mod:`lpn_mmpose.utils.xtcocotools`.

    Returns:
        ModuleSpec or None: That of the stand-in; None if the installed one
        works.
    """
    find = importlib.machinery.PathFinder.find_spec
    spec = find('xtcocotools')
    if spec is not None:
        try:
            extension = find('xtcocotools._mask', spec.submodule_search_locations)
            extension.loader.exec_module(importlib.util.module_from_spec(extension))
        except (ImportError, ValueError, AttributeError) as error:
            warnings.warn(
                f'the installed xtcocotools does not work ({error}); lpn_mmpose evaluates '
                'keypoints on pycocotools in its place, with the same results',
                stacklevel=2,
            )
        else:
            sys.modules.pop('xtcocotools._mask', None)  # the package is to bind it
            return None
    folder = osp.join(osp.dirname(__file__), 'utils', 'xtcocotools')
    return importlib.util.spec_from_file_location(
        'xtcocotools', osp.join(folder, '__init__.py'), submodule_search_locations=[folder]
    )


def former_mmcls(registry: ModuleType) -> None:
    """Find the models of mmcls in mmpretrain, its later name.

    Seen in mmpose 1.3.2: its ViTPose configs for HumanArt name
    ``mmcls.VisionTransformer`` (huge, large) or ``mmpretrain``'s (the others).
    """
    if importlib.util.find_spec('mmcls') is not None:
        return
    upstream = registry.Registry.split_scope_key

    @functools.wraps(upstream)
    def split_scope_key(key: str) -> tuple[str | None, str]:
        scope, name = upstream(key)
        return 'mmpretrain' if scope == 'mmcls' else scope, name

    registry.Registry.split_scope_key = staticmethod(split_scope_key)


def former_output_of_vit(vision_transformer: ModuleType) -> None:
    """Take mmcls's ``output_cls_token`` for mmpretrain's ``out_type``.

    Seen in mmpose 1.3.2 with mmpretrain 1.2.0, in the configs that
    :func:`former_mmcls` is for.
    """
    cls = vision_transformer.VisionTransformer
    upstream = cls.__init__

    @functools.wraps(upstream)
    def init(self, *args, output_cls_token: bool | None = None, **kwargs) -> None:
        if output_cls_token is not None:
            kwargs['out_type'] = 'cls_token' if output_cls_token else 'featmap'
        upstream(self, *args, **kwargs)

    cls.__init__ = init


def base_configs_of_wheels(config: ModuleType) -> None:
    """Find ``mmpose.configs`` where a wheel has it, in ``mmpose/.mim``.

    Seen in mmengine 0.10.7 with mmpose 1.3.2, whose EDPose config says ``from
    mmpose.configs... import *``; that is only in its source tree.
    """
    upstream = config.Config._parse_lazy_import

    @functools.wraps(upstream)
    def parse_lazy_import(filename: str):
        find = config.get_installed_path

        def find_configs(package: str) -> str:
            path = find(package)
            in_wheel = osp.join(path, '.mim')
            return path if osp.isdir(osp.join(path, 'configs')) else in_wheel

        config.get_installed_path = find_configs
        try:
            return upstream(filename)
        finally:
            config.get_installed_path = find

    config.Config._parse_lazy_import = staticmethod(parse_lazy_import)


def weights_only_checkpoints(checkpoint: ModuleType) -> None:
    """Load MMEngine's checkpoints with ``weights_only=True``.

    Seen in mmengine 0.10.7 with torch >= 2.6, whose ``torch.load`` by default
    refuses the ``HistoryBuffer`` and the NumPy values that MMEngine saves,
    while its ``load_url`` checks nothing. Allow-lists these globals, asks for
    ``weights_only=True`` from files and URLs alike, and refuses a checkpoint
    with any other global by ``pickle.UnpicklingError``, naming both.
    """
    import torch

    from .utils.unpickling import checkpoint_globals

    if torch.__version__ < (2, 6):
        return
    torch.serialization.add_safe_globals(checkpoint_globals())
    loader = checkpoint.CheckpointLoader

    def load_from_local(filename, map_location):
        filename = osp.expanduser(filename)
        if not osp.isfile(filename):
            raise FileNotFoundError(f'{filename} can not be found.')
        return torch.load(filename, map_location=map_location, weights_only=True)

    loader.register_scheme('', load_from_local, force=True)
    checkpoint.load_url = functools.partial(checkpoint.load_url, weights_only=True)
    load_any = loader.load_checkpoint

    def load_checkpoint(cls, filename, *args, **kwargs):
        try:
            return load_any(filename, *args, **kwargs)
        except pickle.UnpicklingError as e:
            refused = re.search(r'GLOBAL (.+?) (was not|whose)', str(e))
            if refused is None:
                raise
            raise pickle.UnpicklingError(
                f'{filename} is refused: it refers to {refused[1]}, which is '
                'none of the values that MMEngine saves and could run code. '
                'Re-save the checkpoint where it was made with its weights '
                "only, torch.save(dict(state_dict=checkpoint['state_dict']), "
                'PATH); or, if you trust its source, allow the name with '
                'torch.serialization.add_safe_globals before loading.'
            ) from None

    loader.load_checkpoint = classmethod(load_checkpoint)


def one_cycle_checkpoints(param_scheduler: ModuleType) -> None:
    """Resume a OneCycle schedule with ``weights_only=True``.

    Seen in mmengine 0.10.7 with torch >= 2.6: its checkpoints name the
    method that anneals.
    """
    import torch

    if torch.__version__ < (2, 6):
        return
    from .utils.unpickling import allow_methods

    scheduler = param_scheduler.OneCycleParamScheduler
    torch.serialization.add_safe_globals([scheduler])
    allow_methods(scheduler, '_annealing_cos', '_annealing_linear')


def _is_installed(package: str) -> bool:
    """Whether ``package`` is an installed distribution or an import name."""
    from importlib import metadata

    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def _get_installed_path(package: str) -> str:
    """Folder of the package that a distribution or import name stands for.

    Raises:
        RuntimeError: If it is a namespace package.
        importlib.metadata.PackageNotFoundError: If it is not installed.
    """
    from importlib import metadata

    modules = [package]
    if importlib.util.find_spec(package) is None:
        distribution = metadata.distribution(package)
        modules = (distribution.read_text('top_level.txt') or '').split()
    for module in modules:
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return osp.dirname(spec.origin)
    raise RuntimeError(
        f'{package} is a namespace package, which is invalid for `get_installed_path`'
    )


def packages_by_pkg_resources(package_utils: ModuleType) -> None:
    """Find installed packages through ``importlib.metadata``.

    Seen in mmengine 0.10.7, whose ``_base_ = 'mmpose::...'`` goes through here:
    setuptools >= 82 carries no ``pkg_resources``, one before warns in each
    command that it will go, and packages are not found that ``pip install -e`` left
    outside site-packages (PEP 660).
    """
    for replacement in (_is_installed, _get_installed_path):
        function = getattr(package_utils, replacement.__name__.lstrip('_'))
        if 'pkg_resources' in function.__code__.co_names:
            _replace(function, replacement)


def compiled_preprocessing(runner: ModuleType) -> None:
    """Leave the copying of data samples out of what ``torch.compile`` traces.

    Seen in mmengine 0.10.7 with torch 2.15: ``compile=True`` compiles the
    whole ``train_step``, and tracing the deep copy of a NumPy scalar, such as
    a sample's id, ends in an error; so does the optimizer's step with torch
    2.14.
    """
    upstream = runner.Runner._maybe_compile

    @functools.wraps(upstream)
    def maybe_compile(self, target: str) -> None:
        import torch

        if self.cfg.get('compile'):
            model = getattr(self.model, 'module', self.model)
            preprocessor = model.data_preprocessor
            preprocessor.forward = torch.compiler.disable(preprocessor.forward)
            wrapper = getattr(self, 'optim_wrapper', None)
            if wrapper is not None and torch.__version__ < (2, 15):
                wrapper.update_params = torch.compiler.disable(wrapper.update_params)
        upstream(self, target)

    runner.Runner._maybe_compile = maybe_compile


def missing_find_loader(module: ModuleType) -> None:
    """Let a module's ``pkgutil.find_loader`` work, which Python 3.14 has removed.

    Read in mmengine 0.10.7 (``mmcv_full_available``, which the optimizer's
    constructor and the inferencers ask) and in mmcv 2.1.0
    (``check_ops_exist``).
    """
    if hasattr(pkgutil, 'find_loader'):
        return

    def find_loader(name: str):
        spec = importlib.util.find_spec(name)
        return None if spec is None else spec.loader

    module.pkgutil = SimpleNamespace(find_loader=find_loader)


def gaussians_of_any_sigma(gaussian_heatmap: ModuleType) -> None:
    """Put Gaussians of any sigma where their keypoints are.

    Seen in mmpose 1.3.2: where three times sigma is no whole number, those
    that the left or the upper border cuts are one heatmap pixel too far
    inside, and with some sigmas (1.125) all are one pixel off.
    """
    import numpy as np

    upstream = gaussian_heatmap.generate_gaussian_heatmaps

    @functools.wraps(upstream)
    def generate_gaussian_heatmaps(heatmap_size, keypoints, keypoints_visible, sigma):
        sigmas = np.broadcast_to(sigma, len(keypoints))
        if (3 * sigmas == np.rint(3 * sigmas)).all():
            return upstream(heatmap_size, keypoints, keypoints_visible, sigma)
        width, height = heatmap_size
        heatmaps = np.zeros((keypoints.shape[1], height, width), np.float32)
        weights = keypoints_visible.copy()
        for n, center in enumerate(np.floor(keypoints + 0.5)):
            rows, columns = (
                np.where(
                    np.abs(d) <= np.ceil(3 * sigmas[n]), np.exp(-(d**2) / (2 * sigmas[n] ** 2)), 0
                )
                for d in (
                    np.arange(height) - center[:, 1:2],
                    np.arange(width) - center[:, :1],
                )
            )
            labelled = keypoints_visible[n] >= 0.5
            weights[n, labelled & ~(rows.any(1) & columns.any(1))] = 0
            gaussians = rows[:, :, None] * columns[:, None] * labelled[:, None, None]
            np.maximum(heatmaps, gaussians, out=heatmaps, casting='same_kind')
        return heatmaps, weights

    gaussian_heatmap.generate_gaussian_heatmaps = generate_gaussian_heatmaps


def array_as_radius(visualizer: ModuleType) -> None:
    """Draw keypoints, whose radius is given as an array of one element.

    Seen in mmpose 1.3.2 with NumPy 2.4, whose arrays with dimensions are no
    longer taken for a number.
    """
    import numpy as np

    if np.lib.NumpyVersion(np.__version__) < '2.4.0':
        return
    upstream = visualizer.OpencvBackendVisualizer.draw_circles

    @functools.wraps(upstream)
    def draw_circles(self, center, radius, *args, **kwargs):
        if self.backend == 'opencv':
            radius = np.asarray(radius).item()
        return upstream(self, center, radius, *args, **kwargs)

    visualizer.OpencvBackendVisualizer.draw_circles = draw_circles


def json_predictions(utils: ModuleType) -> None:
    """Let ``json`` write what the inferencer predicts.

    Seen in mmpose 1.3.2, whose boxes' scores are NumPy's.
    """
    upstream = utils.split_instances

    @functools.wraps(upstream)
    def split_instances(instances) -> list[dict]:
        persons = upstream(instances)
        for person in persons:
            if 'bbox_score' in person:
                person['bbox_score'] = float(person['bbox_score'])
        return persons

    _replace(upstream, split_instances)


def bfloat16_in_numpy(tensor_utils: ModuleType) -> None:
    """Let heads compute their accuracy while they train in bfloat16.

    Seen in mmpose 1.3.2: its ``to_numpy`` is given what autocast made, and
    NumPy has no bfloat16.
    """
    import torch

    upstream = tensor_utils.to_numpy

    def with_float(x):
        if isinstance(x, torch.Tensor):
            return x.float() if x.dtype is torch.bfloat16 else x
        return [with_float(tensor) for tensor in x]

    @functools.wraps(upstream)
    def to_numpy(x, *args, **kwargs):
        return upstream(with_float(x), *args, **kwargs)

    _replace(upstream, to_numpy)


def upright_photographs(inferencers: ModuleType) -> None:
    """Let inferencers look at a photograph as one sees it, and as they draw it.

    Seen in mmpose 1.3.2: they load images as the config's test data are
    loaded, for COCO and MPII as the camera stored them, and draw into another
    picture.
    """
    upstream = inferencers.BaseMMPoseInferencer._init_pipeline

    @functools.wraps(upstream)
    def init_pipeline(self, cfg):
        pipeline = upstream(self, cfg)
        for step in pipeline.transforms:
            if getattr(step, 'color_type', None) == 'color_ignore_orientation':
                step.color_type = 'color'
        return pipeline

    inferencers.BaseMMPoseInferencer._init_pipeline = init_pipeline


def upright_videos(io: ModuleType) -> None:
    """Let ``mmcv.VideoReader`` turn a phone's video as the file says.

    Seen in mmcv 2.1.0 with OpenCV 4.11, which turns frames only when it is
    asked to.
    """
    upstream = io.VideoReader.__init__

    @functools.wraps(upstream)
    def init(self, *args, **kwargs):
        upstream(self, *args, **kwargs)
        self._vcap.set(io.cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self._width = int(self._vcap.get(io.CAP_PROP_FRAME_WIDTH))
        self._height = int(self._vcap.get(io.CAP_PROP_FRAME_HEIGHT))

    io.VideoReader.__init__ = init
