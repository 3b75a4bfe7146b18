"""A search whose students start from the teacher's weights, its continuation and its confirmation."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from nas_distill.analysis.run import Run
from nas_distill.config import (
    LOCAL_DIR,
    AshaConfig,
    BudgetConfig,
    ResourcesConfig,
    SearchConfig,
    SpaceConfig,
    TeacherConfig,
)
from nas_distill.errors import ConfigError, SpaceError
from nas_distill.records import Recipe, SpaceContext, SpaceTrial, StudentSpec, TeacherShape
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.retrain.confirm import confirm_students
from nas_distill.search.retrain.confirm_plan import Request
from nas_distill.search.samplers.space_sampling import check_point
from nas_distill.search.service import resume_search, start_search
from nas_distill.search.setup.initial_weights import check_initial_weights, choose_initial_weights
from tests.helpers import SMALL_DATA, SMALL_TEACHER, Heard, SmallRun

OWN_SPACE = """
from nas_distill.records import StudentSpec

def space(trial):
    width = trial.suggest_int("width", 4, 12)
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, 16), "depths": (1, 1)})
"""
CONTEXT = SpaceContext(
    num_classes=10,
    channels=1,
    image_size=8,
    teacher=TeacherShape(
        architecture="small_resnet",
        arguments={**SMALL_TEACHER, "drop_rate": 0.1},
        num_params=10_000,
        macs=100_000,
        image_size=8,
    ),
)


def resnet(*widths: int) -> StudentSpec:
    return StudentSpec(architecture="small_resnet", arguments={"widths": widths, "depths": (1,) * len(widths)})


@pytest.fixture(scope="module")
def run(small_run: SmallRun, shared_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("from_teacher")
    space = folder / "narrow.py"
    space.write_text(textwrap.dedent(OWN_SPACE))
    config = SearchConfig(
        data=SMALL_DATA,
        teacher=TeacherConfig(model=f"{LOCAL_DIR}{small_run.run.teacher}"),
        space=SpaceConfig(name=str(space), initial_weights=("teacher",)),
        budget=BudgetConfig(trials=2),
        asha=AshaConfig(rule="none"),
        recipe=Recipe(epochs=1, batch_size=64, fine_tuning_rate_share=0.5),
        resources=ResourcesConfig(max_parallel_trials=1),
    )
    return start_search(config, folder / "run", Heard()).run


@pytest.mark.timeout(400)
def test_students_start_from_the_teacher_also_after_an_interruption(run: RunDirectory) -> None:
    before = Run(run.path).trials
    assert list(before["initial_weights"]) == ["teacher", "teacher"]
    assert (before["copied_share"] > 0.5).all()
    assert resume_search(run.path, Heard(), trials=3).new_trials == 1
    after = Run(run.path).trials
    assert list(after["initial_weights"]) == ["teacher"] * 3
    assert list(after["spec_id"][:2]) == list(before["spec_id"])


@pytest.mark.timeout(400)
def test_a_confirmation_compares_them_with_random_weights(run: RunDirectory) -> None:
    heard = Heard()
    outcome = confirm_students(run.path, Request(picks=("best_quality",), seeds=2), heard)
    assert (outcome.planned, outcome.new) == (6, 6)
    records = {one.confirmation.arm: one for one in run.read_confirmations() if one.confirmation}
    shares = {
        arm: record.execution.initial_weights.copied_share
        for arm, record in records.items()
        if record.execution.initial_weights is not None
    }
    assert shares["random_weights"] == 0.0
    assert shares["distilled"] == shares["control"] > 0.5
    full, fine_tuned = (records[arm].curve[0].learning_rate for arm in ("random_weights", "distilled"))
    assert fine_tuned == pytest.approx(0.5 * full)
    confirmed = Run(run.path).confirmed()
    assert confirmed is not None
    (student,) = confirmed.students
    assert student.initial_weights == "teacher"
    assert student.initial_weights_gain_points is not None
    assert student.initial_weights_gain_points.half_width is not None


def test_narrower_students_of_the_teachers_kind_can_be_cut_from_it() -> None:
    chooser = choose_initial_weights(SpaceConfig(initial_weights=("teacher",)), CONTEXT)

    def chosen(spec: StudentSpec) -> str | None:
        found: list[StudentSpec] = []
        check_point({}, lambda trial: found.append(chooser.choose(trial, spec)), field="", name="")
        return found[0].initial_weights

    for spec in (resnet(4, 8), resnet(12, 24)):
        assert chosen(spec) == "teacher"
    transformer = StudentSpec(architecture="test_vit", arguments={"patch_size": 4})
    for spec, named in ((resnet(4, 32), "24"), (transformer, "SmallResNet"), (resnet(-1, 4), "")):
        with pytest.raises(SpaceError) as caught:
            chosen(spec)
        assert caught.value.code == "space.initial_weights_unfit"
        assert named in str(caught.value)


def test_a_student_of_a_run_that_does_not_exist_is_rejected_before_the_search(tmp_path: Path) -> None:
    check_initial_weights(SpaceConfig(initial_weights=("random", "teacher", "pretrained")))
    with pytest.raises(ConfigError) as caught:
        check_initial_weights(SpaceConfig(initial_weights=("random", f"run:{tmp_path}/first/3")))
    assert (caught.value.code, caught.value.field) == ("models.run_unreadable", "space.initial_weights")
    with pytest.raises(ConfigError) as caught:
        check_initial_weights(SpaceConfig(pretrained_root=str(tmp_path / "nowhere")))
    assert (caught.value.code, caught.value.field) == ("models.pretrained_unavailable", "space.pretrained_root")


def test_pretrained_weights_fit_where_the_folder_holds_them(tmp_path: Path) -> None:
    (tmp_path / "test_resnet.safetensors").touch()
    allowed = ("random", "pretrained")
    chooser = choose_initial_weights(SpaceConfig(initial_weights=allowed, pretrained_root=str(tmp_path)), CONTEXT)
    suggested: list[dict[str, object]] = []

    def choose(spec: StudentSpec) -> dict[str, object]:
        def build(trial: SpaceTrial) -> None:
            chooser.choose(trial, spec)
            suggested.append(trial.params)

        check_point({}, build, field="", name="")
        return suggested[-1]

    assert "initial_weights" in choose(StudentSpec(architecture="test_resnet"))
    assert choose(StudentSpec(architecture="test_efficientnet")) == {}
    assert choose(StudentSpec(architecture="test_resnet", arguments={"channels": (8, 8, 8, 8)})) == {}
