"""How does a model come from the hub, and what can a person do if it does not?"""

import errno
from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from driftmap.core.errors import ModelError

# Not the hub's own: what its HTTP library raises before there is any answer, whichever
# library that is.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
_WEIGHTS = "*.safetensors"
_WANTED = ["*.json", _WEIGHTS, "*.model", "*.txt", "*.jinja", "*.tiktoken"]
_UNWANTED = ["consolidated*", "original/*", "onnx/*"]
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def download_model(
    name: str, *, with_code: bool = False, with_weights: bool = True
) -> Path:
    """Download what a model is made of, unless it is there already.

    Args:
        name: Its id on the hub.
        with_code: Fetch the Python files that come with the model too.
        with_weights: Fetch its weights, not only what says how it is made.

    Returns:
        The folder in the hub's cache.

    Raises:
        ModelError: The hub cannot be reached, does not know the name, does not show
            the model to this user, or the disk is full.
    """
    wanted = [*_WANTED, "*.py"] if with_code else _WANTED
    if not with_weights:
        wanted = [pattern for pattern in wanted if pattern != _WEIGHTS]
    try:
        found = snapshot_download(
            name, allow_patterns=wanted, ignore_patterns=_UNWANTED
        )
    except (OSError, HFValidationError, _HTTP_ERROR) as error:
        raise _refusal(name, error) from error
    return Path(found)


def _refusal(name: str, error: Exception) -> ModelError:
    status = _status(error)
    if isinstance(error, GatedRepoError):
        return _gated(name)
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return ModelError(
            f"{name}: there is no such folder and no such model on the hub; check the "
            "name, and if it is private set HF_TOKEN or log in with `hf auth login`",
            topic="model-not-found",
        )
    if status == 401:
        return ModelError(
            f"{name}: the hub does not know the token that HF_TOKEN or `hf auth login` "
            f"gave; make a new one on {constants.ENDPOINT}/settings/tokens",
            topic="gated-model",
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return ModelError(
            f"{name}: the disk is full before its download is whole; free some space "
            f"under {constants.HF_HUB_CACHE}, or set HF_HOME to a folder on another "
            "disk",
            topic="disk",
        )
    if status is not None:
        return ModelError(
            f"{name}: there is no such folder, and the hub answers with error "
            f"{status}; try again later, or give the model as a folder",
            topic="model-not-found",
        )
    return ModelError(
        f"{name}: there is no such folder, and the hub cannot be reached; check "
        "the path or the network (is HF_HUB_OFFLINE set?), or download it first",
        topic="model-not-found",
    )


def _gated(name: str) -> ModelError:
    page = f"{constants.ENDPOINT}/{name}"
    if get_token() is None:
        return ModelError(
            f"{name}: the hub shows it only to people who accepted its terms, and no "
            f"token says who you are; accept them on {page}, then set HF_TOKEN to a "
            "token of yours or log in with `hf auth login`",
            topic="gated-model",
        )
    return ModelError(
        f"{name}: the hub does not show it to the account of your token; accept its "
        f"terms on {page} and wait until its owners agree, with a token that may read "
        "gated repositories",
        topic="gated-model",
    )


def _status(error: BaseException | None) -> int | None:
    """The answer's status, of the error or of one that led to it."""
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code
        error = error.__cause__
    return None
