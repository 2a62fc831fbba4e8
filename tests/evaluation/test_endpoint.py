import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_server import ModelServer, running_model_server
from pydantic import ValidationError

from hephaestus_dag.evaluation.answers import RecordedModel
from hephaestus_dag.evaluation.endpoint import FAILURES_IN_A_ROW, CeilingError, EndpointModel
from hephaestus_dag.evaluation.endpoint_config import EndpointConfig
from hephaestus_dag.evaluation.model import CannotScoreError
from hephaestus_dag.evaluation.vllm_server import vllm_model


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running_model_server() as server:
        yield server


def model(server: ModelServer, **settings) -> EndpointModel:
    values = {"model": "m", "endpoint": server.endpoint, "retries": 1, "backoff_seconds": 0.01, "concurrency": 2, **settings}
    return EndpointModel(EndpointConfig.model_validate(values))


def asks(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


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
        with RecordedModel(lambda: asked, asked.identity, tmp_path / "journal.jsonl") as recorded:
            recorded.generate(asks("down", "too long"), 7)
    assert server.asked == {"down": 6, "too long": 2, "down once": 2}


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
        assert [reply.text for reply in served.generate(asks("hello"), 7)] == ["HELLO"]
        assert served.identity["served"]["weights"] == {"fingerprint": "f"}
        pid = int((vllm / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "--host 127.0.0.1" in (tmp_path / "vllm.log").read_text()


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
