import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hephaestus_dag.evaluation.bfcl.checker import Checker
from hephaestus_dag.evaluation.bfcl.config import MAX_STEPS_PER_TURN, BfclConfig
from hephaestus_dag.evaluation.bfcl.conversations import Conversation, hold_conversations
from hephaestus_dag.evaluation.bfcl.items import benchmark_functions, offered_signatures
from hephaestus_dag.evaluation.bfcl.score import ItemReply, Verdict, score_replies
from hephaestus_dag.evaluation.model import Reply

BASE = "multi_turn_base_0"
ANSWER = [
    ["cd(folder='document')", "mkdir(dir_name='temp')", "mv(source='final_report.pdf', destination='temp')"],
    ["cd(folder='temp')", "grep(file_name='final_report.pdf',pattern='budget analysis')"],
    ["sort('final_report.pdf')"],
    [
        "cd(folder='..')",
        "mv(source='previous_report.pdf',destination='temp')",
        "cd(folder='temp')",
        "diff(file_name1='final_report.pdf',file_name2='previous_report.pdf')",
    ],
]


class Scripted:
    """A model whose replies are a function of the messages."""

    def __init__(self, say: Callable[[list[dict[str, str]]], str]) -> None:
        self.identity: dict[str, Any] = {}
        self.say = say
        self.num_prompts: list[int] = []

    def generate(self, prompts: Sequence[Any], *_: Any, **__: Any) -> list[Reply]:
        self.num_prompts.append(len(prompts))
        texts = [self.say(prompt) for prompt in prompts]
        return [
            Reply(text=text, num_prompt_tokens=1, num_new_tokens=2, seconds=0.0, failure="too long" if text == "?" else "")
            for text in texts
        ]

    def loglikelihood(self, *_: Any, **__: Any) -> list[Any]:
        return []


@pytest.fixture(scope="module")
def items(bfcl_items: Path) -> dict[str, dict[str, Any]]:
    return {row["item_id"]: row for row in pq.read_table(bfcl_items / "multi_turn.parquet").to_pylist()}


def num_user_turns(messages: list[dict[str, str]], item: dict[str, Any]) -> int:
    """How many turns have begun."""
    starts = [turn[-1]["content"] for turn in json.loads(item["prompt"])]
    return sum(message["content"] in starts for message in messages)


def held(checker: Checker, item: dict[str, Any], say: Callable[[list[dict[str, str]]], str], **config: Any) -> Conversation:
    return hold_conversations(Scripted(say), checker, [item], BfclConfig(**config))[0]


def verdict(checker: Checker, turns: Any, item_id: str = BASE) -> Verdict:
    category = item_id.rsplit("_", 1)[0]
    return score_replies(checker, [ItemReply(item_id=item_id, category=category, turns=turns)])[0][0]


def keyworded(calls: list[str]) -> str:
    return "[" + ", ".join(call.replace("sort('", "sort(file_name='") for call in calls) + "]"


def test_the_answers_calls_are_right_and_a_missing_one_is_wrong(bfcl_checker: Checker):
    right = [[keyworded(calls), "Done."] for calls in ANSWER]
    assert verdict(bfcl_checker, right).valid
    assert verdict(bfcl_checker, [[turn[0][:-1], "[]", ""] for turn in right]).valid  # the decoder closes brackets
    wrong = verdict(bfcl_checker, [*right[:3], [keyworded(ANSWER[3][:2])]])
    assert not wrong.valid
    assert wrong.reason.startswith("multi_turn:")
    assert "mv(source='previous_report.pdf'" in wrong.decoded
    assert verdict(bfcl_checker, [["No."]] * 4).reason.startswith("multi_turn:empty_turn_model_response")


def test_positional_arguments_reach_the_checker_only_as_calls(bfcl_checker: Checker):
    replies = [["[" + ", ".join(calls) + "]"] for calls in ANSWER]
    assert not verdict(bfcl_checker, replies).valid
    calls = ItemReply(item_id=BASE, category="multi_turn_base", calls=ANSWER)
    assert score_replies(bfcl_checker, [calls])[0][0].valid


