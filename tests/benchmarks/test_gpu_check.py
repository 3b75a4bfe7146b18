from __future__ import annotations

from pathlib import Path

from benchmarks.gpu_check.program import plan

TIME_LIMIT_S = 480


def test_the_steps_run_three_benchmarks() -> None:
    programs = [step.module for step in plan("cuda", Path("out")) if step.module.startswith("benchmarks.")]
    assert programs == ["benchmarks.step_cost", "benchmarks.packing", "benchmarks.distillation"]


def test_the_time_limits_on_a_gpu_add_up_to_less_than_eight_minutes() -> None:
    assert sum(step.limit_s for step in plan("cuda", Path("out"))) <= TIME_LIMIT_S
