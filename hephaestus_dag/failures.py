"""What people read when a run fails: what failed, of what, where its log is, and what to do; and where it is sent."""

import json
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path

VARIABLE = "HEPHAESTUS_ALERT_URL"
"""Environment variable with a web address that takes ``{"text": ...}``, as the hooks of chat services do."""

NEXT = "what is finished is kept: remove the cause, then run the job again, or re-execute the run from its failure in the UI"


def failure_message(what: str, why: str, run_id: str, storage: str) -> str:
    """Return what failed with the first line of why, the place of its log, and what to do next, a line each.

    ``storage`` is the folder in which Dagster keeps a folder with the output of each run's steps.
    """
    reason = next(iter(why.strip().splitlines()), "no reason was given")
    folder = Path(storage) / run_id
    place = f"run {run_id} in the UI" + (f"; output of its steps in {folder}" if folder.is_dir() else "")
    return f"{what} failed: {reason}\nlog: {place}\nnext: {NEXT}"


def send(text: str) -> None:
    """Post a text to the address that the environment names, if it does. Raises OSError when that fails."""
    if address := os.environ.get(VARIABLE):
        body = json.dumps({"text": text}).encode()
        try:
            request = urllib.request.Request(address, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=10):
                pass
        except (ValueError, HTTPException) as error:
            raise OSError(f"{VARIABLE} is no web address that takes a message, such as https://host/hook: {error}") from error
