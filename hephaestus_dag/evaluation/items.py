"""The texts of benchmark items that must not be in training data."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq


def benchmark_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for the questions and the reference answers of the ``items.parquet`` in a folder.

    Function documentation is left out: BFCL describes public APIs, whose own documentation may say the same.
    """
    for row in pq.read_table(folder / "items.parquet").to_pylist():
        name = f"{row['benchmark']}/{row['item_id']}"
        yield name, row["question"]
        if row["reference"]:
            yield f"{name} (answer)", row["reference"]
