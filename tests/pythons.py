"""
Try each Python of this machine: compile and import all of `src`, and start `clawback serve` once.

Run it as a program, by `make pythons`: it needs the standard library alone. For each Python it makes a virtual
environment with the runtime lock, in a folder that is gone afterwards, and waits until /readyz says 200.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).parent.parent
MINORS = range(11, 20)

READY_SECONDS = 60.0
STOP_SECONDS = 30.0

COMPILE = """
import pathlib, sys
for path in map(pathlib.Path, sys.argv[1:]):
    for file in sorted(path.rglob("*.py")):
        compile(file.read_bytes(), str(file), "exec")
"""

IMPORT = """
import importlib, pkgutil, clawback
for module in pkgutil.walk_packages(clawback.__path__, "clawback."):
    if module.name != "clawback.__main__":
        importlib.import_module(module.name)
"""


def interpreters() -> dict[str, str]:
    """Find `python3.N` on the PATH, and beside it those that pyenv keeps. The one that runs this comes first."""
    found = {f"3.{sys.version_info.minor}": sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in MINORS:
        name = f"3.{minor}"
        kept = sorted(pyenv.glob(f"versions/{name}.*/bin/python3"))
        path = kept[-1] if kept else shutil.which(f"python{name}")
        if path is not None and _runs(path):
            found.setdefault(name, str(path))
    return found


def try_python(name: str, python: str, room: Path) -> str:
    """Compile, import and serve with one Python, in a folder of its own; return how long it took."""
    began = time.monotonic()
    venv = room / "venv"
    _run([python, "-m", "venv", venv])
    own = str(venv / "bin/python")
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    _run([*pip, "--require-hashes", "-r", ROOT / "requirements.lock"])
    environment = {"PATH": os.environ["PATH"], "HOME": str(room), "PYTHONPATH": str(ROOT / "src")}
    _run([own, "-W", "error", "-c", COMPILE, ROOT / "src"], environment)
    _run([own, "-c", IMPORT], environment)
    _serve(own, room, environment)
    return f"Python {name}: compiles, imports and serves ({time.monotonic() - began:.0f} s)"


def _serve(python: str, room: Path, environment: dict[str, str]) -> None:
    """Start `clawback serve`, wait until it is ready, and stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = room / "serve.log"
    serve = [python, "-m", "clawback", "serve", "--data-dir", str(room / "data"), "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(serve, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(serve)} did not get ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        code = server.wait(STOP_SECONDS)
    finally:
        server.kill()
        server.wait()
    if code != 0:
        raise SystemExit(f"{' '.join(serve)} ended with {code}:\n{log.read_text()[-3000:]}")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == HTTPStatus.OK
    except OSError:  # nothing listens yet, 503, or it is busy starting
        return False


def _runs(python: str | Path) -> bool:
    """Tell whether this is a Python: pyenv leaves a shim for each version that was ever there."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _run(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command[:6]))} … ended with {ran.returncode}:\n{ran.stderr[-3000:]}")


def main() -> None:
    """Try them all, two at a time."""
    found = interpreters()
    with tempfile.TemporaryDirectory(prefix="clawback-pythons-") as place, ThreadPoolExecutor(2) as side_by_side:
        rooms = [Path(place) / name for name in found]
        for room in rooms:
            room.mkdir()
        for line in side_by_side.map(try_python, found, found.values(), rooms):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
