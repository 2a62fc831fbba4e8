"""Single-turn items: their official prompts, and the official verdicts on replies. Runs inside ``driver``.

Verdicts are those of the official ``eval_runner`` (bfcl-eval 2026.3.23: ``_evaluate_single_ast_entry``,
``_evaluate_single_relevance_entry``), whose loop does not import without pandas and every vendor's SDK; in addition, a reply
that has to be stopped, or on which the checker itself fails, is wrong.
"""

import ast
import types
from collections.abc import Callable
from typing import Any

from hephaestus_dag.evaluation import sandbox

MAX_REPLY_CHARACTERS = 50_000


def language_of(category: str) -> str:
    """Return the language whose types and literals a category uses."""
    return {"simple_java": "java", "simple_javascript": "javascript"}.get(category, "python")


def is_relevance(category: str) -> bool:
    """Whether only the presence or absence of a call is judged."""
    return category.endswith("relevance")


def load_items(official: types.SimpleNamespace, category: str) -> list[dict[str, Any]]:
    """Return the items of a category with their official prompts."""
    load = official.utils.load_dataset_entry
    entries = load(category, include_prereq=False, include_language_specific_hint=False)
    prompted = load(category, include_prereq=False, include_language_specific_hint=True)
    # Some answers carry other ids than their entries; both files have the same order (as in the official runner).
    truths = (
        [None] * len(entries)
        if is_relevance(category)
        else [truth["ground_truth"] for truth in official.utils.load_ground_truth_entry(category)]
    )
    items = []
    for entry, hinted, truth in zip(entries, prompted, truths, strict=True):
        (question,) = entry["question"]
        messages = official.add_system_prompt([dict(message) for message in question], hinted["function"], entry["id"])
        items.append(
            {
                "id": entry["id"],
                "category": category,
                "language": language_of(category),
                "messages": messages,
                "question": question,
                "functions": entry["function"],
                "ground_truth": truth,
            }
        )
    return items


def decode(decoder: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Return what an official decoder makes of a text, or why it finds no call. Runs in the sandbox.

    Raises MemoryError when the text ran code that wants too much; the parser's own limit on nesting is no reason to stop.
    """
    before = sandbox.num_executions()
    try:
        return decoder(*arguments), ""
    except Exception as error:  # whatever the decoder makes of a model's text, it is the item that fails
        if isinstance(error, MemoryError) and sandbox.num_executions() > before:
            raise
        return None, f"no call: {type(error).__name__}: {error}"[:500]


def decode_reply(official: types.SimpleNamespace, reply: dict[str, Any]) -> dict[str, Any]:
    """Return the calls in a reply as a Python literal, or why there are none. Runs in the sandbox."""
    # The official runner decodes relevance replies as Python whatever the category.
    style = official.ReturnFormat(language_of(reply["category"]))
    calls, undecodable = decode(official.decode, reply["reply"], style, False)
    if undecodable:
        return {"undecodable": undecodable}
    return {
        "calls": repr(calls),
        "well_formed": official.utils.is_function_calling_format_output(calls),
        "empty": official.utils.is_empty_output(calls),
    }


def check_calls(official: types.SimpleNamespace, task: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """Return the official verdict on decoded calls. Runs in the sandbox, because its patterns can be slow on odd text."""
    item, literal = task
    try:
        calls = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return {"valid": False, "reason": "decoded to a value that is no literal"}
    language = official.Language(item["language"])
    try:
        verdict = official.check(item["functions"], calls, item["ground_truth"], language, item["category"], "any")
    except Exception as error:  # a checker that trips over a reply fails that item, not the run
        return {"valid": False, "reason": f"the official checker failed: {type(error).__name__}: {error}"[:500]}
    if verdict["valid"]:
        return {"valid": True, "reason": ""}
    return {"valid": False, "reason": f"{verdict.get('error_type', 'wrong')}: {verdict['error']}"[:500]}


def judge_relevance(category: str, decoded: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict where only the presence or absence of a call counts."""
    called = not decoded.get("empty", True)
    if category.endswith("irrelevance"):
        return {"valid": not called, "reason": "called a function that does not fit" if called else ""}
    return {"valid": called, "reason": "" if called else "called no function"}


def score(official: types.SimpleNamespace, replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a verdict for each reply, in order; one that brings its own item is held against that.

    Raises ValueError when a reply names no known item.
    """
    texts = [{**reply, "reply": reply["reply"][: MAX_REPLY_CHARACTERS + 1]} for reply in replies]
    outcomes = list(sandbox.run_isolated(lambda reply: decode_reply(official, reply), texts))

    # No answer is in memory while replies are decoded.
    asked = {reply["category"] for reply in replies if "item" not in reply}
    items = {category: {item["id"]: item for item in load_items(official, category)} for category in asked}
    for reply in replies:
        if "item" in reply:
            items.setdefault(reply["category"], {})[reply["id"]] = reply["item"]
    verdicts: list[dict[str, Any] | None] = [None] * len(replies)
    to_check: list[int] = []
    for index, (reply, outcome) in enumerate(zip(texts, outcomes, strict=True)):
        category, decoded = reply["category"], outcome.value or {}
        if reply["id"] not in items[category]:
            raise ValueError(f"{reply['id']} is no item of {category}: take items from the items command")
        if outcome.stopped:
            verdicts[index] = {"valid": False, "reason": f"stopped: {outcome.stopped}"}
        elif len(reply["reply"]) > MAX_REPLY_CHARACTERS:
            verdicts[index] = {"valid": False, "reason": f"longer than {MAX_REPLY_CHARACTERS:,} characters"}
        elif is_relevance(category):
            verdicts[index] = judge_relevance(category, decoded)
        elif "undecodable" in decoded:
            verdicts[index] = {"valid": False, "reason": decoded["undecodable"]}
        elif not decoded["well_formed"]:
            verdicts[index] = {"valid": False, "reason": "not a list of calls"}
        else:
            to_check.append(index)
    tasks = [(items[texts[i]["category"]][texts[i]["id"]], outcomes[i].value["calls"]) for i in to_check]
    for index, checked in zip(to_check, sandbox.run_isolated(lambda task: check_calls(official, task), tasks), strict=True):
        verdicts[index] = checked.value or {"valid": False, "reason": f"stopped: {checked.stopped}"}
    return [
        {"id": reply["id"], **(verdict or {}), "decoded": (outcome.value or {}).get("calls", "")[:2_000]}
        for reply, verdict, outcome in zip(texts, verdicts, outcomes, strict=True)
    ]
