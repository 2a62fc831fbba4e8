import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import dagster as dg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, Lineage, artifact
from assets.page import to_dagster
from hephaestus_dag import events
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.cli.main import main
from hephaestus_dag.console import STOPPED
from hephaestus_dag.console import run as run_job
from hephaestus_dag.recipe_file import load_recipe
from hephaestus_dag.training.follow import MetricsFollower
from resources.compute import LocalPool
from resources.database import DatabaseServer
from resources.launcher import LocalLauncher
from resources.recipe import RecipeChoice
from resources.store import ArtifactStore
from resources.trainer import DeepSpeedTrainer

ROOT = Path(__file__).parents[1]
SHARP = CheckDeclaration(name="blade_is_sharp", description="It cuts.", blocking=False)

RELAY = """
import os, shutil, sys
shutil.copyfile(sys.argv[1], os.environ["HEPHAESTUS_EVENTS"])
print("\\n".join(f"line {i}" for i in range(40)))
sys.exit(int(sys.argv[2]))
"""

FAMILY = """
import os, subprocess, sys, time
from pathlib import Path
DEAF = "import signal, time; signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.SIG_IGN); print(); time.sleep(600)"

def wait():
    child = subprocess.Popen([sys.executable, "-u", "-c", DEAF], stdout=subprocess.PIPE)
    child.stdout.readline()
    Path("half").write_text(f"{os.getpid()} {child.pid}")
    Path("half").rename("pids")
    time.sleep(600)
"""
FORGE = f"""{FAMILY}
import dagster as dg
op = dg.op(wait)

@dg.job(executor_def=dg.in_process_executor)
def forge():
    op()
"""
CHATTY = f"""{FAMILY}
import threading
from hephaestus_dag import events

def talk():
    while True:
        events.emit("start", "blade")
        time.sleep(0.1)

threading.Thread(target=talk, daemon=True).start()
wait()
"""


@artifact(group="smithy", recipe=["mixture.seed"], checks=[SHARP])
def blade(build: Build) -> Report:
    """A blade."""
    (build.folder / "blade").write_text("blunt")
    build.progress(1, 1)
    return Report(headline="1 blade [of steel], für dich", checks=[Check(name=SHARP.name, passed=False, detail="blunt")])


@artifact(group="smithy", inputs=["blade"], key="hero/sword")
def sword(build: Build) -> Report:
    """A sword that never gets made."""
    build.warn("the handle [oak] is wet")
    raise RuntimeError("the handle [oak] broke")


@artifact(group="smithy", inputs=["blade"])
def benchmark_report(build: Build) -> Report:
    """The report that is printed at the end."""
    (build.folder / "report.md").write_text("# Blades\n\n[1] blade cuts\n")
    return Report(headline="written")


@artifact(group="smithy", key="hephaestus/stage3_checkpoint")
def stage3(build: Build) -> Report:
    """The model of a variant."""
    (build.folder / "model").mkdir()
    (build.folder / "model" / "config.json").write_text("{}")
    return Report(headline="trained")


