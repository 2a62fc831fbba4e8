"""Short notes that running assets leave for whoever watches the run, one JSON object a line.

They go to the file named by ``HEPHAESTUS_EVENTS`` when it is set (the terminal view sets it), and nowhere otherwise.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

VARIABLE = "HEPHAESTUS_EVENTS"


def emit(event: str, asset: str, **details: Any) -> None:
    """Append one event; a single write, so lines of several processes never mix."""
    target = os.environ.get(VARIABLE)
    if target:
        line = json.dumps({"event": event, "asset": asset, "time": time.time(), **details}) + "\n"
        with Path(target).open("ab", buffering=0) as file:
            file.write(line.encode())
