"""The network goes away in the middle of an installation."""

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import environments
import installers
import runner

YAML = f"""channels: [conda-forge, nodefaults]
dependencies:
  - python={sys.version_info[0]}.{sys.version_info[1]}.*
  - pip
  - pip:
      - small==1.0
      - large==1.0
"""


def wheel(name: str, size: int) -> bytes:
    """A wheel with one module and so many bytes of data that cannot be compressed."""
    content = io.BytesIO()
    folder = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{name}.data", os.urandom(size))
        archive.writestr(f"{folder}/METADATA", metadata(name))
        archive.writestr(
            f"{folder}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{folder}/RECORD", "")
    return content.getvalue()


def metadata(name: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"


class Index(ThreadingHTTPServer):
    """A package index on this machine that can break off in the middle of a wheel.

    Attributes:
        breaks: how: "close", "reset", "silence", or None.
        asked: how often each wheel was asked for.
    """

    def __init__(self, folder: Path):
        self.breaks = None
        self.asked = Counter()
        super().__init__(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
        for name, size in {"small": 1_000, "large": 3_000_000, "uv": 3_000_000}.items():
            page = folder / "simple" / name
            page.mkdir(parents=True)
            file = f"{name}-1.0-py3-none-any.whl"
            (page / file).write_bytes(wheel(name, size))
            (page / f"{file}.metadata").write_text(metadata(name))
            (page / "index.html").write_text(
                f'<a href="{file}" data-dist-info-metadata="true">{file}</a>'
            )

    def handle_error(self, request, client_address):
        """A client that gives up is expected here."""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        name = Path(self.path).name
        if name.endswith(".whl"):
            self.server.asked[name.split("-")[0]] += 1
            if self.server.breaks and not name.startswith("small"):
                return self.break_off(Path(self.translate_path(self.path)).read_bytes())
        return super().do_GET()

    def break_off(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:500_000])
        time.sleep(1)  # the small package is whole by then
        if self.server.breaks == "silence":
            time.sleep(5)
        elif self.server.breaks == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


@pytest.fixture
def index(tmp_path, monkeypatch):
    server = Index(tmp_path / "index")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "3")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("breaks", ["close", "reset", "silence"])
def test_an_environment_goes_on_where_the_network_broke_off(tmp_path, index, breaks):
    """One sentence and nothing half-built; the next time only the rest is downloaded."""
    envs, store = tmp_path / "envs", tmp_path / "store"
    envs.mkdir()
    (envs / "tiny.yaml").write_text(YAML)
    index.breaks = breaks
    with pytest.raises(installers.InstallError, match="broke off: run the same command") as error:
        environments.ensure("tiny", envs, store)
    assert "\n" not in str(error.value)
    assert [path for path in store.iterdir() if path.is_dir()] == []
    assert index.asked["small"] == 1

    index.breaks = None
    venv = environments.ensure("tiny", envs, store)
    subprocess.run([venv / "bin" / "python", "-c", "import small, large"], check=True)
    assert index.asked["small"] == 1


def test_the_runner_says_that_the_network_broke_off(tmp_path, index, monkeypatch):
    monkeypatch.setenv("FINETUNE_ENV_STORE", str(tmp_path / "store"))
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("uv==1.0\n")
    index.breaks = "close"
    with pytest.raises(installers.InstallError, match="broke off: run the same command"):
        runner.ensure_runner(tmp_path / ".venv", requirements)
    assert not (tmp_path / ".venv").exists()
