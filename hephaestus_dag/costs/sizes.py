"""What a document and a token are taken to hold, where nothing was measured."""

CHARACTERS_PER_TOKEN = 4
TOKENS = {
    "tool_documentation": 700,
    "function_calling_trajectories": 400,
    "code_documents": 2_000,
    "text_documents": 700,
    "web_corpus": 700,
}
TEXT_BYTES = 1.2
LEDGER_BYTES = 60
ID_BYTES = 40
SEQUENCE_BYTES = 10
ASSUMPTIONS = [
    "tokens of a document: " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in TOKENS.items()),
    f"{CHARACTERS_PER_TOKEN} characters a token; {TEXT_BYTES} bytes a token in Parquet, {LEDGER_BYTES} a document in ledgers",
    "retrieval, annotation and evaluation read as many tokens as the recipe allows: upper bounds",
    "generation at the stated utilisation, which decoding does not reach",
    "curation, the quality filter's threshold and the packing of examples remove an unknown part: upper bounds",
]
