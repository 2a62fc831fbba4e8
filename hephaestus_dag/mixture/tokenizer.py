"""Train a tokenizer on the corpus, or load one, as a Hugging Face folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hephaestus_dag.mixture.config import TrainTokenizerConfig

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], config: TrainTokenizerConfig, folder: Path) -> dict[str, Any]:
    """Learn a byte-level BPE with single digits and a ChatML template, and save it in Hugging Face form.

    Texts are read in their order until ``sample_characters`` are taken. Any text round-trips: there is no unknown token.
    Raises ValueError when the texts are too few to fill the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sample = _Sample(texts, config.sample_characters)
    tokenizer.train_from_iterator(sample, trainer)
    if tokenizer.get_vocab_size() < config.vocab_size:
        raise ValueError(
            f"tokenizer: {sample.characters:,} characters of text give {tokenizer.get_vocab_size():,} entries, "
            f"not {config.vocab_size:,}; lower vocab_size or add text"
        )

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START, TURN_END],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return {"vocab_size": config.vocab_size, "sample_characters": sample.characters, "sample_documents": sample.documents}


def load_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer of a folder.

    Raises ValueError when it is not a fast tokenizer or has no end-of-text token.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise ValueError(f"{folder}: a fast tokenizer (tokenizer.json) is needed; convert it with transformers first")
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{folder}: the tokenizer has no eos_token; set it in tokenizer_config.json")
    return tokenizer


def vocabulary_size(tokenizer: Any) -> int:
    """Return the entries that an embedding needs: ids of a loaded tokenizer may leave some out."""
    return max(tokenizer.get_vocab().values()) + 1


def copy_tokenizer(model_folder: Path, folder: Path) -> dict[str, Any]:
    """Save the tokenizer of a model, and nothing else of it; where it has no padding token, end-of-text pads.

    Raises ValueError when it has no chat template: instruction data could not be written with it.
    """
    tokenizer = load_tokenizer(model_folder)
    if not tokenizer.chat_template:
        raise ValueError(f"{model_folder}: the tokenizer has no chat_template; take an instruction-tuned model's, or train one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return {"vocab_size": vocabulary_size(tokenizer)}


class _Sample:
    """Texts up to a number of characters, counted as they pass."""

    def __init__(self, texts: Iterable[str], characters: int) -> None:
        self.texts, self.limit = texts, characters
        self.characters = self.documents = 0

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            text = text[: self.limit - self.characters]
            if not text:
                return
            self.characters += len(text)
            self.documents += 1
            yield text
