"""A folder of files on the Hub: fetched, and put there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from classifsae.errors import HubError
from classifsae.hub.files import hub_is_reachable


def fetch(repository: str, *, revision: str | None, files: Sequence[str]) -> Path:
    """The folder of a repository's files, from the Hub or, where it cannot be reached, from the cache.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None: the newest.
        files: names or patterns of those that are wanted.
    Raises:
        HubError: there is no such repository, or it was never fetched and the Hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    cure = "check owner/name and the network (a private one needs a token: hf auth login), or give a folder"
    with _as_hub_error(f"cannot fetch {repository!r} from the Hub", cure=cure):
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(files),
            local_files_only=not hub_is_reachable(),
        )
    return Path(str(found))


def publish(folder: Path, repository: str, *, private: bool, message: str) -> str:
    """Put a folder's files on the Hub as one commit, in a repository that is made if there is none.

    Returns:
        Address of the commit.
    Raises:
        HubError: the Hub cannot be reached, or does not let this token write there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    cure = "log in with a token that may write (hf auth login), and check owner/name and the network"
    with _as_hub_error(f"cannot write {repository!r} on the Hub", cure=cure):
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return done.commit_url


@contextmanager
def _as_hub_error(what: str, *, cure: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = shorten(str(error), 200, placeholder=" ...").rstrip(".")
        raise HubError(f"{what} ({type(error).__name__}: {said}); {cure}.") from error
