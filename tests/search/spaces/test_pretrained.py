from __future__ import annotations

import pytest
import timm

from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import PRETRAINED, StudentSpec
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.spaces.loading import load_space
from search_spaces.pretrained_models import MODELS, REFERENCE_SIZE
from tests.helpers import make_space_context

LIMITS = {"max_params": 2_500_000, "max_macs": 50_000_000}


def test_timm_has_the_listed_weights_under_the_listed_licences() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    known = set(timm.list_pretrained())
    for model in MODELS:
        assert model.name in known
        assert timm.get_pretrained_cfg(model.name).license == model.licence, model.name


def test_the_listed_costs_are_those_of_the_networks() -> None:
    for model in sorted(MODELS, key=lambda one: one.num_params)[::16]:
        spec = StudentSpec(architecture=model.name)
        cost = measure_cost(spec, num_classes=10, channels=3, image_size=REFERENCE_SIZE)
        assert (cost.num_params, cost.macs) == (model.num_params, model.macs), model.name


@pytest.mark.slow
def test_all_listed_costs_are_those_of_the_networks() -> None:
    for model in MODELS:
        spec = StudentSpec(architecture=model.name)
        cost = measure_cost(spec, num_classes=10, channels=3, image_size=REFERENCE_SIZE)
        assert (cost.num_params, cost.macs) == (model.num_params, model.macs), model.name


def test_limits_and_licences_leave_networks_out() -> None:
    listed = {model.name: model for model in MODELS}
    space, context = load_space("pretrained"), make_space_context(channels=3, image_size=96, **LIMITS)
    found = [listed[spec.architecture] for spec in sample_space(space, 60, 0, context)]
    assert all(model.num_params <= LIMITS["max_params"] for model in found)
    assert {model.licence for model in found} <= set(context.licences)
    assert {spec.initial_weights for spec in sample_space(space, 5, 0, context)} == {PRETRAINED}
    other = make_space_context(channels=3, image_size=96, licences=("cc-by-nc-4.0",))
    assert {listed[spec.architecture].licence for spec in sample_space(space, 10, 0, other)} == {"cc-by-nc-4.0"}


def test_a_search_that_leaves_no_network_is_refused() -> None:
    for changes in ({"max_params": 1000}, {"licences": ("own-licence",)}):
        with pytest.raises(SpaceError) as caught:
            sample_space(load_space("pretrained"), 1, 0, make_space_context(image_size=96, **changes))
        assert (caught.value.code, caught.value.field) == ("space.misfit", "space.name")
