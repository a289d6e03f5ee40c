"""Pretrained weights of timm and torchvision that lie in their local caches; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anew.core.errors import AnewError, did_you_mean


def cached(name: str) -> Path:
    """Return the file with the pretrained weights of `timm:NAME` or `torchvision:NAME`.

    Raises `AnewError` if it is not in the cache, with the command that fetches it, or if a model is
    neither's.
    """
    library, _, inner = name.partition(":")
    if library == "timm":
        return _of_timm(name, inner)
    if library == "torchvision":
        return _of_torchvision(name, inner)
    raise AnewError(
        f"start_from 'pretrained': is for models of timm and torchvision, got model '{name}'; "
        "give a file with --from FILE"
    )


def _of_timm(name: str, inner: str) -> Path:
    try:
        import timm
    except ImportError as error:
        raise AnewError(f"model '{name}' needs timm; pip install 'anew[timm]'") from error
    from huggingface_hub import try_to_load_from_cache

    config: Any = timm.models.get_pretrained_cfg(inner) if timm.is_model(inner) else None
    if config is None:
        near = did_you_mean(inner, timm.list_models(pretrained=True))
        raise AnewError(
            f"start_from 'pretrained': timm has no pretrained weights of '{inner}'{near}; give a "
            "file, with --from FILE"
        )

    if config.hf_hub_id:
        names = (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin")
        for file in filter(None, names):
            found = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
    return _in_torch_hub(
        name, config.url or "", f"import timm; timm.create_model('{inner}', pretrained=True)"
    )


def _of_torchvision(name: str, inner: str) -> Path:
    import torchvision

    known: list[str] = torchvision.models.list_models(module=torchvision.models)
    if inner not in known:
        raise AnewError(
            f"model '{name}': torchvision has no classifier '{inner}'{did_you_mean(inner, known)}; "
            "torchvision.models.list_models() lists them"
        )
    weights: Any = torchvision.models.get_model_weights(inner)
    fetch = f"import torchvision; torchvision.models.get_model('{inner}', weights='DEFAULT')"
    return _in_torch_hub(name, weights.DEFAULT.url, fetch)


def _in_torch_hub(name: str, url: str, fetch: str) -> Path:
    """Return the file of an address in torch's cache; raise `AnewError` if it is not there."""
    file = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if file and path.is_file():
        return path
    raise AnewError(
        f"start_from 'pretrained': the pretrained weights of '{name}' are not in the local cache, "
        f'and training downloads nothing; download them once with: python -c "{fetch}"'
    )
