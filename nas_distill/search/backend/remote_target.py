"""Measure latencies on a node of the cluster."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from nas_distill.config.target import TargetConfig
from nas_distill.errors import ClusterError, NasDistillError, last_line
from nas_distill.target.measurement import Measurement, Source
from nas_distill.target.meter import open_source
from nas_distill.target.subject import Subject
from nas_distill.user_code import import_modules

_LEAST = 1e-3
"""Amount of the custom resource that a measurement takes: measurements exclude each other through a lock."""


class NodeSource:
    """Measures networks on a node that has a custom resource.

    Args:
        settings: Section `target` of the configuration; `ray_resource` names the resource.
        user_modules: Modules and files that register architectures.

    Raises:
        ClusterError: No node has the resource, or the node cannot be reached.
        NasDistillError: The source cannot be opened there.
    """

    def __init__(self, settings: TargetConfig, user_modules: tuple[str, ...]) -> None:
        resource = settings.ray_resource
        assert resource is not None
        if not ray.cluster_resources().get(resource):
            raise ClusterError(
                f"no node of the cluster has the resource '{resource}'; start one with "
                f"`ray start --resources='{{\"{resource}\": 1}}'`, or remove it to measure on this machine",
                code="target.no_node",
                field="target.ray_resource",
            )
        self._settings, self._user_modules = settings, user_modules
        options = {"num_cpus": 0, "resources": {resource: _LEAST}, "max_retries": 2}
        self._describe_there = ray.remote(**options)(_describe)
        self._measure_there = ray.remote(**options)(_measure)
        self.name, self.version, self.device = _get(self._describe_there.remote(settings))

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and throughput of a network.

        Raises:
            SpaceError: The network cannot be measured.
            ClusterError: The node was lost.
        """
        found: Measurement = _get(self._measure_there.remote(self._settings, subject, self._user_modules))
        return found


def _describe(settings: TargetConfig) -> tuple[str, str, str]:
    source: Source = open_source(settings)
    return source.name, source.version, source.device


def _measure(settings: TargetConfig, subject: Subject, user_modules: tuple[str, ...]) -> Measurement:
    import nas_distill.models  # noqa: F401 - registers this project's entrypoints with timm

    import_modules(user_modules)
    return open_source(settings).measure(subject)


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, NasDistillError):
            raise error.cause from None
        raise _lost(error) from error
    except RayError as error:
        raise _lost(error) from error


def _lost(error: Exception) -> ClusterError:
    return ClusterError(
        f"the node that measures latencies failed: {last_line(error)}; check `ray status`, then continue with --resume",
        code="target.node_failed",
        field="target.ray_resource",
    )
