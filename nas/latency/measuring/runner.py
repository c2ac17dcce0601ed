"""Time the models of a kit on this machine and append raw samples to a file; run again, go on where it stopped.

This file is copied to the device by itself, as `run.py` in a kit. It needs Python 3.8, onnxruntime and numpy, and
nothing of `nas`. It reads `manifest.json` and the ONNX files beside it. The results are JSON lines: a header with the
conditions, then a line for each visit of a group of models.

    python run.py --out results.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import sys
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Tuple  # noqa: UP035 - Python 3.8

FORMAT = 2
# A visit is repeated where the wall clock and the monotonic clock differ by more than this.
MOST_CLOCK_JUMP_S = 5.0
# How often a visit is tried when the clock jumps.
MOST_TRIES = 3
# How long to wait before a machine that is hot or busy is checked again.
PAUSE_S = 2.0

Json = Dict[str, Any]  # noqa: UP006
Loaded = Tuple[Any, Json]  # noqa: UP006 - a session and what it is fed

# The keys of a manifest, of the header of results, and of a visit, with the type of each value.
_MANIFEST: Json = {"kit": str, "settings": dict, "sentinel": str, "models": list}
_HEADER: Json = {"format": int, "kit": str, "settings": dict, "machine": dict, "governor": str}
_VISIT: Json = {
    "visit": str,
    "sentinel_ns": list,
    "samples_ns": dict,
    "load_ms": dict,
    "failed": dict,
    "paused_s": (int, float),
}
# Every header begins like this, so that a header that was cut short is recognised.
_HEADER_BEGINS = '{"format":'


class KitError(Exception):
    """A problem of the kit, of the machine, or of existing results."""


def main(argv: Optional[List[str]] = None) -> int:  # noqa: UP006, UP045
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Time the models of a kit with ONNX Runtime.")
    parser.add_argument("--kit", default=str(Path(__file__).resolve().parent), help="folder of manifest.json")
    parser.add_argument("--out", default="results.jsonl", help="default: %(default)s; goes on where it stopped")
    parser.add_argument("--echo", action="store_true", help="also print every line that is added to the results")
    parser.add_argument("--parent", type=int, default=0, help="stop when this process is no longer the parent")
    arguments = parser.parse_args(argv)
    try:
        measure_kit(
            Path(arguments.kit),
            Path(arguments.out),
            _show,
            echo=arguments.echo,
            parent=arguments.parent,
            own_process=True,
        )
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def measure_kit(
    kit: Path,
    out: Path,
    say: Callable[[int, int, float], None],
    *,
    echo: bool = False,
    parent: int = 0,
    own_process: bool = False,
) -> None:
    """Measure the visits that `out` does not hold yet; `say` gets visits done, visits in all, and seconds left.

    With `echo`, each line that is added also goes to stdout, to follow the run from another machine. With `parent`, the
    run ends when that process has ended, because two runs at once would disturb one another. With `own_process`, all
    sessions share one thread pool, because the threads of one session would keep spinning while the next one is timed.
    ONNX Runtime can then create no other kind of session in this process, so this is not the default.
    Raises KitError for an incomplete kit, results of other conditions, a provider or cores that the machine lacks, and
    results that another run is adding to.
    """
    manifest = load_manifest(kit)
    _check_provider(manifest["settings"]["provider"])
    if own_process:
        import onnxruntime

        onnxruntime.set_global_thread_pool_sizes(manifest["settings"]["threads"], 1)
    _use_cores(manifest["settings"]["cores"])
    header = {
        "format": FORMAT,
        "kit": manifest["kit"],
        "settings": manifest["settings"],
        "machine": machine_facts(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
    }
    with _opened(out) as file:
        _lock(file, out)
        levels, failed = open_results(out, file, header, echo=echo)
        left = visits_left(manifest, levels)
        if not left:
            return
        bench = _Bench(kit, manifest, failed, shares_threads=own_process)
        began, before = time.monotonic(), len(levels)
        while left:
            if parent and os.getppid() != parent:
                raise KitError("the command that started this run has been killed; run it again to go on")
            line = bench.visit(left[0])
            _append(file, line, echo=echo)
            levels[line["visit"]] = level(line)
            left = visits_left(manifest, levels)
            each = (time.monotonic() - began) / (len(levels) - before)
            say(len(levels), len(levels) + len(left), each * len(left))
        _append(file, {"peak_rss_bytes": _peak_rss()}, echo=echo)


def load_manifest(kit: Path) -> Json:
    """Read the manifest of a kit and check its model files. Raises KitError."""
    manifest = read_manifest(kit)
    check_models(kit, manifest)
    return manifest


def read_manifest(kit: Path) -> Json:
    """Read the manifest of a kit. Raises KitError where it cannot be read."""
    try:
        manifest: Json = json.loads((kit / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(f"cannot read the manifest.json of the kit {kit}: {error}") from error
    if not _has(manifest, _MANIFEST):
        raise KitError(f"{kit / 'manifest.json'} is not the manifest of a kit: copy the kit again")
    if manifest.get("format") != FORMAT:
        raise KitError(f"this runner reads kits of format {FORMAT}, but this one has {manifest.get('format')!r}")
    return manifest


def check_models(kit: Path, manifest: Json) -> None:
    """Raise KitError unless the model files that a manifest lists exist and have the same content as when written."""
    for model in manifest["models"]:
        path = kit / model["file"]
        if not path.is_file():
            raise KitError(f"the kit lacks {model['file']}: copy the kit again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != model["sha256"]:
            raise KitError(f"{model['file']} is not the file that the manifest means: copy the kit again")


def visits_left(manifest: Json, levels: Dict[str, float]) -> List[Json]:  # noqa: UP006
    """The visits that are still to be made; `levels` has the level of each visit that was made.

    A pass visits every group of models once, in another order each time. After `passes` passes, groups are visited
    again until each has `passes` visits in which the machine was quiet, or `most_passes` visits in all.
    """
    settings, models = manifest["settings"], manifest["models"]
    count = max(1, -(-len(models) // settings["group_size"]))
    # Models are assigned to groups in turn, so that each group mixes units and networks, small and large ones.
    groups = [[model["name"] for model in models[index::count]] for index in range(count)]
    names = [f"{number}.{group}" for number in range(settings["passes"]) for group in _shuffled(count, number)]
    left = [name for name in names if name not in levels] or _again(settings, count, levels)
    return [{"visit": name, "models": groups[int(name.split(".")[1])]} for name in left]


def _again(settings: Json, count: int, levels: Dict[str, float]) -> List[str]:  # noqa: UP006
    """Further visits of the groups with too few quiet visits; the groups with the fewest visits come first."""
    quiet = quiet_visits(levels, settings["quiet_share"])
    made = [sum(name.endswith(f".{group}") for name in levels) for group in range(count)]
    calm = [sum(name.endswith(f".{group}") for name in quiet) for group in range(count)]
    left = []
    for group in range(count):
        missing = min(settings["passes"] - calm[group], settings["most_passes"] - made[group])
        left += [(made[group] + more, group) for more in range(missing)]
    return [f"{number}.{group}" for number, group in sorted(left)]


def _shuffled(count: int, seed: int) -> List[int]:  # noqa: UP006
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def level(line: Json) -> float:
    """How slow the machine was in a visit: the lower decile of the sentinel's latencies, in nanoseconds."""
    latencies_ns = sorted(line["sentinel_ns"])
    return float(latencies_ns[len(latencies_ns) // 10])


def quiet_visits(levels: Dict[str, float], share: float) -> List[str]:  # noqa: UP006
    """The visits whose level is at most `share` times the lowest of all."""
    best = min(levels.values(), default=0.0)
    return [name for name, visit_level in levels.items() if visit_level <= share * best]


def machine_facts() -> Json:
    """The machine and the versions that samples hold for; runs whose facts differ are not merged."""
    import numpy
    import onnxruntime

    return {
        "node": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def open_results(out: Path, file: IO[str], header: Json, *, echo: bool = False) -> Tuple[Dict[str, float], Json]:  # noqa: UP006
    """The levels of the visits that `out` holds, and the models that failed, each with the reason.

    `file` is `out`, opened to append. A new file gets `header`. Raises KitError, naming what differs, for results of
    another kit, machine or version, and for a file of something else; the file is then left as it is.
    """
    lines = read_lines(out)
    if not lines:
        mend_end(out)
        _append(file, header, echo=echo)
        return {}, {}
    unlike = differences(
        {key: value for key, value in lines[0].items() if key != "governor"},
        {key: value for key, value in header.items() if key != "governor"},
    )
    if unlike:
        raise KitError(f"{out} holds results of other conditions: {unlike}. Give another --out, or delete it.")
    mend_end(out)
    failed: Json = {}
    for line in lines[1:]:
        failed.update(line.get("failed", {}))
    return {line["visit"]: level(line) for line in lines[1:] if "visit" in line}, failed


def read_lines(out: Path) -> List[Json]:  # noqa: UP006
    """The lines of a file of results: a header, then visits and ends of runs; no lines for an empty file.

    A last line that was cut short is left out. Raises KitError for a damaged file, and for a file of something else.
    """
    try:
        texts = out.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _no_results(out) from error
    cut = texts.pop() if _parsed(texts[-1]) is None else ""
    lines = [_parsed(text) for text in texts]
    if not (_has(lines[0], _HEADER) if lines else _begins_header(cut)):
        raise _no_results(out)
    for number, line in enumerate(lines[1:], start=2):
        if not _is_visit_or_end(line):
            raise KitError(f"{out} is damaged at line {number}: delete that line, and its visit is measured again")
    return [line for line in lines if line is not None]


def _no_results(out: Path) -> KitError:
    return KitError(f"{out} holds no results of a kit, but something else: give another file")


def mend_end(out: Path) -> None:
    """Make a file of results end with a complete line, so that lines can be appended; an incomplete one is cut off."""
    content = out.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return
    with out.open("r+b") as file:
        if _parsed(content[whole:].decode("utf-8", errors="replace")) is None:
            file.truncate(whole)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")


def _parsed(text: str) -> Optional[Json]:  # noqa: UP045
    """The JSON object in a line; None where the line holds no object, or only part of one."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _has(data: Any, kinds: Json) -> bool:
    return isinstance(data, dict) and all(isinstance(data.get(key), kind) for key, kind in kinds.items())


def _begins_header(text: str) -> bool:
    return text.startswith(_HEADER_BEGINS) or _HEADER_BEGINS.startswith(text)


def _is_visit_or_end(line: Any) -> bool:
    if _has(line, _VISIT):
        return bool(re.fullmatch(r"\d+\.\d+", line["visit"]) and line["sentinel_ns"])
    return isinstance(line, dict) and "peak_rss_bytes" in line


def differences(there: Any, here: Any, path: str = "") -> str:
    """The differences between two JSON values, in words; empty where they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted({*there, *here})
        parts = [differences(there.get(key), here.get(key), f"{path}.{key}" if path else key) for key in keys]
        return "; ".join(part for part in parts if part)
    return "" if there == here else f"{path} was {there!r} there and is {here!r} here"


class _Bench:
    """Times groups of models. The sentinel is a small model that is timed repeatedly, to notice a slow machine."""

    def __init__(self, kit: Path, manifest: Json, failed: Json, *, shares_threads: bool) -> None:
        self._shares_threads = shares_threads
        self._kit = kit
        self._models = {model["name"]: model for model in manifest["models"]}
        self._settings = manifest["settings"]
        self._failed = failed
        try:
            self._sentinel = self._load(self._models[manifest["sentinel"]])
        except Exception as error:
            reason = str(error).split("\n")[0][:300]
            raise KitError(f"the model that watches the machine cannot be loaded: {reason}") from error
        self._best_sentinel = 0

    def visit(self, visit: Json) -> Json:
        """Time one group; again where the clock jumped meanwhile."""
        line: Json = {}
        for _ in range(MOST_TRIES):
            line = self._measure(visit)
            if not line["clock_jump_s"]:
                return line
        raise KitError(f"the clock jumped by {line['clock_jump_s']} s in each of {MOST_TRIES} tries: is it being set?")

    def _measure(self, visit: Json) -> Json:
        settings, failed = self._settings, {}
        wall, steady = time.time(), time.monotonic()
        sessions, load_ms = {}, {}
        for name in visit["models"]:
            if name in self._failed:
                continue
            began = time.perf_counter_ns()
            try:
                sessions[name] = self._load(self._models[name])
                load_ms[name] = round((time.perf_counter_ns() - began) / 1e6, 3)
                _time(sessions[name], settings["warmup"])
            # ONNX Runtime's exceptions have no other common base.
            except Exception as error:
                sessions.pop(name, None)
                self._failed[name] = failed[name] = str(error).split("\n")[0][:300]
        paused = self._cool_down()
        sentinel: List[int] = []  # noqa: UP006
        samples: Dict[str, List[List[int]]] = {name: [] for name in sessions}  # noqa: UP006
        for number in range(settings["rounds"]):
            order = sorted(sessions)
            random.Random(f"{visit['visit']} {number}").shuffle(order)
            for place, name in enumerate(order):
                if place % settings["sentinel_every"] == 0:
                    sentinel.append(_time(self._sentinel, settings["runs"])[-1])
                samples[name].append(_time(sessions[name], settings["runs"]))
            if not order:  # no model could be loaded, but the visit needs a level
                sentinel.append(_time(self._sentinel, settings["runs"])[-1])
        wall_s, steady_s = time.time() - wall, time.monotonic() - steady
        jump = abs(wall_s - steady_s)
        return {
            "visit": visit["visit"],
            "started": wall,
            "seconds": round(steady_s, 3),
            "clock_jump_s": round(jump, 1) if jump > MOST_CLOCK_JUMP_S else 0,
            "paused_s": paused,
            "temperature_c": _temperature(),
            "failed": failed,
            "load_ms": load_ms,
            "sentinel_ns": sentinel,
            "samples_ns": samples,
        }

    def _cool_down(self) -> float:
        """Wait while the sentinel is much slower than at its best (a hot or busy machine); returns seconds waited."""
        waited = 0.0
        while True:
            now = sorted(_time(self._sentinel, 2)[-1] for _ in range(15))[7]
            self._best_sentinel = min(now, self._best_sentinel or now)
            slow = now > self._settings["slow_share"] * self._best_sentinel
            if not slow or waited >= self._settings["longest_pause_s"]:
                return waited
            time.sleep(PAUSE_S)
            waited += PAUSE_S

    def _load(self, model: Json) -> Loaded:
        import numpy
        import onnxruntime

        settings = self._settings
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self._shares_threads:
            options.use_per_session_threads = False
        else:
            options.inter_op_num_threads = 1
            options.intra_op_num_threads = settings["threads"]
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = {
            "disabled": levels.ORT_DISABLE_ALL,
            "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }[settings["graph_optimization"]]
        path = str(self._kit / model["file"])
        session = onnxruntime.InferenceSession(path, options, providers=[settings["provider"]])
        if session.get_providers()[0] != settings["provider"]:
            raise RuntimeError(f"{settings['provider']} cannot run this model")
        rng = numpy.random.default_rng(0)
        types = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16, "tensor(uint8)": numpy.uint8}
        feed = {
            entry.name: abs(rng.standard_normal(shape)).astype(types[entry.type])
            for entry, shape in zip(session.get_inputs(), model["inputs"])  # noqa: B905 - Python 3.8
        }
        return session, feed


def _time(loaded: Loaded, runs: int) -> List[int]:  # noqa: UP006
    """The latencies of consecutive runs in nanoseconds; the first finds the caches filled by other models."""
    run, feed = loaded[0].run, loaded[1]
    times = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        run(None, feed)
        times.append(time.perf_counter_ns() - began)
    return times


def _append(file: IO[str], line: Json, *, echo: bool) -> None:
    text = json.dumps(line, separators=(",", ":"))
    if echo:
        print(text, flush=True)
    file.write(text + "\n")
    file.flush()
    os.fsync(file.fileno())


def _opened(out: Path) -> IO[str]:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return out.open("a", encoding="utf-8")
    except OSError as error:
        raise KitError(f"cannot write the results into {out}: {error}") from error


def _lock(file: IO[str], out: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise KitError(f"another run is adding to {out}: wait for its end, or stop it") from error


def _check_provider(provider: str) -> None:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise KitError(f"the execution provider {provider} is not available here, only {', '.join(available)}")


def _use_cores(cores: List[int]) -> None:  # noqa: UP006
    if not cores:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise KitError("this system cannot bind a process to cores; make the kit without --cores")
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise KitError(f"cannot run on cores {', '.join(map(str, cores))}: {error}") from error


def _processor() -> str:
    for line in (_read("/proc/cpuinfo") or "").split("\n"):
        if line.startswith(("model name", "Hardware", "Processor")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _temperature() -> Optional[float]:  # noqa: UP045
    """The hottest sensor in degrees Celsius, or None where there is none."""
    texts = [_read(str(path)) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in texts if text and text.lstrip("-").isdigit()]
    return max(degrees) if degrees else None


def _peak_rss() -> Optional[int]:  # noqa: UP045
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _read(path: str) -> Optional[str]:  # noqa: UP045
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _show(done: int, visits: int, seconds_left: float) -> None:
    """One line that is written over on a terminal; elsewhere a line for every twentieth of the visits."""
    text = f"{done} of {visits} visits, about {seconds_left:.0f} s left"
    if sys.stderr.isatty():
        print(f"\r{text} ", end="\n" if done == visits else "", file=sys.stderr, flush=True)
    elif done == visits or 20 * done // visits > 20 * (done - 1) // visits:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
