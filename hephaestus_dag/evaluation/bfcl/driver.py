"""The official BFCL package behind a JSON-lines protocol, run by the Python of its own environment (``checker``).

A request is one JSON object on standard input, whose ``lines`` says how many lines follow it; an answer is some lines on
standard output and a last one, ``{"done": <number of lines before it>, "protections": [...]}``.

``{"command": "items", "categories": [...]}``
    one line per single-turn item: id, category, language, messages (the official prompt), question, functions, ground_truth
    or null
``{"command": "multi_turn"}``
    one line per multi-turn item: id, category, question, functions: [], offered (name and
    parameters' names of each function that it offers), calls (of each turn), and prompt: the messages that
    each turn starts with, the first with the official system prompt; and one per file of function documentation (category
    ``functions``), which training data must not hold either
``{"command": "score"}`` with lines ``{"id", "category", "reply"}``, or for multi-turn ``{"id", "category", "turns"}``
    one line per item, in order: id, valid, reason, decoded. A reply to no item of BFCL brings its own in ``item``
    (language, functions, ground_truth), with a category that tells the kind, such as ``own_parallel``. ``turns`` holds the
    replies of each turn; ``calls`` in its place holds the calls of each turn, which go to the checker as they are
``{"command": "execute"}`` with lines ``{"id", "category", "turns"}``
    one line per conversation: what its last reply did, as ``calls`` and their ``results``, or ``ended`` (the turn, with the
    reason: no call), or ``stopped`` (the conversation, with the reason)

Replies reach ``eval`` in the official code, both where they are decoded and where calls are executed, so that both happen in
``sandbox``.
"""

import json
import os
import sys
import tempfile
import types
import warnings
from importlib import import_module
from typing import Any

from hephaestus_dag.evaluation import sandbox
from hephaestus_dag.evaluation.bfcl import judge, simulate


class AnyModel(dict):
    """Stands in for the table of models, which would import every vendor's SDK, for the one flag that the checker reads."""

    def __missing__(self, name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(underscore_to_dot=False, is_fc_model=False)


def load_official() -> types.SimpleNamespace:
    """Import the parts of bfcl-eval that are needed; BFCL_PROJECT_ROOT must be set, where the import makes folders.

    Whatever loads lazily is loaded, because a sandboxed child can load nothing.
    """
    stub = types.ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = AnyModel()  # type: ignore[attr-defined]
    sys.modules[stub.__name__] = stub
    paths = import_module("bfcl_eval.constants.eval_config")
    enums = import_module("bfcl_eval.constants.enums")
    handler = import_module("bfcl_eval.model_handler.utils")
    backend = import_module("bfcl_eval.constants.executable_backend_config")
    multi_turn = import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils")
    for name in simulate.SIMULATORS:
        import_module(backend.CLASS_FILE_PATH_MAPPING[name])
    import_module("_strptime")
    official = types.SimpleNamespace(
        utils=import_module("bfcl_eval.utils"),
        Language=enums.Language,
        ReturnFormat=enums.ReturnFormat,
        check=import_module("bfcl_eval.eval_checker.ast_eval.ast_checker").ast_checker,
        check_multi_turn=import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker").multi_turn_checker,
        data=paths.PROMPT_PATH,
        version=paths.VERSION_PREFIX,
        function_docs=paths.MULTI_TURN_FUNC_DOC_PATH,
        more_functions=handler.DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING,
        decode=handler.default_decode_ast_prompting,
        decode_execute=handler.default_decode_execute_prompting,
        add_system_prompt=handler.system_prompt_pre_processing_chat_model,
        execute=multi_turn.execute_multi_turn_func_call,
        is_empty_execute=multi_turn.is_empty_execute_response,
    )
    for language in ("python", "java", "javascript"):
        official.decode("[A.f(año=1, b=2)]", official.ReturnFormat(language), False)  # "ñ" makes the parser load unicodedata
    warnings.simplefilter("ignore")  # showing a warning about the text would read files
    return official


def answer(official: types.SimpleNamespace, request: dict[str, Any], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that answer a request."""
    if request["command"] == "items":
        return [item for category in request["categories"] for item in judge.load_items(official, category)]
    if request["command"] == "multi_turn":
        return simulate.load_conversations(official)
    if request["command"] == "execute":
        return simulate.execute(official, lines)
    if request["command"] != "score":
        raise ValueError(f"unknown command {request['command']!r}: use items, multi_turn, score or execute")
    held = [simulate.is_multi_turn(line["category"]) for line in lines]
    # Conversations first: each forks this process, which gets dearer with all that single-turn items bring into memory.
    multi_turn = iter(simulate.score(official, [line for line, multi in zip(lines, held, strict=True) if multi]))
    single = iter(judge.score(official, [line for line, multi in zip(lines, held, strict=True) if not multi]))
    return [next(multi_turn if multi else single) for multi in held]


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the package prints must not mix with the answers
    sandbox.leave_network()
    with tempfile.TemporaryDirectory(prefix="bfcl-") as folder:
        os.environ["BFCL_PROJECT_ROOT"] = folder
        official = load_official()
        while header := sys.stdin.readline():
            request = json.loads(header)
            found = answer(official, request, [json.loads(sys.stdin.readline()) for _ in range(request["lines"])])
            protections = sandbox.protections_in_force() if request["command"] == "score" else []
            for line in [*found, {"done": len(found), "protections": protections}]:
                answers.write(json.dumps(line) + "\n")
            answers.flush()
