"""A trial calibrates its student on validation images, and scores it on images that did not fit the temperature."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch
from torch import Tensor

from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.stratified import k_folds
from nas_distill.knowledge.teacher_test_logits import store_test_logits
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.records import Calibration, Confirmation, Fold, Recipe, StudentMetrics, TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.train.calibration.temperature import PARTS, fit_temperatures
from nas_distill.train.metrics import MetricSums, metric_sums
from nas_distill.trial.context import FOLD_SEED, TrialContext, open_context
from nas_distill.trial.run import run_trial
from tests.helpers import CPU, TINY_SPEC, SmallRun, make_task

RECIPE = Recipe(epochs=6, batch_size=32, learning_rate=1e-2)


@dataclass(frozen=True)
class Finished:
    """A finished trial.

    Attributes:
        metrics: Its recorded metrics.
        calibration: Its recorded calibration.
        network: The stored student, as a function from images to logits.
        run: Its run.
        context: What the trials of its run share.
    """

    metrics: StudentMetrics
    calibration: Calibration
    network: torch.nn.Module
    run: RunDirectory
    context: TrialContext
    preprocess: Preprocess

    def logits(self, split: ImageSplit, positions: Tensor | None = None) -> Tensor:
        """Return the stored student's logits, float64 [N, 10]."""
        order = torch.arange(split.num_images) if positions is None else positions
        with torch.inference_mode():
            batches = split.batches(order, 512, device=CPU)
            return torch.cat([self.network(self.preprocess(batch.images)) for batch in batches]).double()

    def split(self, name: str, small_run: SmallRun) -> ImageSplit:
        return open_split(small_run.data, self.run.path, name)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, TrialContext]:
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(small_run.run.path, folder)
    run = RunDirectory(folder)
    store_test_logits(run.confirm, small_run.teacher, open_split(small_run.data, folder, "test"), CPU)
    return run, open_context(small_run.worker_config().model_copy(update={"run": str(folder)}))


def finish(site: tuple[RunDirectory, TrialContext], task: TrialTask) -> Finished:
    run, context = site
    record = run_trial(task, context, run.trial(task.number))
    assert record.metrics is not None
    assert record.metrics.calibration is not None
    network = build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8).eval()
    network.load_state_dict(safetensors.torch.load_file(run.trial(task.number).weights))
    return Finished(
        metrics=record.metrics,
        calibration=record.metrics.calibration,
        network=network,
        run=run,
        context=context,
        preprocess=context.trial_inputs(task).data.preprocess,
    )


def check_scores(found: Finished, before: MetricSums, after: MetricSums) -> None:
    metrics, calibration = found.metrics, found.calibration
    assert before.metrics().nll_nats == pytest.approx(calibration.uncalibrated_nll_nats, rel=1e-5)
    assert before.metrics().ece == pytest.approx(calibration.uncalibrated_ece, abs=1e-3)
    assert after.metrics().nll_nats == pytest.approx(metrics.nll_nats, rel=1e-5)
    assert after.metrics().ece == pytest.approx(metrics.ece, abs=1e-3)
    assert after.metrics().top1 == before.metrics().top1 == metrics.top1


def test_a_search_scores_each_validation_image_with_a_temperature_of_other_images(
    site: tuple[RunDirectory, TrialContext], small_run: SmallRun
) -> None:
    found = finish(site, make_task(0, recipe=RECIPE))
    validation, calibration = small_run.validation, found.calibration
    assert (calibration.images, calibration.parts, calibration.in_weights) == (160, PARTS, True)
    assert calibration.temperature < 0.7  # the default loss leaves a student unsure
    plain = calibration.temperature * found.logits(validation)
    again = fit_temperatures(plain, validation.labels)
    assert again.final == pytest.approx(calibration.temperature, rel=1e-3)
    own = again.cross_fitted(torch.arange(160))
    teacher = found.context.trial_inputs(make_task(recipe=RECIPE)).reference.validation
    after = metric_sums(plain / own[:, None], validation.labels, teacher)
    check_scores(found, metric_sums(plain, validation.labels), after)
    assert after.comparison().divergence_nats == pytest.approx(found.metrics.divergence_nats, rel=1e-5)
    assert found.metrics.nll_nats < calibration.uncalibrated_nll_nats


def test_confirmed_students_are_scored_on_test_images_with_the_temperature_in_their_weights(
    site: tuple[RunDirectory, TrialContext], small_run: SmallRun
) -> None:
    confirmation = Confirmation(arm="distilled", repetition=0)
    found = finish(site, make_task(1, recipe=RECIPE).model_copy(update={"confirmation": confirmation}))
    calibration, test = found.calibration, found.split("test", small_run)
    assert (calibration.images, calibration.parts, calibration.in_weights) == (160, 1, True)
    logits = found.logits(test)
    check_scores(found, metric_sums(calibration.temperature * logits, test.labels), metric_sums(logits, test.labels))
    fitted = fit_temperatures(calibration.temperature * found.logits(small_run.validation), small_run.validation.labels)
    assert fitted.final == pytest.approx(calibration.temperature, rel=1e-3)


def test_folds_are_scored_on_their_images_with_a_temperature_of_the_validation_images(
    site: tuple[RunDirectory, TrialContext], small_run: SmallRun
) -> None:
    found = finish(site, make_task(2, recipe=RECIPE).model_copy(update={"fold": Fold(number=1, of=4)}))
    calibration, train = found.calibration, small_run.train
    assert (calibration.images, calibration.parts, calibration.in_weights) == (160, 1, True)
    positions = k_folds(train.labels, 4, FOLD_SEED)[1]
    logits, labels = found.logits(train, positions), train.labels[positions]
    check_scores(found, metric_sums(calibration.temperature * logits, labels), metric_sums(logits, labels))
