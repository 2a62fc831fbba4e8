"""Files and folders of intermediate results that appear complete or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a staging name to write a file under; on a clean exit it reaches the disk and takes the name ``path``.

    On an error it is removed, and the error carries a note that names ``path``. What a killed process left, the next writer
    of the same file replaces.
    """
    staging = path.with_name(f".{path.name}.partial")
    try:
        yield staging
        with staging.open("rb") as file:
            os.fsync(file.fileno())
        staging.rename(path)
    except BaseException as error:
        staging.unlink(missing_ok=True)
        error.add_note(f"while writing {path}")
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a staging folder to write files into; on a clean exit they reach the disk and it takes the name ``folder``.

    Whoever comes second leaves the folder of the first: two that write one folder at once write the same.
    """
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:12]}")  # the other may be on another machine
    staging.mkdir(parents=True)
    yield staging
    for path in staging.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(staging)
