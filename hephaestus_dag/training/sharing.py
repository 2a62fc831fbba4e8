"""Whether a machine sees the folder of a training job: what a scheduler's job asks first on each of its nodes.

A folder of the same name that is the node's own would be written to, and nobody would find it; so the node looks for the
launcher's note about this very job.
"""

import re
import shlex

from hephaestus_dag.training.launch_plan import LaunchPlan

SHARED = "all nodes must see the store's folder under the same path as this machine"
SECONDS = 5
"""Time that a network's file system has to show a node what was just written."""
BLIND = 66
"""Exit status of a node that does not see the folder."""


def look(plan: LaunchPlan, name: str) -> str:
    """Return what a shell runs before the rest of job ``name``: it ends with `BLIND` where the folder is not to be seen.

    It ends a second after its word, since Slurm may drop what a process said right before a failure.
    """
    seen = shlex.join(["grep", "-qsF", name, str(plan.launched.absolute())])
    say = f'echo "$(uname -n)" {shlex.quote(_blind(plan))} >&2'
    return f"n=0; until {seen}; do n=$((n+1)); [ $n -le {SECONDS} ] || {{ {say}; sleep 1; exit {BLIND}; }}; sleep 1; done"


def said_by(node: str, plan: LaunchPlan) -> str:
    """Return what a node that does not see the folder says."""
    return f"{node} {_blind(plan)}"


def blindness(plan: LaunchPlan, log: str) -> str | None:
    """Return what a node that does not see the folder said, from what the job has printed."""
    found = re.search(rf"\S+ {re.escape(_blind(plan))}$", log, re.MULTILINE)
    return found and found[0]


def _blind(plan: LaunchPlan) -> str:
    return f"does not see {plan.work.absolute()}"
