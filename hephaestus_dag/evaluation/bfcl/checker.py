"""The official checker as a process: started once, asked many times over JSON lines."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

PACKAGE = Path(__file__).parents[2]
# The driver imports the project's own modules without a folder on the search path, whose other names would shadow packages.
START = """
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("hephaestus_dag", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules[spec.name] = importlib.util.module_from_spec(spec)
from hephaestus_dag.evaluation.bfcl.driver import main
main()
"""
# The time zone decides what the simulators' clocks show; this form of it needs no file.
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC0", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}


class Checker:
    """The driver (``driver.py``) under the Python of the checker's environment, without our environment variables.

    A context manager; what it did for one request does not show in the next.
    """

    def __init__(self, python: Path) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        # -P keeps the working folder off the search path; -B leaves no caches beside the package.
        self.process = subprocess.Popen(
            [str(python), "-P", "-s", "-B", "-c", START, str(PACKAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
            env=ENVIRONMENT,
        )

    def ask(self, request: dict[str, Any], lines: Sequence[dict[str, Any]] = ()) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the driver's lines on a request, and its last line.

        Raises RuntimeError with the driver's last words when it fails as a whole, for example on an unknown item.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            for line in ({**request, "lines": len(lines)}, *lines):
                self.process.stdin.write(json.dumps(line) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and says why below
        answers: list[dict[str, Any]] = []
        for line in self.process.stdout:
            answer = json.loads(line)
            if "done" in answer:
                return answers, answer
            answers.append(answer)
        status = self.process.wait()
        self.errors.seek(0)
        tail = "\n".join(self.errors.read().decode(errors="replace").strip().splitlines()[-6:])
        raise RuntimeError(f"the BFCL checker failed on {request['command']!r} (status {status}):\n{tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.communicate()
        finally:
            self.process.kill()
            self.errors.close()
