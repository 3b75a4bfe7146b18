"""How the shards of stored teacher outputs are shared among worker processes. No Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nas_distill.knowledge.layout import KnowledgeKey, ShardShape
from nas_distill.records.base import Record


class ShardJob(Record):
    """Shards to write.

    Attributes:
        folder: The knowledge folder, on a path that every node sees.
        key: What the shards depend on.
        shape: Arrays of a shard and their sizes.
    """

    folder: str
    key: KnowledgeKey
    shape: ShardShape


class ShardPool(Protocol):
    """Worker processes that write shards in parallel."""

    def workers(self, views: int) -> int:
        """Return how many processes would share that many views; fewer than two are not worth starting."""

    def write(self, job: ShardJob, views: Sequence[int], *, on_written: Callable[[], None]) -> None:
        """Write the shards of `views`.

        Args:
            job: What the shards hold.
            views: Numbers of the views.
            on_written: Called after each shard, once its receipt is written.

        Raises:
            NasDistillError: A worker raised it, or workers died.
        """
