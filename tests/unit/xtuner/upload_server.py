"""Model hubs on 127.0.0.1 that take uploads as Hugging Face and ModelScope do, and misbehave.

They speak what their own clients (huggingface_hub 0.36.2, modelscope_hub 0.5.1) ask of them, so
that the tests drive the real clients. What is sent is kept in memory and checked against its sum.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from hub_server import git_hash

TOKEN = "hf_this_is_a_secret"
READ_ONLY = "hf_this_may_only_read"
USER = "me"


@dataclass
class Stored:
    """A repository."""

    private: bool | None  # None: ModelScope does not tell
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=lambda: ["first"])

    @property
    def revision(self) -> str:
        return hashlib.sha1("".join(self.commits).encode()).hexdigest()


class UploadServer(ThreadingHTTPServer):
    """The hubs; their attributes say what they have and how they behave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Stored] = {}
        self.blobs: dict[str, bytes] = {}
        # the sums of what was sent, once for each time
        self.sent: list[str] = []
        # larger files are asked for in parts of so many bytes
        self.part = 0
        self.parts: dict[str, dict[int, bytes]] = {}
        # the sum of a file of which the connection is cut in the middle, once
        self.cut = ""
        # the sum of a file that is taken and never answered
        self.stall = ""
        self.stalled, self.over = threading.Event(), threading.Event()
        # called before anything is committed
        self.before_commit: Callable[[], object] = lambda: None
        # one byte of each file that arrives is another
        self.damaging = False
        self.down = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_) -> None:
        """A client that was killed is no error here."""

    def store(self, sha256: str, content: bytes) -> bool:
        """Keep a file, if it is the one that was announced."""
        self.sent.append(sha256)
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        self.blobs[sha256] = content
        return True


def is_large(name: str, size: int) -> bool:
    """Whether a hub keeps a file outside of git."""
    return name.endswith(".safetensors") or size > 10_000


