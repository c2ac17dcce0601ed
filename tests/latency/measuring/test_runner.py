"""Tests of `nas.latency.measuring.runner`: measuring a kit, stopping, going on, and refusing other results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.latency.measuring import runner
from nas.latency.measuring.kit import EMPTY, MANIFEST, RUNNER, SENTINEL, KitModel, RunSettings, write_kit
from nas.latency.measuring.onnx_models import unit_model
from nas.latency.measuring.samples import read_results
from nas.networks.architecture import Block
from nas.networks.operators import Unit

UNIT = Unit(Block("mbconv", 8, 3, 1, 32, activation="relu"), 8, 8, 8)
# On a machine of any load each group is visited twice.
SETTINGS = RunSettings(
    passes=2, most_passes=2, rounds=2, group_size=2, sentinel_every=1, longest_pause_s=0, quiet_share=1e9
)


def models() -> list[KitModel]:
    """Two that watch the machine, one unit, and one that no runtime can load."""
    return [
        unit_model(SENTINEL, [Unit(Block("conv", 8, 3), 8, 8, 8)]),
        unit_model(EMPTY, [Unit(Block("pool"), 1, 1, 1)]),
        unit_model(UNIT.key, [UNIT]),
        KitModel("broken", b"no model", ((1, 1, 1, 1),)),
    ]


def silent(*_: object) -> None:
    """Shows no progress."""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit of four models."""
    write_kit(models(), SETTINGS, tmp_path / "kit")
    return tmp_path / "kit"


def identity(kit: Path) -> str:
    """The identity of the kit, which its results must name."""
    return str(json.loads((kit / MANIFEST).read_text())["kit"])


def test_the_copy_in_the_kit_needs_nothing_of_ours(kit: Path, tmp_path: Path) -> None:
    """It runs in a process that cannot import nas, and its samples are read back here."""
    out = tmp_path / "results.jsonl"
    subprocess.run([sys.executable, "-I", str(kit / RUNNER), "--out", str(out)], check=True, capture_output=True)
    results = read_results(out, identity(kit))
    assert results.timings.keys() == {SENTINEL, EMPTY, UNIT.key}
    assert results.timings[UNIT.key].ms.shape == (SETTINGS.passes * SETTINGS.rounds, SETTINGS.runs)
    assert (results.timings[UNIT.key].ms > 0).all()
    assert results.timings[UNIT.key].latency_ms() > results.overhead_ms > 0
    assert results.failed.keys() == {"broken"}
    assert results.peak_rss_bytes


def test_no_word_of_the_runner_imports_ours() -> None:
    """The runner is a single file that imports nothing of `nas`."""
    lines = Path(runner.__file__).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.strip().startswith(("import nas", "from nas"))]


