"""Ray Tune's side of a search: thin adapters around `SearchDriver`; the worker's is in `worker`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from nas_distill.config import ResourcesConfig
from nas_distill.errors import ClusterError
from nas_distill.records import EpochMetrics, ExecutionInfo
from nas_distill.records.base import parse_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.backend.cluster import parallel_trials
from nas_distill.search.backend.protocol import CURVE, EPOCH, EXECUTION_INFO, NUMBER, TASK
from nas_distill.search.backend.trainable import DistillTrainable
from nas_distill.search.driver.driver import SearchDriver
from nas_distill.trial.context import WorkerConfig

_TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run directory holds every curve already
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach us, not end in a snapshot of Tune's
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class DriverSearcher(Searcher):  # type: ignore[misc]
    """Hands the driver's assignments to Tune. The study is its memory, so that Tune's snapshots hold nothing of it."""

    def __init__(self, driver: SearchDriver | None) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Returns the next assignment, None while there may be one later, or that there will be none."""
        del trial_id
        task = None if self._driver is None else self._driver.next_task()
        if task is None:
            if self._driver is not None and self._driver.waiting:
                return None
            return str(Searcher.FINISHED)
        return {NUMBER: task.number, TASK: task.model_dump_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: `DriverCallback` hears of every end too, and of its reason."""

    def save(self, checkpoint_path: str) -> None:
        """Does nothing, see the class."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, see the class."""

    def __reduce__(self) -> tuple[type[DriverSearcher], tuple[None]]:
        return (DriverSearcher, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> DriverSearcher:
        return self


class DriverCallback(tune.Callback):  # type: ignore[misc]
    """Tells the driver of epochs and ends."""

    def __init__(self, driver: SearchDriver | None) -> None:
        self._driver = driver

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Passes on a finished epoch."""
        if self._driver is not None and EPOCH in result:
            self._driver.report_epochs(trial.config[NUMBER], _curve(result))
            self._driver.epoch_done(trial.config[NUMBER], result[EPOCH])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Passes on an end."""
        if self._driver is not None:
            self._driver.trial_ended(trial.config[NUMBER], None)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Passes on a worker's last failure."""
        if self._driver is not None:
            self._driver.trial_ended(trial.config[NUMBER], _reason(trial))

    def __reduce__(self) -> tuple[type[DriverCallback], tuple[None]]:
        return (DriverCallback, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> DriverCallback:
        return self


class ParetoAshaScheduler(FIFOScheduler):  # type: ignore[misc]
    """Asks the driver at rungs whether a trial goes on. The ledger is its memory: Tune never saves a scheduler's.

    Tune asks before it tells callbacks of the report, and the worker waits for the answer. A trial that is stopped is
    booked by the driver at once; the calls for completed trials that follow find it ended.
    """

    def __init__(self, driver: SearchDriver | None) -> None:
        super().__init__()
        self._driver = driver

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Takes no metric: Tune would demand it of every report."""
        return metric is None

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Returns whether a trial goes on."""
        if self._driver is None or EXECUTION_INFO not in result:
            return str(TrialScheduler.CONTINUE)
        self._driver.report_epochs(trial.config[NUMBER], _curve(result))  # before a stopped trial's record
        execution_info = parse_record(ExecutionInfo, result[EXECUTION_INFO], origin="a worker's report")
        goes_on = self._driver.goes_on(trial.config[NUMBER], result[EPOCH], execution_info)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def debug_string(self) -> str:
        """Returns what Tune would print."""
        return "Pareto ASHA"

    def __reduce__(self) -> tuple[type[ParetoAshaScheduler], tuple[None]]:
        return (ParetoAshaScheduler, (None,))

    def __deepcopy__(self, memo: dict[int, Any]) -> ParetoAshaScheduler:
        return self


def run_tune(driver: SearchDriver, worker_config: WorkerConfig, resources: ResourcesConfig, *, space_name: str) -> bool:
    """Runs the driver's assignments on the connected cluster until none is left.

    Args:
        driver: Hands out assignments and books their ends.
        worker_config: Where workers find what trials share.
        resources: What a trial takes.
        space_name: As `load_space` takes it.

    Returns:
        False when Ctrl-C (or SIGTERM, which the command line turns into the same) ended it early.

    Raises:
        ClusterError: Ray itself failed; what ended before is booked, the rest is in flight.
    """
    trainable = tune.with_parameters(
        DistillTrainable, worker_config=worker_config, space_name=space_name, rungs=driver.rungs
    )
    return run_trainable(driver, RunDirectory(Path(worker_config.run)), trainable, resources)


def run_trainable(driver: SearchDriver, run: RunDirectory, trainable: Any, resources: ResourcesConfig) -> bool:
    """Does what `run_tune` does, with any worker.

    Args:
        driver: Hands out assignments and books their ends.
        run: Where workers write.
        trainable: A class derived from `ray.tune.Trainable`, perhaps with parameters, that heeds `messages`.
        resources: What a trial takes.

    Returns, and raises, as `run_tune`.
    """
    os.environ.update(_TUNE_SETTINGS)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the driver tells every end, and its reason
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}),
        tune_config=tune.TuneConfig(
            search_alg=DriverSearcher(driver),
            scheduler=ParetoAshaScheduler(driver),
            num_samples=-1,  # until the driver has no more
            max_concurrent_trials=parallel_trials(resources),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial.config[NUMBER]:05d}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=_session_name(run),
            storage_path=str(run.tune.resolve()),
            callbacks=[DriverCallback(driver)],
            # Tune saves nothing: `Trial` keeps its own checkpoints, and Tune's cannot be relied on after a kill.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),  # the driver hands out again
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except KeyboardInterrupt:
        return False
    except (RayError, TuneError) as error:
        reason = _last_line(error) or type(error).__name__
        raise ClusterError(f"Ray ended the search: {reason}; go on with --resume {run.path}") from error
    return True


def _curve(result: dict[str, Any]) -> list[EpochMetrics]:
    """Return the metrics of the epochs in a worker's report."""
    return [parse_record(EpochMetrics, text, origin="a worker's report") for text in result.get(CURVE, ())]


def _session_name(run: RunDirectory) -> str:
    """Returns a fresh name, so that a resumed search never meets an earlier one's snapshot."""
    run.tune.mkdir(parents=True, exist_ok=True)
    return f"session-{len(list(run.tune.iterdir())):03d}"


def _reason(trial: TuneTrial) -> str:
    """Returns why a worker failed, as one line."""
    line = _last_line(trial.get_error())
    return f"worker: {line}" if line else "the worker died"


def _last_line(error: Exception | None) -> str:
    """Returns the last line of the text, which names exception and message where Ray passes on a traceback as text."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return f"{lines[-1]:.300}" if lines else ""
