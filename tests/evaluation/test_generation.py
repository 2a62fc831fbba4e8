import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hephaestus_dag import code_version
from hephaestus_dag.evaluation.few_shot import FUNCTION_CALLS, QUESTIONS
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.huggingface_identity import huggingface_identity
from hephaestus_dag.evaluation.prompts import render_chat, render_transcript
from hephaestus_dag.evaluation.vllm_server import vllm_identity

PROMPTS = [
    [{"role": "user", "content": "What is the weather in Oslo?" * repeat}, {"role": "assistant", "content": "x" * repeat}]
    for repeat in (7, 1, 3, 5, 2)
]


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> HuggingFaceModel:
    return HuggingFaceModel(tiny_model, batch_size=3)


def test_batched_replies_equal_single_ones(generator: HuggingFaceModel, tiny_model: Path):
    batched = generator.generate(PROMPTS, max_new_tokens=12)
    alone = HuggingFaceModel(tiny_model, batch_size=1).generate(PROMPTS, max_new_tokens=12)
    assert [reply.text for reply in batched] == [reply.text for reply in alone]
    assert len({reply.text for reply in batched}) > 1
    assert [reply.num_prompt_tokens for reply in batched] == [reply.num_prompt_tokens for reply in alone]


def test_shared_beginnings_and_places_that_fall_free_change_no_reply(generator: HuggingFaceModel, tiny_model: Path):
    """Two long system texts, so that prefixes are shared, and stops, so that replies leave at different times."""
    systems = [{"role": "system", "content": word * 80} for word in ("the weather in Oslo", "calls a function ")]
    prompts = [[systems[n % 2], {"role": "user", "content": f"{n} " * (1 + n % 5)}] for n in range(14)]
    stop = ("a", "e", "o")
    together = generator.generate(prompts, max_new_tokens=24, stop=stop)
    alone = [generator.generate([prompt], max_new_tokens=24, stop=stop)[0] for prompt in prompts]
    assert [(reply.text, reply.num_new_tokens) for reply in together] == [(reply.text, reply.num_new_tokens) for reply in alone]
    assert len({reply.num_new_tokens for reply in together}) > 3
    tight = HuggingFaceModel(tiny_model, batch_size=8, batch_tokens=3_000).generate(prompts, max_new_tokens=24, stop=stop)
    assert [reply.text for reply in tight] == [reply.text for reply in alone]


@pytest.mark.parametrize("most_bytes", [1 << 30, 300_000, 0])
def test_conversations_that_go_on_are_not_read_again_and_get_the_same_replies(tiny_model: Path, most_bytes: int):
    """Four conversations, of which one ends, one is cut in the middle as AgentBench does, and one has all room to itself."""
    model, alone = HuggingFaceModel(tiny_model, batch_size=3), HuggingFaceModel(tiny_model, batch_size=1)
    model.decoder.rounds.most_bytes = most_bytes
    read = 0

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        nonlocal read
        read += kwargs["input_ids"].numel()

    model.model.register_forward_pre_hook(count, with_kwargs=True)
    held = [[{"role": "system", "content": f"{word} " * 400}] for word in ("weather", "calls", "function", "Oslo")]
    shares = []
    for turn in range(5):
        for number, messages in enumerate(held):
            messages.append({"role": "user", "content": f"{turn} {'and then? ' * (1 + number)}"})
        if turn == 3:
            held.pop()
            del held[1][1:3]
        before = read
        replies = model.generate(held, max_new_tokens=10)
        shares.append((read - before) / sum(reply.num_prompt_tokens for reply in replies))
        for messages, reply in zip(held, replies, strict=True):
            assert reply.text == alone.generate([messages], max_new_tokens=10)[0].text
            messages.append({"role": "assistant", "content": reply.text})
    assert min(shares[:2]) > 1
    assert (max(shares[2], shares[4]) < 0.3) == (most_bytes == 1 << 30), shares
    assert model.decoder.rounds.going_on
    model.generate(PROMPTS, max_new_tokens=2)
    assert not model.decoder.rounds.going_on


def test_a_reply_ends_before_the_first_stop(generator: HuggingFaceModel):
    (whole,) = generator.generate(PROMPTS[:1], max_new_tokens=24)
    stop = whole.text[6:9]
    (stopped,) = generator.generate(PROMPTS[:1], max_new_tokens=24, stop=("not there", stop))
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.num_new_tokens < whole.num_new_tokens


