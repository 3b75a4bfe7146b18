from __future__ import annotations

from benchmarks.common.tasks import Task
from benchmarks.common.trainings import SharedInputs, load_inputs, targets
from benchmarks.search_quality.candidates import draw
from benchmarks.search_quality.curves import Curve, train_curve, training_seed
from benchmarks.search_quality.synthetic import synthetic_source
from nas_distill.config import LOCAL_DIR, ExecutionConfig
from nas_distill.records import Recipe, StudentSpec
from nas_distill.train.loop import Trainer
from tests.helpers import SMALL_TEACHER, TINY_SPEC, SmallRun

EPOCHS = 3


def make_task(small_run: SmallRun, **changes: object) -> tuple[Task, SharedInputs]:
    recipe = Recipe(**{"epochs": EPOCHS, "batch_size": 32, "ema_decay": 0.98, **changes})  # type: ignore[arg-type]
    task = Task(
        student=TINY_SPEC,
        recipe=recipe,
        seed=7,
        data_id=small_run.train.manifest.data_id,
        teacher_sha256=small_run.teacher.weights_sha256(),
        plan=small_run.plan,
        execution=ExecutionConfig().without_probe(),
        device="cpu",
        online=False,
    )
    inputs = SharedInputs(
        folder=small_run.run.path,
        data=small_run.data,
        knowledge=small_run.run.knowledge / small_run.knowledge_id,
        teacher=f"{LOCAL_DIR}{small_run.run.teacher}",
        device="cpu",
        threads=1,
    )
    return task, inputs


def gaps_of_a_search(task: Task, inputs: SharedInputs) -> list[float | None]:
    """Return the gaps that a search would see."""
    loaded = load_inputs(inputs)
    trainer = Trainer(
        loaded.material.network(task.student, task.seed),
        recipe=task.recipe,
        data=loaded.material.training_data(task.plan),
        targets=targets(task, inputs),
        reference=loaded.reference,
        seed=task.seed,
        device=loaded.device,
        execution=task.execution,
    )
    return [trainer.run_epoch().gap_points for _ in range(EPOCHS)]


def test_a_curve_has_the_gaps_of_a_search_and_measuring_raw_weights_does_not_change_them(small_run: SmallRun) -> None:
    task, inputs = make_task(small_run)
    curve = train_curve(task, inputs)
    assert list(curve.gap_points) == gaps_of_a_search(task, inputs)
    assert curve.raw_gap_points != curve.gap_points
    assert not curve.error
    assert all(seconds > 0.0 for seconds in (*curve.cpu_time_s, *curve.wall_time_s))


def test_without_a_moving_average_raw_and_evaluated_gaps_are_equal(small_run: SmallRun) -> None:
    curve = train_curve(*make_task(small_run, ema_decay=0.0))
    assert curve.raw_gap_points == curve.gap_points


def test_early_stopping_does_not_shorten_a_curve(small_run: SmallRun) -> None:
    curve = train_curve(*make_task(small_run, early_stopping_patience=1, learning_rate=1e-9))
    assert len(curve.gap_points) == EPOCHS


def test_a_network_that_reaches_nan_has_a_short_curve(small_run: SmallRun) -> None:
    curve = train_curve(*make_task(small_run, optimizer="sgd", learning_rate=1e30, gradient_clip_norm=0.0))
    assert curve.error
    assert len(curve.gap_points) == len(curve.cpu_time_s) < EPOCHS
    assert Curve.model_validate_json(curve.model_dump_json()) == curve


def test_the_first_candidates_do_not_depend_on_the_number_drawn() -> None:
    source = synthetic_source(epochs=3)
    few, many = draw(source, count=4, seed=0), draw(source, count=9, seed=0)
    assert many[:4] == few
    assert len({(each.spec.spec_id, each.recipe.digest()) for each in many}) == 9
    assert [each.number for each in many] == list(range(9))
    assert draw(source, count=4, seed=1) != few
    assert all(source.limits.rejection(each.cost) is None for each in many)


def test_every_training_has_its_own_seed() -> None:
    assert len({training_seed(0, candidate, replicate) for candidate in range(20) for replicate in (0, 1)}) == 40


def test_a_student_cut_from_the_teacher_begins_close_to_it(small_run: SmallRun) -> None:
    task, inputs = make_task(small_run, learning_rate=1e-9, ema_decay=0.0, epochs=1)
    spec = StudentSpec(architecture="small_resnet", arguments=SMALL_TEACHER)
    starts = (spec.model_copy(update={"initial_weights": name}) for name in ("teacher", "random"))
    curves = [train_curve(task.model_copy(update={"student": start}), inputs) for start in starts]
    assert abs(curves[0].gap_points[0]) < 3.0
    assert curves[1].gap_points[0] > 20.0
