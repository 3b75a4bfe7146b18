"""Count the memory that exists at one time in a forward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class ActivationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operators create, as long as they exist.

    Tensors that existed before, such as parameters, and views of them are not counted. It works on the meta device
    too, where nothing is allocated: sizes and lifetimes are those of a real pass.

    Attributes:
        peak_bytes: Most bytes at one time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._bytes = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator and count what it creates."""
        del types
        for one in tree_leaves((args, kwargs)):
            if isinstance(one, Tensor):
                self._count(one, is_new=False)
        found = func(*args, **(kwargs or {}))
        # Statistics of a batch norm, which training would save, are empty on a CPU but not on the meta device.
        kept = found[:1] if "batch_norm" in str(func) and isinstance(found, tuple) else found
        for one in tree_leaves(kept):
            if isinstance(one, Tensor):
                self._count(one, is_new=True)
        return found

    def _count(self, tensor: Tensor, *, is_new: bool) -> None:
        storage = tensor.untyped_storage()  # views share it with their base
        key, size = storage._cdata, storage.nbytes() if is_new else 0
        if key in self._alive:
            return
        self._alive.add(key)
        self._bytes += size
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._bytes -= size
