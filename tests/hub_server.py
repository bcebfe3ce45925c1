"""A Hub on this machine: the part of its HTTP API that pushing and loading need, kept in memory.

`huggingface_hub` talks to it as to the real one (`HF_ENDPOINT`, without Xet): create a repository, preupload, LFS,
commit, tree, resolve.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
USER = "tester"
TYPES = "models|datasets"


@dataclass
class Repository:
    """One repository: its files on the only branch, and its commits."""

    files: dict[str, bytes] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((len(self.commits), sorted(self.files))).encode()).hexdigest()


class Hub:
    """What the server holds, and how it is to fail.

    Args:
        fail: Paths (regular expressions) to whose requests the connection is closed without an answer.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail: str | None = None
        self.url = ""

    def environment(self, home) -> dict[str, str]:
        """What a process needs to take this for the Hub, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "OMP_NUM_THREADS": "1",
            "no_proxy": "127.0.0.1",
        }


@contextmanager
def running_hub():
    """A hub that listens on a free port of the loopback interface."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    ROUTES = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"/api/({TYPES})/([^/]+/[^/]+)/preupload/([^/]+)", "preupload"),
        ("POST", rf"/api/({TYPES})/([^/]+/[^/]+)/commit/([^/]+)", "commit"),
        ("POST", rf"/api/({TYPES})/([^/]+/[^/]+)/paths-info/([^/]+)", "paths_info"),
        ("GET", rf"/api/({TYPES})/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", "tree"),
        ("GET", rf"/api/({TYPES})/([^/]+/[^/]+)(?:/revision/([^/]+))?", "info"),
        ("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/([0-9a-f]+)", "lfs_upload"),
        ("GET", r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    ]

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.fail and re.search(self.hub.fail, path):
            self.close_connection = True
            self.connection.close()
            return
        self.content = self._read()
        if self.command in ("POST", "PUT") and not path.startswith("/lfs/") and not self._known():
            return self._json({"error": "Invalid user token."}, 401)
        for method, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command.replace("HEAD", "GET"):
                return getattr(self, name)(*match.groups())
        self._json({"error": f"no route {path}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def log_message(self, *args) -> None:
        """Nothing: pytest shows what went wrong."""

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value, status: int = 200, **headers: str) -> None:
        self._answer(json.dumps(value).encode(), status, Content_Type="application/json", **headers)

    def _missing(self, code: str) -> None:
        self._json({"error": code}, 404, X_Error_Code=code, X_Error_Message=code)

    def _repository(self, kind: str | None, name: str) -> Repository | None:
        found = self.hub.repositories.get(f"{'datasets/' if kind and kind.startswith('datasets') else ''}{name}")
        if found is None:
            self._missing("RepoNotFound")
        return found

    # ---- Routes ----

    def whoami(self) -> None:
        if not self._known():
            return self._json({"error": "Invalid user token."}, 401)
        self._json({"type": "user", "name": USER, "orgs": []})

    def create(self) -> None:
        asked = json.loads(self.content)
        prefix = "datasets/" if asked.get("type") == "dataset" else ""
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        there = f"{prefix}{name}" in self.hub.repositories
        self.hub.repositories.setdefault(f"{prefix}{name}", Repository())
        answer = {"url": f"{self.hub.url}/{prefix}{name}", "id": name, "name": name}
        self._json({**answer, "error": "You already created this repo"} if there else answer, 409 if there else 200)

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if self._repository(kind, name) is None:
            return
        large = (".safetensors", ".onnx", ".bin", ".pt", ".parquet", ".arrow", ".png")
        files = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(large) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(self.content)["files"]
        ]
        self._json({"files": files})

    def lfs_batch(self, kind: str | None, name: str) -> None:
        objects = []
        for one in json.loads(self.content)["objects"]:
            known = one["oid"] in self.hub.objects
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}
            objects.append({**one, **({} if known else {"actions": upload})})
        self._json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        right = hashlib.sha256(self.content).hexdigest() == oid
        if right:
            self.hub.objects[oid] = self.content
        self._answer(b"", 200 if right else 400)

    def commit(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        header, *operations = [json.loads(line) for line in self.content.splitlines()]
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.objects[value["oid"]]
                repository.lfs.add(value["path"])
            elif operation["key"] == "deletedFile":
                del repository.files[value["path"]]
        repository.commits.append(header["value"]["summary"])
        url = f"{self.hub.url}/{name}/commit/{repository.sha}"
        self._json({"success": True, "commitOid": repository.sha, "commitUrl": url})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        repository = self._repository(kind, name)
        if repository is not None:
            files = [{"rfilename": path} for path in repository.files]
            about = {"private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
            self._json({"_id": "0", "id": name, "sha": repository.sha, "siblings": files, **about})

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        if repository is not None:
            asked = json.loads(self.content)["paths"]
            self._json([_described(repository, path) for path in asked if path in repository.files])

    def tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        found = [path for path in repository.files if path.startswith(f"{folder}/" if folder else "")]
        if not found and folder:
            return self._missing("EntryNotFound")
        self._json([_described(repository, path) for path in found])

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        if path not in repository.files:
            return self._missing("EntryNotFound")
        content = repository.files[path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._answer(content, ETag=etag, X_Repo_Commit=repository.sha, Accept_Ranges="none")


def _described(repository: Repository, path: str) -> dict:
    content = repository.files[path]
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path in repository.lfs:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 128}
    return entry