class Handler(BaseHTTPRequestHandler):
    server: UploadServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def answer(self, status: int, body: object = None, **headers: str) -> None:
        content = json.dumps(body or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, text: str, code: str = "") -> None:
        """An error in the words of both hubs."""
        headers = {"X_Error_Code": code} if code else {}
        body = {"error": text, "Code": status, "Message": text, "message": text, "success": False}
        self.answer(status, body, X_Error_Message=text, **headers)

    def handle_one(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        length = int(self.headers.get("Content-Length", 0))
        path = unquote(url.path).strip("/")
        if self.command == "PUT":
            return self.put(path.removeprefix("blobs/"), length)
        self.body = self.rfile.read(length)
        if self.server.down:
            self.close_connection = True
            return None
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith("blobs/"):
            return self.completed(path.removeprefix("blobs/"))
        if self.token not in ("", TOKEN, READ_ONLY):
            return self.refuse(401, "Invalid credentials in Authorization header")
        if path.startswith(("openapi/v1/", "api/v1/")):
            return self.modelscope(path.partition("v1/")[2])
        return self.huggingface(path)

    do_GET = do_POST = do_PUT = handle_one

    # ---------------------------------------------------------------- large files, for both hubs

    def put(self, sha256: str, length: int) -> None:
        if sha256 == self.server.cut:
            self.server.cut = ""
            self.rfile.read(length // 2)
            self.connection.close()
            self.close_connection = True
            return
        content = self.rfile.read(length)
        if sha256 == self.server.stall:
            self.server.stalled.set()
            self.server.over.wait()
            self.close_connection = True
            return
        if self.server.damaging:
            content = bytes([content[0] ^ 1]) + content[1:]
        if "part" in self.query:
            self.server.parts.setdefault(sha256, {})[int(self.query["part"])] = content
            self.answer(200, ETag=f'"{self.query["part"]}"')
        elif self.server.store(sha256, content):
            self.answer(200)
        else:
            self.refuse(400, "the content is not what was announced")

    def completed(self, sha256: str) -> None:
        if "verify" in self.query:
            return self.answer(200 if sha256 in self.server.blobs else 404)
        announced = json.loads(self.body)["parts"]
        parts = self.server.parts.pop(sha256)
        assert [part["partNumber"] for part in announced] == sorted(parts)
        good = self.server.store(sha256, b"".join(parts[number] for number in sorted(parts)))
        return self.answer(200) if good else self.refuse(400, "not what was announced")

    def batch(self, verified: bool) -> list[dict]:
        """git's protocol of large files: where to send those that are not there."""
        objects = []
        for entry in json.loads(self.body)["objects"]:
            sha256, size = entry["oid"], entry["size"]
            found = {"oid": sha256, "size": size}
            href = f"{self.server.url}/blobs/{sha256}"
            if sha256 not in self.server.blobs:
                header = {}
                if verified and 0 < self.server.part < size:
                    header = {"chunk_size": str(self.server.part)} | {
                        str(number + 1): f"{href}?part={number + 1}"
                        for number in range(-(-size // self.server.part))
                    }
                found["actions"] = {"upload": {"href": href, "header": header}}
                if verified:
                    found["actions"]["verify"] = {"href": f"{href}?verify=1"}
            objects.append(found)
        return objects

    # -------------------------------------------------------------------------------- Hugging Face

    def huggingface(self, path: str) -> None:
        if path == "api/whoami-v2":
            if not self.token:
                return self.refuse(401, "Invalid username or password.")
            return self.answer(200, {"name": USER, "type": "user", "orgs": []})
        if path == "api/validate-yaml":
            head = yaml.safe_load(json.loads(self.body)["content"].split("---\n")[1])
            missing = [key for key in ("library_name", "language") if key not in head]
            errors = [{"message": f"{key} is missing"} for key in missing]
            return self.answer(400 if errors else 200, {"errors": errors, "warnings": []})
        if path == "api/repos/create":
            asked = json.loads(self.body)
            if self.token != TOKEN or asked["organization"] != USER:
                return self.refuse(403, "You don't have the rights to create a model there")
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories[name] = Stored(asked["private"])
            return self.answer(200, {"url": f"{self.server.url}/{name}"})
        name, what = self.named(path)
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self.token != TOKEN):
            return self.refuse(404 if self.token else 401, "Repository not found", "RepoNotFound")
        if what == "info":
            return self.answer(200, self.info(name, repository))
        if self.token != TOKEN or not name.startswith(f"{USER}/"):
            return self.refuse(403, "You have no right to write to this repository")
        if what == "preupload":
            return self.answer(200, {"files": [self.mode(f, repository) for f in self.files()]})
        if what == "batch":
            return self.answer(200, {"transfer": "basic", "objects": self.batch(verified=True)})
        assert what == "commit"
        return self.commit(name, repository)

    @staticmethod
    def named(path: str) -> tuple[str, str]:
        if path.endswith(".git/info/lfs/objects/batch"):
            return path.removesuffix(".git/info/lfs/objects/batch"), "batch"
        parts = path.removeprefix("api/models/").split("/")
        return "/".join(parts[:2]), parts[2] if len(parts) == 4 and parts[3] == "main" else "info"

    @staticmethod
    def info(name: str, repository: Stored) -> dict:
        siblings = []
        for path, content in repository.files.items():
            entry = {"rfilename": path, "size": len(content), "blobId": git_hash(content)}
            if path in repository.large:
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 134}
            siblings.append(entry)
        private = repository.private
        return {"id": name, "sha": repository.revision, "private": private, "siblings": siblings}

    def files(self) -> list[dict]:
        return json.loads(self.body)["files"]

    @staticmethod
    def mode(file: dict, repository: Stored) -> dict:
        path = file["path"]
        large = is_large(path, file["size"])
        here = repository.files.get(path)
        known = here is not None and (hashlib.sha256(here).hexdigest() if large else git_hash(here))
        mode = "lfs" if large else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known or None}

    def commit(self, name: str, repository: Stored) -> None:
        self.server.before_commit()
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        if header["value"].get("parentCommit") != repository.revision:
            return self.refuse(412, "A commit has happened since")
        files, large = dict(repository.files), set(repository.large)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.server.blobs:
                    return self.refuse(400, f"{value['path']} has not arrived")
                files[value["path"]] = self.server.blobs[value["oid"]]
                large.add(value["path"])
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        repository.files, repository.large = files, large
        repository.commits.append(header["value"]["summary"])
        url = f"{self.server.url}/{name}/commit/{repository.revision}"
        return self.answer(200, {"commitUrl": url, "commitOid": repository.revision})

    # ---------------------------------------------------------------------------------- ModelScope

    def modelscope(self, path: str) -> None:
        if path == "users/me":
            if not self.token:
                return self.refuse(401, "not logged in")
            return self.answer(200, {"success": True, "data": {"username": USER}})
        if self.command == "POST" and path == "models":
            asked = json.loads(self.body)
            name = f"{asked['Path']}/{asked['Name']}"
            if self.token != TOKEN or asked["Path"] != USER:
                return self.refuse(403, "no access")
            if name in self.server.repositories:
                return self.refuse(400, "the model already exists")
            self.server.repositories[name] = Stored(asked["Visibility"] == 1)
            self.server.repositories[name].files[".gitattributes"] = b"*.safetensors filter=lfs\n"
            return self.answer(200, {"Code": 200, "Success": True, "Data": asked})
        name = "/".join(path.removeprefix("repos/").removeprefix("models/").split("/")[:2])
        what = path.rpartition(name)[2]
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self.token != TOKEN):
            return self.refuse(404, "not found")
        if what == "":
            data = {"Path": USER, "Visibility": {True: 1, False: 5}.get(repository.private)}
            return self.answer(200, {"Code": 200, "Success": True, "Data": data})
        if what == "/repo/files":
            files = [
                {
                    "Path": path,
                    "Type": "blob",
                    "Size": len(content),
                    "Sha256": hashlib.sha256(content).hexdigest(),
                }
                for path, content in repository.files.items()
            ]
            return self.answer(200, {"Code": 200, "Success": True, "Data": {"Files": files}})
        if self.token != TOKEN or not name.startswith(f"{USER}/"):
            return self.refuse(403, "no access")
        if what == "/info/lfs/objects/batch":
            return self.answer(200, {"Code": 200, "Data": {"objects": self.batch(verified=False)}})
        assert what == "/commit/master"
        asked = json.loads(self.body)
        for action in asked["actions"]:
            if action["action"] == "delete":
                del repository.files[action["path"]]
            elif action["type"] == "lfs":
                repository.files[action["path"]] = self.server.blobs[action["sha256"]]
            else:
                repository.files[action["path"]] = base64.b64decode(action["content"])
        repository.commits.append(asked["commit_message"])
        return self.answer(200, {"Code": 200, "Success": True, "Data": {}})
