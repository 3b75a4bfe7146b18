"""What the tests of proposals share: a small space and a proposer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nas_distill.config import SamplerConfig, TeacherConfig
from nas_distill.objectives import check_objectives
from nas_distill.records import Cost, Recipe, SpaceTrial, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.task import TrialTask
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.initial_weights import InitialWeightsChooser
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.proposal.proposer import Proposer
from nas_distill.search.spaces.loading import Space
from nas_distill.search.spaces.recipes import load_recipe_space, make_choices
from nas_distill.search.study.ledger import StudyLedger
from nas_distill.target.meter import TargetMeter
from tests.helpers import make_space_context

TEACHER = Cost(num_params=10_000, macs=1_000_000, size_bytes=40_000)
SHAPE = NetworkShape(num_classes=10, channels=1, image_size=8)
OPEN = Limits()


def widths(trial: SpaceTrial) -> StudentSpec:
    width = trial.suggest_int("width", 2, 24)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})


def make_proposer(
    folder: Path,
    function: Callable[[SpaceTrial], StudentSpec],
    *,
    limits: Limits = OPEN,
    max_rejections: int = 50,
    known: tuple[TrialTask, ...] = (),
    recipes: str = "fixed",
    sampler: str = "tpe",
    initial_weights: InitialWeightsChooser | None = None,
    meter: TargetMeter | None = None,
) -> tuple[Proposer, StudyLedger]:
    ledger = StudyLedger(
        f"sqlite:///{folder / 'study.db'}",
        "nas_distill",
        check_objectives(("gap_points", "num_params")),
        0,
        SamplerConfig(name=sampler),
    )
    space = Space(name="mine", function=function, source_path=Path(__file__), doc="")
    proposer = Proposer(
        ledger,
        space=space,
        context=make_space_context(),
        initial_weights=initial_weights or InitialWeightsChooser(),
        limits=limits,
        cost_estimator=CostEstimator(SHAPE, meter=meter),
        recipe=Recipe(),
        recipes=load_recipe_space(recipes),
        choices=make_choices(Recipe(), TeacherConfig()),
        seed=0,
        max_rejections=max_rejections,
        known=known,
    )
    return proposer, ledger
