"""Worked examples for models without a chat template. They are our own: none is an item of a benchmark."""

from hephaestus_dag.evaluation.prompts import ChatMessage

Conversation = tuple[ChatMessage, ...]


def _asked(question: str, answer: str, system: str = "") -> Conversation:
    """Return a conversation of one question and its answer."""
    opening = ({"role": "system", "content": system},) if system else ()
    return (*opening, {"role": "user", "content": question}, {"role": "assistant", "content": answer})


_TOOLS = """You are given a question and a list of functions. Reply with the function calls that answer it, and nothing else, as
[first_function(name='value', count=1), second_function(flag=True)]
If no function fits, or a required parameter is missing from the question, say so instead of calling one.
"""

FUNCTION_CALLS: tuple[Conversation, ...] = (
    _asked(
        "Water the tomatoes in bed 3 for ten minutes and close the roof window.",
        "[start_watering(bed=3, minutes=10), set_roof_window(open=False)]",
        _TOOLS
        + '[{"name": "start_watering", "description": "Water one bed of the greenhouse.", "parameters": {"type": "dict", '
        '"properties": {"bed": {"type": "integer"}, "minutes": {"type": "integer"}}, "required": ["bed", "minutes"]}}, '
        '{"name": "set_roof_window", "description": "Open or close the roof window.", "parameters": {"type": "dict", '
        '"properties": {"open": {"type": "boolean"}}, "required": ["open"]}}]',
    ),
    _asked(
        "Who painted the ceiling of the town hall?",
        "None of the functions can answer this question.",
        _TOOLS + '[{"name": "kiln.schedule", "description": "Book the pottery kiln.", "parameters": {"type": "dict", '
        '"properties": {"day": {"type": "string"}, "degrees": {"type": "integer"}}, "required": ["day"]}}]',
    ),
    _asked(
        "Book the kiln for Thursday at 1040 degrees.",
        "[kiln.schedule(day='Thursday', degrees=1040)]",
        _TOOLS + '[{"name": "kiln.schedule", "description": "Book the pottery kiln.", "parameters": {"type": "dict", '
        '"properties": {"day": {"type": "string"}, "degrees": {"type": "integer"}}, "required": ["day"]}}]',
    ),
)
"""Function calls in the notation that BFCL's prompts ask for."""

SQL_AGENT: tuple[Conversation, ...] = (
    (
        {
            "role": "user",
            "content": "Use MySQL to answer a question about a table. In each turn write one statement as\n"
            'Action: Operation\n```sql\nSELECT 1;\n```\nor the result as\nAction: Answer\nFinal Answer: ["value"]\n'
            "Table: Beehives; columns: hive, keeper, honey_kg.\nHow many hives gave more than 20 kg of honey?",
        },
        {
            "role": "assistant",
            "content": "Action: Operation\n```sql\nSELECT COUNT(*) FROM `Beehives` WHERE `honey_kg` > 20;\n```",
        },
        {"role": "user", "content": "[(7,)]"},
        {"role": "assistant", "content": 'Action: Answer\nFinal Answer: ["7"]'},
    ),
)
"""An agent at a database, one statement in each turn."""

QUESTIONS: tuple[Conversation, ...] = (
    _asked("Name the colour that blue and yellow paint give together.", "Green."),
    _asked(
        "A crate holds 12 jars. How many jars are in 4 crates, if 3 jars are missing?",
        "4 crates hold 4 * 12 = 48 jars. Without the 3 missing ones there are 48 - 3 = 45 jars. The answer is 45.",
    ),
)
"""Free questions."""
