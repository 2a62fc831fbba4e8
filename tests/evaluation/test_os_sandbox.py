"""The machines of AgentBench's OS task: what works in one, and what the worst commands achieve."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from os_machine import machine

from hephaestus_dag.evaluation.agentbench.os_config import OsConfig
from hephaestus_dag.evaluation.agentbench.os_root import take
from hephaestus_dag.evaluation.agentbench.os_sandbox import Sandbox, SandboxError, cannot_run


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> OsConfig:
    """Sandboxes on a tiny root."""
    return machine(tmp_path_factory.getbasetemp() / "machine")


@pytest.fixture
def sandbox(config: OsConfig) -> Iterator[Sandbox]:
    """A running machine."""
    assert config.root
    with Sandbox(config.root / "root", config) as booted:
        yield booted


def shell(sandbox: Sandbox, command: str) -> str:
    """Return what a command prints."""
    return sandbox.shell(command).decode()


def boot(config: OsConfig, **changes: float) -> Sandbox:
    """Boot a machine with other limits."""
    assert config.root
    return Sandbox(config.root / "root", config.model_copy(update=changes))


def test_the_shell_keeps_its_state_and_prints_nothing_of_its_own(sandbox: Sandbox) -> None:
    assert shell(sandbox, "cd /home; name='a  b'; f() { echo \"<$1>\"; }") == ""
    assert shell(sandbox, 'pwd\nf "$name"') == "/home\n<a  b>\n"
    assert shell(sandbox, "PS1='prompt# '; echo \x1b[31mred\x1b[0m $'\\a'") == "red \n"
    assert shell(sandbox, "break; cat <<'E'\nhere\nE\nread line; echo $?").splitlines()[-2:] == ["here", "1"]
    assert "unexpected EOF" in shell(sandbox, "echo 'never closed")
    assert shell(sandbox, "[ -t 1 ] && echo terminal; (exit 3)") == "terminal\n"
    assert "logout" in shell(sandbox, "exit 3")
    with pytest.raises(SandboxError, match="an earlier command has ended the shell"):
        sandbox.shell("true")


def test_programs_run_beside_the_shell_with_arguments_and_status(sandbox: Sandbox) -> None:
    ended = sandbox.run(["bash", "-c", 'pwd; echo "$1|$2" >&2; exit 7', "--", "a\nb", ""])
    assert (ended.status, ended.output) == (7, b"/\na\nb|\n")
    assert sandbox.run(["python3", "-c", "import sys; sys.exit(sys.argv[1] != 'x')", "x"]).status == 0
    assert sandbox.run(["no-such-program"]).status == 127
    assert sandbox.run(["bash", "-c", "kill -9 $$"]).status == 137
    assert sandbox.run(["bash", "-c", "seq 100000 | head -1"]).output == b"1\n"


def test_background_programs_go_on_and_end_with_the_machine(sandbox: Sandbox) -> None:
    mark = f"{time.monotonic_ns() % 10**9 + 10**6}"
    began = time.monotonic()
    sandbox.run(["bash", "-c", f"setsid sleep {mark} & sleep {mark} &"])
    sandbox.shell(f"sleep {mark} &")
    while sum(mark in line for line in _commands()) < 3:
        assert time.monotonic() - began < 5
    sandbox.close()
    assert not any(mark in line for line in _commands())


def test_machines_share_nothing_and_leave_their_root_as_it_was(config: OsConfig) -> None:
    assert config.root
    before = sorted(path.name for path in (config.root / "root/usr/bin").iterdir())
    with boot(config) as one, boot(config) as other:
        shell(one, "echo x > /usr/bin/new; rm /usr/bin/ls; echo secret > /tmp/file; sleep 500 &")
        assert shell(other, "cat /usr/bin/new /tmp/file 2>&1").count("No such file") == 2
        assert "bin" in shell(other, "ls /usr")
        assert "sleep" not in "".join(shell(other, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"))
    assert sorted(path.name for path in (config.root / "root/usr/bin").iterdir()) == before


def test_nothing_outside_can_be_read_or_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's secret")
    os.environ["HEPHAESTUS_TEST_SECRET"] = "the host's secret"
    try:
        text = shell(
            sandbox, f"cat {secret} /proc/1/root{secret} /proc/*/environ; env; ls / /proc/1/root/home; echo x > {secret}"
        )
    finally:
        del os.environ["HEPHAESTUS_TEST_SECRET"]
    assert "the host's secret" not in text
    assert secret.read_text() == "the host's secret"
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    text = shell(sandbox, "echo '|/tmp/x' > /proc/sys/kernel/core_pattern; mount -t tmpfs none /tmp; mknod /tmp/disk b 1 0")
    assert text.count("ermi") == 3  # permission denied, twice, and operation not permitted
    assert pattern.read_text() == before
    assert "unshare failed" in shell(sandbox, "unshare --user true")


def test_there_is_no_network(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "Connection refused" in shell(sandbox, f"echo x > /dev/tcp/127.0.0.1/{port}")
    assert "unreachable" in shell(sandbox, "echo x > /dev/tcp/1.1.1.1/53")


def test_host_processes_cannot_be_killed(sandbox: Sandbox) -> None:
    shell(sandbox, f"kill -9 {os.getpid()} {os.getppid()} 1; kill -9 -1; echo")
    os.kill(os.getppid(), 0)
    assert sandbox.run(["bash", "-c", "echo alive"]).output == b"alive\n"


def test_the_disk_is_bounded(sandbox: Sandbox) -> None:
    text = shell(sandbox, "for file in /root/big /dev/shm/big; do head -c 100000000 /dev/zero > $file; done; echo x > /dev/new")
    assert text.count("No space left on device") == 2
    assert "Read-only file system" in text


@pytest.mark.slow
def test_memory_is_bounded_for_one_process_and_for_all(config: OsConfig) -> None:
    with boot(config) as sandbox:
        assert "MemoryError" in shell(sandbox, "python3 -c 'x = bytearray(10 << 30)'")
        began = time.monotonic()
        hoard = "python3 -c 'import time; x = b\"x\" * (90 << 20); time.sleep(60)' &"
        with pytest.raises(SandboxError, match="more than 200 MiB of memory"):
            sandbox.shell(f"{hoard} {hoard} {hoard} {hoard} wait")
        assert time.monotonic() - began < 15


@pytest.mark.slow
def test_a_fork_bomb_and_an_endless_loop_only_cost_their_own_time(config: OsConfig) -> None:
    for attack in ("bomb() { bomb | bomb & }; bomb; sleep 30", "while true; do :; done"):
        with boot(config, command_seconds=1.0) as sandbox, pytest.raises(TimeoutError, match="more than 1 s"):
            sandbox.shell(attack)
    with boot(config) as sandbox:
        assert shell(sandbox, "echo fine") == "fine\n"


def test_output_is_read_whole_up_to_its_bound(config: OsConfig) -> None:
    with boot(config, output_mebibytes=2) as sandbox:
        assert len(shell(sandbox, "head -c 1000000 /dev/zero | tr '\\0' x")) == 1_000_000
        with pytest.raises(SandboxError, match="printed more than 2 MiB"):
            sandbox.run(["bash", "-c", "head -c 4000000 /dev/zero"])


@pytest.mark.slow
def test_machines_run_in_threads(config: OsConfig) -> None:
    results: list[str] = []

    def work(number: int) -> None:
        with boot(config) as sandbox:
            results.append(shell(sandbox, f"sleep 0.2; echo {number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["0\n", "1\n", "2\n", "3\n"]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert "agentbench.os.root" in cannot_run(OsConfig()) or "bubblewrap" in cannot_run(OsConfig())
    (tmp_path / "empty").mkdir()
    with pytest.raises((RuntimeError, OSError), match=r"bash|unpacked"):
        take(tmp_path / "made", tmp_path / "empty")
    assert not list(tmp_path.glob("made*"))
    with pytest.raises(FileExistsError, match="exists"):
        take(tmp_path / "empty", tmp_path)


def _commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return [line for line in found if line.startswith("sleep")]
