"""Document ids as they are compared: 16 bytes each, in arrays."""

import numpy as np
import pyarrow as pa


def packed(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return ids that are given in hexadecimal digits, S16."""
    return np.frombuffer(bytes.fromhex("".join(ids.to_pylist())), "S16")


def unpacked(ids: np.ndarray) -> list[str]:
    """Return packed ids in hexadecimal digits."""
    digits = ids.tobytes().hex()
    return [digits[at : at + 32] for at in range(0, len(digits), 32)]


def first_half(ids: np.ndarray) -> np.ndarray:
    """Return the first 8 bytes of packed ids, uint64: evenly distributed, as they are of a hash."""
    return np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)[:, 0]


def look_up(values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places, among ascending values, of those that are wanted and there, and which of the wanted these are."""
    places = np.searchsorted(values, wanted)
    there = np.flatnonzero(places < len(values))
    there = there[values[places[there]] == wanted[there]]
    return places[there], there