def test_a_conversation_runs_as_the_official_loop(bfcl_checker: Checker, items: dict[str, dict[str, Any]]):
    item = items[BASE]

    def say(messages: list[dict[str, str]]) -> str:
        begun = messages[-1]["content"] == json.loads(item["prompt"])[num_user_turns(messages, item) - 1][-1]["content"]
        return keyworded(ANSWER[num_user_turns(messages, item) - 1]) if begun else "That is all."

    conversation = held(bfcl_checker, item, say)
    assert [len(turn) for turn in conversation.turns] == [2, 2, 2, 2]
    assert verdict(bfcl_checker, conversation.turns).valid
    assert [message["role"] for message in conversation.messages[:6]] == [
        *("system", "user", "assistant", "user", "assistant", "user")
    ]
    told = conversation.messages[3]["content"]
    assert told.startswith("[{'role': 'tool', 'name': \"cd(folder='document')\", 'content': '{\"current_working_directory\"")
    assert (conversation.num_prompt_tokens, conversation.num_new_tokens, conversation.num_calls) == (8, 16, 10)
    as_tools = held(bfcl_checker, item, say, tool_results="tool").messages
    assert [message["role"] for message in as_tools[2:8]] == ["assistant", "tool", "tool", "tool", "assistant", "user"]
    assert as_tools[3] == {
        "role": "tool",
        "name": "cd(folder='document')",
        "content": '{"current_working_directory": "document"}',
    }


def test_held_back_functions_are_handed_over_in_the_official_words(items: dict[str, dict[str, Any]]):
    turns = json.loads(items["multi_turn_miss_func_0"]["prompt"])
    assert [len(turn) for turn in turns] == [2, 1, 1, 1, 1]
    handed = turns[3][0]
    assert handed["role"] == "user"
    assert handed["content"].startswith("[{'name': 'sort', 'description': ")
    assert handed["content"].endswith("I have updated some more functions you can choose from. What about now?")
    assert '"name": "sort"' not in turns[0][0]["content"]
    assert '"name": "diff"' in turns[0][0]["content"]


def test_conversations_offer_functions_and_those_held_back(items: dict[str, dict[str, Any]], bfcl_items: Path):
    offered = list(offered_signatures(bfcl_items))
    assert {("bfcl/multi_turn_base_0", "mv(destination,source)"), ("bfcl/multi_turn_miss_func_0", "sort(file_name)")} <= {
        *offered
    }
    assert {name for name, row in items.items() if row["category"] != "functions"} <= {n.partition("/")[2] for n, _ in offered}
    conversations = {function.item_id.partition(" ")[0] for function in benchmark_functions(bfcl_items)}
    assert not any("multi_turn" in name for name in conversations)


def test_too_many_steps_end_the_conversation_and_fail_it(
    bfcl_checker: Checker, bfcl_python: Path, items: dict[str, dict[str, Any]]
):
    conversation = held(bfcl_checker, items[BASE], lambda _: "[pwd()]")
    assert [len(turn) for turn in conversation.turns] == [MAX_STEPS_PER_TURN + 1]
    assert verdict(bfcl_checker, conversation.turns).reason.startswith("multi_turn:force_terminated: 1 of 4 turns")
    # In the last turn the official runner does not notice, and judges what was done.
    right = [[keyworded(calls)] for calls in ANSWER]
    assert verdict(bfcl_checker, [*right[:3], right[3] + ["[pwd()]"] * MAX_STEPS_PER_TURN]).valid
    official = "from bfcl_eval.constants.default_prompts import MAXIMUM_STEP_LIMIT as n; print(n)"
    said = subprocess.run([bfcl_python, "-c", official], capture_output=True, text=True, check=True)
    assert int(said.stdout) == MAX_STEPS_PER_TURN


