"""Measure how often the decision table finds the verdict of students that were constructed to have it.

Six kinds of students are trained on digits, with other students to compare them with: too narrow to fit; too large for
fifty images; stopped after 4 of 40 epochs; trained with a loss that ignores classes, beside the same student with a
good loss; of an architecture that cannot learn, beside one of its size that can; and one without any of these problems.
Each seed has its own splits, teacher and students. The default thresholds and the rule for undertrained students were
chosen on other seeds: 0 to 5, 100, 101, and 1000 and above.

    python -m benchmarks.statistics.diagnosis [--seeds 10]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import torch

from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, publish
from benchmarks.statistics.cases import as_study, train_cases
from nas_distill.analysis.decision.decide import teacher_epochs
from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import VERDICTS


def measure(arguments: argparse.Namespace, folder: Path) -> Report:
    """Return the confusion table."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    confusion: dict[str, Counter[str]] = {}
    for seed in seeds:
        for truth, verdict, evidence in judged(folder / str(seed), seed):
            confusion.setdefault(truth, Counter())[verdict] += 1
            print(f"seed {seed}: constructed {truth}, found {verdict}: {evidence}", flush=True)
    rows = tuple(
        {"truth": truth, "right": 100.0 * confusion[truth][truth] / len(seeds), **confusion[truth]}
        for truth in VERDICTS
        if truth in confusion
    )
    columns = (
        Column("truth", "constructed"),
        *(Column(name, name) for name in VERDICTS),
        Column("right", "correct, %", "{:.0f}"),
    )
    return Report(
        name="statistics/diagnosis",
        tables=(Table(title=f"Verdicts on constructed students, {len(seeds)} seeds", columns=columns, rows=rows),),
        verdicts=tuple(
            Verdict(
                text=f"{row['truth']}: {row['right']:.0f} % correct (target: 90 %)", met=float(str(row["right"])) >= 90
            )
            for row in rows
        ),
        conditions=conditions(seed=list(seeds), threads=1),
    )


def judged(folder: Path, seed: int) -> list[tuple[str, str, str]]:
    """Return true verdict, found verdict and evidence for each student of a seed."""
    trained = list(train_cases(folder, seed))
    found: list[tuple[str, str, str]] = []
    for run in dict.fromkeys(run for _, _, run in trained):
        own = [(student, record) for student, record, home in trained if home == run]
        study = as_study(run, [record for _, record in own])
        images = sum(study.teacher.class_counts)
        needed = teacher_epochs(study.teacher)
        judgements = diagnose(study.trials, study.curves, images=images, teacher_epochs=needed)
        verdicts = {one.number: one for one in judgements}
        found += [
            (student.truth, verdicts[number].verdict, "; ".join(verdicts[number].evidence))
            for number, (student, _) in enumerate(own)
            if student.truth is not None
        ]
    return found


def main() -> None:
    parser = benchmark_parser("statistics.diagnosis", __doc__)
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds  [default: 10]")
    parser.add_argument("--first-seed", type=int, default=200, help="first seed  [default: 200]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds = 1
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        publish(measure(arguments, Path(folder)), arguments)


if __name__ == "__main__":
    main()
