"""Plays one game of ALFWorld; run as a script under the interpreter that has the package ``alfworld`` (0.4.2).

Arguments: the folder of the games, and the game's file in it. Every line of the output is a state as JSON (observation,
commands, done, won): the first one after the start, the others after each line of the input, an action as JSON.
"""

import json
import os
import sys
from pathlib import Path

import textworld  # pyright: ignore[reportMissingImports]
import textworld.gym  # pyright: ignore[reportMissingImports]
from alfworld.agents.environment.alfred_tw_env import (  # pyright: ignore[reportMissingImports]
    AlfredDemangler,
    AlfredInfos,
)


def main() -> None:
    """Play until the input ends."""
    states = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the packages print is no state
    path = str(Path(sys.argv[1], sys.argv[2]))
    wanted = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    wrappers = [AlfredDemangler(shuffle=False), AlfredInfos]
    name = textworld.gym.register_games(
        [path], wanted, batch_size=1, asynchronous=False, max_episode_steps=50, wrappers=wrappers
    )
    environment = textworld.gym.make(name)
    observations, infos = environment.reset()
    done = False
    while True:
        state = {
            "observation": observations[0],
            "commands": list(infos["admissible_commands"][0]),
            "done": bool(done),
            "won": bool(infos["won"][0]),
        }
        print(json.dumps(state), file=states, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        observations, _, dones, infos = environment.step([json.loads(line)])
        done = dones[0]


if __name__ == "__main__":
    main()
