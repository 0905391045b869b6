"""A model hub on 127.0.0.1 that answers as the Hugging Face hub and ModelScope do, and misbehaves.

It speaks what their own clients (huggingface_hub 0.36.2, modelscope_hub 0.5.1) ask of them for one
model at one revision, so that the tests drive the real clients.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "owner/model"
REVISION = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """The hub; its attributes say what it has and how it behaves."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.gated = False
        # the token without which nothing is shown
        self.private = ""
        # a file of which one byte is another than listed
        self.damaged = ""
        # (file, bytes): so much of it is sent, then nothing more happens
        self.stall: tuple[str, int] | None = None
        self.over = threading.Event()
        # (file, first byte asked for) of each download
        self.sent: list[tuple[str, int]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, *_) -> None:
        pass

    def answer(self, status: int, body: object, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.private and token != self.server.private:
            return self.answer(401, {"Code": 401}, X_Error_Code="RepoNotFound")
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        path = unquote(url.path).strip("/")
        if path.startswith("api/v1/"):
            return self.modelscope(path.removeprefix("api/v1/models/"), query)
        return self.huggingface(path)

    do_HEAD = do_GET

    def huggingface(self, path: str) -> None:
        api, _, revision = path.partition("/revision/")
        if api == f"api/models/{REPOSITORY}":
            if revision != REVISION:
                return self.answer(404, {}, X_Error_Code="RevisionNotFound")
            files = [self.sibling(*file) for file in self.server.files.items()]
            return self.answer(200, {"id": REPOSITORY, "sha": REVISION, "siblings": files})
        name = path.removeprefix(f"{REPOSITORY}/resolve/{REVISION}/")
        if name not in self.server.files:
            return self.answer(401, {}, X_Error_Code="RepoNotFound")
        if self.server.gated:
            return self.answer(403, {}, X_Error_Code="GatedRepo")
        content = self.server.files[name]
        etag = hashlib.sha256(content).hexdigest() if big(name) else git_hash(content)
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": REVISION}
        if big(name):
            # an offer of the protocol that does not go on in the middle of a file
            headers |= {"X_Xet_Hash": etag, "X_Xet_Refresh_Route": f"{self.server.url}/xet"}
        return self.content(name, **headers)

    @staticmethod
    def sibling(name: str, content: bytes) -> dict:
        entry = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
        if big(name):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 134}
        return entry

    def modelscope(self, path: str, query: dict[str, str]) -> None:
        if not path.startswith(f"{REPOSITORY}/repo"):
            return self.answer(404, {"Code": 10010205001, "Message": "not found"})
        if self.server.gated:
            return self.answer(403, {"Code": 10010200001, "Message": "no access"})
        if query["Revision"] not in (REVISION, "v1.0.0"):
            return self.answer(404, {"Code": 10010205001, "Message": "no such revision"})
        if path.endswith("/repo/files"):
            files = [
                {
                    "Path": name,
                    "Name": name,
                    "Type": "blob",
                    "Size": len(content),
                    "Sha256": hashlib.sha256(content).hexdigest(),
                }
                for name, content in self.server.files.items()
            ]
            return self.answer(200, {"Code": 200, "Success": True, "Data": {"Files": files}})
        return self.content(query["FilePath"])

    def content(self, name: str, **headers: str) -> None:
        content = self.server.files[name]
        whole = len(content)
        if name == self.server.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(whole - start))
        self.send_header("Accept-Ranges", "bytes")
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.sent.append((name, start))
        if self.server.stall and self.server.stall[0] == name:
            self.wfile.write(content[start : self.server.stall[1]])
            self.wfile.flush()
            self.server.over.wait()
            return
        self.wfile.write(content[start:])


def big(name: str) -> bool:
    """Whether a file is kept in git's large file storage."""
    return name.endswith((".safetensors", ".bin"))
