"""The official BFCL checker behind a JSON-lines protocol, run by the Python of its own environment (``environment``).

The first line of standard input is the request, one JSON object; the last line of standard output is
``{"done": <number of lines before it>, "protections": [...]}``.

``{"command": "items", "categories": [...]}``
    one line per item: id, category, language, messages (the official prompt), question, functions, ground_truth or null
``{"command": "multi_turn"}``
    one line per multi-turn item (id, category, question, functions: [], calls) and one per file of function documentation
    (category ``functions``): what training data must not hold, though it is not evaluated
``{"command": "score"}`` followed by lines ``{"id", "category", "reply"}``
    one line per reply, in order: id, valid, reason, decoded

Decoding a reply reaches ``eval`` in the official code, so it happens in ``sandbox``, before any answer is in memory.
Verdicts are those of the official ``eval_runner`` (bfcl-eval 2026.3.23: ``_evaluate_single_ast_entry``,
``_evaluate_single_relevance_entry``), whose loop does not import without every vendor's SDK; in addition, a reply that has
to be stopped, or on which the checker itself fails, is wrong.
"""

import ast
import importlib.util
import json
import os
import sys
import tempfile
import types
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

MAX_REPLY_CHARACTERS = 50_000
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")


class AnyModel(dict):
    """Stands in for the table of models, which would import every vendor's SDK, for the one flag that the checker reads."""

    def __missing__(self, name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(underscore_to_dot=False, is_fc_model=False)


def load_official() -> types.SimpleNamespace:
    """Import the parts of bfcl-eval that are needed; BFCL_PROJECT_ROOT must be set, where the import makes folders."""
    stub = types.ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = AnyModel()  # type: ignore[attr-defined]
    sys.modules[stub.__name__] = stub
    enums = import_module("bfcl_eval.constants.enums")
    handler = import_module("bfcl_eval.model_handler.utils")
    return types.SimpleNamespace(
        utils=import_module("bfcl_eval.utils"),
        Language=enums.Language,
        ReturnFormat=enums.ReturnFormat,
        check=import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker,
        function_docs=import_module("bfcl_eval.constants.eval_config").MULTI_TURN_FUNC_DOC_PATH,
        decode=handler.default_decode_ast_prompting,
        add_system_prompt=handler.system_prompt_pre_processing_chat_model,
    )


def load_sandbox() -> types.ModuleType:
    """Import a module of the folder above without putting that folder on the search path: its names would shadow others."""
    spec = importlib.util.spec_from_file_location("sandbox", Path(__file__).parents[1] / "sandbox.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["sandbox"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def load_multi_turn(official: types.SimpleNamespace) -> list[dict[str, Any]]:
    """Return the user's words and the answer's calls of every multi-turn item, and the functions of every simulated API."""
    lines = []
    for category in MULTI_TURN:
        entries = official.utils.load_dataset_entry(category, include_prereq=False, include_language_specific_hint=False)
        truths = official.utils.load_ground_truth_entry(category)
        for entry, truth in zip(entries, truths, strict=True):
            question = [message for turn in entry["question"] for message in turn]
            calls = [call for turn in truth["ground_truth"] for call in turn]
            lines.append({"id": entry["id"], "category": category, "question": question, "functions": [], "calls": calls})
    for path in sorted(official.function_docs.glob("*.json")):
        functions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines.append({"id": path.stem, "category": "functions", "question": [], "functions": functions, "calls": []})
    return lines


def decode_reply(official: types.SimpleNamespace, reply: dict[str, Any]) -> dict[str, Any]:
    """Return the calls in a reply as a Python literal, or why the official decoder finds none. Runs in the sandbox."""
    # The official runner decodes relevance replies as Python whatever the category.
    style = official.ReturnFormat(language_of(reply["category"]))
    try:
        calls = official.decode(reply["reply"], style, False)
    except MemoryError as error:
        if sys.modules["sandbox"].code_was_executed():
            raise
        return {"undecodable": f"{type(error).__name__}: {error}"[:500]}  # the parser's own limit on nesting
    except Exception as error:  # whatever the decoder makes of a model's text, it is the item that fails
        return {"undecodable": f"{type(error).__name__}: {error}"[:500]}
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


def score(official: types.SimpleNamespace, replies: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a verdict for each reply, in order, and the protections that were in force.

    Raises ValueError when a reply names no known item.
    """
    sandbox = load_sandbox()
    # Whatever loads lazily has to load before the children lock down; the identifier makes the parser load unicodedata.
    for language in ("python", "java", "javascript"):
        official.decode("[A.f(año=1, b=2)]", official.ReturnFormat(language), False)
    warnings.simplefilter("ignore")  # showing a warning about the text would read files
    texts = [{**reply, "reply": reply["reply"][: MAX_REPLY_CHARACTERS + 1]} for reply in replies]
    outcomes = list(sandbox.run_isolated(lambda reply: decode_reply(official, reply), texts))

    items = {category: {} for category in {reply["category"] for reply in replies}}
    for category in items:
        items[category] = {item["id"]: item for item in load_items(official, category)}
    verdicts: list[dict[str, Any] | None] = [None] * len(replies)
    to_check: list[int] = []
    for index, (reply, outcome) in enumerate(zip(texts, outcomes, strict=True)):
        category, decoded = reply["category"], outcome.value or {}
        if reply["id"] not in items[category]:
            raise ValueError(f"{reply['id']} is no item of {category}: take items from the items command")
        if outcome.stopped:
            verdicts[index] = {"valid": False, "reason": f"stopped: {outcome.stopped}"}
        elif len(reply["reply"]) > MAX_REPLY_CHARACTERS:
            verdicts[index] = {"valid": False, "reason": f"longer than {MAX_REPLY_CHARACTERS} characters"}
        elif is_relevance(category):
            verdicts[index] = judge_relevance(category, decoded)
        elif "undecodable" in decoded:
            verdicts[index] = {"valid": False, "reason": f"no call: {decoded['undecodable']}"}
        elif not decoded["well_formed"]:
            verdicts[index] = {"valid": False, "reason": "not a list of calls"}
        else:
            to_check.append(index)
    tasks = [(items[texts[i]["category"]][texts[i]["id"]], outcomes[i].value["calls"]) for i in to_check]
    for index, checked in zip(to_check, sandbox.run_isolated(lambda task: check_calls(official, task), tasks), strict=True):
        verdicts[index] = checked.value or {"valid": False, "reason": f"stopped: {checked.stopped}"}
    lines = [
        {"id": reply["id"], **(verdict or {}), "decoded": (outcome.value or {}).get("calls", "")[:2_000]}
        for reply, verdict, outcome in zip(texts, verdicts, outcomes, strict=True)
    ]
    return lines, sandbox.protections_in_force()


def main() -> None:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints must not mix with the answers
    request = json.loads(sys.stdin.readline())
    protections: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bfcl-") as folder:
        os.environ["BFCL_PROJECT_ROOT"] = folder
        official = load_official()
        if request["command"] == "items":
            lines = [item for category in request["categories"] for item in load_items(official, category)]
        elif request["command"] == "multi_turn":
            lines = load_multi_turn(official)
        elif request["command"] == "score":
            lines, protections = score(official, [json.loads(line) for line in sys.stdin])
        else:
            raise ValueError(f"unknown command {request['command']!r}: use items, multi_turn or score")
    for line in [*lines, {"done": len(lines), "protections": protections}]:
        print(json.dumps(line), file=answers)
    answers.flush()


if __name__ == "__main__":
    main()