def test_a_reply_is_the_greedy_continuation_up_to_the_end_marker(generator: HuggingFaceModel):
    (reply,) = generator.generate(PROMPTS[:1], max_new_tokens=8)
    ids = generator.tokenizer(render_chat(generator.tokenizer, PROMPTS[0]))["input_ids"]
    new: list[int] = []
    with torch.inference_mode():
        while len(new) < 8:
            token = int(generator.model(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token in generator.end_ids:
                break
            new.append(token)
    assert reply.text == generator.tokenizer.decode(new, skip_special_tokens=True)
    assert reply.num_new_tokens == len(new)


def test_generation_stops_at_every_end_marker(generator: HuggingFaceModel):
    markers = generator.tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert generator.end_ids == sorted(markers)
    first = generator.generate(PROMPTS[:1], max_new_tokens=8)[0]
    token = generator.tokenizer(first.text)["input_ids"][0]
    generator.end_ids = [token]
    try:
        stopped = generator.generate(PROMPTS[:1], max_new_tokens=8)[0]
    finally:
        generator.end_ids = sorted(markers)
    assert stopped.text == ""
    assert stopped.num_new_tokens == 0


def test_a_prompt_that_does_not_fit_fails_and_says_so(generator: HuggingFaceModel):
    long = [{"role": "user", "content": "word " * 9_000}]
    failed, fine = generator.generate([long, PROMPTS[1]], max_new_tokens=4)
    assert failed.failure.startswith("prompt too long")
    assert failed.text == ""
    assert not fine.failure
    (capped,) = generator.generate([PROMPTS[1]], max_new_tokens=4, max_prompt_tokens=10)
    assert "room for 10" in capped.failure


def test_loglikelihood_is_the_sum_over_target_tokens(generator: HuggingFaceModel):
    pairs = [("the weather in", " Oslo"), ("", "calls a function"), ("x" * 40, "y" * 30), ("a", "")]
    found = generator.loglikelihood(pairs)
    for (context, target), likelihood in zip(pairs, found, strict=True):
        before = generator.tokenizer(context)["input_ids"] or [generator.start_id]
        after = generator.tokenizer(target)["input_ids"]
        with torch.inference_mode():
            logprobs = generator.model(torch.tensor([before + after])).logits[0].log_softmax(-1)
        expected = sum(float(logprobs[len(before) - 1 + i, token]) for i, token in enumerate(after))
        assert likelihood.num_target_tokens == len(after)
        assert likelihood.sum_logprob == pytest.approx(expected, abs=1e-4)


def test_padding_does_not_move_learned_positions(generator: HuggingFaceModel, tmp_path: Path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=generator.vocab_size, n_positions=256, n_embd=32, n_layer=2, n_head=4, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    pairs = [("the weather in", " Oslo"), ("x" * 40, "y" * 30)]
    together = [found.sum_logprob for found in HuggingFaceModel(tmp_path, batch_size=2).loglikelihood(pairs)]
    alone = [found.sum_logprob for found in HuggingFaceModel(tmp_path, batch_size=1).loglikelihood(pairs)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_pairs_that_do_not_fit_have_no_likelihood(generator: HuggingFaceModel):
    long, short = generator.loglikelihood([("a " * 9_000, "b"), ("a", "b")])
    assert long.sum_logprob is None
    assert short.sum_logprob is not None
    assert math.isfinite(short.sum_logprob)


def test_choices_are_scored_as_if_alone(generator: HuggingFaceModel):
    header = "the weather in Oslo calls a function with its arguments " * 20
    pairs = [(f"{header}question {n}\nAnswer:", f" {letter}") for n in range(6) for letter in "ABCD"]
    pairs += [(f"{header}question 0\nAnswer:", " A long one"), (f"{header}question 0\nAnswer: ", "A")]
    together = generator.loglikelihood(pairs)
    alone = [generator.loglikelihood([pair])[0] for pair in pairs]
    assert [one.num_target_tokens for one in together] == [one.num_target_tokens for one in alone]
    assert [one.sum_logprob for one in together] == pytest.approx([one.sum_logprob for one in alone], abs=1e-4)
    assert together[-1] == together[0]  # A blank at the end of the context belongs to the target.


def test_a_conversation_is_scored_in_the_prompt_format(generator: HuggingFaceModel):
    messages = PROMPTS[0][:1]
    (found,) = generator.loglikelihood([(messages, "Oslo")])
    context = generator.tokenizer(render_chat(generator.tokenizer, messages))["input_ids"]
    (expected,) = generator.token_loglikelihood([(context, generator.tokenizer("Oslo")["input_ids"])])
    assert found == expected


def test_a_base_model_sees_examples_and_its_run_on_is_cut(generator: HuggingFaceModel, tiny_model: Path):
    base = HuggingFaceModel(tiny_model, prompt_format="few_shot", examples=FUNCTION_CALLS)
    messages = PROMPTS[0][:1]
    text = render_transcript(messages, FUNCTION_CALLS)
    assert base.generate([messages], 8)[0].text == generator.generate([text], 8)[0].text
    (found,) = base.loglikelihood([(messages, "[f(x=1)]")])
    ids = generator.tokenizer
    assert found == generator.token_loglikelihood([(ids(text)["input_ids"], ids("[f(x=1)]")["input_ids"])])[0]


def test_the_identity_is_known_without_loading(generator: HuggingFaceModel, tiny_model: Path):
    assert generator.identity == huggingface_identity(tiny_model)
    assert generator.identity["prompt_format"] == "chat"
    assert generator.identity["dtype"] == "float32"
    assert huggingface_identity(tiny_model, {"fingerprint": "f"}, device="cuda")["dtype"] == "bfloat16"
    shown = [
        huggingface_identity(tiny_model, {"fingerprint": "f"}, prompt_format="few_shot", examples=examples)
        for examples in (QUESTIONS, FUNCTION_CALLS)
    ]
    assert shown[0] != shown[1]


@pytest.mark.parametrize(("part", "changed"), [("decoding", huggingface_identity), ("endpoint", vllm_identity)])
def test_other_code_of_the_engine_is_another_model(
    part: str, changed: Callable[..., Any], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    read, others = code_version._module, set()

    def edited(name: str):
        return read(name)._replace(digest=b"other") if name in others else read(name)

    monkeypatch.setattr(code_version, "_module", edited)
    engines = (huggingface_identity, vllm_identity)
    before = [engine(tiny_model) for engine in engines]
    others.add(f"hephaestus_dag.evaluation.{part}")
    assert [engine for engine, old in zip(engines, before, strict=True) if engine(tiny_model) != old] == [changed]
