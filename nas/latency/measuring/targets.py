"""Run a kit on a target: this machine, another one by ssh, or an Android device by adb.

Results are appended to a local file as they arrive, so that a lost connection loses nothing. Running the kit again goes
on where the file stops.
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

# Folders on the other machine: below the user's home folder (ssh), and where adb may write.
_SSH_FOLDER = ".cache/nas-kits"
_ADB_FOLDER = "/data/local/tmp/nas-kits"
_TERMUX_PYTHON = "/data/data/com.termux/files/usr/bin/python"


class Target(Protocol):
    """A machine that a kit can be run on."""

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """Time the visits that `results` does not hold yet.

        Raises RunFailedError where the machine cannot run the kit, or where the connection was lost.
        """


@dataclass(frozen=True)
class ThisMachine:
    """The local machine: the kit runs in a process of its own, with nothing but ONNX Runtime and numpy loaded."""

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
    """Another machine, by `ssh HOST`; it needs Python 3.8 or newer, onnxruntime and numpy."""

    host: str
    python: str = "python3"
    options: tuple[str, ...] = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15")
    folder: str = _SSH_FOLDER

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """See Target."""
        folder = f"{self.folder}/{identity}"
        self._put("the folder", ["mkdir", "-p", folder])
        archive = run_command(["tar", "-C", str(kit), "-cz", "."])
        if archive.returncode:
            raise RunFailedError(f"cannot pack the kit {kit}: {archive.stderr.decode(errors='replace').strip()}")
        self._put("the kit", ["tar", "-C", folder, "-xz"], stdin=archive.stdout)
        self._put("the results so far", ["sh", "-c", f"cat > {folder}/results.jsonl"], stdin=results_so_far(results))
        command = [self.python, f"{folder}/{RUNNER}", "--kit", folder, "--out", f"{folder}/results.jsonl", "--echo"]
        stream(self.command(command), results)

    def command(self, words: Sequence[str]) -> list[str]:
        """The local command that runs `words` on the other machine."""
        return ["ssh", *self.options, self.host, shlex.join(words)]

    def _put(self, what: str, words: Sequence[str], stdin: bytes = b"") -> None:
        finished = run_command(self.command(words), stdin)
        if finished.returncode:
            reason = finished.stderr.decode(errors="replace").strip() or f"exit code {finished.returncode}"
            raise RunFailedError(f"cannot put {what} on {self.host}: {reason}")


@dataclass(frozen=True)
class Adb:
    """An Android device, by `adb`, with a runner that the user has built for it, or with Python under Termux.

    assumption: this project has not tried it on a device. A runner must take the options of run.py (--kit, --out,
    --echo).
    """

    serial: str = ""
    runner: Path | None = None
    python: str = _TERMUX_PYTHON

    def run(self, kit: Path, identity: str, results: Path) -> None:
        """See Target."""
        # In the kit's folder, so that one push copies both.
        (kit / "results.jsonl").write_bytes(results_so_far(results))
        for words in self.commands(kit, identity)[:-1]:
            finished = run_command(words)
            if finished.returncode:
                reason = (finished.stderr.strip() or finished.stdout.strip()).decode(errors="replace")
                raise RunFailedError(f"{shlex.join(words)} failed: {reason}")
        stream(self.commands(kit, identity)[-1], results)

    def commands(self, kit: Path, identity: str) -> list[list[str]]:
        """The local commands, in order; the last one prints the results."""
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


def run_command(command: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a local command to its end, whatever its exit code. Raises NasError where it is not installed."""
    try:
        return subprocess.run(list(command), input=stdin, capture_output=True, check=False)
    except OSError as error:
        raise _not_started(command[0], error) from error


def results_so_far(results: Path) -> bytes:
    """The complete lines of `results`, from which the other machine goes on; empty where there is no such file.

    Raises NasError for a file of something else.
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
    """Append the lines that a remote runner prints to `results`, as they arrive.

    Raises RunFailedError when the command fails before the kit is finished; the lines until then are kept.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(list(command), stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise _not_started(command[0], error) from error
    with process, results.open("a", encoding="utf-8") as file:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # a line that a lost connection has cut short is dropped
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
    """The target for the text of a command's option: `local`, `ssh:HOST`, `adb` or `adb:SERIAL`."""
    kind, _, rest = text.partition(":")
    if text == "local":
        return ThisMachine()
    if kind == "ssh" and rest:
        return Ssh(rest, python or "python3")
    if kind == "adb":
        return Adb(rest, runner, python or _TERMUX_PYTHON)
    raise NasError(f"a target is local, ssh:HOST, adb or adb:SERIAL, but got {text!r}")
