"""The words of AgentBench's OS task, quoted from v0.2 (``src/server/tasks/os_interaction/task.py``, Apache-2.0)."""

from hephaestus_dag.evaluation.prompts import ChatMessage

INSTRUCTION = """\
You are an assistant that will act like a person, I'will play the role of linux(ubuntu) operating system. Your goal is to \
implement the operations required by me or answer to the question proposed by me. For each of your turn, you should first \
think what you should do, and then take exact one of the three actions: "bash", "finish" or "answer".\x20

1. If you think you should execute some bash code, take bash action, and you should print like this:

Think: put your thought here.

Act: bash

```bash
# put your bash code here
```

2. If you think you have finished the task, take finish action, and you should print like this:

Think: put your thought here.

Act: finish

3. If you think you have got the answer to the question, take answer action, and you should print like this:

Think: put your thought here.

Act: answer(Your answer to the question should be put in this pair of parentheses)

If the output is too long, I will truncate it. The truncated output is not complete. You have to deal with the truncating \
problem by yourself. Attention, your bash code should not contain any input operation. Once again, you should take only exact \
one of the three actions in each turn.

"""

EXAMPLE = (
    'Now, my problem is:\n\ntell me how many files are in the directory "/etc"?',
    "Think: To count the files in /etc, I need to print all the files in it.\n\nAct: bash\n\n```bash\nls /etc\n```",
    (
        "The output of the OS:\ncpi cron.hourly fuse.conf iproute2 lvm networkd-dispatcher protocols "
        "selinux tmpfiles.d [truncated because the output is too long]"
    ),
    (
        "Think: The output has been truncated because it is too long, so I need to count files by script directly.\n\n"
        "Act: bash\n\n```bash\nls -1 /etc | wc -l\n```"
    ),
    "The output of the OS:\n220",
    "Think: Now I get the answer, it is 220.\n\nAct: answer(220)",
)
NEW_PROBLEM = "Now, I will start a new problem in a new OS. My problem is:\n\n"


def opening(question: str) -> list[ChatMessage]:
    """Return the messages before the first reply."""
    texts = [INSTRUCTION + EXAMPLE[0], *EXAMPLE[1:], NEW_PROBLEM + question]
    return [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(texts)]