def test_a_run_that_was_killed_goes_on_where_it_stopped(kit: Path, tmp_path: Path) -> None:
    """Finished visits stay as they are, a line that was cut is measured again, and nothing is measured twice."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:3]) + lines[3][:20])
    visited: list[int] = []
    runner.measure_kit(kit, out, lambda done, _visits, _left: visited.append(done))
    again = out.read_text().splitlines(keepends=True)
    assert again[:3] == lines[:3]
    assert visited == [3, 4]
    visits = [json.loads(line)["visit"] for line in again if "visit" in json.loads(line)]
    assert sorted(visits) == ["0.0", "0.1", "1.0", "1.1"]


def visit(name: str, sentinel_ns: int, unit_ns: int) -> dict[str, object]:
    """A visit of one model in which nothing failed."""
    return {
        "visit": name,
        "sentinel_ns": [sentinel_ns] * 10,
        "samples_ns": {UNIT.key: [[unit_ns, unit_ns]] * 2},
        "load_ms": {UNIT.key: 1.0},
        "failed": {},
        "paused_s": 0,
    }


def manifest(**settings: object) -> dict[str, object]:
    """Two groups of one model."""
    defaults = {"group_size": 1, "passes": 2, "most_passes": 4, "quiet_share": 1.05}
    return {"settings": {**defaults, **settings}, "models": [{"name": "a"}, {"name": "b"}]}


def test_groups_that_were_disturbed_are_visited_again() -> None:
    """Groups are visited until each has as many quiet visits as there are passes."""
    levels = {"0.0": 100.0, "0.1": 101.0, "1.0": 120.0, "1.1": 102.0}
    assert runner.visits_left(manifest(), levels) == [{"visit": "2.0", "models": ["a"]}]
    assert runner.visits_left(manifest(), {**levels, "2.0": 103.0}) == []
    assert [v["visit"] for v in runner.visits_left(manifest(), {**levels, "2.0": 130.0})] == ["3.0"]


def test_a_machine_that_is_never_quiet_is_not_waited_for_forever() -> None:
    """`most_passes` ends it."""
    levels = {f"{number}.{group}": 100.0 + 20 * number for number in range(4) for group in range(2)}
    assert runner.visits_left(manifest(), levels) == []


def test_the_planned_passes_come_first() -> None:
    """Each model once in each, however disturbed."""
    left = runner.visits_left(manifest(), {"0.0": 100.0})
    assert sorted(v["visit"] for v in left) == ["0.1", "1.0", "1.1"]


def test_samples_of_slow_visits_are_left_out(tmp_path: Path) -> None:
    """The quiet ones decide."""
    lines = [visit("0.0", 100, 2_000_000), visit("1.0", 130, 9_000_000), visit("2.0", 104, 4_000_000)]
    results = read_results(written(tmp_path, lines), "k")
    assert sorted(results.timings[UNIT.key].ms[:, 0]) == [2, 2, 4, 4]
    assert [half[UNIT.key].ms[0, 0] for half in results.halves] == [2, 4]
    assert (results.visits, results.disturbed, round(results.drift, 6)) == (3, 1, 0.3)


def test_a_group_that_was_never_seen_in_quiet_counts_as_the_sentinel_was_slow(tmp_path: Path) -> None:
    """Otherwise the models of that group would look slower than those of others."""
    lines = [visit("0.0", 150, 3_000_000), visit("1.0", 200, 4_000_000), visit("2.0", 300, 9_000_000)]
    lines.append({**visit("0.1", 100, 1), "samples_ns": {"other": [[1_000_000, 1_000_000]]}, "load_ms": {"other": 1}})
    results = read_results(written(tmp_path, lines), "k")
    assert sorted(results.timings[UNIT.key].ms[:, 0]) == [2, 2, 2, 2]
    assert results.timings["other"].ms[0, 0] == 1


def written(folder: Path, lines: list[dict[str, object]]) -> Path:
    """A finished file of results of the kit k."""
    header = {"format": runner.FORMAT, "kit": "k", "settings": {"quiet_share": 1.05}, "machine": {}, "governor": ""}
    text = "".join(json.dumps(line) + "\n" for line in [header, *lines, {"peak_rss_bytes": 1}])
    (folder / "results.jsonl").write_text(text)
    return folder / "results.jsonl"


def test_a_finished_run_is_left_alone(kit: Path, tmp_path: Path) -> None:
    """The same command once more changes nothing."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    before = out.read_bytes()
    runner.measure_kit(kit, out, silent)
    assert out.read_bytes() == before


