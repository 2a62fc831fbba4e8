"""Kill the whole job at random moments, start it again each time, and compare what it made with an undisturbed run.

    make demo
    .venv/bin/python benchmarks/kill_job.py --reference store --scratch /some/empty/folder --kills 5
    .venv/bin/python benchmarks/kill_job.py --reference store --scratch /another --store s3://bucket/empty --job seed_corpus

Prints every kill and what was finished by then, and at the end each asset's fingerprint and content against the reference:
`content` is one hash over all files of the artifact, so equality means equal bytes. Exits with 1 when one differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from hephaestus_dag.store_location import mirror, store_folder

COMMAND = [sys.executable, "-m", "dagster", "job", "execute", "-m", "hephaestus_dag.definitions", "-j"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="store of an undisturbed run of the same recipe")
    parser.add_argument("--scratch", type=Path, required=True, help="empty folder for the disturbed run")
    parser.add_argument("--store", help="store of the disturbed run, such as s3://bucket/prefix [in the scratch folder]")
    parser.add_argument("--job", default="hephaestus", help="job to run")
    parser.add_argument("--kills", type=int, default=5, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--longest", type=float, default=150, help="most seconds between a start and a kill")
    options = parser.parse_args()
    scratch = options.scratch.absolute()
    (scratch / "dagster").mkdir(parents=True)
    os.environ["HEPHAESTUS_STORE"] = options.store or str(scratch / "store")
    os.environ["HEPHAESTUS_CACHE"], os.environ["DAGSTER_HOME"] = str(scratch / "cache"), str(scratch / "dagster")
    store, command = store_folder(), [*COMMAND, options.job]
    moments = random.Random(options.seed)
    with (options.scratch / "log").open("wb") as log:
        for number in range(1, options.kills + 1):
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            wait = moments.uniform(10, options.longest)
            try:
                print(f"the job ended with {process.wait(timeout=wait)} before kill {number} at {wait:.1f} s")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                print(f"kill {number}: SIGKILL after {wait:.1f} s, {len(contents(store))} artifacts finished", flush=True)
        started = time.monotonic()
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    print(f"the last start ended with {status} after {time.monotonic() - started:.0f} s")
    reference, found = contents(options.reference), contents(store)
    different = [key for key in found if reference.get(key) != found[key]]
    for key in sorted(found):
        print(f"{'DIFFERENT' if key in different else 'same     '} {key[0]} {key[1]} {found[key]}")
    missing = {key for key, _ in reference} - {key for key, _ in found} if options.job == "hephaestus" else set()
    print(f"missing: {', '.join(sorted(missing)) or 'none'}")
    print(f"{len(found) - len(different)} of {len(found)} artifacts have the reference's fingerprint and bytes")
    return 1 if status or different or missing else 0


def contents(store: Path) -> dict[tuple[str, str], str]:
    """Return the content of every artifact by asset key and fingerprint, twelve digits of each hash."""
    mirror(store)
    found = {}
    for path in store.rglob("manifest.json"):
        manifest = json.loads(path.read_text().rpartition("\n")[0])
        if not any(part.startswith(".") for part in path.relative_to(store).parts):
            found[manifest["identity"]["key"], manifest["fingerprint"][:12]] = manifest["content"][:12]
    return found


if __name__ == "__main__":
    sys.exit(main())
