"""Whether timm's weights can be loaded on this machine, from the local cache or from the Hugging Face hub."""

from __future__ import annotations

import urllib.request
from functools import cache
from urllib.error import HTTPError

import timm
from huggingface_hub import constants, try_to_load_from_cache

_FILES = ("model.safetensors", "pytorch_model.bin")
_TIMEOUT_S = 5.0


def missing_weights(architecture: str) -> str | None:
    """Return why timm's weights of an architecture cannot be loaded, in one line; None if nothing speaks against it.

    The hub is asked only whether it answers, once per process.

    Args:
        architecture: timm name of an architecture that has weights.
    """
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    repository = None if config is None else config.hf_hub_id
    if config is None or repository is None:  # weights from elsewhere
        return None
    files = _FILES if config.hf_hub_filename is None else (config.hf_hub_filename,)
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return None
    if constants.HF_HUB_OFFLINE:
        return f"{repository} is not in the local cache, and HF_HUB_OFFLINE is set; unset it, or use --pretrained-root"
    if _answers(constants.ENDPOINT):
        return None
    return (
        f"{repository} is not in the local cache, and {constants.ENDPOINT} does not answer; connect to the internet, "
        "or use --pretrained-root"
    )


@cache
def _answers(endpoint: str) -> bool:
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - huggingface_hub's own endpoint
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            return True
    except HTTPError:  # an answer, too
        return True
    except OSError:
        return False
