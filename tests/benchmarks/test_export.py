"""The benchmark of exports: what its tables say of parity, size and failures."""

from __future__ import annotations

from benchmarks.export.program import parity_row, speed_row, verdicts
from benchmarks.export.students import FormatResult, StudentResult
from nas_distill.records import Cost, StudentSpec
from nas_distill.records.export import FILES


def result(*, failed: tuple[str, ...] = (), lost: float = 0.0, exporter: str = "dynamo") -> StudentResult:
    return StudentResult(
        family="resnet",
        spec=StudentSpec(architecture="small_resnet"),
        cost=Cost(num_params=1000, macs=1, size_bytes=4000),
        top1=0.9,
        latency_ms=2.0,
        formats={
            name: FormatResult(
                failure="it differs" if name in failed else "",
                exporter=exporter if name == "onnx" else "",
                lost_points=lost if name == "onnx-int8" else 0.0,
                largest_difference=1e-6,
                size_bytes=4000,
                latency_ms=1.0,
                seconds=3.0,
            )
            for name in FILES
        },
    )


def test_files_without_parity_and_the_other_exporter_are_counted() -> None:
    row = parity_row("resnet", [result(), result(failed=("onnx",)), result(exporter="torchscript")])
    assert (row["students"], row["timm_parity"], row["onnx_parity"], row["torch-export_parity"]) == (3, 3, 2, 3)
    assert (row["torchscript"], row["seconds"]) == (1, 12.0)


def test_students_without_an_onnx_file_are_left_out_of_the_medians() -> None:
    row = speed_row("resnet", [result(lost=0.5), result(lost=2.5), result(failed=("onnx", "onnx-int8"))])
    assert (row["int8_lost"], row["int8_worst"], row["onnx_kb"], row["pytorch_ms"]) == (1.5, 2.5, 4.0, 2.0)
    assert speed_row("resnet", [result(failed=("onnx-int8",))]) == {"family": "resnet"}


def test_the_target_is_a_share_of_the_float_files() -> None:
    enough = [result() for _ in range(19)] + [result(failed=("onnx",))]
    assert verdicts(enough)[0].met
    assert not verdicts([result(), result(failed=("timm",))])[0].met
    assert "1 of 2" in verdicts([result(lost=0.9), result(lost=1.1)])[1].text
