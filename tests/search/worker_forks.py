"""Start Ray's worker processes as forks of a process that has imported PyTorch and timm.

A new worker imports for about eight seconds, and a search in a test trains for about one. `worker_command` is the
command with which Ray starts its workers. It passes the arguments of Ray's own program on to a server, and a fork of
the server runs that program. A fork imports Ray itself and the files of users (spaces, plugins), as every worker does.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def worker_command() -> Iterator[str]:
    """Run a server, and yield the command that starts a worker: Ray's `py_executable`."""
    # The path of a socket has at most 107 bytes, and Ray passes the command to a shell.
    with tempfile.TemporaryDirectory(prefix="forks-", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = f"{folder}/socket"
        listener.bind(address)
        listener.listen(64)
        serve = [sys.executable, "-m", __name__, "serve", str(listener.fileno())]
        with subprocess.Popen(serve, pass_fds=[listener.fileno()], stdin=subprocess.PIPE) as server:
            try:
                yield f"{sys.executable} -S -E {__file__} start {address}"
            finally:
                server.kill()


def start(address: str, arguments: list[str]) -> None:
    """Let the server start a worker with the environment and the streams of this process, and wait for its end."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())})
        socket.send_fds(server, [b"\0"], [0, 1, 2])
        server.sendall(request.encode())
        server.shutdown(socket.SHUT_WR)
        server.recv(1)  # returns when the worker ends


def serve(listener: socket.socket) -> None:
    """Start a worker for each connection until the process that holds the other end of the standard input ends."""
    # All that a worker imports but Ray, which reads the environment when it is imported.
    import pandas  # noqa: F401
    import torch._dynamo  # noqa: F401 - the first step of an optimiser imports it

    import nas_distill.trial.run  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the workers
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _work(client)
            return
        client.close()


def _work(client: socket.socket) -> None:
    """Become the worker that a client asks for. The open connection shows that it is alive."""
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request = json.loads(b"".join(iter(lambda: client.recv(65536), b"")))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    program, *arguments = request["arguments"]
    sys.argv = [program, *arguments]
    sys.path[0] = str(Path(program).parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        start(sys.argv[2], sys.argv[3:])
