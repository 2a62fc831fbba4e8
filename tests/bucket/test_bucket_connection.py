"""A connection that breaks: what passes is tried again, what does not is said, and nothing half-written is seen."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hephaestus_dag.artifacts import ArtifactError, MissingArtifactError, Report, Workspace
from hephaestus_dag.bucket import Bucket
from hephaestus_dag.store_location import store_folder
from tests.bucket.conftest import Machine
from tests.bucket.test_bucket_store import SWORD, Names, unused, writing


class Line:
    """A line to a server that can be cut: ``refuses`` connections, or carries so many bytes until it is dead."""

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.refuses = 0
        self.budget: int | None = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            while True:
                caller, _ = self.listener.accept()
                if self.refuses or self.budget == 0:
                    self.refuses = max(self.refuses - 1, 0)
                    caller.close()
                    continue
                server = socket.create_connection(self.server)
                for pair in ((caller, server), (server, caller)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(1 << 16)) and self.budget != 0:
                if self.budget is not None:
                    self.budget = max(self.budget - len(data), 0)
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture
def line(endpoint: str, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    host, port = endpoint.removeprefix("http://").split(":")
    line = Line(host, int(port))
    monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
    yield line
    line.listener.close()


def test_what_passes_is_tried_again(machine: Machine, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaestus_dag.bucket.FIRST_PAUSE", timedelta(milliseconds=50))
    line.refuses = 3
    assert not machine("one").build(SWORD, writing("steel")).reused
    line.refuses = 2
    assert machine("two").open(SWORD)


def write_large(workspace: Workspace) -> Report:
    for number in range(8):
        (workspace.folder / f"{number}").write_bytes(os.urandom(1 << 20))
    return Report(headline="large")


def test_a_line_that_dies_in_the_upload(machine: Machine, line: Line, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaestus_dag.bucket.RETRIES", 1)

    def write_and_cut(workspace: Workspace) -> Report:
        line.budget = 3 << 20
        return write_large(workspace)

    first = machine("one")
    with pytest.raises(ArtifactError, match=r"cannot be (written|listed) at .*check the network .*what is finished is kept"):
        first.build(SWORD, write_and_cut)
    assert not any(name.endswith("manifest.json") for name in names())
    line.budget = None
    with pytest.raises(MissingArtifactError):
        machine("two").open(SWORD)
    assert not first.build(SWORD, unused).reused
    assert len(names()) == 9
    assert machine("two").open(SWORD).num_bytes == 8 << 20


def test_a_line_that_dies_in_the_download(machine: Machine, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hephaestus_dag.bucket.RETRIES", 1)
    machine("one").build(SWORD, write_large)
    second = machine("two")
    line.budget = 3 << 20
    with pytest.raises(ArtifactError, match="cannot be read"):
        second.open(SWORD)
    assert [path.name for path in second.path(SWORD).iterdir()] == ["manifest.json"]
    line.budget = None
    assert second.open(SWORD).num_bytes == 8 << 20


@pytest.mark.slow
def test_a_server_that_is_restarted_is_waited_for(url: str, line: Line) -> None:
    line.refuses = 1_000_000
    threading.Timer(6, lambda: setattr(line, "refuses", 0)).start()
    began = time.monotonic()
    assert Bucket(url).read("manifest.json") is None
    assert time.monotonic() - began > 5


@pytest.mark.parametrize(
    "location", ["s3://", "s3:///x", "s3://b//x", "s3://b/x/../y", "s3://b/a b", "s3://b/x?y", "s3a://b/x"]
)
def test_a_url_that_no_store_can_have_is_no_folder_either(location: str) -> None:
    with pytest.raises(ArtifactError, match="neither a folder nor a place in object storage: write s3://bucket/prefix"):
        store_folder(location)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "ExpiredToken", "the credentials have expired: set new ones"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong"),
        (301, "PermanentRedirect", "set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "set AWS_REGION"),
        (403, "QuotaExceeded", "there is no room left"),
        (403, "AccessDenied", r"\(AccessDenied\): check AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_a_server_answers_comes_with_its_remedy(
    status: int, code: str, said: str, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    answer = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(ArtifactError, match=said):
                Bucket(url).list()
        finally:
            server.shutdown()
