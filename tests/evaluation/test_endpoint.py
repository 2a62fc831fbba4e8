import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import ModelServer, running_model_server
from pydantic import ValidationError

from hephaestus_dag.evaluation.answers import RecordedModel
from hephaestus_dag.evaluation.endpoint import FAILURES_IN_A_ROW, SHORT, CeilingError, EndpointModel
from hephaestus_dag.evaluation.endpoint_config import EndpointConfig
from hephaestus_dag.evaluation.model import CannotScoreError
from hephaestus_dag.evaluation.vllm_server import vllm_model
from hephaestus_dag.scored_models import DECISIVE


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running_model_server() as server:
        yield server


def model(server: ModelServer, **settings) -> EndpointModel:
    values = {"model": "m", "endpoint": server.endpoint, "retries": 1, "backoff_seconds": 0.01, "concurrency": 2, **settings}
    return EndpointModel(EndpointConfig.model_validate(values))


def asks(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def test_conversations_that_are_rendered_here_get_no_second_start_marker(server: ModelServer):
    config = EndpointConfig.model_validate({"model": "m", "endpoint": server.endpoint, "prompt_format": "chat"})
    rendering = EndpointModel(config, render=lambda messages: f"<s>{messages[-1]['content']}")
    assert [reply.text for reply in rendering.generate([*asks("hello"), "plain"], 7)] == ["<S>HELLO", "PLAIN"]
    first, second = sorted(server.seen, key=lambda request: request["prompt"])
    assert first["path"] == second["path"] == "/v1/completions"
    assert (first["add_special_tokens"], "add_special_tokens" in second) == (False, False)


def test_conversations_are_sent_whole_and_replies_cut(server: ModelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODEL_KEY", "secret")
    messages = [{"role": "system", "content": "be loud"}, {"role": "user", "content": "say a stop b"}]
    (reply,) = model(server, api_key_env="MODEL_KEY").generate([messages], 7, stop=("STOP", "1", "2", "3", "4"))
    assert (reply.text, reply.num_prompt_tokens, reply.num_new_tokens, reply.failure) == ("SAY A ", 10, 5, "")
    (request,) = server.seen
    assert request == {
        "path": "/v1/chat/completions",
        "key": "Bearer secret",
        "model": "m",
        "temperature": 0.0,
        "max_tokens": 7,
        "stop": ["STOP", "1", "2", "3"],
        "messages": messages,
    }


def test_plain_text_is_completed(server: ModelServer):
    assert [reply.text for reply in model(server).generate(["one", "two"], 7)] == ["ONE", "TWO"]
    assert {request["path"] for request in server.seen} == {"/v1/completions"}


def test_a_base_model_completes_a_transcript(server: ModelServer):
    (reply,) = model(server, prompt_format="few_shot").generate(asks("hello"), 7)
    (request,) = server.seen
    assert request["prompt"].endswith("### User\nhello\n\n### Assistant\n")
    assert reply.text.startswith("### USER")


def test_what_models_refuse_can_be_left_out(server: ModelServer):
    model(server, temperature=None, limit_field="max_completion_tokens").generate(asks("hello"), 7)
    assert "temperature" not in server.seen[0]
    assert "max_tokens" not in server.seen[0]
    assert server.seen[0]["max_completion_tokens"] == 7


def test_failures_say_whether_they_may_pass(server: ModelServer, tmp_path: Path):
    asked = model(server)
    down, long, once = asked.generate(asks("down", "too long", "down once"), 7)
    assert (down.failure[:15], down.may_pass) == ("error: HTTP 503", True)
    assert (long.failure[:15], long.may_pass) == ("error: HTTP 400", False)
    assert (once.text, once.failure) == ("DOWN ONCE", "")
    for _ in range(2):
        with (
            pytest.raises(RuntimeError, match="1 of 2 questions got no answer"),
            RecordedModel(lambda: asked, asked.identity, tmp_path / "journal.jsonl") as recorded,
        ):
            recorded.generate(asks("down", "too long"), 7)
    assert server.asked == {"down": 6, "too long": 2, "down once": 2, SHORT: 2}


def test_refusals_of_a_wrong_limit_field_are_not_final(server: ModelServer, tmp_path: Path):
    server.unknown_field = "max_tokens"
    wrong, right = model(server), model(server, limit_field="max_completion_tokens")
    assert wrong.identity != right.identity
    assert right.identity.keys() - {"served"} <= DECISIVE
    recorded = RecordedModel(lambda: wrong, wrong.identity, tmp_path / "journal.jsonl").__enter__()
    assert [reply.may_pass for reply in recorded.generate(asks("a", "too long"), 7)] == [True, True]
    with pytest.raises(RuntimeError, match="2 of 2 questions got no answer, the last for: error: HTTP 400"):
        recorded.__exit__(None, None, None)
    for asked, unknown in ((right, "max_tokens"), (wrong, "")):
        server.unknown_field = unknown
        with RecordedModel(lambda asked=asked: asked, asked.identity, tmp_path / "journal.jsonl") as recorded:
            found = recorded.generate(asks("a", "too long"), 7)
        assert (found[0].text, found[1].may_pass, recorded.asked) == ("A", False, 2)


def test_a_server_that_is_gone_is_not_asked_about_everything(server: ModelServer):
    prompts = asks(*["down"] * (FAILURES_IN_A_ROW + 50))
    with pytest.raises(RuntimeError, match=f"{FAILURES_IN_A_ROW} requests in a row failed, the last with HTTP 503"):
        model(server, retries=0).generate(prompts, 7)
    assert server.asked["down"] < FAILURES_IN_A_ROW + 5


PRICES = {"input_price": 1_000.0, "output_price": 2_000.0}  # 20 a thousand answers: 10 tokens read, 5 written


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_total_tokens": 70}, "max_total_tokens is 70"),
        ({**PRICES, "max_cost": 0.09}, "max_cost is 0.0900"),
    ],
)
def test_a_ceiling_stops_before_the_next_request(server: ModelServer, tmp_path: Path, settings, reason):
    prompts = asks(*(f"item {n}" for n in range(10)))
    asked = model(server, concurrency=1, **settings)
    with (
        RecordedModel(lambda: asked, asked.identity, tmp_path / "journal.jsonl") as recorded,
        pytest.raises(CeilingError, match=rf"stopped after 4 of 10 requests \(60 tokens.*{reason}"),
    ):
        recorded.generate(prompts, 5)
    assert len(server.seen) == 4
    assert asked.spent.total == 60
    assert asked.cost == (pytest.approx(0.08) if "max_cost" in settings else None)
    free = model(server)
    with RecordedModel(lambda: free, asked.identity, tmp_path / "journal.jsonl") as recorded:
        assert [reply.text for reply in recorded.generate(prompts, 5)] == [f"ITEM {n}" for n in range(10)]
        assert (recorded.recorded, recorded.asked) == (4, 6)
    assert set(server.asked.values()) == {1}


