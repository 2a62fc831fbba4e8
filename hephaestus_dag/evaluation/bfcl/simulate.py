"""Multi-turn items: their official prompts, the simulated APIs, and the official verdicts. Runs inside ``driver``.

A conversation is a function of its replies: to see what the last reply did, all of them are replayed from the start in a
child of their own, because the package keeps its simulators in global variables. They are deterministic (their random
numbers are seeded by the item), but for today's date in one check of a traveller's age.

Verdicts are those of the official ``eval_runner`` (bfcl-eval 2026.3.23: ``_evaluate_single_multi_turn_entry``). There, a
conversation that was cut off fails because it has too few turns, so that one cut off in its last turn is still judged.
"""

import json
import types
from typing import Any

from hephaestus_dag.evaluation import sandbox
from hephaestus_dag.evaluation.bfcl.judge import MAX_REPLY_CHARACTERS, decode

MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
SIMULATORS = (
    *("GorillaFileSystem", "MathAPI", "MessageAPI", "TwitterAPI"),
    *("TicketAPI", "TradingBot", "TravelAPI", "VehicleControlAPI"),
)
MAX_RESULT_CHARACTERS = 200_000


def is_multi_turn(category: str) -> bool:
    """Whether items are conversations."""
    return category in MULTI_TURN


def load_conversations(official: types.SimpleNamespace) -> list[dict[str, Any]]:
    """Return every multi-turn item with its prompts, the functions that it offers (those held back too) and the answer's calls,
    and the functions of every simulated API.
    """
    lines = []
    for category in MULTI_TURN:
        entries = official.utils.load_dataset_entry(category, include_prereq=False, include_language_specific_hint=True)
        truths = official.utils.load_ground_truth_entry(category)
        for entry, truth in zip(entries, truths, strict=True):
            question = [dict(message) for turn in entry["question"] for message in turn]
            turns = [
                [{"role": "user", "content": official.more_functions.format(functions=entry["missed_function"][str(index)])}]
                if str(index) in entry.get("missed_function", {})
                else turn
                for index, turn in enumerate(entry["question"])
            ]
            offered = [*entry["function"], *(each for held in entry.get("missed_function", {}).values() for each in held)]
            turns[0] = official.add_system_prompt(turns[0], entry["function"], entry["id"])
            lines.append(
                {
                    "id": entry["id"],
                    "category": category,
                    "question": question,
                    "functions": [],
                    "offered": [[each["name"], list(each["parameters"].get("properties", {}))] for each in offered],
                    "calls": truth["ground_truth"],
                    "prompt": turns,
                }
            )
    for path in sorted(official.function_docs.glob("*.json")):
        functions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines.append(
            {
                "id": path.stem,
                "category": "functions",
                "question": [],
                "functions": functions,
                "offered": [],
                "calls": [],
                "prompt": [],
            }
        )
    return lines


def execute(official: types.SimpleNamespace, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the last reply of each conversation did."""
    tasks = with_entries(official, lines)
    outcomes = sandbox.run_isolated(lambda task: replay(official, *task), tasks, share=False)
    return [outcome.value or {"stopped": f"stopped: {outcome.stopped}"} for outcome in outcomes]


def replay(official: types.SimpleNamespace, entry: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    """Run all replies of a conversation and return what the last one did. Runs in the sandbox."""
    last: dict[str, Any] = {}
    for reply in (reply for turn in line["turns"] for reply in turn):
        calls, ended = calls_in(official, reply)
        if not calls:
            last = {"ended": ended}
            continue
        long_context = "long_context" in line["category"]
        setting = (entry["initial_config"], entry["involved_classes"], "model", entry["id"], long_context)
        last = {"calls": calls, "results": official.execute(calls, *setting)[0]}
        if sum(map(len, last["results"])) > MAX_RESULT_CHARACTERS:
            raise OverflowError(f"results longer than {MAX_RESULT_CHARACTERS:,} characters")
    return last


def calls_in(official: types.SimpleNamespace, reply: str) -> tuple[list[str], str]:
    """Return the calls in a reply, or why there are none, as the official decoder sees it. Runs in the sandbox.

    Raises OverflowError for a reply, or calls that it computes, beyond all reason.
    """
    if len(reply) > MAX_REPLY_CHARACTERS:
        raise OverflowError(f"reply longer than {MAX_REPLY_CHARACTERS:,} characters")
    calls, undecodable = decode(official.decode_execute, reply)
    if undecodable or official.is_empty_execute(calls):
        return [], undecodable or "no call"
    if sum(map(len, calls)) > MAX_RESULT_CHARACTERS:
        raise OverflowError(f"calls longer than {MAX_RESULT_CHARACTERS:,} characters")
    return calls, ""


def score(official: types.SimpleNamespace, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a verdict for each conversation, in order."""
    truths = {
        c: {e["id"]: e["ground_truth"] for e in official.utils.load_ground_truth_entry(c)}
        for c in {line["category"] for line in lines}
    }
    tasks = [(*task, truths[task[1]["category"]][task[1]["id"]]) for task in with_entries(official, lines)]
    outcomes = sandbox.run_isolated(lambda task: check(official, *task), tasks, share=False)
    stopped = {"valid": False, "decoded": ""}
    return [
        {"id": line["id"], **(outcome.value or {**stopped, "reason": f"stopped: {outcome.stopped}"})}
        for line, outcome in zip(lines, outcomes, strict=True)
    ]


def check(
    official: types.SimpleNamespace, entry: dict[str, Any], line: dict[str, Any], truth: list[list[str]]
) -> dict[str, Any]:
    """Return the official verdict on a conversation. Runs in the sandbox."""
    if "calls" in line:
        turns = [[calls] if calls else [] for calls in line["calls"]]
    else:
        turns = [[calls for reply in turn if (calls := calls_in(official, reply)[0])] for turn in line["turns"]]
    decoded = repr(turns)[:2_000] if any(turns) else ""
    if len(turns) != len(truth):
        reason = f"multi_turn:force_terminated: {len(turns)} of {len(truth)} turns"
        return {"valid": False, "reason": reason, "decoded": decoded}
    try:
        verdict = official.check_multi_turn(turns, truth, entry, line["category"], "model")
    except Exception as error:  # a checker that trips over a conversation fails that item, not the run
        reason = f"the official checker failed: {type(error).__name__}: {error}"[:500]
        return {"valid": False, "reason": reason, "decoded": decoded}
    reason = "" if verdict["valid"] else f"{verdict['error_type']}: {verdict['error_message']}"[:500]
    return {"valid": verdict["valid"], "reason": reason, "decoded": decoded}


def with_entries(official: types.SimpleNamespace, lines: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the official entry of each conversation beside it.

    Raises ValueError when one is no known item.
    """
    entries = {c: entries_of(official, c) for c in {line["category"] for line in lines}}
    for line in lines:
        if line["id"] not in entries[line["category"]]:
            raise ValueError(f"{line['id']} is no item of {line['category']}: take items from the multi_turn command")
    return [(entries[line["category"]][line["id"]], line) for line in lines]


def entries_of(official: types.SimpleNamespace, category: str) -> dict[str, dict[str, Any]]:
    """Return the official entries of a category by id, without the functions, which only prompts need."""
    if category not in _entries:
        found = official.utils.load_file(official.data / f"{official.version}_{category}.json")
        _entries[category] = {entry["id"]: entry for entry in found}
    return _entries[category]


_entries: dict[str, dict[str, dict[str, Any]]] = {}
