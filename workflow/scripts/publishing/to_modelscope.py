"""Publishing to ModelScope, by its own client.

The client finds the user's login by itself (MODELSCOPE_API_TOKEN, or `ms-hub login`). A large file
that has arrived is not sent again. Up to 256 files come in one commit; what is taken away is gone
in a commit of its own.
"""

import re
import tempfile
from pathlib import Path

from contents import Part, Refused, changed
from hubs import RemoteFile
from modelscope_hub import HubApi, errors
from modelscope_hub.constants import Visibility
from remote import Failed, Repository

LOGIN = "Put an access token into the variable MODELSCOPE_API_TOKEN, or log in by `ms-hub login`"
BRANCH = "master"


class ModelScope:
    """The hub, or the one that MODELSCOPE_ENDPOINT names."""

    name = "ModelScope"

    def __init__(self) -> None:
        self._api = HubApi()

    def listed(self, name: str) -> Repository | None:
        """A repository as it is now; None if there is none, or none that this user may see.

        Raises:
            Failed: the hub does not tell.
        """
        try:
            # not `get_repo`, whose answer need not say it
            visibility = self._api.legacy.get_repo_info(name, "model").get("Visibility")
            files = self._api.list_repo_files(name, "model", revision=BRANCH)
        except errors.NotExistError:
            return None
        except Exception as error:
            raise _failed(error) from error
        found = [RemoteFile(f.path, f.size, f.sha256) for f in files if f.type != "tree"]
        if visibility is None:
            raise Failed(f"ModelScope does not say whether {name} is public.")
        private = visibility != Visibility.PUBLIC
        return Repository(private, {file.name: file for file in found})

    def user(self) -> str:
        """Who is logged in.

        Raises:
            Failed: nobody is, or the hub does not know the token.
        """
        try:
            return self._api.openapi.get_current_username()
        except Exception as error:
            raise _failed(error) from error

    def create(self, name: str, private: bool, licence: str | None) -> Repository:
        """Make an empty repository.

        Raises:
            Failed: this user may not.
        """
        visibility = Visibility.PRIVATE if private else Visibility.PUBLIC
        try:
            # without a licence, the client would say Apache-2.0
            self._api.create_repo(name, "model", visibility=visibility, license=licence or "other")
        except Exception as error:
            raise _failed(error) from error
        return Repository(private, {})

    def send(
        self, name: str, parts: list[Part], removed: list[str], message: str, seen: Repository
    ) -> None:
        """Send files, and take others away.

        Raises:
            Failed: the hub does not take them.
            Refused: a file has changed on disk.
        """
        if different := changed(parts):
            raise Refused(
                f"{', '.join(different)} changed while it was published. Wait for what writes it, "
                "then run this again."
            )
        with tempfile.TemporaryDirectory(prefix="publish-") as folder:
            for part in parts:
                path = Path(folder, part.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                if part.path:
                    path.symlink_to(part.path.resolve())
                else:
                    path.write_bytes(part.content)
            try:
                if parts:
                    self._api.upload_folder(
                        name, "model", folder, commit_message=message, use_cache=False
                    )
                if removed:
                    self._api.delete_files(name, "model", removed, commit_message=message)
            except Exception as error:
                raise _failed(error) from error


def _failed(error: Exception) -> Failed:
    if isinstance(error, errors.AuthenticationError):
        return Failed(f"ModelScope does not take the token, or there is none. {LOGIN}.")
    if isinstance(error, errors.PermissionDeniedError | errors.NotExistError):
        return Failed(
            "ModelScope does not let this user write there: the repository or its owner is "
            f"another's. {LOGIN} of somebody who may."
        )
    if isinstance(error, errors.NetworkError):
        return Failed(
            f"ModelScope cannot be reached ({type(error).__name__}). Run this again when the "
            "network is there: files that have arrived are not sent again."
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # what follows the ? of an address may be a key
    said = re.sub(r"\?\S*", "?...", lines[0]).rstrip(".")
    return Failed(f"ModelScope said: {said}. Run this again: what has arrived is not sent again.")
