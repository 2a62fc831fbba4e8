"""The hook of every step: a failure is said in words that people read."""

import dagster as dg

from hephaestus_dag.failures import failure_message


@dg.failure_hook
def say_what_failed(context: dg.HookContext) -> None:
    """Put the readable message into the run's log, where the UI and the terminal show it."""
    error = context.op_exception
    why = f"{type(error).__name__}: {error}" if error else ""
    storage = context.instance.storage_directory()
    context.log.error(failure_message(context.step_key, why, context.run_id, storage))