class Run:
    """What the terminal shows of runs of the smithy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = folder / "told.jsonl"

    def smithy(self, *assets: ArtifactAsset, seed: int = 0) -> None:
        """Let Dagster make assets, on one store, while their events are kept."""
        recipe = load_recipe("laptop")
        mixture = recipe.mixture.model_copy(update={"seed": seed})
        lineage = Lineage(recipe.model_copy(update={"mixture": mixture}), assets)
        dg.materialize(
            [to_dagster(lineage, asset, None) for asset in assets],
            resources={
                "recipe": RecipeChoice(),
                "store": ArtifactStore(root=str(self.folder / "store")),
                "compute": LocalPool(num_workers=1),
                "database": DatabaseServer(),
                "trainer": DeepSpeedTrainer(launcher=LocalLauncher()),
            },
            raise_on_error=False,
        )

    def shown(self, capsys: pytest.CaptureFixture[str], status: int = 0) -> list[str]:
        """The lines of the terminal, for a job that leaves the same events and ends with a status."""
        capsys.readouterr()
        given = [str(self.told), str(status)]
        assert run_job("laptop", self.folder / "store", given, [sys.executable, "-c", RELAY]) == status
        return capsys.readouterr().out.splitlines()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(events.VARIABLE, str(run.told))
    return run


def about(lines: list[str], asset: str) -> list[str]:
    """The lines of an asset and those that belong to them, without clock and duration."""
    found, inside = [], False
    for line in lines:
        if clocked := re.match(r"\d\d:\d\d:\d\d  (\S+) (.*)", line):
            inside = clocked[1] == asset
            found += [" ".join(re.sub(r" \d+\.\d s ", "", clocked[2]).split())] if inside else []
        elif inside and line.startswith("     "):
            found.append(line.strip())
    return found


def test_an_asset_has_a_line_at_its_start_and_one_at_its_end(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.smithy(blade)
    lines = run.shown(capsys)
    assert lines[0].startswith("recipe laptop: The whole graph")
    assert about(lines, "blade") == ["...", "done 1 blade [of steel], für dich", "check failed: blade_is_sharp"]
    assert re.fullmatch(r"the job took \d+ s", lines[-1])


def test_reuse_and_the_reasons_of_a_rebuild_are_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.smithy(blade)
    run.smithy(blade)
    run.smithy(blade, seed=7)
    shown = about(run.shown(capsys), "blade")
    assert [line for line in shown if line != "check failed: blade_is_sharp"] == [
        "...",
        "done 1 blade [of steel], für dich",
        "...",
        "reused 1 blade [of steel], für dich",
        "...",
        "done 1 blade [of steel], für dich",
        "rebuilt because mixture.seed: 0 → 7",
    ]


def test_a_warning_is_shown_and_a_failure_with_the_end_of_the_log(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.smithy(blade, sword)
    lines = run.shown(capsys, status=3)
    assert about(lines, "hero/sword") == [
        "...",
        "the handle [oak] is wet",
        "failed RuntimeError: the handle [oak] broke",
    ]
    (failed,) = [i for i, line in enumerate(lines) if line.startswith("the job failed after")]
    assert lines[failed + 1 :] == [f"line {i}" for i in range(25, 40)]


def test_the_report_is_printed_at_the_end(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.smithy(blade, benchmark_report)
    lines = run.shown(capsys)
    assert lines[lines.index("# Blades") + 2] == "[1] blade cuts"


def test_the_folder_of_every_model_is_printed_at_the_end(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.smithy(stage3)
    (model,) = (run.folder / "store" / "hephaestus" / "stage3_checkpoint").glob("*/model")
    assert f"  hephaestus: {model}" in run.shown(capsys)


def test_a_wrong_recipe_ends_it_before_anything_starts(run: Run) -> None:
    ended = CliRunner().invoke(main, ["run", "[laptob]"])
    assert ended.exit_code == 2
    assert "no recipe '[laptob]': give a path to a YAML file or one of" in ended.output
    assert not (run.folder / "logs").exists()


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.lists(st.floats(0, 1), max_size=4)
)
def test_lines_are_read_whole_wherever_a_look_cuts_them(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], cuts: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("events")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(events.VARIABLE, str(folder / "written"))
        for word in words:
            events.emit("end", "blade", headline=word)
    content = (folder / "written").read_bytes()
    follower = MetricsFollower(folder / "seen")
    seen, start = [], 0
    for cut in [*sorted(int(share * len(content)) for share in cuts), len(content)]:
        with (folder / "seen").open("ab") as file:
            file.write(content[start:cut])
        seen += follower.new_lines()
        start = cut
    assert [event["headline"] for event in seen] == words


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(reached: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < limit
        time.sleep(0.05)


class Job:
    """A terminal in a process of its own, with a job that has a stubborn child."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": str(folder), "HEPHAESTUS_RECIPE": "laptop"}
        self.terminal = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pids: list[int] = []

    def __enter__(self) -> Self:
        until(lambda: (self.folder / "pids").exists() or self.terminal.poll() is not None)
        self.pids = [int(pid) for pid in (self.folder / "pids").read_text().split()]
        assert all(map(alive, self.pids))
        return self

    def __exit__(self, *_: object) -> None:
        for pid in filter(alive, [self.terminal.pid, *self.pids]):
            os.kill(pid, signal.SIGKILL)
        self.terminal.communicate()

    def ended(self) -> bool:
        self.terminal.wait(60)
        until(lambda: not any(map(alive, self.pids)), seconds=5)
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGHUP], ids=["terminate", "hang up"])
def test_ending_the_terminal_ends_dagster_and_its_children(tmp_path: Path, wish: signal.Signals) -> None:
    (tmp_path / "smithy.py").write_text(FORGE)
    code = f"""
import sys
from pathlib import Path
from hephaestus_dag.console import run
sys.exit(run("laptop", Path("store"), ["-m", "smithy", "-j", "forge", "-d", {str(tmp_path)!r}]))
"""
    with Job(tmp_path, "-c", code) as job:
        assert job.terminal.stdout is not None
        job.terminal.send_signal(wish)
        said = next((line for line in job.terminal.stdout if "stopping" in line), "nothing")
        job.terminal.send_signal(signal.SIGINT)
        assert "the job was stopped after" in said + job.terminal.stdout.read()
        assert job.ended()
        assert job.terminal.returncode == STOPPED


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_terminal_that_nobody_reads_ends_its_job(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from hephaestus_dag.console import run
run("laptop", Path("store"), [], [sys.executable, "-c", {CHATTY!r}])
"""
    with Job(tmp_path, "-c", code) as job:
        assert job.terminal.stdout is not None
        job.terminal.stdout.close()
        assert job.ended()