def test_samples_of_another_version_are_refused(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runtimes are never mixed; the difference and both values are named."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    facts = runner.machine_facts()
    monkeypatch.setattr(runner, "machine_facts", lambda: {**facts, "onnxruntime": "0.1"})
    with pytest.raises(runner.KitError, match=r"machine\.onnxruntime was '1\.[0-9.]+' there and is '0\.1' here"):
        runner.measure_kit(kit, out, silent)


def test_results_of_another_kit_are_refused(kit: Path, tmp_path: Path) -> None:
    """Also where they are imported."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    with pytest.raises(NasError, match=r"holds results of the kit .*, not of this one"):
        read_results(out, "0123")


def test_a_run_that_is_not_finished_makes_no_table(kit: Path, tmp_path: Path) -> None:
    """Otherwise a search would be the first to notice the missing rows."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(NasError, match=r"is not finished \(2 visits\): run the kit again"):
        read_results(out, identity(kit))


def test_damaged_results_are_refused(kit: Path, tmp_path: Path) -> None:
    """The line is named."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(lines[0] + "junk\n" + "".join(lines[2:]))
    with pytest.raises(NasError, match="damaged at line 2"):
        read_results(out, identity(kit))


@pytest.mark.parametrize(
    "content",
    [
        b"my notes\nlast line without newline",
        b"one line of notes",
        b'{\n "kit": "0123",\n "models": []\n}',
        b'{"format": 2, "kit": "0123"}',
        b'[1, 2]\n"three"\n4',
        b"{}\n",
        b"\x08\x07\x12\x86\xff model",
    ],
)
def test_a_file_that_is_no_results_is_refused_and_stays(kit: Path, tmp_path: Path, content: bytes) -> None:
    """A wrong file is left as it is, whether it is read or would be appended to."""
    out = tmp_path / "notes"
    out.write_bytes(content)
    with pytest.raises(NasError, match="notes holds no results of a kit"):
        read_results(out, identity(kit))
    with pytest.raises(runner.KitError, match="notes holds no results of a kit"):
        runner.measure_kit(kit, out, silent)
    assert out.read_bytes() == content


def test_reading_results_leaves_them_as_they_are(kit: Path, tmp_path: Path) -> None:
    """A last line that lost its end counts; one that was cut does not; neither is changed, and none but the kit's."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    whole = out.read_bytes()
    out.write_bytes(whole[:-1])
    assert read_results(out, identity(kit)).visits == 4
    runner.measure_kit(kit, out, silent)
    assert out.read_bytes() == whole
    out.write_bytes(whole[:-3])
    with pytest.raises(NasError, match="is not finished"):
        read_results(out, identity(kit))
    write_kit(models(), RunSettings(rounds=3), tmp_path / "other")
    with pytest.raises(runner.KitError, match="holds results of other conditions: kit was"):
        runner.measure_kit(tmp_path / "other", out, silent)
    assert out.read_bytes() == whole[:-3]


def test_a_header_that_was_cut_is_begun_again(kit: Path, tmp_path: Path) -> None:
    """The run may be killed before its header is complete."""
    out = tmp_path / "results.jsonl"
    runner.measure_kit(kit, out, silent)
    for length in (0, 5, 40):
        out.write_bytes(out.read_bytes()[:length])
        runner.measure_kit(kit, out, silent)
        assert read_results(out, identity(kit)).visits == 4


@pytest.mark.parametrize("line", ["4", "{}", '{"visit": "0.0"}', '{"visit": 3, "failed": []}'])
def test_lines_of_another_shape_are_damage(kit: Path, tmp_path: Path, line: str) -> None:
    """They are not taken for visits; the message says how to go on."""
    out = written(tmp_path, [])
    header, end = out.read_text().splitlines()
    out.write_text(f"{header}\n{line}\n{end}\n")
    with pytest.raises(NasError, match="is damaged at line 2: delete that line"):
        read_results(out, identity(kit))
    out.write_text(header.replace(f'"format": {runner.FORMAT}', '"format": 1') + "\n")
    with pytest.raises(NasError, match=f"must be of format {runner.FORMAT}, but .* is of format 1"):
        read_results(out, identity(kit))


def test_a_group_of_which_nothing_can_be_loaded_is_visited(tmp_path: Path) -> None:
    """Its failure is recorded, and the other models are measured."""
    write_kit(models(), replace(SETTINGS, group_size=1), tmp_path / "kit")
    runner.measure_kit(tmp_path / "kit", tmp_path / "results.jsonl", silent)
    results = read_results(tmp_path / "results.jsonl", identity(tmp_path / "kit"))
    assert results.timings.keys() == {SENTINEL, EMPTY, UNIT.key}
    assert results.failed.keys() == {"broken"}


def test_a_sentinel_that_cannot_be_loaded_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    """Without the sentinel a slow machine would not be noticed."""
    write_kit([KitModel(SENTINEL, b"no model", ((1, 1),)), *models()[1:]], SETTINGS, tmp_path / "kit")
    with pytest.raises(runner.KitError, match="the model that watches the machine cannot be loaded: "):
        runner.measure_kit(tmp_path / "kit", tmp_path / "results.jsonl", silent)


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"format": 2}', "no JSON"])
def test_a_manifest_of_something_else_is_refused(kit: Path, tmp_path: Path, manifest: str) -> None:
    """With its name."""
    (kit / MANIFEST).write_text(manifest)
    with pytest.raises(runner.KitError, match=r"manifest\.json"):
        runner.measure_kit(kit, tmp_path / "results.jsonl", silent)


