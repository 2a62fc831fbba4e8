"""The GPUs that a run can be priced on."""

import re
from dataclasses import dataclass

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
class Gpu:
    """One kind of GPU."""

    name: str
    peak: float
    """FLOP/s of dense bfloat16 products, by the maker's data sheet."""
    memory: float
    """Bytes."""

    def hours(self, flops: float, utilisation: float) -> float:
        """Return the hours that one takes: FLOP / (peak x utilisation)."""
        return flops / (self.peak * utilisation) / 3600


def find_gpu(name: str) -> Gpu:
    """Return the GPU of a name; case, spaces and hyphens do not matter. Raises ValueError that names the known ones."""
    known = {_plain(each): each for each in MEMORY_GIB}
    found = known.get(_plain(name))
    if found is None:
        raise ValueError(f"gpu {name!r} is not known; choose one of {', '.join(MEMORY_GIB)}")
    return Gpu(found, GPU_PEAKS[found.removesuffix("-40GB").removesuffix("-80GB")], MEMORY_GIB[found] * 2**30)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower().removesuffix("gb")
