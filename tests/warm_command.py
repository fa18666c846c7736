"""A `medlora` that starts at once, for tests that call it often.

Loading torch and timm takes longer than most commands that the documents show. A server loads them
once and forks for every call. The program that stands for `medlora` hands it the caller's words,
folder, variables and open files, and ends as the fork does. What a call does, no other call sees.
"""

import gc
import importlib
import json
import os
import pkgutil
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import medlora
from medlora.cli.main import run

SOURCE = Path(__file__).resolve().parents[1] / "src"
PROGRAM = """\
#!{python} -IS
import json, os, socket, sys

call = {{"words": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"-"], [0, 1, 2])
    line.sendall(json.dumps(call).encode())
    line.shutdown(socket.SHUT_WR)
    sys.exit(int(line.makefile().read()))
"""


@contextmanager
def serve_command(program: Path) -> Iterator[None]:
    """Write `program`, which is `medlora` until the context ends.

    Raises:
        RuntimeError: The server cannot load this source.
    """
    # A socket's name has to be short, and the name of a test's own folder is long.
    folder = Path(tempfile.mkdtemp(prefix="medlora-"))
    address = str(folder / "calls")
    program.write_text(PROGRAM.format(python=sys.executable, address=address), encoding="utf-8")
    program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        if not server.stdout.readline():
            raise RuntimeError("The server of `medlora` ended before it could be called.")
        yield
    finally:
        server.terminate()
        server.communicate()
        shutil.rmtree(folder)


def serve(address: str) -> NoReturn:
    """Answer calls until killed."""
    for module in pkgutil.walk_packages(medlora.__path__, "medlora."):
        importlib.import_module(module.name)
    # Of all threads a fork has only the one that forks.
    assert threading.active_count() == 1
    # A fork that looks for garbage among what is loaded gets its own copy of all of it.
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            line, _ = door.accept()
            # The commands of a pipe run at once, so that each call has a process to wait in.
            if os.fork() == 0:
                answer(line)
            line.close()


def answer(line: socket.socket) -> NoReturn:
    """Run a call in a process of its own, and tell the caller how it ended."""
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    call = json.loads(line.makefile().read())
    runner = os.fork()
    if runner == 0:
        run_call(call, files)
    _, status = os.waitpid(runner, 0)
    line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run_call(call: dict[str, Any], files: list[int]) -> NoReturn:
    """Run the command line as its caller would, and end."""
    for standard, own in enumerate(files):
        os.dup2(own, standard)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["variables"])
    sys.argv = ["medlora", *call["words"]]
    try:
        run()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        # To end as usual takes seconds, with all that is loaded.
        os._exit(int(end.code or 0))
    raise AssertionError("The command line ends in an exit or an error.")


if __name__ == "__main__":
    serve(sys.argv[1])
