from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.step_cost.stopwatch import Stopwatch


def test_all_timed_functions_exist_and_are_restored() -> None:
    network = nn.Linear(2, 2)
    stopwatch, original = Stopwatch(torch.device("cpu")), torch.Tensor.backward
    with stopwatch.watching(network):
        network(torch.ones(1, 2)).sum().backward()
    assert {"forward", "backward"} <= set(stopwatch.seconds)
    assert torch.Tensor.backward is original


def test_a_missing_function_is_an_error() -> None:
    parts = (("loss", nn.Linear, "no_such_method"),)
    with pytest.raises(AttributeError), Stopwatch(torch.device("cpu")).watching(nn.Linear(2, 2), parts):
        pass
