"""Tests of NetAdapt: its steps, its checkpoint, and `python -m nas.deploy refine`."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas.accuracy.data.dataset import Dataset
from nas.accuracy.data.load import load_dataset
from nas.accuracy.training.sealed_file import read_sealed, write_sealed
from nas.accuracy.training.settings import TrainingSettings
from nas.benchmarks.netadapt import SeedOutcome, summary, uniform_at
from nas.deploy.__main__ import main
from nas.deploy.pruning.netadapt import NetAdaptPath, NetAdaptSettings, Point, netadapt, proposals
from nas.deploy.pruning.prune import count_macs
from nas.deploy.pruning.table_latency import TableLatency
from nas.deploy.trained import TrainedNetwork, load_trained, save_trained
from nas.errors import NasError, RunFailedError
from nas.latency.table import Calibration, load_table
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.channels import carried_weights, channel_sets, with_widths
from nas.networks.deployed import deployed
from nas.networks.operators import units
from nas.networks.proxy import ProxySettings, proxy_architecture
from nas.networks.references import reference
from tests.deploy.small_networks import SMALL, trained_small

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINING = TrainingSettings(batch_size=32, learning_rate=0.2, device="cpu")
SETTINGS = NetAdaptSettings(step_share=0.1, shortlist=2, short_steps=3, val_images=100)


def latency_ms(architecture: Architecture) -> float:
    """Milliseconds of a device that only counts."""
    return 1 + count_macs(architecture) / 1e5


@pytest.fixture(scope="module")
def trained() -> TrainedNetwork:
    return trained_small()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", image_size=16).at(16)


def adapt(trained: TrainedNetwork, digits: Dataset, share: float, **options: object) -> NetAdaptPath:
    target = share * latency_ms(SMALL)
    return netadapt(SMALL, trained.weights, latency_ms, target, digits, TRAINING, SETTINGS, seed=0, **options)  # type: ignore[arg-type]


def test_each_step_saves_what_it_must(trained: TrainedNetwork, digits: Dataset) -> None:
    """By the table, until the target; each network is a narrower one before, and still knows the digits."""
    path = adapt(trained, digits, 0.7)
    latencies = [point.latency_ms for point in path.points]
    assert latencies == [latency_ms(point.architecture) for point in path.points]
    assert latencies[-1] <= 0.7 * latencies[0]
    *saved, last = (before - after for before, after in itertools.pairwise(latencies))
    assert min(saved) >= 0.1 * latencies[0] - 1e-9
    assert last > 0
    for before, after in itertools.pairwise(path.points):
        carried_weights(build_network(before.architecture).state_dict(), before.architecture, after.architecture)
        assert after.change
        assert 0 < after.proposals <= 6
    assert path.points[0].top1 > 80
    assert path.points[-1].top1 > 30
    build_network(path.points[-1].architecture).load_state_dict(dict(path.weights))


def test_proposals_are_the_widest_that_save_enough() -> None:
    """A width more of the same set would not; each changes one set."""
    aim = 0.85 * latency_ms(SMALL)
    narrower = proposals(SMALL, latency_ms, aim, divisor=1)
    assert len(narrower) >= 3
    sets = channel_sets(SMALL)
    for proposal in narrower:
        assert proposal.latency_ms == latency_ms(proposal.architecture) <= aim
        changed = {
            number: after.channels
            for number, (before, after) in enumerate(
                zip(sets.sets, channel_sets(proposal.architecture).sets, strict=True)
            )
            if before.channels != after.channels and before.follows is None
        }
        ((number, width),) = changed.items()
        wider = with_widths(SMALL, sets, {number: width + 1})
        assert wider is None or latency_ms(wider) > aim


def test_stopped_and_resumed_is_the_same_path(trained: TrainedNetwork, digits: Dataset, tmp_path: Path) -> None:
    """Bit for bit; what was done is told again, not done again."""
    place, told = tmp_path / "path.pt", []
    whole = adapt(trained, digits, 0.7)

    def stop(point: Point) -> None:
        told.append(point)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(trained, digits, 0.7, checkpoint=place, on_point=stop)
    resumed = adapt(trained, digits, 0.7, checkpoint=place)
    assert resumed.points == whole.points
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())
    assert tuple(told) == whole.points[:2]
    with pytest.raises(NasError, match="of another path: it differs in target"):
        adapt(trained, digits, 0.65, checkpoint=place)


def test_a_path_of_anything_else_is_not_gone_on(trained: TrainedNetwork, digits: Dataset, tmp_path: Path) -> None:
    """Another proxy, another device, other images under the same name: old and new are said."""
    place = tmp_path / "path.pt"
    adapt(trained, digits, 0.95, checkpoint=place, device="phone 12ab")
    before = place.read_bytes()
    with pytest.raises(NasError, match=r"differs in latency table \(phone 12ab instead of phone 34cd\)\. Give another"):
        adapt(trained, digits, 0.95, checkpoint=place, device="phone 34cd")
    swapped = replace(digits, train=digits.train.pick(torch.arange(len(digits.train)).flip(0)))
    with pytest.raises(NasError, match=r"differs in data digest \(\w+ instead of \w+\)"):
        adapt(trained, swapped, 0.95, checkpoint=place, device="phone 12ab")

    def small_strides(architecture: Architecture) -> Architecture:
        return proxy_architecture(
            architecture, ProxySettings(resolution=16, max_stride=2), largest_resolution=16, classes=10
        )

    other = f"{SMALL.fingerprint} instead of {small_strides(SMALL).fingerprint}"
    with pytest.raises(NasError, match=rf"differs in proxy \({other}\)"):
        adapt(trained, digits, 0.95, checkpoint=place, device="phone 12ab", proxy=small_strides)
    assert place.read_bytes() == before


def test_other_weights_of_the_same_sum_are_noticed(trained: TrainedNetwork, digits: Dataset, tmp_path: Path) -> None:
    """Two channels that change places leave the sum as it was."""
    place = tmp_path / "path.pt"
    adapt(trained, digits, 0.95, checkpoint=place)
    first = trained.weights["0.0.weight"]
    swapped = replace(trained, weights={**trained.weights, "0.0.weight": first.flip(0)})
    with pytest.raises(NasError, match=r"differs in weights \(\w{32} instead of \w{32}\)\. Give another"):
        adapt(swapped, digits, 0.95, checkpoint=place)


def test_a_path_begun_by_an_earlier_version_goes_on(trained: TrainedNetwork, digits: Dataset, tmp_path: Path) -> None:
    """Its checkpoint holds the sum of the weights instead of their hash, and is refused for another sum."""
    place = tmp_path / "path.pt"
    whole = adapt(trained, digits, 0.9, checkpoint=place)
    content = read_sealed(place, "NetAdapt path")
    identity = json.loads(content["identity"])
    identity["weights"] = float(sum(tensor.double().abs().sum() for tensor in trained.weights.values()))
    write_sealed(place, "NetAdapt path", {**content, "identity": json.dumps(identity, sort_keys=True)})
    assert adapt(trained, digits, 0.9, checkpoint=place).points == whole.points
    doubled = replace(trained, weights={name: 2 * tensor for name, tensor in trained.weights.items()})
    with pytest.raises(NasError, match=r"differs in weights \([\d.]+ instead of [\d.]+\)\. Give another"):
        adapt(doubled, digits, 0.9, checkpoint=place)


def test_the_identity_of_a_table_is_that_of_its_figures() -> None:
    """Other words in it make no difference; a row, the calibration and the cost model do."""
    table = load_table("pixel_lut")
    conditions = table.conditions
    assert conditions.model is not None

    def identity(**changes: object) -> str:
        return TableLatency(replace(table, **changes)).identity  # type: ignore[arg-type]

    assert identity(conditions=conditions.model_copy(update={"protocol": "other words"})) == identity()
    key, row = next(iter(table.rows.items()))
    model = conditions.model.model_copy(update={"scale_of_source": {"measured": 2.0}})
    others = {
        identity(rows={**table.rows, key: replace(row, latency_ms=2 * row.latency_ms)}),
        identity(conditions=conditions.model_copy(update={"calibration": Calibration(scale=1.5)})),
        identity(conditions=conditions.model_copy(update={"model": model})),
    }
    assert len(others - {identity()}) == 3
    assert all(other.startswith("pixel_lut ") for other in others)


def test_a_folder_of_finish_is_called_so(
    trained: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a damaged path."""
    save_trained(tmp_path / "out", trained)
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"nas final training 1")
    words = ["refine", "mobilenet_v2", "--data", "digits", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "must be new or hold a training to go on with, but holds a training of finish" in capsys.readouterr().err


def test_targets_that_cannot_be(trained: TrainedNetwork, digits: Dataset) -> None:
    """Reached already, or out of reach."""
    with pytest.raises(NasError, match="which is within"):
        adapt(trained, digits, 1.0)
    with pytest.raises(RunFailedError, match="no set of channels can be narrowed to save"):
        adapt(trained, digits, 0.05)


def test_points_survive_json(trained: TrainedNetwork) -> None:
    """Equal after a round trip."""
    point = Point(SMALL, 3.5, 91.0, 0.3, "expansion of block 2: 48 to 40 channels", 5)
    assert Point.from_json(json.loads(json.dumps(point.to_json()))) == point


def test_table_latency_is_the_tables() -> None:
    """The same milliseconds as the table's own estimate, calibration included, asked once or twice."""
    table = load_table("pixel_lut")
    quick = TableLatency(table)
    for name in ("mobilenet_v3_large", "mobilenet_v2", "mobilenet_v3_large"):
        architecture = reference(name)
        if not table.missing(units(deployed(architecture))):
            assert quick(architecture) == pytest.approx(table.estimate(architecture).latency_ms)
    assert quick(reference("mobilenet_v3_large")) == pytest.approx(53.12, abs=0.01)


def test_uniform_networks_are_as_fast_or_little_slower() -> None:
    """At most a hundredth, so that the comparison does not favour NetAdapt."""
    base, quick = reference("mobilenet_v3_large"), TableLatency(load_table("pixel_lut"))
    for wanted in (30.0, 39.7, 45.0):
        assert wanted <= quick(uniform_at(base, quick, wanted)) <= 1.01 * wanted


def test_the_summary_counts_from_the_network_that_was_trained_on() -> None:
    """Mean losses, and their share."""
    one = SeedOutcome(0, 40.0, 42.0, 41.0, 38.0, 50.0, 37.0, 37.2, 60, (), 1.0)
    two = SeedOutcome(1, 41.0, 43.0, 43.0, 41.0, 50.0, 37.5, 37.6, 60, (), 1.0)
    assert summary([one, two]) == pytest.approx(
        {"netadapt_loss": 0.5, "uniform_loss": 3.0, "share": 1 / 6, "latency_left": 0.745}
    )


def test_the_command_leaves_a_narrower_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trained network with its path and a picture; the same command again only says so.

    It is trained at 16 pixels, while its latency is that for 160.
    """
    save_trained(tmp_path / "small", trained_small(resolution=160))
    words = ["refine", str(tmp_path / "small"), "--data", "digits", "--out", str(tmp_path / "out"), "--share", "0.9"]
    words += ["--step", "0.06", "--short-steps", "2", "--shortlist", "1", "--rate", "0.2", "--resolution", "16"]
    assert main(words) == 0
    caught = capsys.readouterr()
    assert "ms on pixel_lut" in caught.out
    assert "% less)" in caught.out
    assert "its weights are those of a proxy: python -m nas.deploy finish" in caught.out
    result = json.loads((tmp_path / "out" / "path.json").read_text())
    network = load_trained(tmp_path / "out")
    assert network.architecture == Architecture.from_json(result["path"][-1]["architecture"])
    quick = TableLatency(load_table("pixel_lut"))
    assert quick(network.architecture) == result["latency_ms"]["after"] <= 0.9 * result["latency_ms"]["before"]
    assert (tmp_path / "out" / "path.png").read_bytes().startswith(b"\x89PNG")
    assert main(words) == 0
    assert capsys.readouterr().out == caught.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mobilenet_v2"], "mobilenet_v2 has no trained weights. Train it first"),
        (["SMALL", "--share", "1.5"], "--share must be between 0 and 1"),
        (["SMALL", "--latency", "1000"], "--latency must be above 0 and below the network's"),
        (["SMALL", "--step", "0"], "--step must be between 0 and 1, but got 0"),
        (["SMALL", "--device", "pixle"], "unknown device 'pixle'"),
        (["SMALL", "--rate", "0"], "--rate must be above 0 and at most 100, but got 0"),
        (["SMALL", "--batch-size", "70000"], "--batch-size must be a whole number from 2 to 65536, but got 70000"),
        (["SMALL", "--epochs", "20000"], "--epochs must be a whole number from 1 to 10000, but got 20000"),
        (["SMALL", "--pick", "knee"], "--pick chooses a network of a run"),
    ],
)
def test_bad_words_are_explained(
    words: list[str], said: str, trained: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2, and nothing is written."""
    save_trained(tmp_path / "SMALL", trained)
    network = str(tmp_path / "SMALL") if words[0] == "SMALL" else words[0]
    assert main(["refine", network, *words[1:], "--data", "digits", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not (tmp_path / "out").exists()
