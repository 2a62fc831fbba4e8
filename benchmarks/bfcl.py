"""BFCL beside its official runner: the same verdicts, what scoring costs, and what attacks in replies do.

    .venv/bin/python benchmarks/bfcl.py speed
    .venv/bin/python benchmarks/bfcl.py parity
    .venv/bin/python benchmarks/bfcl.py attacks

``speed`` scores all 4,441 items, with the answers as replies (for conversations: the answer's calls, one reply a turn), and
prints the processor seconds of the checker and its sandboxed children.

``parity`` compares our verdicts with those of the official ``eval_runner``, called directly in an environment that this
command builds in a scratch folder: ours and pandas. Of the official code only the table of models is replaced, which would
import every vendor's SDK: there, all models are the default prompting handler. The replies are recorded outputs of real
models (``tests/evaluation/recorded_bfcl.jsonl.zst``), and the answers of all items, as they are and with a number changed.
The recorded models are SmolLM2-135M-Instruct (greedy, at most 48 tokens, most replies begun with ``[``), the same *led*
(begun with the name of a function and ended at the first line; conversations with a shortened system prompt), and the
model that the laptop recipe trains. With ``--record`` the official verdicts are written beside the recorded outputs.

``attacks`` puts hostile replies to a single-turn item and to a conversation, and prints what became of each.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.config import SINGLE_TURN
from hephaestus_dag.evaluation.bfcl.environment import REQUIREMENTS, ensure_environment
from hephaestus_dag.evaluation.bfcl.reference import render_answer
from hephaestus_dag.evaluation.bfcl.score import ItemReply, score_replies

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests" / "evaluation" / "recorded_bfcl.jsonl.zst"
PANDAS = ("pandas==2.3.3", "python-dateutil==2.9.0.post0", "six==1.17.0", "pytz==2025.2", "tzdata==2025.2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "parity", "attacks"))
    parser.add_argument("--environment", type=Path, default=ROOT / "store" / ".cache" / "bfcl", help="checker's environment")
    parser.add_argument("--record", action="store_true", help="store the official verdicts beside the recorded outputs")
    options = parser.parse_args()
    python = ensure_environment(options.environment)
    if options.what == "parity":
        parity(python, options.record)
    else:
        {"speed": speed, "attacks": attacks}[options.what](python)


def speed(python: Path) -> None:
    answers = answers_as_replies(python)
    single = [each for each in answers if each.turns is None]
    multi_turn = [each for each in answers if each.turns is not None]
    print(f"{'items':28} {'n':>6} {'right':>6} {'CPU-s':>7} {'wall s':>7}")
    for name, replies in (("single-turn", single), ("multi-turn", multi_turn), ("all", single + multi_turn)):
        began, used = time.monotonic(), cpu_seconds()
        with Checker(python) as checker:
            verdicts = score_replies(checker, replies)[0]
        right = sum(verdict.valid for verdict in verdicts)
        print(f"{name:28} {len(replies):6,} {right:6,} {cpu_seconds() - used:7.1f} {time.monotonic() - began:7.1f}")


def answers_as_replies(python: Path) -> list[ItemReply]:
    """Return each item's answer as a reply: words where no call is right, one reply a turn in conversations."""
    with Checker(python) as checker:
        items = checker.ask({"command": "items", "categories": SINGLE_TURN})[0]
        conversations = [line for line in checker.ask({"command": "multi_turn"})[0] if line["category"] != "functions"]
    single = [
        ItemReply(
            item_id=item["id"],
            category=item["category"],
            text=render_answer(item["ground_truth"], item["functions"], item["language"]) if item["ground_truth"] else "No.",
        )
        for item in items
    ]
    return single + [
        ItemReply(item_id=line["id"], category=line["category"], turns=[[f"[{', '.join(calls)}]"] for calls in line["calls"]])
        for line in conversations
    ]


