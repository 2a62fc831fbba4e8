import math
from pathlib import Path

import pytest
import torch

from hephaestus_dag.evaluation.huggingface import Generator
from hephaestus_dag.evaluation.prompts import fold_system, prompt_sha, render_chat

PROMPTS = [
    [{"role": "user", "content": "What is the weather in Oslo?" * repeat}, {"role": "assistant", "content": "x" * repeat}]
    for repeat in (7, 1, 3, 5, 2)
]


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> Generator:
    return Generator(tiny_model, batch_size=3)


def test_batched_replies_equal_single_ones(generator: Generator, tiny_model: Path):
    batched = generator.generate(PROMPTS, max_new_tokens=12)
    alone = Generator(tiny_model, batch_size=1).generate(PROMPTS, max_new_tokens=12)
    assert [reply.text for reply in batched] == [reply.text for reply in alone]
    assert len({reply.text for reply in batched}) > 1
    assert [reply.num_prompt_tokens for reply in batched] == [reply.num_prompt_tokens for reply in alone]


def test_a_reply_is_the_greedy_continuation_up_to_the_end_marker(generator: Generator):
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


def test_generation_stops_at_every_end_marker(generator: Generator):
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


def test_a_prompt_that_does_not_fit_fails_and_says_so(generator: Generator):
    long = [{"role": "user", "content": "word " * 9_000}]
    failed, fine = generator.generate([long, PROMPTS[1]], max_new_tokens=4)
    assert failed.failure.startswith("prompt too long")
    assert failed.text == ""
    assert not fine.failure
    (capped,) = generator.generate([PROMPTS[1]], max_new_tokens=4, max_prompt_tokens=10)
    assert "room for 10" in capped.failure


def test_loglikelihood_is_the_sum_over_target_tokens(generator: Generator):
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


def test_padding_does_not_move_learned_positions(generator: Generator, tmp_path: Path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=generator.vocab_size, n_positions=256, n_embd=32, n_layer=2, n_head=4, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    generator.tokenizer.save_pretrained(tmp_path)
    pairs = [("the weather in", " Oslo"), ("x" * 40, "y" * 30)]
    together = [found.sum_logprob for found in Generator(tmp_path, batch_size=2).loglikelihood(pairs)]
    alone = [found.sum_logprob for found in Generator(tmp_path, batch_size=1).loglikelihood(pairs)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_pairs_that_do_not_fit_have_no_likelihood(generator: Generator):
    long, short = generator.loglikelihood([("a " * 9_000, "b"), ("a", "b")])
    assert long.sum_logprob is None
    assert short.sum_logprob is not None
    assert math.isfinite(short.sum_logprob)


def test_system_text_joins_the_user_where_a_template_has_no_system_role(generator: Generator):
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert fold_system(messages) == [{"role": "user", "content": "S\n\nU"}]
    template = generator.tokenizer.chat_template
    generator.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    )
    try:
        assert render_chat(generator.tokenizer, messages) == "<user>S\n\nU"
        generator.tokenizer.chat_template = None
        with pytest.raises(ValueError, match="chat_template"):
            render_chat(generator.tokenizer, messages)
    finally:
        generator.tokenizer.chat_template = template


def test_prompt_sha_tells_prompts_apart():
    assert prompt_sha(PROMPTS[0]) != prompt_sha(PROMPTS[1])
    assert prompt_sha(PROMPTS[0]) == prompt_sha([dict(reversed(message.items())) for message in PROMPTS[0]])