def test_log_likelihoods_come_from_a_repeated_prompt(server: ModelServer):
    found = model(server).loglikelihood([("the answer is", " forty two"), ("one", " word")])
    assert [(one.sum_logprob, one.num_target_tokens) for one in found] == [(-10.0, 2), (-5.0, 1)]
    assert all(request["echo"] and request["logprobs"] == 1 for request in server.seen)


def test_a_pair_that_is_too_long_costs_itself_alone(server: ModelServer):
    for pairs in ([("too", " long"), ("one", " word")], [("too", " long")]):
        found = model(server).loglikelihood(pairs)
        assert [one.sum_logprob for one in found] == [None, -5.0][: len(pairs)]


@pytest.mark.parametrize("first", [("one", " word"), ("too", " long")])
def test_a_server_that_is_down_for_a_moment_is_not_one_without_log_probabilities(
    server: ModelServer, tmp_path: Path, first: tuple[str, str]
):
    asked = model(server, concurrency=1)
    with (
        pytest.raises(
            RuntimeError, match=r"^m: some requests for log-probabilities failed, the last with HTTP 503.* run again"
        ),
        RecordedModel(lambda: asked, asked.identity, tmp_path / "journal.jsonl") as recorded,
    ):
        recorded.loglikelihood([("do", "wn"), first, ("two", " words")])
    with RecordedModel(lambda: asked, asked.identity, tmp_path / "journal.jsonl") as recorded:
        recorded.loglikelihood([first, ("two", " words")])
    assert (recorded.recorded, recorded.asked) == (2, 0)


@pytest.mark.parametrize("lacking", ["echoes", "completes"])
def test_a_server_that_gives_none_cannot_score(server: ModelServer, lacking: str):
    setattr(server, lacking, False)
    with pytest.raises(CannotScoreError, match="gives no log-probabilities of a prompt"):
        model(server).loglikelihood([("a", "b")])


def test_a_chat_server_cannot_score_conversations(server: ModelServer):
    with pytest.raises(CannotScoreError, match="set prompt_format to few_shot"):
        model(server).loglikelihood([(asks("a")[0], "b")])
    (found,) = model(server, prompt_format="few_shot").loglikelihood([(asks("a")[0], "b c")])
    assert found.num_target_tokens == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"endpoint": "localhost:8000"}, "endpoint must be"),
        ({"endpoint": "http://me:pw@host/v1"}, "endpoint holds"),
        ({"api_key_env": "sk-123"}, "never write the key"),
        ({"max_cost": 3.0}, "max_cost needs input_price and output_price"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        EndpointConfig.model_validate({"model": "m", "endpoint": "http://localhost/v1", **values})


def test_vllm_serves_a_folder_and_is_stopped(vllm: Path, tmp_path: Path):
    with vllm_model(vllm, tmp_path / "vllm.log", {"fingerprint": "f"}, arguments=["--seed", "1"]) as served:
        # The conversation was written here, on the day of the training data.
        assert [reply.text for reply in served.generate(asks("hello"), 7)] == ["HELLO IN 2024"]
        assert served.identity["served"]["weights"] == {"fingerprint": "f"}
        pid = int((vllm / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "--host 127.0.0.1" in (tmp_path / "vllm.log").read_text()
    assert "--generation-config vllm --seed 1" in (tmp_path / "vllm.log").read_text()


def test_a_vllm_that_does_not_start_shows_its_log(vllm: Path, tmp_path: Path):
    (vllm / "broken").touch()
    with (
        pytest.raises(RuntimeError, match=r"(?s)ended with status 1 .*CUDA out of memory"),
        vllm_model(vllm, tmp_path / "vllm.log", {"fingerprint": "f"}),
    ):
        pass


def test_vllm_that_is_not_installed_is_named(vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="pip install vllm"), vllm_model(vllm, tmp_path / "log"):
        pass
