"""What the times were measured on."""

import platform
from pathlib import Path
from typing import Any

import torch


def machine(engines: bool = False) -> dict[str, Any]:
    """Describe the CPU and the versions.

    Args:
        engines (bool): Also those of the inference engines, and what OpenVINO
            computes in. Default: False.
    """
    cpu = platform.processor()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                cpu = line.partition(':')[2].strip()
                break
    described = dict(
        cpu=cpu or platform.machine(),
        system=f'{platform.system()} {platform.machine()}',
        capability=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__,
    )
    if engines:
        import onnxruntime
        import openvino

        described.update(
            capabilities=openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'),
            onnxruntime=onnxruntime.__version__,
            openvino=openvino.__version__.split('-')[0],
        )
    return described
