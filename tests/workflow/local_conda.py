"""A real conda and a channel for it, made of what PyPI and this machine have.

conda itself is not on PyPI, but the wheel of conda-lock brings all modules of conda 24.7.1, the
oldest that Snakemake takes. What else an installer would write is written here: the command
`conda`, and the script `activate`, which comes down to `conda shell.posix activate`.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import installers

REQUIREMENTS = Path(__file__).with_name("conda-requirements.txt")
CONDA = """#!{python}
import sys
from conda.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""
ACTIVATE = 'eval "$("{bin}/conda" shell.posix activate "$1")"\n'
LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter"}


def cannot_be_had() -> str | None:
    """Why no channel can be made of this Python; None where it can."""
    if sys.version_info[:2] != (3, 11):
        return "the local channel offers the Python of .venv, and that is not 3.11"
    if not list(Path(sys.base_prefix).glob("lib/python3.11/ensurepip/_bundled/pip-*.whl")):
        return "the local channel offers the pip that comes with Python, and this one has none"
    if "deb_system" in sysconfig.get_scheme_names():
        return "the local channel offers the Python of .venv, and Debian's cannot be moved"
    return None


def install_conda(folder: Path) -> Path:
    """Install conda in a folder, and return the folder of its commands."""
    uv = installers.find_uv()
    variables = installers.uv_environment(installers.pip_settings(), folder.parent)
    for command in (
        [uv, "venv", "--no-project", "--python", sys.executable, folder],
        [uv, "pip", "install", "--python", folder, "-r", REQUIREMENTS],
    ):
        subprocess.run(command, check=True, env=variables, timeout=600)
    (folder / "lib/python3.11/site-packages/conda").symlink_to("conda_lock/_vendor/conda")
    commands = folder / "bin"
    (commands / "conda").write_text(CONDA.format(python=commands / "python"))
    (commands / "conda").chmod(0o755)
    (commands / "activate").write_text(ACTIVATE.format(bin=commands))
    return commands


def make_channel(folder: Path) -> None:
    """Make a channel with Python and pip, as the environments' yaml files ask for them."""
    base = Path(sys.base_prefix)
    version = ".".join(map(str, sys.version_info[:3]))
    library = [
        path
        for path in (base / "lib/python3.11").rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.relative_to(base).parts)
    ]
    files = {
        str(path.relative_to(base)): path.read_bytes()
        for path in (base / "bin/python3.11", *library, *base.glob("lib/libpython3*.so*"))
    }
    links = {"bin/python": "python3.11", "bin/python3": "python3.11"}
    add_package(folder / "linux-64", "python", version, [], files, links)

    wheel = next((base / "lib/python3.11/ensurepip/_bundled").glob("pip-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        modules = {
            f"site-packages/{name}": archive.read(name)
            for name in archive.namelist()
            if not name.endswith("/")
        }
    scripts = {"type": "python", "entry_points": ["pip = pip._internal.cli.main:main"]}
    modules["info/link.json"] = json.dumps(
        {"noarch": scripts, "package_metadata_version": 1}
    ).encode()
    add_package(folder / "noarch", "pip", wheel.name.split("-")[1], ["python >=3.9"], modules, {})


def add_package(
    folder: Path,
    name: str,
    version: str,
    depends: list[str],
    files: dict[str, bytes],
    links: dict[str, str],
) -> None:
    """Add a package to the folder of a platform: its archive and its entry in repodata.json."""
    record = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": depends,
        "subdir": folder.name,
    }
    if folder.name == "noarch":
        record["noarch"] = "python"
    paths = [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_in_bytes": len(content),
        }
        for path, content in files.items()
        if not path.startswith("info/")
    ]
    paths += [
        {
            "_path": path,
            "path_type": "softlink",
            "sha256": hashlib.sha256().hexdigest(),
            "size_in_bytes": 0,
        }
        for path in links
    ]
    information = {
        "info/index.json": json.dumps(record).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "".join(f"{path['_path']}\n" for path in paths).encode(),
    }
    folder.mkdir(parents=True)
    archive = folder / f"{name}-{version}-0.tar.bz2"
    with tarfile.open(archive, "w:bz2", compresslevel=1) as package:
        for path, content in (files | information).items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o755 if path.startswith("bin/") else 0o644
            package.addfile(entry, io.BytesIO(content))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            package.addfile(entry)
    content = archive.read_bytes()
    record |= {
        "md5": hashlib.md5(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    repodata = {"info": {"subdir": folder.name}, "packages": {archive.name: record}}
    (folder / "repodata.json").write_text(json.dumps(repodata))


def settings(folder: Path, commands: Path) -> dict[str, str]:
    """The environment variables under which this conda takes conda-forge from the channel.

    Args:
        folder: what the channels lie in, and what conda is to write below.
        commands: the folder of conda's commands.
    """
    (folder / "condarc").write_text(
        f"channel_alias: {(folder / 'channels').as_uri()}\n"
        "channel_priority: strict\n"
        "default_channels: []\n"
        "solver: classic\n"  # libmamba is not on PyPI
        "sat_solver: pysat\n"  # comes as a wheel, pycosat does not
        f"pkgs_dirs: [{json.dumps(str(folder / 'packages'))}]\n"
    )
    path = os.pathsep.join((str(commands), os.environ["PATH"]))
    return {"CONDARC": str(folder / "condarc"), "PATH": path}
