"""What a repository of a model hub holds at a revision, and how its files come here.

The clients of the hubs find the user's login by themselves; nothing here sees a token.
"""

import glob
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Of a file that was interrupted, Hugging Face's faster protocol fetches all again (issue 358 of
# huggingface/xet-core); over HTTP it goes on. Read by the client when it is imported.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

ELSEWHERE = "or download it elsewhere and use source: local"
DAMAGED = "came with a file that is not as the hub lists it. It is removed: run it again."


class Unavailable(Exception):
    """A hub does not give what is asked for; the text, behind the model's name, says what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at the top of a repository, as the hub lists it."""

    name: str
    size: int  # bytes
    sha256: str | None  # of its content
    git_hash: str | None = None  # where there is no sha256: the sha1 of git's blob

    def is_same(self, path: Path) -> bool:
        """Whether a file on disk is this one."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256 is None and self.git_hash is None:
            return True
        # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(f"blob {self.size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest() == (self.sha256 or self.git_hash)


def _huggingface_files(repository: str, revision: str) -> list[RemoteFile]:
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # the client raises its own, requests' and OS errors
        raise Unavailable(_huggingface_reason(error, revision)) from error
    return [
        RemoteFile(
            file.rfilename,
            file.size,
            sha256=file.lfs.sha256 if file.lfs else None,
            git_hash=None if file.lfs else file.blob_id,
        )
        for file in info.siblings
    ]


def _huggingface_download(
    repository: str, revision: str, files: list[RemoteFile], folder: Path
) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository,
            revision=revision,
            local_dir=folder,
            allow_patterns=[glob.escape(file.name) for file in files],
        )
    except Exception as error:
        raise Unavailable(_huggingface_reason(error, revision)) from error


def _huggingface_reason(error: Exception, revision: str) -> str:
    import requests
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"is not fetched, as HF_HUB_OFFLINE is set. Unset it, {ELSEWHERE}."
    if isinstance(error, errors.GatedRepoError):
        return (
            "is gated. Accept its terms on its page of the hub, then log in here with "
            f"`hf auth login`, {ELSEWHERE}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no revision {revision}. Take the full hash of a commit from its page."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "is not on the hub, or is private. Check its name; if it is private, log in here with "
            "`hf auth login`."
        )
    # those of the client are among them, and "the folder is not there and neither is the network"
    down = requests.ConnectionError | requests.Timeout | errors.LocalEntryNotFoundError
    return _other_reason(error, "the Hugging Face hub", isinstance(error, down))


def _modelscope_files(repository: str, revision: str) -> list[RemoteFile]:
    from modelscope_hub import HubApi

    try:
        files = HubApi().list_repo_files(repository, "model", revision=revision)
    except Exception as error:
        raise Unavailable(_modelscope_reason(error, revision)) from error
    return [RemoteFile(file.path, file.size, file.sha256) for file in files if file.type != "tree"]


def _modelscope_download(
    repository: str, revision: str, files: list[RemoteFile], folder: Path
) -> None:
    from modelscope_hub import HubApi

    entries = [{"Path": file.name, "Size": file.size, "Sha256": file.sha256} for file in files]
    try:
        HubApi().download_repo(
            repository, "model", revision=revision, local_dir=folder, file_list=entries
        )
    except Exception as error:
        raise Unavailable(_modelscope_reason(error, revision)) from error


def _modelscope_reason(error: Exception, revision: str) -> str:
    from modelscope_hub import errors

    if isinstance(error, errors.FileDownloadError) and error.failed_files:
        error = next(iter(error.failed_files.values()))
    if isinstance(error, errors.AuthenticationError | errors.PermissionDeniedError):
        return (
            "is private or gated. Ask for access on its page of ModelScope, then log in here with "
            f"`ms-hub login`, {ELSEWHERE}."
        )
    if isinstance(error, errors.NotExistError):
        return (
            f"is not on ModelScope at revision {revision}, or is private. Check its name and its "
            "revision, a tag such as v1.0.0 or the full hash of a commit; if it is private, log in "
            "here with `ms-hub login`."
        )
    if isinstance(error, errors.FileIntegrityError):
        return f"{DAMAGED} ({error.message})"
    return _other_reason(error, "ModelScope", isinstance(error, errors.NetworkError))


def _other_reason(error: Exception, hub: str, unreachable: bool) -> str:
    if unreachable:
        said = f"{hub} cannot be reached ({type(error).__name__})"
    else:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # what follows the ? of an address may be a key to a private file
        said = f"{hub} said: " + re.sub(r"\?\S*", "?...", lines[0]).rstrip(".")
    return (
        f"could not be fetched: {said}. Run it again when the network is there, and the download "
        f"goes on where it stopped, {ELSEWHERE}."
    )


def listed(source: str, repository: str, revision: str) -> list[RemoteFile]:
    """The files at the top of a repository; those in its folders are of no use here.

    Args:
        source: "hub", which is the Hugging Face hub, or "modelscope".
        repository: OWNER/NAME.
        revision: a commit, or where the hub knows tags a tag.

    Raises:
        Unavailable: the hub does not tell.
    """
    files = {"hub": _huggingface_files, "modelscope": _modelscope_files}[source]
    return [file for file in files(repository, revision) if "/" not in file.name]


def fetch(
    source: str, repository: str, revision: str, files: Iterable[RemoteFile], folder: Path
) -> None:
    """Bring files of a repository into a folder, and compare each with the hub's listing.

    What an earlier call left there is not fetched again, and a file that it left in the middle
    goes on.

    Raises:
        Unavailable: some did not come, or are not what the hub lists; the latter are removed.
    """
    missing = [file for file in files if not file.is_same(folder / file.name)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for file in missing:
        # the clients would take it for a whole one
        (folder / file.name).unlink(missing_ok=True)
    download = {"hub": _huggingface_download, "modelscope": _modelscope_download}
    download[source](repository, revision, missing, folder)
    # when the network is gone, the Hugging Face client returns the folder as it is
    absent = [file.name for file in missing if not (folder / file.name).exists()]
    damaged = [file.name for file in missing if not file.is_same(folder / file.name)]
    for name in damaged:
        (folder / name).unlink(missing_ok=True)
    if absent:
        raise Unavailable(f"came without {', '.join(absent)}. Run it again: the download goes on.")
    if damaged:
        raise Unavailable(f"{DAMAGED} ({', '.join(damaged)})")