def cpu_seconds() -> float:
    """Return the processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parity(python: Path, record: bool) -> None:
    recorded = read_recorded()
    replies = [(each["model"], as_reply(each)) for each in recorded]
    for answer in answers_as_replies(python):
        replies += [("the answer", answer), ("the answer, one number changed", damaged(answer))]
    official = official_verdicts([reply for _, reply in replies])
    with Checker(python) as checker:
        ours = [verdict.valid for verdict in score_replies(checker, [reply for _, reply in replies])[0]]
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (model, reply), mine, theirs in zip(replies, ours, official, strict=True):
        table[model, reply.category].update({"n": 1, "ours": mine, "official": theirs, "same": mine == theirs})
        if mine != theirs:
            print("differs:", reply.item_id, model, "ours", mine, "official", theirs)
    print(f"{'model':34} {'category':26} {'n':>4} {'ours':>5} {'official':>8} {'same':>5}")
    for (model, category), found in sorted(table.items()):
        print(f"{model:34} {category:26} {found['n']:4} {found['ours']:5} {found['official']:8} {found['same']:5}")
    total = sum(table.values(), Counter())
    print(f"{'all':61} {total['n']:4} {total['ours']:5} {total['official']:8} {total['same']:5}")
    if record:
        write_recorded([{**each, "valid": theirs} for each, theirs in zip(recorded, official, strict=False)])


def read_recorded() -> list[dict[str, Any]]:
    with pa.input_stream(RECORDED, compression="zstd") as stream:
        return [json.loads(line) for line in stream.read().splitlines()]


def write_recorded(recorded: list[dict[str, Any]]) -> None:
    with pa.output_stream(RECORDED, compression="zstd") as stream:
        stream.write("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in recorded).encode())


def as_reply(each: dict[str, Any]) -> ItemReply:
    return ItemReply(item_id=each["id"], category=each["category"], text=each.get("reply", ""), turns=each.get("turns"))


def damaged(reply: ItemReply) -> ItemReply:
    """Return a reply whose first number has another last digit; of a conversation, every reply."""
    turns = reply.turns and [[another_number(text) for text in turn] for turn in reply.turns]
    return replace(reply, text=another_number(reply.text), turns=turns)


def another_number(text: str) -> str:
    return re.sub(r"\d\b", lambda digit: str(9 - int(digit[0])), text, count=1)


def official_verdicts(replies: list[ItemReply]) -> list[bool]:
    """Return the verdicts of the official runner, from the score files that it writes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "environment" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*install, "-r", REQUIREMENTS, *PANDAS], check=True)
        # A model may have answered an item more than once; the runner knows one answer a model and item.
        rounds: list[dict[str, int]] = []
        for index, each in enumerate(replies):
            place = next((r for r in rounds if each.item_id not in r), None)
            if place is None:
                rounds.append(place := {})
            place[each.item_id] = index
        verdicts = [False] * len(replies)
        for number, chosen in enumerate(rounds):
            project = folder / f"round{number}"
            by_category: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for index in chosen.values():
                each = replies[index]
                result = each.text if each.turns is None else each.turns
                by_category[each.category].append({"id": each.item_id, "result": result})
            results = project / "result" / "any"
            results.mkdir(parents=True)
            for category, lines in by_category.items():
                text = "".join(json.dumps(line) + "\n" for line in lines)
                (results / f"BFCL_v4_{category}_result.json").write_text(text)
            environment = {**os.environ, "BFCL_PROJECT_ROOT": str(project), "TZ": "UTC0"}
            subprocess.run([python, "-P", "-c", RUN_OFFICIAL], check=True, env=environment, stdout=subprocess.DEVNULL)
            wrong = set()
            for path in (project / "score").rglob("*_score.json"):
                header, *failures = [json.loads(line) for line in path.read_text().splitlines()]
                assert header["total_count"] - header["correct_count"] == len(failures)
                wrong |= {failure["id"] for failure in failures}
            for item_id, index in chosen.items():
                verdicts[index] = item_id not in wrong
        return verdicts


