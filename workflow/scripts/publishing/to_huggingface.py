"""Publishing to the Hugging Face hub, by its own client, in one commit.

The client finds the user's login by itself (HF_TOKEN, or `hf auth login`). Large files are sent
first, and one that has arrived is not sent again; the commit that shows them all comes last.
"""

import re
import sys

import requests
from contents import Part, Refused, changed
from hubs import RemoteFile
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors
from remote import Failed, Repository

LOGIN = (
    "Put a token with the right to write into the variable HF_TOKEN, or log in by `hf auth login`"
)


class HuggingFace:
    """The hub, or the one that HF_ENDPOINT names."""

    name = "Hugging Face"

    def __init__(self) -> None:
        self._api = HfApi()

    def listed(self, name: str) -> Repository | None:
        """A repository as it is now; None if there is none, or none that this user may see.

        Raises:
            Failed: the hub does not tell.
        """
        try:
            info = self._api.model_info(name, files_metadata=True)
        except errors.RepositoryNotFoundError:
            return None
        except Exception as error:  # the client raises its own, requests' and OS errors
            raise _failed(error) from error
        files = [
            RemoteFile(
                file.rfilename,
                file.size,
                sha256=file.lfs.sha256 if file.lfs else None,
                git_hash=None if file.lfs else file.blob_id,
            )
            for file in info.siblings
        ]
        return Repository(bool(info.private), {file.name: file for file in files}, info.sha)

    def user(self) -> str:
        """Who is logged in.

        Raises:
            Failed: nobody is, or the hub does not know the token.
        """
        try:
            return self._api.whoami()["name"]
        except Exception as error:
            raise _failed(error) from error

    def create(self, name: str, private: bool, licence: str | None) -> Repository:
        """Make an empty repository.

        Raises:
            Failed: this user may not.
        """
        try:
            self._api.create_repo(name, private=private)
        except Exception as error:
            raise _failed(error) from error
        return self.listed(name) or Repository(private, {})

    def send(
        self, name: str, parts: list[Part], removed: list[str], message: str, seen: Repository
    ) -> None:
        """Send files, and take others away, in one commit on top of what was seen.

        Raises:
            Failed: the hub does not take them; none of them is then to be seen there.
            Refused: a file has changed on disk.
        """
        additions = [
            CommitOperationAdd(part.name, str(part.path) if part.path else part.content)
            for part in parts
        ]
        different = [
            part.name
            for part, addition in zip(parts, additions, strict=True)
            if addition.upload_info.sha256.hex() != part.sha256
        ]
        try:
            if not different:
                self._api.preupload_lfs_files(name, additions, free_memory=False)
                different = changed(parts)
            if different:
                raise Refused(
                    f"{', '.join(different)} changed while it was published. Nothing of it is to "
                    "be seen on the hub; wait for what writes it, then run this again."
                )
            self._api.create_commit(
                name,
                [*additions, *(CommitOperationDelete(file) for file in removed)],
                commit_message=message,
                parent_commit=seen.revision,
            )
        except Refused:
            raise
        except Exception as error:
            raise _failed(error) from error
        finally:
            print(file=sys.stderr)  # the client's bars may leave their line open


def _failed(error: Exception) -> Failed:
    while isinstance(error, RuntimeError) and error.__cause__:
        error = error.__cause__
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if isinstance(error, errors.LocalTokenNotFoundError):
        return Failed(f"nobody is logged in at Hugging Face. {LOGIN}.")
    if status == 401:
        return Failed(f"Hugging Face does not take the token. {LOGIN}.")
    if status in (403, 404):
        return Failed(
            "Hugging Face does not let this user write there: the repository or its owner is "
            f"another's, or the token may only read. {LOGIN} of somebody who may."
        )
    if status == 412:
        return Failed("the repository was changed at the same time. Run this again.")
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return Failed(
            f"Hugging Face cannot be reached ({type(error).__name__}). Run this again when the "
            "network is there: files that have arrived are not sent again."
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # what follows the ? of an address may be a key
    said = re.sub(r"\?\S*", "?...", " ".join(filter(None, lines)))
    return Failed(f"Hugging Face said: {said[:500]}. If it is the network, run this again.")