def test_conversations_move_in_lockstep_and_each_is_as_if_alone(bfcl_checker: Checker, items: dict[str, dict[str, Any]]):
    chosen = [row for name, row in items.items() if name.endswith(("_base_0", "_base_1", "_miss_func_0", "_long_context_0"))]
    several = Scripted(lambda messages: "[ls(), pwd()]" if messages[-1]["content"][:2] != "[{" else "Fine.")
    together = hold_conversations(several, bfcl_checker, chosen, BfclConfig())
    assert max(several.num_prompts) == several.num_prompts[0] == len(chosen) == 4
    assert len(several.num_prompts) == max(sum(map(len, each.turns)) for each in together)
    for row, each in zip(chosen, together, strict=True):
        assert held(bfcl_checker, row, several.say) == each


def test_a_reply_that_fails_ends_only_its_conversation(bfcl_checker: Checker, items: dict[str, dict[str, Any]]):
    def say(messages: list[dict[str, str]]) -> str:
        return "?" if "final_report.pdf" in messages[1]["content"] else "No."

    first, second = hold_conversations(Scripted(say), bfcl_checker, [items[BASE], items["multi_turn_base_1"]], BfclConfig())
    assert (first.failure, first.turns) == ("too long", [[]])
    assert second.failure == ""
    assert len(second.turns) == len(json.loads(items["multi_turn_base_1"]["prompt"]))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("[cd(folder={{'a\\': open(\"{path}\", \"w\"), \\'b': 1}})]", "open"),
        ("[cd(folder={{'a\\': open(\"/etc/shadow\").read(), \\'b': 1}})]", "open"),
        ("[inspect.os.system(command='touch {path}')]", "os.system"),
        ("[inspect.os.fork()]", "os.fork"),
        ("[cd(folder={{'a\\': inspect.os.write(3, b\"x\"), \\'b': 1}})]", "wrote to its parent"),
        pytest.param("[cd(folder=1 + 9**9**9)]", "processor time", marks=pytest.mark.slow),
        ("[cd(folder=[0]*10**10)]", "MemoryError"),
        ("[cd(folder=1 + __import__('socket').socket())]", "import"),
        ("[echo(content='x'*10**6)]", "calls longer than"),
        ("[" + "pwd(), " * 10_000 + "]", "reply longer than"),
    ],
)
def test_an_attack_fails_its_conversation_and_no_other(
    reply: str, reason: str, bfcl_checker: Checker, items: dict[str, dict[str, Any]], open_folder: Path
):
    attack = reply.format(path=open_folder / "created")

    def say(messages: list[dict[str, str]]) -> str:
        return attack if "final_report.pdf" in messages[1]["content"] else "[pwd()]" if len(messages) == 2 else "Fine."

    both = [items[BASE], items["multi_turn_base_1"]]
    attacked, other = hold_conversations(Scripted(say), bfcl_checker, both, BfclConfig())
    assert reason in attacked.failure
    assert (other.failure, other.num_calls) == ("", 1)
    right = [[keyworded(calls)] for calls in ANSWER]
    attempts = [[[*right[0], attack], *right[1:]], right]
    replies = [ItemReply(item_id=BASE, category="multi_turn_base", turns=turns) for turns in attempts]
    judged, honest = score_replies(bfcl_checker, replies)[0]
    assert not judged.valid
    assert judged.reason.startswith("stopped")
    assert reason in judged.reason
    assert honest.valid
    assert not list(open_folder.iterdir())


@pytest.mark.slow
def test_every_answer_is_right(bfcl_checker: Checker, items: dict[str, dict[str, Any]]):
    lines = [line for line in bfcl_checker.ask({"command": "multi_turn"})[0] if line["category"] != "functions"]
    answers = [ItemReply(item_id=line["id"], category=line["category"], calls=line["calls"]) for line in lines]
    assert [judged.item_id for judged in score_replies(bfcl_checker, answers)[0] if not judged.valid] == []
    assert len(answers) == 800