def test_results_that_cannot_be_written_are_said(kit: Path, tmp_path: Path) -> None:
    """Before anything is timed."""
    with pytest.raises(runner.KitError, match="cannot write the results into "):
        runner.measure_kit(kit, tmp_path, silent)


def test_a_kit_that_was_changed_is_refused(kit: Path, tmp_path: Path) -> None:
    """A file that is not the one that the manifest means would be measured as another unit."""
    (kit / "models" / "00002.onnx").write_bytes(b"other")
    with pytest.raises(runner.KitError, match=r"00002\.onnx is not the file that the manifest means"):
        runner.measure_kit(kit, tmp_path / "results.jsonl", silent)


def test_a_visit_is_repeated_when_the_clock_jumps(kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set in every try ends the run with a reason."""
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr(runner.time, "time", lambda: float(next(clock)))
    with pytest.raises(runner.KitError, match=r"the clock jumped by .* in each of 3 tries"):
        runner.measure_kit(kit, tmp_path / "results.jsonl", silent)


def test_a_provider_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Before anything is timed."""
    write_kit(models(), RunSettings(provider="NoSuchProvider"), tmp_path / "kit")
    with pytest.raises(runner.KitError, match="NoSuchProvider is not available here, only "):
        runner.measure_kit(tmp_path / "kit", tmp_path / "results.jsonl", silent)


def test_the_same_models_are_the_same_kit(tmp_path: Path) -> None:
    """A kit's identity depends on its models and settings alone."""
    first, second = (write_kit(models(), SETTINGS, tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert write_kit(models(), RunSettings(threads=2), tmp_path / "c") != first


def test_two_runs_do_not_add_to_one_file(kit: Path, tmp_path: Path) -> None:
    """They would disturb one another, and mix their lines."""
    out = tmp_path / "results.jsonl"

    refused = []

    def again(done: int, visits: int, _left: float) -> None:
        if done < visits:
            with pytest.raises(runner.KitError, match="another run is adding to"):
                runner.measure_kit(kit, out, silent)
            refused.append(done)

    runner.measure_kit(kit, out, again)
    assert refused == [1, 2, 3]


def test_a_run_ends_when_its_command_was_killed(kit: Path, tmp_path: Path) -> None:
    """Finished visits are kept, and no process goes on measuring in the background."""
    out = tmp_path / "results.jsonl"
    with pytest.raises(runner.KitError, match="the command that started this run has been killed"):
        runner.measure_kit(kit, out, silent, parent=-1)
    assert len(out.read_text().splitlines()) == 1


def test_a_kit_that_was_not_finished_is_written_again(tmp_path: Path) -> None:
    """A kill while models are exported leaves nothing in the way."""

    def killed() -> Iterator[KitModel]:
        yield models()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_kit(killed(), SETTINGS, tmp_path / "kit")
    write_kit(models(), SETTINGS, tmp_path / "kit")
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]
    assert runner.load_manifest(tmp_path / "kit")["kit"] == identity(tmp_path / "kit")


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    """A kit is written over a kit only."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NasError, match="holds other files"):
        write_kit(models(), SETTINGS, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_progress_without_a_terminal_is_a_line_for_each_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written over, and the last visit is always shown."""
    for done in range(1, 51):
        runner._show(done, 50, 2.0 * (50 - done))
    runner._show(2, 2, 0.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[0] == "3 of 50 visits, about 94 s left"
    assert lines[-1] == "2 of 2 visits, about 0 s left"