RUN_OFFICIAL = """
import sys, types
from bfcl_eval.constants.eval_config import RESULT_PATH, SCORE_PATH
table = types.ModuleType("bfcl_eval.constants.model_config")
sys.modules[table.__name__] = table
table.MODEL_CONFIG_MAPPING = {}
from bfcl_eval.model_handler.base_handler import BaseHandler
from bfcl_eval.model_handler.utils import default_decode_ast_prompting, default_decode_execute_prompting

class Handler(BaseHandler):
    def decode_ast(self, result, language, has_tool_call_tag):
        return default_decode_ast_prompting(result, language, has_tool_call_tag)
    def decode_execute(self, result, has_tool_call_tag):
        return default_decode_execute_prompting(result, has_tool_call_tag)

table.MODEL_CONFIG_MAPPING["any"] = types.SimpleNamespace(
    model_name="any", display_name="any", url="", org="", license="", model_handler=Handler, input_price=None,
    output_price=None, is_fc_model=False, underscore_to_dot=False)
from bfcl_eval.eval_checker import eval_runner
from bfcl_eval.utils import extract_test_category, load_file
leaderboard = {}
for path in sorted(RESULT_PATH.rglob("BFCL_v4_*_result.json")):
    eval_runner.evaluate_task(extract_test_category(path), RESULT_PATH, SCORE_PATH, load_file(path, sort_by_id=True),
                              "any", eval_runner.get_handler("any"), leaderboard, allow_missing=True)
"""


def attacks(python: Path) -> None:
    answer = "[calculate_triangle_area(base=10, height=5)]"
    turn = "[cd(folder='document'), mkdir(dir_name='temp'), mv(source='final_report.pdf', destination='temp')]"
    print(f"{'attack':28} {'in':12} {'neighbours':10} what became of it")
    with tempfile.TemporaryDirectory() as name, Checker(python) as checker:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o644)
        for what, text in ATTACKS.items():
            text = text.replace("FOLDER", name)
            single = [ItemReply(item_id="simple_python_0", category="simple_python", text=t) for t in (answer, text, answer)]
            before, attacked, after = score_replies(checker, single)[0]
            report(what, "decoding", attacked.valid, attacked.reason, before.valid and after.valid)
            lines = [
                {"id": "multi_turn_base_0", "category": "multi_turn_base", "turns": [[t]]} for t in (turn, injected(text), turn)
            ]
            first, done, last = checker.ask({"command": "execute"}, lines)[0]
            reason = done.get("stopped") or done.get("ended") or f"as a result: {done['results']}"
            report(what, "conversation", False, reason, first == last and "results" in first)
        left = {path.name: path.read_text() for path in folder.iterdir()}
        print("outside:", "unchanged" if left == {"secret": "secret"} else left)


def injected(text: str) -> str:
    """Return a reply whose code runs when its calls are executed: dictionary keys are pasted into the call unquoted."""
    if "1 + " not in text:
        return text
    code = text[text.index("1 + ") + 4 : -2]
    return "[cd(folder={" + repr("a': " + code + ", 'b") + ": 1})]"


def report(what: str, where: str, valid: bool, reason: str, neighbours: bool) -> None:
    print(f"{what:28} {where:12} {'right' if neighbours else 'WRONG':10} {'RIGHT' if valid else reason[:110]}")


ATTACKS = {
    "write outside": "[f(a=1 + open('FOLDER/new', mode='w').write('x'))]",
    "read a secret": "[f(a=1 + len(open('FOLDER/secret').read()))]",
    "fork bomb": "[f(a=1 + [__import__('os').fork() for _ in iter(int, 1)][0])]",
    "threads": "[f(a=1 + __import__('_thread').start_new_thread(print, ()))]",
    "10 GB": "[f(a=1 + len(bytearray(10**10)))]",
    "infinite loop": "[f(a=1 + sum(1 for _ in iter(int, 1)))]",
    "9**9**9": "[f(a=1 + 9**9**9)]",
    "network": "[f(a=1 + __import__('socket').socket().connect(('127.0.0.1', 80)))]",
    "command": "[f(a=1 + __import__('os').system('touch FOLDER/new'))]",
    "kill its parent": "[f(a=1 + __import__('os').kill(__import__('os').getppid(), 9))]",
    "exit": "[f(a=1 + __import__('os')._exit(0))]",
    "forge a verdict": "[f(a=1 + __import__('os').write(3, b'{\"value\": 1}\\n' * 9))]",
    "1 MB of output": "[" + "x" * 10**6 + "()]",
    "1 MB computed": "[echo(content='x' * 10**6)]",
    "broken JSON": '[{"name": "f", "arguments": {"a": [1, 2',
    "Java": "new HashMap<String, Object>() {{ put(1, 2); }}",
    "shell": "#!/bin/sh\nrm -rf FOLDER",
    "deep nesting": "[" * 10_000,
    "deep minus": "[f(a=" + "-" * 20_000 + "1)]",
}


if __name__ == "__main__":
    main()
