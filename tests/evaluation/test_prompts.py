from datetime import date
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from hephaestus_dag.evaluation.few_shot import FUNCTION_CALLS, QUESTIONS, SQL_AGENT
from hephaestus_dag.evaluation.prompts import fold_roles, prompt_sha, render_chat, render_transcript, resolve_format

CONVERSATION = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": "A"},
    {"role": "tool", "content": "T"},
]
SHOWS = "<{{ m['role'] }}>{{ m['content'] }}"


def rendered(tiny_model: Path, body: str, before: str = "", messages=CONVERSATION) -> str:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = before + "{% for m in messages %}" + body + "{% endfor %}"
    return render_chat(tokenizer, messages)


def test_roles_that_a_template_knows_stay(tiny_model: Path):
    assert rendered(tiny_model, SHOWS) == "<system>S<user>U<assistant>A<tool>T"


@pytest.mark.parametrize(
    ("unless", "expected"),
    [
        ("{% if m['role'] == 'tool' %}{{ raise_exception('no tool') }}{% endif %}", "<system>S<user>U<assistant>A<user>T"),
        ("{% if m['role'] in ('tool', 'system') %}{{ raise_exception('no') }}{% endif %}", "<user>S\n\nU<assistant>A<user>T"),
    ],
)
def test_roles_that_a_template_refuses_become_the_users(tiny_model: Path, unless: str, expected: str):
    assert rendered(tiny_model, unless + SHOWS) == expected


def test_roles_that_a_template_leaves_out_in_silence_become_the_users(tiny_model: Path):
    body = "{% if m['role'] in ('user', 'assistant') %}" + SHOWS + "{% endif %}"
    assert rendered(tiny_model, body) == "<user>S\n\nU<assistant>A<user>T"


def test_a_tool_reply_that_is_written_as_json_stays_with_the_tool(tiny_model: Path):
    messages = [*CONVERSATION[:3], {"role": "tool", "content": 'a "b"\n'}]
    text = rendered(tiny_model, "<{{ m['role'] }}>{{ m['content'] | tojson }}", messages=messages)
    assert text.endswith('<tool>"a \\"b\\"\\n"')


def test_the_day_of_a_prompt_is_always_the_same(tiny_model: Path):
    dated = "{{ strftime_now('%d %b %Y') }}{% if not date_string is defined %}{% set date_string = 'today' %}{% endif %}"
    text = rendered(tiny_model, SHOWS, dated + "/{{ date_string }}/")
    assert text.startswith("26 Jul 2024/26 Jul 2024/")
    assert date.today().strftime("%d %b %Y") not in text


def test_a_template_that_refuses_everything_is_named(tiny_model: Path):
    with pytest.raises(ValueError, match=r"refuses the turns \['system', 'user', 'assistant', 'tool'\]: never"):
        rendered(tiny_model, "{{ raise_exception('never') }}")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat_template"):
        render_chat(tokenizer, CONVERSATION)


def test_auto_is_chat_where_there_is_a_template(tiny_model: Path, tmp_path: Path):
    assert resolve_format("auto", tiny_model) == "chat"
    assert resolve_format("few_shot", tiny_model) == "few_shot"
    assert resolve_format("auto", tmp_path) == "few_shot"
    with pytest.raises(ValueError, match="set prompt_format to few_shot"):
        resolve_format("chat", tmp_path)


def test_folding_joins_neighbours():
    turns = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, {"role": "user", "content": "3"}]
    assert fold_roles(turns, {"tool": "user"}) == [{"role": "user", "content": "1\n\n2\n\n3"}]
    assert fold_roles(turns, {}) == turns


def test_a_transcript_shows_examples_and_ends_where_the_reply_begins():
    text = render_transcript(CONVERSATION, QUESTIONS[:1])
    assert text.startswith("### User\nName the colour")
    assert text.endswith(
        "### Assistant\nGreen.\n\n### System\nS\n\n### User\nU\n\n### Assistant\nA\n\n### Tool\nT\n\n### Assistant\n"
    )


@pytest.mark.parametrize("examples", [FUNCTION_CALLS, SQL_AGENT, QUESTIONS])
def test_examples_end_with_a_reply(examples):
    assert all(conversation[-1]["role"] == "assistant" for conversation in examples)


def test_prompt_sha_tells_prompts_apart():
    assert prompt_sha(CONVERSATION) != prompt_sha(CONVERSATION[:2])
    assert prompt_sha("U") != prompt_sha([{"role": "user", "content": "U"}])
    assert prompt_sha(CONVERSATION) == prompt_sha([dict(reversed(message.items())) for message in CONVERSATION])
