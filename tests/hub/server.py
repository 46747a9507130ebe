"""A hub on this machine: enough of its protocol for downloads and commits, and its bad days.

Large files are answered by a redirect to another origin (`localhost` in place of `127.0.0.1`), as
the hub does with its CDN: there, no token may arrive.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

_LARGE = (".safetensors", ".pth", ".bin", ".onnx", ".model")
_PIECE = 4096


@dataclass
class Repo:
    """Files by commit, and branches."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit on a branch: what was there, and these files."""
        before = self.commits.get(self.branches.get(branch, ""), {})
        text = repr((len(self.commits), sorted(files), branch))
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = {**before, **files}
        self.branches[branch] = name
        return name


@dataclass
class Fault:
    """What goes wrong with requests of a method whose path contains `where`.

    Attributes:
        where: Part of the path.
        method: GET, HEAD, POST or PUT.
        times: How often.
        status: Answer this, with `headers`.
        headers: Of that answer.
        cut_after: Send so many bytes of the body, then close the connection.
        hang_after: Send so many bytes of the body, then nothing until the server stops.
        body: Send this in place of the file.
    """

    where: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    hang_after: int | None = None
    body: bytes | None = None


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]


class Hub:
    """The server; use it as a context."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.plain: dict[str, bytes] = {}
        self.tokens: dict[str, str] = {"writer": "write", "reader": "read"}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.before: Callable[[Seen], None] = lambda seen: None
        self.uploads: dict[str, bytes] = {}
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def repo(self, name: str, files: dict[str, bytes] | None = None, **facts: Any) -> Repo:
        """A new repository, with a first commit where files are given."""
        made = self.repos[name] = Repo(**facts)
        if files is not None:
            made.commit(files)
        return made

    def url(self, name: str, content: bytes) -> str:
        """A file at an address of its own."""
        self.plain[name] = content
        return f"{self.endpoint}/files/{name}"

    def asked(self, method: str, part: str) -> list[Seen]:
        """The requests of a method whose path contains something."""
        return [s for s in self.seen if s.method == method and part in s.path]

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, used up by it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and fault.where in path:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        seen = Seen(self.command, path, headers)
        with self.hub.lock:
            self.hub.seen.append(seen)
        self.hub.before(seen)
        self.fault = self.hub.fault_of(self.command, path)
        if self.fault is not None and self.fault.status is not None:
            self._send(self.fault.status, b"no", self.fault.headers)
            return
        for pattern, method in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                getattr(self, method)(*found.groups())
                return
        self._send(404, b"", {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._write(body)

    def _write(self, body: bytes) -> None:
        """In small pieces; with a fault, not all of it."""
        fault = self.fault
        stop = None if fault is None else (fault.cut_after or fault.hang_after)
        body = body if stop is None else body[:stop]
        for at in range(0, len(body), _PIECE):
            self.wfile.write(body[at : at + _PIECE])
            self.wfile.flush()
        if stop is not None:
            if fault is not None and fault.hang_after:
                self.hub.stopping.wait()
            self.close_connection = True

    def _send_json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send_file(self, body: bytes, headers: dict[str, str]) -> None:
        """With ranges, and only of the very file that the client has a part of."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if asked and is_same:
            begin = int(asked[1])
            rest = {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
            self._send(206, body[begin:], {**headers, **rest})
        else:
            self._send(200, body, headers)

    def _role(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.hub.tokens.get(token)

    def _resolve(self, repo_name: str, revision: str, file: str) -> None:
        repo = self.hub.repos.get(repo_name)
        if repo is None or (repo.private and self._role() is None):
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
            return
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        about = {"X-Repo-Commit": commit}
        body = repo.commits[commit].get(file)
        if body is None:
            self._send(404, b"", {**about, "X-Error-Code": "EntryNotFound"})
            return
        digest = hashlib.sha256(body).hexdigest()
        if file.endswith(_LARGE):
            place = f"http://localhost:{self.hub.port}/cdn/{repo_name}/{commit}/{file}"
            linked = {"X-Linked-Size": str(len(body)), "X-Linked-Etag": f'"{digest}"'}
            self._send(302, b"", {**about, **linked, "Location": place, "ETag": '"redirect"'})
        else:
            self._send_file(body, {**about, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'})

    def _cdn(self, repo_name: str, commit: str, file: str) -> None:
        body = self.hub.repos[repo_name].commits[commit][file]
        if self.fault is not None and self.fault.body is not None:
            body = self.fault.body
        self._send_file(body, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _plain(self, name: str) -> None:
        body = self.hub.plain.get(name)
        if body is None:
            self._send(404, b"", {})
        else:
            self._send_file(body, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _may_write(self) -> bool:
        role = self._role()
        if role is None:
            error = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._send(401, b"{}", error)
        elif role != "write":
            self._send(403, b"{}", {"X-Error-Message": "no write access"})
        return role == "write"

    def _create(self) -> None:
        if not self._may_write():
            return
        asked = json.loads(self.content)
        name = f"{asked['organization']}/{asked['name']}"
        is_new = name not in self.hub.repos
        if is_new:
            made = self.hub.repo(name, {".gitattributes": b""})
            made.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._send_json(
            {"url": f"{self.hub.endpoint}/{name}", "name": name}, 200 if is_new else 409
        )

    def _preupload(self, repo_name: str, revision: str) -> None:
        if self._may_write():
            asked = [file["path"] for file in json.loads(self.content)["files"]]
            modes = {path: "lfs" if path.endswith(_LARGE) else "regular" for path in asked}
            files = [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]
            self._send_json({"files": files, "commitOid": "0" * 40})

    def _lfs_batch(self, repo_name: str) -> None:
        if self._may_write():
            objects = [
                {
                    **thing,
                    "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{thing['oid']}"}},
                }
                for thing in json.loads(self.content)["objects"]
            ]
            self._send_json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, oid: str) -> None:
        is_right = hashlib.sha256(self.content).hexdigest() == oid
        self.hub.uploads[oid] = self.content
        self._send(200 if is_right else 400, b"", {})

    def _commit(self, repo_name: str, branch: str) -> None:
        if not self._may_write():
            return
        files: dict[str, bytes] = {}
        for line in self.content.splitlines():
            step = json.loads(line)
            value = step["value"]
            if step["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        oid = self.hub.repos[repo_name].commit(files, branch)
        self._send_json({"commitUrl": f"{self.hub.endpoint}/{repo_name}", "commitOid": oid})

    def _validate_card(self) -> None:
        self._send_json({"errors": [], "warnings": []})


_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = [
    (rf"/{_REPO}/resolve/(refs/pr/\d+|[^/]+)/(.+)", "_resolve"),
    (rf"/cdn/{_REPO}/([0-9a-f]{{40}})/(.+)", "_cdn"),
    (r"/files/(.+)", "_plain"),
    (r"/api/repos/create", "_create"),
    (rf"/api/models/{_REPO}/preupload/(.+)", "_preupload"),
    (rf"/api/models/{_REPO}/commit/(.+)", "_commit"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "_lfs_batch"),
    (r"/lfs/([0-9a-f]{64})", "_lfs_put"),
    (r"/api/validate-yaml", "_validate_card"),
]
