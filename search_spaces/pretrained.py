"""timm's pretrained networks, unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_distill.records import PRETRAINED, SpaceContext, SpaceInfo, SpaceMisfitError, SpaceTrial, StudentSpec
from search_spaces.pretrained_models import MODELS, REFERENCE_SIZE, PretrainedModel

INFO = SpaceInfo(
    families=tuple(sorted({model.family for model in MODELS})),
    min_image_size=32,
    max_image_size=384,
    min_params=min(model.num_params for model in MODELS),
    max_params=max(model.num_params for model in MODELS),
)


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """Pretrained networks of timm with 0.1 to 24 million parameters, started from their weights.

    Searches the family and the network. Networks above the limits of the search are left out, and so are weights under
    other licences than those of `space.licences`. The weights come from the folder `space.pretrained_root`, the local
    cache or the Hugging Face hub.

    Args:
        trial: Trial that suggests the parameters.
        context: Image size, limits and accepted licences of the search.

    Returns:
        Candidate that starts from pretrained weights.

    Raises:
        SpaceMisfitError: No network is left.
    """
    models = _by_family(context)
    if not models:
        raise SpaceMisfitError(
            "no pretrained network is within the limits of this search and has weights under the licences "
            f"{', '.join(context.licences) or '(none)'}; relax --max-params, --max-macs or space.licences"
        )
    family = trial.suggest_categorical("pretrained_family", list(models))
    name = trial.suggest_categorical(f"pretrained_{family}", models[family])
    return StudentSpec(architecture=name, family=family, initial_weights=PRETRAINED)


def describe(context: SpaceContext) -> str:
    """Return what the space chose for a search, one line."""
    models = _by_family(context)
    count = sum(len(names) for names in models.values())
    return f"{count} of timm's pretrained networks ({', '.join(models)}) under {', '.join(context.licences)}"


def _by_family(context: SpaceContext) -> Mapping[str, Sequence[str]]:
    """Return the names of the networks that a search may use, by family."""
    found: dict[str, list[str]] = {}
    for model in MODELS:
        if model.licence in context.licences and _within_limits(model, context):
            found.setdefault(model.family, []).append(model.name)
    return found


def _within_limits(model: PretrainedModel, context: SpaceContext) -> bool:
    """Return whether a network is within the limits, approximately: the search measures it before training."""
    macs = model.macs * (context.image_size / REFERENCE_SIZE) ** 2
    return (context.max_params is None or model.num_params <= context.max_params) and (
        context.max_macs is None or macs <= context.max_macs
    )
