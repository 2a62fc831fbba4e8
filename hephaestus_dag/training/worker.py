"""The process that trains: ``python -m hephaestus_dag.training.worker JOB.json [JOB.json ...] [--progress]``.

It prints one line for each error and nothing else; how far it is stands in ``metrics.jsonl`` of the job's work folder.
"""

import argparse
import logging
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path

from pydantic import ValidationError

from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.orphans import VARIABLE, die_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Run the jobs one after the other; return 0, or 1 when one failed, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m hephaestus_dag.training.worker", description="Run training jobs.")
    parser.add_argument("jobs", nargs="+", type=Path, metavar="JOB.json", help="training jobs, run in this order")
    parser.add_argument("--progress", action="store_true", help="say on standard error what is happening")
    options = parser.parse_args(arguments)
    if os.environ.get(VARIABLE):
        die_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # DeepSpeed calls what torch renames; the log is for what a user can act on
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("hephaestus_dag").setLevel(logging.INFO if options.progress else logging.WARNING)
    try:
        jobs = [TrainingJob.read(path) for path in options.jobs]
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1))))
        from hephaestus_dag.training.loop import train

        for job in jobs:
            train(job)
    except KeyboardInterrupt:
        print("error: interrupted; the job resumes from its last checkpoint", file=sys.stderr)
        return 130
    except ValidationError as error:
        print(f"error: {'; '.join(_field_errors(error))}", file=sys.stderr)
        return 1
    except Exception as error:
        if not isinstance(error, (ValueError, OSError, FloatingPointError)):  # Not foreseen: say where it happened.
            traceback.print_exc()
        print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _field_errors(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Thread pools of the libraries take seconds to wind down.
