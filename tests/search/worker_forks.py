"""Start Ray's worker processes as forks of a process that has imported PyTorch, timm and Ray.

A new worker imports for about nine seconds, and a search in a test trains for about one. Ray starts each worker with a
program that prepares its environment (`setup_worker.py`). Inside `forked_workers` this file takes its place: it asks a
server for a fork, which runs Ray's own worker program. The server imports what does not depend on the cluster. It has
a child for each cluster and job, which imports Ray and whose forks are the workers. A worker imports the files of users
(spaces, plugins) itself, as every worker does.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FOLDER = "NAS_DISTILL_TEST_FORKS"
"""Environment variable with the folder of the servers' sockets."""


@contextmanager
def fork_server() -> Iterator[str]:
    """Run a server, and yield the folder of its sockets."""
    # The path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="forks-", dir="/tmp") as folder, _listen(f"{folder}/server") as listener:
        serve = [sys.executable, "-m", __name__, "serve", str(listener.fileno()), folder]
        with subprocess.Popen(serve, pass_fds=[listener.fileno()], stdin=subprocess.PIPE) as server:
            try:
                yield folder
            finally:
                server.kill()


@contextmanager
def forked_workers(folder: str) -> Iterator[None]:
    """Let a cluster that starts inside this context have forks as workers.

    The cluster also goes without two processes that Ray starts by default and that no test uses: the autoscaler's
    monitor, and the one that sends the workers' output to the driver.

    Args:
        folder: Folder of a server's sockets.
    """
    from ray._private import parameter

    params = parameter.RayParams
    own = {"setup_worker_path": __file__, "no_monitor": True, "include_log_monitor": False}

    def make_params(**given: Any) -> Any:
        return params(**given | own)

    parameter.RayParams = make_params
    os.environ[_FOLDER] = folder
    try:
        yield
    finally:
        parameter.RayParams = params
        del os.environ[_FOLDER]


def start(arguments: list[str]) -> None:
    """Start a worker with the environment and the streams of this process, and wait for its end.

    Args:
        arguments: Ray's worker program and its arguments, and the options of `setup_worker.py`.
    """
    own = ("--language=", "--serialized-runtime-env-context=")
    environment, folder = dict(os.environ), os.environ[_FOLDER]
    with _connect(f"{folder}/server") as server:
        _send(server, environment)
        server.recv(1)  # returns when the server of the cluster listens
    with _connect(_cluster_address(folder, environment)) as server:
        socket.send_fds(server, [b"\0"], [0, 1, 2])
        passed_on = [argument for argument in arguments if not argument.startswith(own)]
        _send(server, {"arguments": passed_on, "environment": environment, "folder": str(Path.cwd())})
        server.recv(1)  # returns when the worker ends


def run(folder: str, arguments: list[str]) -> None:
    """Run a command of `nas_distill` whose cluster has forks as workers.

    Args:
        folder: Folder of a server's sockets.
        arguments: Arguments of the command line.
    """
    from nas_distill.__main__ import main

    sys.argv = ["nas_distill", *arguments]
    with forked_workers(folder):
        sys.exit(main())


def serve(listener: socket.socket, folder: str) -> None:
    """Start a server for each cluster until the process that holds the other end of the standard input ends."""
    # All that a worker imports but Ray, which reads settings of the cluster and the job when it is imported.
    import pandas  # noqa: F401
    import torch._dynamo  # noqa: F401 - the first step of an optimiser imports it

    import nas_distill.trial.run  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for forks
    for client in _clients(listener):
        environment = _receive(client)
        address = _cluster_address(folder, environment)
        if not Path(address).exists():
            workers = _listen(address)
            if os.fork() == 0:
                client.close()
                listener.close()
                _serve_cluster(workers, environment)
                return
            workers.close()
        client.close()


def _serve_cluster(listener: socket.socket, environment: Mapping[str, str]) -> None:
    """Start a worker for each connection."""
    os.environ.clear()
    os.environ.update(environment)
    import nas_distill.search.backend.shard_pool
    import nas_distill.search.backend.trainable  # noqa: F401

    for client in _clients(listener):
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _work(client)
            return
        client.close()


def _work(client: socket.socket) -> None:
    """Become the worker that a client asks for. The open connection shows that it is alive."""
    os.setpgrp()  # when a worker dies, Ray kills its process group
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request = _receive(client)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    program, *arguments = request["arguments"]
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).parent)
    runpy.run_path(program, run_name="__main__")


def _cluster_address(folder: str, environment: Mapping[str, str]) -> str:
    return f"{folder}/{environment['RAY_RAYLET_PID']}-{environment['RAY_JOB_ID']}"


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    return listener


def _connect(address: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(address)
    return client


def _clients(listener: socket.socket) -> Iterator[socket.socket]:
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        yield listener.accept()[0]


def _send(server: socket.socket, request: object) -> None:
    server.sendall(json.dumps(request).encode())
    server.shutdown(socket.SHUT_WR)


def _receive(client: socket.socket) -> Any:
    return json.loads(b"".join(iter(lambda: client.recv(65536), b"")))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3])
    elif sys.argv[1] == "run":
        run(sys.argv[2], sys.argv[3:])
    else:
        start(sys.argv[1:])
