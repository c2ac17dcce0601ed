"""Where are the models of a kit timed?

A target runs a kit and appends to a local file of results as they come, so that nothing is lost with a connection.
Running it again goes on where the file stops.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.errors import NasError, RunFailedError
from nas.latency.measuring.kit import RUNNER
from nas.latency.measuring.runner import KitError, mend_end, read_lines

# On the other machine: in the home folder of the user (ssh), or where adb may write.
_SSH_FOLDER = ".cache/nas-kits"
_ADB_FOLDER = "/data/local/tmp/nas-kits"
_TERMUX_PYTHON = "/data/data/com.termux/files/usr/bin/python"


class Target(Protocol):
    """A machine that a kit can be run on."""

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """Time what `results` does not hold yet. Raises RunFailedError where the machine cannot, or went away."""


@dataclass(frozen=True)
class ThisMachine:
    """Here, in a process of its own, in which nothing but ONNX Runtime is loaded."""

    def run(self, kit: Path, identity: str, results: Path) -> None:  # noqa: ARG002 - all targets have one signature
        """See Target."""
        command = [sys.executable, str(kit / RUNNER), "--kit", str(kit), "--out", str(results)]
        command += ["--parent", str(os.getpid())]
        code = subprocess.run(command, check=False).returncode
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise RunFailedError("the kit did not run to its end (see above); the same command goes on from there")


@dataclass(frozen=True)
class Ssh:
    """Another machine, reached as `ssh HOST` reaches it; it needs Python 3.8, onnxruntime and numpy."""

    host: str
    python: str = "python3"
    options: tuple[str, ...] = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15")
    folder: str = _SSH_FOLDER

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """See Target."""
        folder = f"{self.folder}/{identity}"
        self._call("the folder", ["mkdir", "-p", folder])
        archive = called(["tar", "-C", str(kit), "-cz", "."])
        if archive.returncode:
            raise RunFailedError(f"cannot pack the kit {kit}: {archive.stderr.decode(errors='replace').strip()}")
        self._call("the kit", ["tar", "-C", folder, "-xz"], given=archive.stdout)
        self._call("the results so far", ["sh", "-c", f"cat > {folder}/results.jsonl"], given=measured_so_far(results))
        command = [self.python, f"{folder}/{RUNNER}", "--kit", folder, "--out", f"{folder}/results.jsonl", "--echo"]
        stream(self.command(command), results)

    def command(self, words: Sequence[str]) -> list[str]:
        """The local command that runs `words` there."""
        return ["ssh", *self.options, self.host, shlex.join(words)]

    def _call(self, what: str, words: Sequence[str], given: bytes = b"") -> None:
        done = called(self.command(words), given)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
            raise RunFailedError(f"cannot put {what} on {self.host}: {said}")


@dataclass(frozen=True)
class Adb:
    """An Android device, by `adb`: a runner that the user has built for it, or Python under Termux.

    assumption: not tried on a device by this project; a runner must take the options of run.py (--kit, --out, --echo).
    """

    serial: str = ""
    runner: Path | None = None
    python: str = _TERMUX_PYTHON

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """See Target."""
        # Beside the kit, so that one push carries both.
        (kit / "results.jsonl").write_bytes(measured_so_far(results))
        for words in self.commands(kit, identity)[:-1]:
            done = called(words)
            if done.returncode:
                said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")
                raise RunFailedError(f"{shlex.join(words)} failed: {said}")
        stream(self.commands(kit, identity)[-1], results)

    def commands(self, kit: Path, identity: str) -> list[list[str]]:
        """The local commands, in their order; the last one prints the results."""
        adb = ["adb", *(["-s", self.serial] if self.serial else [])]
        folder = f"{_ADB_FOLDER}/{identity}"
        words = [[*adb, "shell", f"mkdir -p {folder}"], [*adb, "push", "--sync", f"{kit}/.", folder]]
        start = [self.python, f"{folder}/{RUNNER}"]
        if self.runner is not None:
            words += [
                [*adb, "push", str(self.runner), f"{folder}/runner"],
                [*adb, "shell", f"chmod 755 {folder}/runner"],
            ]
            start = [f"{folder}/runner"]
        run = shlex.join([*start, "--kit", folder, "--out", f"{folder}/results.jsonl", "--echo"])
        return [*words, [*adb, "shell", run]]


def called(command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A local command that has run to its end, whatever its exit code. Raises NasError where it is not installed."""
    try:
        return subprocess.run(list(command), input=given, capture_output=True, check=False)
    except OSError as error:
        raise _not_started(command[0], error) from error


def measured_so_far(results: Path) -> bytes:
    """What `results` holds already, for the other machine to go on from, in whole lines; nothing of a new file.

    Raises NasError for a file that holds something else.
    """
    if not results.exists():
        return b""
    try:
        read_lines(results)
    except KitError as error:
        raise NasError(str(error)) from error
    mend_end(results)
    return results.read_bytes()


def stream(command: Sequence[str], results: Path) -> None:
    """Append the lines that a remote runner prints to `results`, each as it comes.

    Raises RunFailedError when the command ends before the kit does; what came until then is kept.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(list(command), stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise _not_started(command[0], error) from error
    with process, results.open("a", encoding="utf-8") as file:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # a line that a lost connection has cut is of no use
                file.write(line)
                file.flush()
    if process.returncode:
        raise RunFailedError(
            f"the kit did not run to its end (exit code {process.returncode}); what was measured is in {results}, and "
            "the same command goes on from there"
        )


def _not_started(program: str, error: OSError) -> NasError:
    return NasError(f"cannot run {program} ({error.strerror}): install it, or give another --target")


def parse_target(text: str, *, python: str = "", runner: Path | None = None) -> Target:
    """The target that a command's option names: `local`, `ssh:HOST`, `adb` or `adb:SERIAL`."""
    kind, _, rest = text.partition(":")
    if text == "local":
        return ThisMachine()
    if kind == "ssh" and rest:
        return Ssh(rest, python or "python3")
    if kind == "adb":
        return Adb(rest, runner, python or _TERMUX_PYTHON)
    raise NasError(f"a target is local, ssh:HOST, adb or adb:SERIAL, but got {text!r}")
