"""The output folder of a finished job, and what it says about time."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from safetensors import SafetensorError

from hephaestus_dag.training.figure import draw_loss

CLOCK = ("seconds", "tokens_per_second", "mfu")
"""Fields of the metrics that differ between two runs of the same job."""


def write_output(folder: Path, lines: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], save_model: Any) -> dict[str, Any]:
    """Write model, metrics.jsonl, summary.json and loss.png into a folder, all of them or none; return the summary.

    ``lines`` are those of the metrics, ``facts`` come into the summary, ``save_model(folder, summary)`` writes the model. The
    same job gives the same bytes. Raises OSError when the disk refuses.
    """
    # What a clock or a disk did stays out of the output.
    lines = [{key: line[key] for key in line if key not in CLOCK} for line in lines if "checkpoint_failed" not in line]
    summary = summarise(lines, facts)
    with _all_or_nothing(folder) as staging:
        save_model(staging / "model", summary)
        (staging / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (staging / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        draw_loss(lines, facts["title"], staging / "loss.png")
    return summary


def summarise(lines: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``facts`` with what the metrics say about the whole run."""
    steps = [line for line in lines if "loss" in line]
    updates = [line["loss"] for line in steps if "skipped" not in line]
    scores = [line["heldout"] for line in lines if "heldout" in line]
    closing = updates[-max(1, len(updates) // 20) :]
    shown = Counter[str]()
    for line in steps:
        shown.update(line["mix"])
    return {
        **facts,
        "tokens": steps[-1]["tokens"],
        "mix": {name: count * facts["sequence_length"] for name, count in sorted(shown.items())},
        "loss": math.fsum(closing) / len(closing) if closing else None,
        "heldout_before": scores[0],
        "heldout": scores[-1],
    }


def timing(lines: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``facts`` with the median speed of the steps."""
    steps = [line for line in lines if "tokens_per_second" in line]
    known = [line["mfu"] for line in steps if line["mfu"] is not None]
    return {
        "tokens_per_second": median(line["tokens_per_second"] for line in steps),
        "mfu": median(known) if known else None,
        **facts,
    }


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; on a clean exit what it holds moves into ``folder``, otherwise it is removed."""
    staging = folder / ".partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for path in sorted(staging.iterdir()):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{folder} could not be written ({error}) and was left as it was; make room and start the job again, it resumes "
            "from its last checkpoint"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
