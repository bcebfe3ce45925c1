"""A Hub on this machine: the part of its HTTP API that pushing and loading need, kept in memory.

`huggingface_hub` talks to it as to the real one (`HF_ENDPOINT`, without Xet): create a repository, preupload, LFS,
commit, tree, resolve. Large files come from another host, where a download that was cut goes on; a repository may be
gated or renamed, and requests may be too many.
"""

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
    """One repository: its files on the only branch, and its commits.

    Args:
        gated: Whether its files, but for the card, are for those alone who are let in; the tests' user is not.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)
    gated: bool = False

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((len(self.commits), sorted(self.files))).encode()).hexdigest()


class Hub:
    """What the server holds, and how it is to fail.

    Attributes:
        fail: Paths (a regular expression) to whose requests the connection is closed without an answer.
        busy: Paths (likewise) to which there were too many requests.
        cut: Paths (likewise) of large files in whose middle the connection is cut, once each.
        moved: The new names of repositories by their old ones.
        reset: The seconds after which there may be more requests.
        read_only: Whether the tests' token may only read.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail: str | None = None
        self.busy: str | None = None
        self.cut: str | None = None
        self.were_cut: set[str] = set()
        self.moved: dict[str, str] = {}
        self.reset = 171
        self.read_only = False
        self.url = ""

    def environment(self, home) -> dict[str, str]:
        """What a process needs to take this for the Hub, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "DISABLE_SAFETENSORS_CONVERSION": "1",  # by a service of the real Hub
            "OMP_NUM_THREADS": "1",
            "no_proxy": "127.0.0.1,localhost",
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
        ("GET", r"/stored/(.+)", "stored"),
    ]

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        start = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        self.hub.requests.append(f"{self.command} {path}" + (f" from {start}" if start else ""))
        if self.hub.fail and re.search(self.hub.fail, path):
            self.close_connection = True
            self.connection.close()
            return
        self.content = self._read()
        if "Authorization" in self.headers and not self._known() and self.command in ("GET", "HEAD"):
            message = (
                "Invalid user token." if path == "/api/whoami-v2" else "Invalid credentials in Authorization header"
            )
            return self._json({"error": message}, 401, X_Error_Message=message)
        if self.hub.busy and re.search(self.hub.busy, path):
            return self._too_many()
        old = next((name for name in self.hub.moved if f"/{name}/" in f"{path}/"), None)
        if old:
            return self._answer(b"", 307, Location=self.path.replace(old, self.hub.moved[old], 1))
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

    def _missing(self, code: str, **headers: str) -> None:
        self._json({"error": code}, 404, X_Error_Code=code, X_Error_Message=code, **headers)

    def _too_many(self) -> None:
        limits = {"RateLimit": f'"resolvers";r=0;t={self.hub.reset}'}
        limits["RateLimit_Policy"] = '"fixed window";"resolvers";q=5000;w=300'
        self._json({"error": "We had to rate limit you."}, 429, Retry_After=str(self.hub.reset), **limits)

    def _gated(self, name: str) -> None:
        message = f"Access to {name} is restricted"
        message += " and you are not in the authorized list." if self._known() else ". Please log in."
        status = 403 if self._known() else 401
        self._json({"error": message}, status, X_Error_Code="GatedRepo", X_Error_Message=message)

    def _repository(self, kind: str | None, name: str) -> Repository | None:
        found = self.hub.repositories.get(f"{'datasets/' if kind and kind.startswith('datasets') else ''}{name}")
        if found is None:
            self._missing("RepoNotFound")
        return found

    # ---- Routes ----

    def whoami(self) -> None:
        if not self._known():
            return self._json({"error": "Invalid username or password."}, 401)
        access = {"displayName": "tests", "role": "read" if self.hub.read_only else "write"}
        auth = {"type": "access_token", "accessToken": access}
        self._json({"type": "user", "name": USER, "orgs": [], "auth": auth})

    def create(self) -> None:
        requested = json.loads(self.content)
        prefix = "datasets/" if requested.get("type") == "dataset" else ""
        name = f"{requested.get('organization') or USER}/{requested['name']}"
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
            gated = "auto" if repository.gated else False
            about = {"private": False, "gated": gated, "disabled": False, "tags": [], "downloads": 0, "likes": 0}
            self._json({"_id": "0", "id": name, "sha": repository.sha, "siblings": files, **about})

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        repository = self._repository(kind, name)
        if repository is not None:
            requested = json.loads(self.content)["paths"]
            self._json([_described(repository, path) for path in requested if path in repository.files])

    def tree(self, kind: str, name: str, revision: str, folder: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        found = [path for path in repository.files if path.startswith(f"{folder}/" if folder else "")]
        if not found and folder:
            return self._missing("EntryNotFound")
        listed = [_described(repository, path) for path in found]
        if "recursive=true" not in self.path.lower():
            depth = len(folder.split("/")) if folder else 0
            below = {"/".join(path.split("/")[: depth + 1]) for path in found if path.count("/") > depth}
            listed = [one for one in listed if one["path"].count("/") == depth]
            listed += [{"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(below)]
        self._json(listed)

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name)
        if repository is None:
            return
        if repository.gated and path not in ("README.md", ".gitattributes"):
            return self._gated(name)
        commit = {"X_Repo_Commit": repository.sha}
        if path not in repository.files:
            return self._missing("EntryNotFound", **commit)
        content = repository.files[path]
        if path not in repository.lfs:
            return self._answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', **commit)
        linked = {"X_Linked_Size": str(len(content)), "X_Linked_ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        # Another host, which is to learn of no token.
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        self._answer(b"", 302, Location=f"{elsewhere}/stored/{kind or ''}{name}/{path}", **linked, **commit)

    def stored(self, path: str) -> None:
        assert "Authorization" not in self.headers
        name = next(name for name in self.hub.repositories if path.startswith(f"{name}/"))
        content = self.hub.repositories[name].files[path.removeprefix(f"{name}/")]
        if self.hub.cut and re.search(self.hub.cut, path) and path not in self.hub.were_cut:
            self.hub.were_cut.add(path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(start) : int(end) + 1 if end else None]
        message = {"Content_Range": f"bytes {start}-{int(start) + len(part) - 1}/{len(content)}"}
        self._answer(part, 206 if "Range" in self.headers else 200, **(message if "Range" in self.headers else {}))


def _described(repository: Repository, path: str) -> dict:
    content = repository.files[path]
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path in repository.lfs:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 128}
    return entry
