"""Re-run retrieval with nothing new and with one new web shard, and show what that takes beside the first run.

    .venv/bin/python benchmarks/weekly_retrieval.py --scratch /some/empty/folder

The web corpus is a folder of JSON lines made from the documentation of installed packages, the seed corpus a small one; the
job is `retrieval`, as the schedule and the sensor run it. Prints for each run the seconds of wall time, and what was read,
encoded and annotated against what was taken over from the run before.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from hephaestus_dag import events
from hephaestus_dag.documents import Document
from hephaestus_dag.sources import list_items, read_items
from hephaestus_dag.sources.config import SourceConfig

PACKAGES = ("click", "dagster", "jinja2", "matplotlib", "networkx", "numpy", "pydantic", "scipy", "sqlalchemy", "sympy")
SERVICES = ["botocore/data/[!sd]*", "botocore/data/s[!nq3]*", "botocore/data/d[!y]*"]
"""All but the services of AWS whose names begin with s3, sn, sq and dy."""
FIGURES = {
    "shards read": ("web_corpus", "shards read"),
    "shards taken over": ("web_corpus", "shards taken over"),
    "pages": ("web_index", "documents"),
    "pages encoded": ("web_index", "encoded"),
    "pages taken over": ("web_index", "copied"),
    "answers asked": ("quality_annotations", "asked"),
    "answers taken over": ("quality_annotations", "taken_over"),
}
"""Column -> asset, and the figure that it reports."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="empty folder for the recipe, the pages and the store")
    parser.add_argument("--pages", type=int, default=1_500, help="pages of the web corpus")
    parser.add_argument("--shards", type=int, default=10, help="files that they lie in; the last one comes later")
    options = parser.parse_args()
    web = options.scratch.absolute() / "web"
    web.mkdir(parents=True)
    texts = documentation(options.pages)
    for number in range(options.shards - 1):
        write_shard(web, number, texts[number :: options.shards])
    recipe = options.scratch / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe(web)))
    run(options.scratch, "seed_corpus")
    rows = {"first run": run(options.scratch, "retrieval"), "nothing new": run(options.scratch, "retrieval")}
    write_shard(web, options.shards - 1, texts[options.shards - 1 :: options.shards])
    rows["one new shard"] = run(options.scratch, "retrieval")
    print(f"| run | {' | '.join(rows['first run'])} |\n|---{'|---:' * len(rows['first run'])}|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(map(str, row.values()))} |")
    return 0


def documentation(count: int) -> list[str]:
    """Return docstrings of installed packages, as many of each package."""
    texts: list[str] = []
    for package in PACKAGES:
        source = SourceConfig(name=package, kind="python_modules", location=f"package:{package}", domain="agent")
        found: list[str] = []
        for item in list_items(source):
            found += [each.text for each in read_items(source, [item]) if isinstance(each, Document)]
            if len(found) >= count // len(PACKAGES):
                break
        texts += found[: count // len(PACKAGES)]
    return texts


def write_shard(folder: Path, number: int, texts: list[str]) -> None:
    (folder / f"shard-{number:03d}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def small_recipe(web: Path) -> dict[str, Any]:
    aws = {"location": "package:botocore", "domain": "agent", "license": "Apache-2.0", "exclude": SERVICES}
    return {
        "extends": "laptop",
        "name": "weekly",
        "seed_corpus": {
            "tool_documentation": [{"name": "aws", "kind": "botocore", **aws}],
            "function_calling_trajectories": [{"name": "aws_calls", "kind": "botocore_examples", **aws}],
            "synthetic_calls": {"count": 200, "operations": 200, "seed": 0},
            "code_documents": [{"name": "code", "kind": "python_code", "location": "package:requests", "domain": "code"}],
            "text_documents": [{"name": "manual", "kind": "python_topics", "location": "stdlib", "domain": "text"}],
        },
        "web_retrieval": {
            "web_corpus": [{"name": "web", "kind": "records", "location": str(web), "domain": "agent", "license": "unknown"}]
        },
    }


def run(scratch: Path, job: str) -> dict[str, str | float | int]:
    """Run a job of the scratch recipe and return its figures."""
    home = scratch.absolute() / "dagster"
    home.mkdir(exist_ok=True)
    notes = scratch.absolute() / "events.jsonl"
    notes.write_text("")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "HEPHAESTUS_RECIPE": str(scratch.absolute() / "recipe.yaml"),
        "HEPHAESTUS_STORE": str(scratch.absolute() / "store"),
        events.VARIABLE: str(notes),
    }
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "hephaestus_dag.definitions", "-j", job]
    started = time.monotonic()
    with (scratch / "log").open("ab") as log:
        status = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    seconds = time.monotonic() - started
    if status:
        sys.exit(f"{job} ended with {status}; see {scratch / 'log'}")
    ended = {event["asset"]: event for event in map(json.loads, notes.read_text().splitlines()) if event["event"] == "end"}
    print(f"{job}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return {
        "seconds": round(seconds, 1),
        **{name: figure(ended.get(asset), title) for name, (asset, title) in FIGURES.items()},
        "artifacts built": sum(not event["reused"] for event in ended.values()),
        "artifacts reused": sum(event["reused"] for event in ended.values()),
    }


def figure(event: dict[str, Any] | None, title: str) -> int | str:
    """Return what an asset reported when it was built in this run; a dash when it was not touched."""
    if event is None or event["reused"]:
        return "-"
    manifest = json.loads((Path(event["path"]) / "manifest.json").read_text().rpartition("\n")[0])
    return manifest["report"]["figures"][title]


if __name__ == "__main__":
    sys.exit(main())
