"""Runs the trials of a search with Ray Tune: thin adapters around `SearchDriver` (the worker is in `trainable`).

Tune schedules trials on workers, reuses worker processes and asks at rungs. What happens after a worker died is decided
by the driver's `FailurePolicy`, the same that the `executor` asks for all other work.
"""

from __future__ import annotations

import logging
import pickle
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError, last_line
from nas_distill.records import EpochMetrics, ExecutionInfo
from nas_distill.records.base import parse_record
from nas_distill.run_directory.files import check_disk_is_not_full
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import joins_cluster
from nas_distill.search.backend.cluster_metrics import SearchMetrics
from nas_distill.search.backend.protocol import CURVE, EPOCH, EXECUTION_INFO, NUMBER, TASK
from nas_distill.search.backend.ray_private import apply_tune_settings
from nas_distill.search.backend.slots import Slots, open_slots
from nas_distill.search.backend.trainable import DistillTrainable
from nas_distill.search.backend.workers import WorkerSetup
from nas_distill.search.driver.driver import SearchDriver

_MAX_BURST_S = 0.5
"""Longest time of proposing trials before Tune starts workers for them."""


class DriverSearcher(Searcher):  # type: ignore[misc]
    """Gives the driver's tasks to Tune. It has no state: the study holds it, so Tune's snapshots contain nothing.

    Args:
        driver: Chooses the tasks.
        slots: Decides when a trial may start.
        metrics: Metrics on the cluster's dashboard; None for none.
    """

    def __init__(
        self, driver: SearchDriver | None, slots: Slots | None = None, metrics: SearchMetrics | None = None
    ) -> None:
        super().__init__()
        self._metrics = metrics
        self._driver = driver
        self._slots = slots
        self._given: float | None = None
        self._live: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next task, None while there may be one later, or Tune's marker that there will be none."""
        driver = self._driver
        if driver is None or self._slots is None:
            return str(Searcher.FINISHED)
        if driver.remaining and not self._may_give(driver, self._slots):
            return None
        began = time.monotonic()
        task = driver.next_task()
        if task is None:
            return None if driver.waiting else str(Searcher.FINISHED)
        self._live.add(trial_id)
        if self._metrics is not None:
            self._metrics.asked(time.monotonic() - began)
        return {NUMBER: task.number, TASK: task.model_dump_json()}

    def _may_give(self, driver: SearchDriver, slots: Slots) -> bool:
        """Return whether a task may be given now. Tune asks until the answer is no, and starts workers after that."""
        now = time.monotonic()
        if self._given is not None and now - self._given > _MAX_BURST_S:
            self._given = None
            return False
        if not slots.take(live=driver.live, queued=driver.queued, startable=driver.startable):
            self._given = None
            return False
        self._given = self._given or now
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note that a slot is free. Tune also calls `DriverCallback`, with the reason."""
        if self._slots is not None and trial_id in self._live:  # Tune may call it twice
            self._live.remove(trial_id)
            self._slots.ended()

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state."""

    def __reduce__(self) -> tuple[type[DriverSearcher], tuple[None]]:
        return (DriverSearcher, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> DriverSearcher:
        return self


class DriverCallback(tune.Callback):  # type: ignore[misc]
    """Passes finished epochs and ended trials on to the driver."""

    def __init__(self, driver: SearchDriver | None) -> None:
        self._driver = driver

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass on finished epochs. `ParetoAshaScheduler` has passed on the metrics of a report at a rung."""
        if self._driver is not None and EPOCH in result:
            if EXECUTION_INFO not in result:
                self._driver.report_epochs(trial.config[NUMBER], _curve(result))
            self._driver.epoch_done(trial.config[NUMBER], result[EPOCH])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Pass on the end of a trial."""
        if self._driver is not None:
            self._driver.trial_ended(trial.config[NUMBER], None)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Pass on the failure of a worker."""
        if self._driver is not None:
            self._driver.trial_ended(trial.config[NUMBER], _reason(trial))

    def __reduce__(self) -> tuple[type[DriverCallback], tuple[None]]:
        return (DriverCallback, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> DriverCallback:
        return self


class ParetoAshaScheduler(FIFOScheduler):  # type: ignore[misc]
    """Asks the driver at rungs whether a trial continues. It has no state: Tune never saves a scheduler's.

    Tune calls the scheduler before it passes the report to callbacks, while the worker waits for the answer. The driver
    records a trial that is stopped at once and ignores the calls for completed trials that follow.
    """

    def __init__(self, driver: SearchDriver | None) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept no metric: Tune would require it in every report."""
        return metric is None

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Return whether a trial continues, as Tune's constant."""
        if self._driver is None or EXECUTION_INFO not in result:
            return str(TrialScheduler.CONTINUE)
        self._driver.report_epochs(trial.config[NUMBER], _curve(result))  # before a stopped trial's record
        execution_info = parse_record(ExecutionInfo, result[EXECUTION_INFO], origin="a worker's report")
        goes_on = self._driver.goes_on(trial.config[NUMBER], result[EPOCH], execution_info)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def debug_string(self) -> str:
        """Return the name that Tune would print."""
        return "Pareto ASHA"

    def __reduce__(self) -> tuple[type[ParetoAshaScheduler], tuple[None]]:
        return (ParetoAshaScheduler, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> ParetoAshaScheduler:
        return self


def run_tune(driver: SearchDriver, setup: WorkerSetup) -> bool:
    """Run the driver's tasks on the connected cluster until none is left.

    Args:
        driver: Chooses the tasks and records their results.
        setup: What workers get.

    Returns:
        False when Ctrl-C (or SIGTERM, which the command line turns into the same) ended it early.

    Raises:
        ClusterError: Ray itself failed. Results of ended trials are recorded; the other trials are still in flight.
    """
    trainable = tune.with_parameters(DistillTrainable, worker_setup=setup, rungs=driver.rungs)
    return run_trainable(driver, setup.run, trainable, setup.resources)


def run_trainable(driver: SearchDriver, run: RunDirectory, trainable: Any, resources: ResourcesConfig) -> bool:
    """Run the driver's tasks with any kind of worker, as `run_tune` does with the real one.

    Args:
        driver: Chooses the tasks and records their results.
        run: The run directory.
        trainable: A `ReportingTrainable`, possibly with parameters.
        resources: What a trial takes.

    Returns:
        False when Ctrl-C ended it early.

    Raises:
        ClusterError: Ray itself failed.
        RunError: The disk of the run is full.
    """
    apply_tune_settings()
    slots = open_slots(resources)
    metrics = (
        SearchMetrics(run.path.name) if joins_cluster(resources) else None
    )  # a cluster of our own has no dashboard
    if metrics is not None:
        driver.watch_status(metrics.status)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the driver reports every end and its reason
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}),
        tune_config=tune.TuneConfig(
            search_alg=DriverSearcher(driver, slots, metrics),
            scheduler=ParetoAshaScheduler(driver),
            num_samples=-1,  # until the driver has no more
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config[NUMBER]:05d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=_session_name(run),
            storage_path=str(run.tune.resolve()),
            callbacks=[DriverCallback(driver)],
            # Tune saves nothing: trials keep their own checkpoints, and Tune's cannot be relied on after a kill.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            # The driver retries. Tune would count the death of a reused worker as two failures, the second one final.
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except KeyboardInterrupt:
        return False
    # Tune reads its own `error.pkl` again, which a full disk has cut: click would take `EOFError` for Ctrl-D.
    except (RayError, TuneError, EOFError, pickle.UnpicklingError, OSError) as error:
        check_disk_is_not_full(run.path)
        raise ClusterError(
            f"Ray ended the search: {last_line(error) or type(error).__name__}; continue with --resume {run.path}",
            code="cluster.ray_failed",
        ) from error
    finally:
        slots.close()
    return True


def _curve(result: dict[str, Any]) -> list[EpochMetrics]:
    """Return the metrics of the epochs in a worker's report."""
    return [parse_record(EpochMetrics, text, origin="a worker's report") for text in result.get(CURVE, ())]


def _session_name(run: RunDirectory) -> str:
    """Return a new name, so that a resumed search never finds the snapshot of an earlier one."""
    run.tune.mkdir(parents=True, exist_ok=True)
    return f"session-{len(list(run.tune.iterdir())):03d}"


def _reason(trial: TuneTrial) -> str:
    """Return why a worker failed, as one line."""
    # Not `get_error`: it reads the copy in the run directory, which Tune writes later.
    text = ""
    if trial.error_file is not None:
        with suppress(OSError):
            text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    line = last_line(text)
    return f"worker: {line}" if line else "the worker died"
