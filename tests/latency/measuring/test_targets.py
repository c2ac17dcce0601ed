"""Tests of `nas.latency.measuring.targets`: running a kit on this machine, by ssh and by adb."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.errors import NasError, RunFailedError
from nas.latency.measuring.kit import EMPTY, MANIFEST, SENTINEL, RunSettings, write_kit
from nas.latency.measuring.onnx_models import unit_model
from nas.latency.measuring.samples import read_results
from nas.latency.measuring.targets import Adb, Ssh, ThisMachine, parse_target, results_so_far, stream
from nas.networks.architecture import Block
from nas.networks.operators import Unit

SETTINGS = RunSettings(passes=2, most_passes=2, rounds=2, group_size=1, longest_pause_s=0)
SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit of two models, in four visits."""
    models = [
        unit_model(SENTINEL, [Unit(Block("conv", 8, 3), 8, 8, 8)]),
        unit_model(EMPTY, [Unit(Block("pool"), 1, 1, 1)]),
    ]
    write_kit(models, SETTINGS, tmp_path / "kit")
    return tmp_path / "kit"


def identity(kit: Path) -> str:
    """The identity of the kit, which its results must name."""
    return str(json.loads((kit / MANIFEST).read_text())["kit"])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Ssh]:
    """A real sshd on this machine, that lets a key made for the test in."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("openssh is not installed")
    if os.geteuid() == 0:
        # Where sshd puts the process that talks to strangers; packages make it when the service starts.
        Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"StrictModes no\nUsePAM no\nPidFile {tmp_path}/sshd.pid\nPasswordAuthentication no\n"
    )
    options = ["-p", str(port), "-i", f"{tmp_path}/user", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(port, server)
        yield Ssh("127.0.0.1", sys.executable, tuple(options), str(tmp_path / "there"))
    finally:
        server.terminate()
        server.communicate()


def _wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if server.poll() is not None:
            pytest.skip(f"sshd does not start here: {server.communicate()[1]}")
        time.sleep(0.05)
    pytest.fail("sshd does not answer")


def test_another_machine_is_measured_over_ssh(host: Ssh, kit: Path, tmp_path: Path) -> None:
    """The kit travels there, and its samples come back line by line."""
    results = tmp_path / "results.jsonl"
    host.run(kit, identity(kit), results)
    measured = read_results(results, identity(kit))
    assert measured.timings.keys() == {SENTINEL, EMPTY}
    assert measured.visits == 4


def test_a_run_over_ssh_goes_on_where_it_stopped(host: Ssh, kit: Path, tmp_path: Path) -> None:
    """Visits from before the connection was lost are not repeated, even where the other machine lost them."""
    results = tmp_path / "results.jsonl"
    host.run(kit, identity(kit), results)
    kept = results.read_text().splitlines(keepends=True)[:3]
    results.write_text("".join(kept))
    shutil.rmtree(tmp_path / "there")
    host.run(kit, identity(kit), results)
    assert results.read_text().splitlines(keepends=True)[:3] == kept
    assert read_results(results, identity(kit)).visits == 4


def test_a_host_that_is_not_there_is_said(kit: Path, tmp_path: Path) -> None:
    """With ssh's own words."""
    if shutil.which("ssh") is None:
        pytest.skip("openssh is not installed")
    nowhere = Ssh("127.0.0.1", options=("-p", "1", "-o", "BatchMode=yes"))
    with pytest.raises(RunFailedError, match=r"cannot put the folder on 127\.0\.0\.1: .*refused"):
        nowhere.run(kit, identity(kit), tmp_path / "results.jsonl")


@pytest.mark.parametrize(("target", "program"), [(Ssh("board"), "tar|ssh"), (Adb(), "adb")])
def test_a_program_that_is_not_installed_is_named(
    target: Ssh | Adb, program: str, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NasError, match=rf"cannot run ({program}) \(No such file .*\): install it, or give another"):
        target.run(kit, identity(kit), tmp_path / "results.jsonl")


def test_another_machine_goes_on_from_whole_lines(kit: Path, tmp_path: Path) -> None:
    """An incomplete last line is cut off, so that the next line is whole; a file of something else is left alone."""
    results = tmp_path / "results.jsonl"
    assert results_so_far(results) == b""
    ThisMachine().run(kit, identity(kit), results)
    whole = results.read_bytes()
    for cut, kept in ((whole[:-1], whole), (whole[:-3], whole[: whole.rindex(b"\n", 0, -1) + 1])):
        results.write_bytes(cut)
        assert results_so_far(results) == results.read_bytes() == kept
    results.write_bytes(b"notes")
    with pytest.raises(NasError, match="holds no results of a kit"):
        results_so_far(results)
    assert results.read_bytes() == b"notes"


def test_what_was_measured_before_a_connection_was_lost_is_kept(tmp_path: Path) -> None:
    """Complete lines are appended; half a line is dropped."""
    results = tmp_path / "results.jsonl"
    code = "import sys; print('one'); print('two'); sys.stdout.write('thr'); sys.stdout.flush(); sys.exit(255)"
    with pytest.raises(RunFailedError, match=r"exit code 255.* the same command goes on from there"):
        stream([sys.executable, "-c", code], results)
    assert results.read_text() == "one\ntwo\n"


def test_this_machine_is_a_target_like_the_others(kit: Path, tmp_path: Path) -> None:
    """In a process of its own."""
    results = tmp_path / "results.jsonl"
    ThisMachine().run(kit, identity(kit), results)
    assert read_results(results, identity(kit)).visits == 4


def test_a_kit_that_cannot_run_is_a_failure(kit: Path, tmp_path: Path) -> None:
    """The reason was printed by the runner."""
    (kit / "models" / "00000.onnx").unlink()
    with pytest.raises(RunFailedError, match="the kit did not run to its end"):
        ThisMachine().run(kit, identity(kit), tmp_path / "results.jsonl")


def test_the_commands_for_an_android_device(tmp_path: Path) -> None:
    """Python under Termux, or a runner that the user has built; each with the options of run.py."""
    kit = tmp_path / "kit"
    termux = Adb("R58").commands(kit, "01ab")
    there = "/data/local/tmp/nas-kits/01ab"
    assert termux == [
        ["adb", "-s", "R58", "shell", f"mkdir -p {there}"],
        ["adb", "-s", "R58", "push", "--sync", f"{kit}/.", there],
        [
            "adb",
            "-s",
            "R58",
            "shell",
            f"/data/data/com.termux/files/usr/bin/python {there}/run.py --kit {there} "
            f"--out {there}/results.jsonl --echo",
        ],
    ]
    built = Adb(runner=Path("bench")).commands(kit, "01ab")
    assert built[2:] == [
        ["adb", "push", "bench", f"{there}/runner"],
        ["adb", "shell", f"chmod 755 {there}/runner"],
        ["adb", "shell", f"{there}/runner --kit {there} --out {there}/results.jsonl --echo"],
    ]


def test_targets_are_named() -> None:
    """By the words of the command's option."""
    assert parse_target("local") == ThisMachine()
    assert parse_target("ssh:me@board", python="python3.9") == Ssh("me@board", "python3.9")
    assert parse_target("adb:R58", runner=Path("bench")) == Adb("R58", Path("bench"))
    for text in ("ssh:", "board", ""):
        with pytest.raises(NasError, match="a target is local, ssh:HOST, adb or adb:SERIAL"):
            parse_target(text)
