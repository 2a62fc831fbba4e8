"""The devices that a run can be priced on: known GPUs, and this machine's CPU."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from hephaestus_dag.training.flops import GPU_PEAKS

MEMORY_GIB = {
    "A100-40GB": 40,
    "A100-80GB": 80,
    "H100": 80,
    "H200": 139,
    "GH200": 95,
    "B200": 179,
    "L40S": 45,
    "L40": 45,
    "L4": 22.5,
    "A40": 45,
    "A10": 22.5,
    "RTX 4090": 24,
    "RTX 3090": 24,
}
"""Memory that a program sees; smaller than the name says where the card corrects errors in its own memory."""


_PROBE = """
import json, sys
import torch
from hephaestus_dag.training.flops import peak_flops
torch.set_num_threads(1)
print(json.dumps({dtype: peak_flops("cpu", dtype)[0] for dtype in sys.argv[1:]}))
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of GPU, or a core of a CPU."""

    name: str
    memory: float
    """Bytes."""
    peaks: Mapping[str, float] = field(default_factory=dict)
    """FLOP/s by number format: of a GPU in dense bfloat16 products, by the maker's data sheet; of a CPU's core as measured."""
    kind: Literal["GPU", "CPU"] = "GPU"
    source: str = "by its data sheet, of dense bfloat16"
    """Where the peaks are from."""

    def peak(self, dtype: str) -> float:
        """Return the FLOP/s of products of a number format; the slowest that is known for one that is not."""
        return self.peaks.get(dtype) or min(self.peaks.values())

    @property
    def peak_in_words(self) -> str:
        """The peaks, and where they are from."""
        several = len(self.peaks) > 1
        named = [f"{peak / 1e12:,.3g}{f' in {dtype}' if several else ''}" for dtype, peak in self.peaks.items()]
        return f"{' and '.join(named)} TFLOP/s {self.source}"


def this_cpu(gflops: float | None = None) -> Device:
    """Return a core of this machine's CPU, with a peak in GFLOP/s that is given, or none until it is measured."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Device("CPU core", memory, {"float32": gflops * 1e9} if gflops else {}, "CPU", "as given")


def begin_measuring(dtypes: Iterable[str]) -> subprocess.Popen[str]:
    """Begin to measure what one core does in some number formats, in a process of its own: it loads torch, which takes long."""
    command = [sys.executable, "-c", _PROBE, *sorted(set(dtypes))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def measured(device: Device, process: subprocess.Popen[str]) -> Device:
    """Return a device with the peaks that a process has measured. Raises RuntimeError when it measured nothing."""
    told, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the speed of the CPU could not be measured: torch does not load; give --gflops")
    return replace(device, peaks=json.loads(told), source="measured here just now, of one thread")


def find_gpu(name: str) -> Device:
    """Return the GPU of a name; case, spaces and hyphens do not matter. Raises ValueError that names the known ones."""
    known = {_plain(each): each for each in MEMORY_GIB}
    found = known.get(_plain(name))
    if found is None:
        raise ValueError(f"gpu {name!r} is not known; choose one of {', '.join(MEMORY_GIB)}")
    peak = GPU_PEAKS[found.removesuffix("-40GB").removesuffix("-80GB")]
    return Device(found, MEMORY_GIB[found] * 2**30, {"bfloat16": peak})


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower().removesuffix("gb")
