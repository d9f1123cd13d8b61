"""A stand-in for the Hub: as much of its HTTP interface as one repository of small files needs."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_may_write"


class _Hub(ThreadingHTTPServer):
    """Repositories: by name, the files of each commit, the newest last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: object = None, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        address, repositories = self.server.address, self.server.repositories
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            given = json.loads(raw)
            name = "/".join(filter(None, (given.get("organization", "me"), given["name"])))
            if name in repositories:
                return self.answer({"error": "You already created this model repo"}, 409)
            repositories[name] = {hashlib.sha1(name.encode()).hexdigest(): {}}
            return self.answer({"url": f"{address}/{name}", "name": name})
        name, verb = re.fullmatch(r"/api/models/(.+?)/(preupload|commit)/main(?:\?.*)?", self.path).groups()
        if verb == "preupload":
            files = json.loads(raw)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": f["path"], **modes} for f in files]})
        lines = [json.loads(line) for line in raw.decode().splitlines()]
        new = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        commits = repositories[name]
        commit = hashlib.sha1(raw).hexdigest()
        commits[commit] = next(reversed(commits.values())) | new
        return self.answer({"commitUrl": f"{address}/{name}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(?:revision|tree)/([^/?]+))?(?:\?.*)?", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+?)(?:\?.*)?", self.path)
        if not (info or file):
            return self.answer({"error": "Not found"}, 404)
        name, revision = (info or file)[1], (info or file)[2]
        commits = self.server.repositories.get(name)
        if commits is None:
            return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        commit = next(reversed(commits)) if revision in (None, "main") else revision
        if commit not in commits:
            return self.answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        files = commits[commit]
        if "/tree/" in self.path:
            return self.answer(
                [{"type": "file", "oid": _oid(c), "size": len(c), "path": f} for f, c in files.items()]
            )
        if info:
            return self.answer({"id": name, "sha": commit, "siblings": [{"rfilename": f} for f in files]})
        content = files[file[3]]
        return self.answer(content, ETag=f'"{_oid(content)}"', X_Repo_Commit=commit)

    def do_HEAD(self) -> None:
        self.do_GET()


def _oid(content: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub() -> Iterator[_Hub]:
    """The stand-in, while it runs."""
    server = _Hub()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
