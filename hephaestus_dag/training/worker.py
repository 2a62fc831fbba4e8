"""The process that trains: ``python -m hephaestus_dag.training.worker JOB.json [JOB.json ...] [--progress]``.

Without ``--progress`` it prints warnings and one line for an error, nothing else; how far it is stands in ``metrics.jsonl``
of the job's work folder. With it, a terminal gets a bar, anything else a line now and then.
"""

import argparse
import logging
import os
import signal
import sys
import traceback
import warnings
from contextlib import nullcontext
from pathlib import Path

from pydantic import ValidationError

from hephaestus_dag.training.failures import Failure
from hephaestus_dag.training.job import TrainingJob
from hephaestus_dag.training.orphans import VARIABLE, die_with_parent
from hephaestus_dag.training.progress import showing
from hephaestus_dag.training.pulse import start_pulse

FORESEEN = (ValueError, OSError, FloatingPointError)


def main(arguments: list[str] | None = None) -> int:
    """Run the jobs one after the other; return 0, or 1 when one failed, or 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m hephaestus_dag.training.worker", description="Run training jobs.")
    parser.add_argument("jobs", nargs="+", type=Path, metavar="JOB.json", help="training jobs, run in this order")
    parser.add_argument("--progress", action="store_true", help="show on standard error how far the job is")
    options = parser.parse_args(arguments)
    if os.environ.get(VARIABLE):
        die_with_parent()
    start_pulse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # DeepSpeed calls what torch renames; the log is for what a user can act on
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        jobs = [TrainingJob.read(path) for path in options.jobs]
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1))))
        from hephaestus_dag.training.loop import train

        watched = options.progress and os.environ.get("RANK", "0") == "0"
        for job in jobs:
            with showing(job) if watched else nullcontext():
                train(job)
    except KeyboardInterrupt:
        print("error: interrupted; the job resumes from its last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, ValidationError):
            reason = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        else:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if not isinstance(error, FORESEEN):
                traceback.print_exc()
                *_, place = traceback.extract_tb(error.__traceback__)
                reason += f" ({Path(place.filename).name}, line {place.lineno})"
        print(f"error: {reason}", file=sys.stderr)
        Failure.of(error, reason).leave()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Thread pools of the libraries take seconds to wind down.
