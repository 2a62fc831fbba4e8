"""The devices that a run can be priced on: known GPUs, and this machine's CPU."""

import os
import re
import time
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of GPU, or a core of a CPU."""

    name: str
    peak: float
    """FLOP/s: of a GPU in dense bfloat16 products, by the maker's data sheet; of a CPU's core in float32 products."""
    memory: float
    """Bytes."""
    kind: Literal["GPU", "CPU"] = "GPU"
    source: str = "by its data sheet, of dense bfloat16"
    """Where the peak is from."""

    @property
    def peak_in_words(self) -> str:
        """The peak, and where it is from."""
        return f"{self.peak / 1e12:,.3g} TFLOP/s {self.source}"

    def hours(self, flops: float, utilisation: float) -> float:
        """Return the hours that one takes: FLOP / (peak x utilisation)."""
        return flops / (self.peak * utilisation) / 3600


def this_cpu(gflops: float | None = None) -> Device:
    """Return a core of this machine's CPU, with a peak in GFLOP/s that is given, or measured in a tenth of a second."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    peak = gflops * 1e9 if gflops else _measured_peak()
    return Device("CPU core", peak, memory, "CPU", "as given" if gflops else "measured here just now, of float32 products")


def _measured_peak(seconds: float = 0.1) -> float:
    """Return the FLOP/s of matrix products in the process's CPU time, so that a busy machine does not count.

    Products of 64 rows: the largest that BLAS leaves to one core, at about 80 % of what larger ones reach.
    """
    import numpy

    matrix = numpy.ones((64, 64), dtype=numpy.float32)
    best, end = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        began = time.process_time()
        for _ in range(100):
            numpy.matmul(matrix, matrix)
        best = max(best, 100 * 2 * 64**3 / max(time.process_time() - began, 1e-9))
    return best


def find_gpu(name: str) -> Device:
    """Return the GPU of a name; case, spaces and hyphens do not matter. Raises ValueError that names the known ones."""
    known = {_plain(each): each for each in MEMORY_GIB}
    found = known.get(_plain(name))
    if found is None:
        raise ValueError(f"gpu {name!r} is not known; choose one of {', '.join(MEMORY_GIB)}")
    return Device(found, GPU_PEAKS[found.removesuffix("-40GB").removesuffix("-80GB")], MEMORY_GIB[found] * 2**30)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower().removesuffix("gb")
