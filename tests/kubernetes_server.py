"""The few endpoints of Kubernetes that a Job needs, and a kubelet that runs its pods as processes: a stand-in, for tests.

No Kubernetes is packaged for Debian or PyPI. What is posted is checked with the API's own schema (kubernetes-validate).
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

from tests.loopback import LoopbackHandler, LoopbackServer, running

VERSION = "1.33"
"""Version of the API whose schema is used."""


class _Pods:
    """The pods of a Job."""

    def __init__(self, job: dict[str, Any], folder: Path, prefix: Sequence[str]) -> None:
        self.job = job
        name, spec = job["metadata"]["name"], job["spec"]
        container = spec["template"]["spec"]["containers"][0]
        given = {each["name"]: each["value"] for each in container["env"]}
        self.logs = {f"{name}-{index}-abcde": folder / f"{name}-{index}.log" for index in range(spec["completions"])}
        # Pods that are to meet wait for each other's names, as torch does.
        waiting = ["sh", "-c", 'until [ -e "$0" ]; do sleep 0.05; done; exec "$@"', str(folder / f"{name}.service")]
        self.processes = [
            subprocess.Popen(
                [*prefix, *(waiting if spec["completions"] > 1 else ()), *container["command"]],
                env={**os.environ, **given, "JOB_COMPLETION_INDEX": str(index)},
                stdout=path.open("wb"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            for index, path in enumerate(self.logs.values() if not spec.get("suspend") else ())
        ]

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            process.wait()

    def status(self) -> dict[str, Any]:
        if self.job["spec"].get("suspend"):
            return {"conditions": [{"type": "Suspended", "status": "True"}]}
        codes = [process.poll() for process in self.processes]
        if any(codes):
            self.end()
            condition = {
                "type": "Failed",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
        elif None not in codes:
            condition = {"type": "Complete"}
        else:
            return {"active": codes.count(None), "ready": codes.count(None)}
        return {"conditions": [{**condition, "status": "True"}]}


class Cluster(LoopbackServer):
    """What was posted, and what runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_Handler)
        self.folder = folder
        self.jobs: dict[str, _Pods] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.ever: list[str] = []
        self.down = False
        self.prefix: Sequence[str] = ()
        """Put before the command of each pod."""
        self.forbidden = ""
        """The kind that nobody may create."""
        self.on_write: Callable[[str], None] = lambda what: None
        """Is told of each request that writes, once that is done and before it is answered."""

    def delete(self, name: str) -> bool:
        found = self.jobs.pop(name, None)
        if found:
            found.end()
            (self.folder / f"{name}.service").unlink(missing_ok=True)
            self.services = {
                key: each
                for key, each in self.services.items()
                if each["metadata"]["ownerReferences"][0]["uid"] != f"uid-{name}"
            }
        return bool(found)


class _Handler(LoopbackHandler):
    server: Cluster

    def do_POST(self) -> None:
        body = self.request_body()
        kubernetes_validate.validate(body, VERSION, strict=True)
        name = body["metadata"]["name"]
        if body["kind"] == self.server.forbidden:
            return self.reply(403, {"message": f"{body['kind'].lower()}s is forbidden"}, _JSON)
        body["metadata"]["uid"] = f"uid-{name}"
        if body["kind"] == "Job":
            self.server.ever.append(name)
            self.server.jobs[name] = _Pods(body, self.server.folder, self.server.prefix)
        elif name in self.server.services:
            return self.reply(409, {"reason": "AlreadyExists"}, _JSON)
        else:
            self.server.services[name] = body
            (self.server.folder / f"{name}.service").touch()
        self.server.on_write(f"create {body['kind']}")
        return self.reply(201, body, _JSON)

    def do_PATCH(self) -> None:
        _, name = _ends(self.path)
        job = self.server.jobs[name].job
        job["spec"].update(self.request_body()["spec"])
        kubernetes_validate.validate(job, VERSION, strict=True)
        self.server.jobs[name] = _Pods(job, self.server.folder, self.server.prefix)
        self.server.on_write("patch Job")
        self.reply(200, job, _JSON)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        what, name = _ends(parts.path)
        if self.server.down:
            return self.reply(503, {}, _JSON)
        if what == "jobs":
            if name not in self.server.jobs:
                return self.reply(404, {"message": f'jobs.batch "{name}" not found'}, _JSON)
            pods = self.server.jobs[name]
            return self.reply(200, {**pods.job, "status": pods.status()}, _JSON)
        if parts.path.endswith("/log"):
            (path,) = [pods.logs[name] for pods in self.server.jobs.values() if name in pods.logs]
            return self.reply(200, path.read_text(), {"Content-Type": "text/plain"})
        job = parse_qs(parts.query)["labelSelector"][0].partition("=")[2]
        names = self.server.jobs[job].logs if job in self.server.jobs else ()
        items = [{"metadata": {"name": each}, "status": {}} for each in names]
        return self.reply(200, {"kind": "PodList", "apiVersion": "v1", "items": items}, _JSON)

    def do_DELETE(self) -> None:
        _, name = _ends(self.path)
        self.reply(200 if self.server.delete(name) else 404, {"kind": "Status"}, _JSON)


_JSON = {"Content-Type": "application/json"}


def _ends(path: str) -> tuple[str, str]:
    """Return what is asked about: (jobs, its name), or (pods, its name or nothing)."""
    words = [word for word in urlsplit(path).path.split("/") if word not in ("status", "log")]
    return (words[-1], "") if words[-1] == "pods" else (words[-2], words[-1])


@contextmanager
def kubernetes_cluster(folder: Path) -> Iterator[Cluster]:
    """Serve until the block ends; ``folder`` gets a kubeconfig, which KUBECONFIG has to name."""
    with running(Cluster(folder)) as cluster:
        address = f"http://127.0.0.1:{cluster.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "current-context": "here",
        }
        (folder / "kubeconfig").write_text(json.dumps(config))
        try:
            yield cluster
        finally:
            for name in list(cluster.jobs):
                cluster.delete(name)
