"""The weights of torchvision and timm give the same logits in our networks."""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.architecture import Architecture
from nas.networks.build import build_network
from nas.networks.pretrained import load_pretrained
from nas.networks.pretrained.load import LAYOUTS, match, recognise
from nas.networks.references import reference
from nas.networks.references.mobilenet_v2 import mobilenet_v2
from tests.networks.record_layouts import LOGITS, RECORD, TIMM, TORCHVISION, digest, image, made_up
from tests.networks.weightless import weightless

ROWS: dict[str, dict[str, Any]] = {
    f"{row['library'].split()[0]} {row['name']}": row for row in json.loads(RECORD.read_text(encoding="utf-8"))
}
# Rows of the same tables as smaller ones: running them takes longest and would find nothing else. Their names and
# shapes are checked as all others' are.
LARGEST = {
    "torchvision efficientnet_b6",
    "torchvision efficientnet_b7",
    "torchvision efficientnet_v2_m",
    "torchvision efficientnet_v2_l",
    "timm efficientnet_b5",
    "timm efficientvit_b3",
    "timm mobilenetv4_conv_large",
}
RUN = [name for name in ROWS if name not in LARGEST]
# A small one of each layout, operator and epsilon. The others are marked slow.
QUICK = {
    "torchvision mobilenet_v2",
    "torchvision mobilenet_v3_small",
    "torchvision efficientnet_b0",
    "torchvision mnasnet0_5",
    "torchvision shufflenet_v2_x0_5",
    "timm mobilenetv3_small_075",
    "timm mobilenetv3_rw",
    "timm mobilenetv4_conv_small",
    "timm mobilenet_edgetpu_v2_xs",
    "timm lcnet_050",
    "timm semnasnet_050",
    "timm fbnetc_100",
    "timm mixnet_s",
    "timm ghostnet_050",
    "timm repghostnet_050",
    "timm mobileone_s1",
    "timm mobilevit_xxs",
    "timm efficientvit_b0",
}
SMALL = "torchvision mobilenet_v3_small"


@cache
def library_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the library's tensors, by our layout, from our network and the places of its blocks."""
    row = ROWS[name]
    layout = next(x for x in LAYOUTS if (x.library, x.family) == (row["library"].split()[0], row["family"]))
    architecture = reference(row["reference"])
    network = weightless(architecture)
    places = {layout.place.format(*numbers.split(".")) + ".x": torch.empty(0) for numbers in row["blocks"].split()}
    shapes = {}
    for target in match(layout, network, architecture, places):
        for source in target.sources:
            shape = tuple(target.tensor.shape)
            shapes[source] = (shape[0] // len(target.sources), *shape[1:]) if shape else shape
    return shapes


def library_state(name: str) -> dict[str, Tensor]:
    """The state dict that was recorded, with its made-up weights."""
    return {key: made_up(key, shape, ROWS[name]["gain"]) for key, shape in library_shapes(name).items()}


def logits(network: nn.Module) -> Tensor:
    """The first logits of the made-up image."""
    with torch.no_grad():
        return network.double().eval()(image())[0, :LOGITS]


def small() -> tuple[nn.Module, Architecture]:
    """A network that the weights of SMALL are for."""
    architecture = reference(ROWS[SMALL]["reference"])
    return build_network(architecture), architecture


def test_every_network_that_is_recorded_is_in_the_record() -> None:
    """The record is of the networks that the script lists."""
    listed = {f"torchvision {name}" for name in TORCHVISION} | {f"timm {name}" for name in TIMM}
    assert ROWS.keys() == listed
    assert listed >= QUICK | LARGEST
    families = {(row["library"], row["family"]) for row in ROWS.values()}
    assert families == {(ROWS[name]["library"], ROWS[name]["family"]) for name in RUN}


@pytest.mark.parametrize("name", ROWS)
def test_names_and_shapes_are_those_of_the_library(name: str) -> None:
    """Every tensor of the library's network, and no other; and one layout alone recognises them."""
    shapes = library_shapes(name)
    assert [layout.family for layout in LAYOUTS if layout.recognises(shapes)] == [ROWS[name]["family"]]
    assert len(shapes) == ROWS[name]["tensors"]
    assert digest(shapes) == ROWS[name]["digest"]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUN])
def test_logits_are_those_of_the_library(name: str) -> None:
    """The same weights give the same numbers: names, order, activations, gates, paddings and epsilons are right."""
    architecture = reference(ROWS[name]["reference"])
    network = weightless(architecture).to_empty(device="cpu")
    loaded = load_pretrained(network, architecture, library_state(name))
    assert not loaded.fresh
    assert torch.allclose(logits(network), torch.tensor(ROWS[name]["logits"], dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", ["plain", "nested", "wrapped", "safetensors"])
def test_files_of_every_kind_are_read(shape: str, tmp_path: Path) -> None:
    """As torch.save writes them, under a key, of a network in DistributedDataParallel, and sorted by name."""
    state = library_state(SMALL)
    path = tmp_path / ("model.safetensors" if shape == "safetensors" else "model.pth")
    if shape == "safetensors":
        save_file(dict(sorted(state.items(), reverse=True)), path)
    elif shape == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        torch.save({f"module.{key}" if shape == "wrapped" else key: value for key, value in state.items()}, path)
    network, architecture = small()
    loaded = load_pretrained(network, architecture, path)
    assert str(loaded) == "244 tensors from torchvision (MobileNetV3)"
    expected = torch.tensor(ROWS[SMALL]["logits"], dtype=torch.float64)
    assert torch.allclose(logits(network), expected, rtol=0, atol=1e-5)


def test_a_1x1_convolution_becomes_a_linear_layer() -> None:
    """Timm has MobileNetV3's last hidden layer as a convolution over the pooled image."""
    name = "timm mobilenetv3_small_075"
    state = library_state(name)
    state["conv_head.weight"] = state["conv_head.weight"][:, :, None, None]
    architecture = reference(ROWS[name]["reference"])
    network = build_network(architecture)
    load_pretrained(network, architecture, state)
    expected = torch.tensor(ROWS[name]["logits"], dtype=torch.float64)
    assert torch.allclose(logits(network), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("classifier", [None, False])
def test_another_number_of_classes_leaves_the_classifier_alone(classifier: bool | None) -> None:
    """It says so, and everything else is loaded."""
    architecture = Architecture.from_json(reference("mobilenet_v3_small").to_json())
    blocks = (*architecture.blocks[:-1], type(architecture.blocks[-1])("linear", 7))
    architecture = Architecture(224, 7, blocks)
    network = build_network(architecture)
    before = network[-1][1].weight.clone()
    loaded = load_pretrained(network, architecture, library_state(SMALL), classifier=classifier)
    assert loaded.tensors == 242
    assert loaded.fresh == ("7 classes instead of 1000" if classifier is None else "it was not asked for")
    assert loaded.fresh in str(loaded)
    assert torch.equal(network[-1][1].weight, before)


def test_a_classifier_that_must_fit_and_does_not_is_refused() -> None:
    """With both shapes."""
    architecture = mobilenet_v2(classes=7)
    with pytest.raises(NasError, match=r"classifier\.1\.weight is 1000×1280 instead of 7×1280"):
        load_pretrained(
            build_network(architecture), architecture, library_state("torchvision mobilenet_v2"), classifier=True
        )


def test_a_file_without_a_classifier_leaves_ours_alone() -> None:
    """As timm writes networks that give features."""
    network, architecture = small()
    state = {key: value for key, value in library_state(SMALL).items() if not key.startswith("classifier.3")}
    assert load_pretrained(network, architecture, state).fresh == "there are no weights for it"


def test_counts_of_batches_may_be_missing() -> None:
    """Torch did not write them at first."""
    network, architecture = small()
    state = {key: value for key, value in library_state(SMALL).items() if "num_batches" not in key}
    load_pretrained(network, architecture, state)
    expected = torch.tensor(ROWS[SMALL]["logits"], dtype=torch.float64)
    assert torch.allclose(logits(network), expected, rtol=0, atol=1e-5)


def test_all_that_does_not_fit_is_said_at_once_and_nothing_is_loaded() -> None:
    """Missing, left over and of another shape, ten names of each."""
    network, architecture = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = library_state(SMALL)
    for number in range(12):
        state[f"odd.{number}"] = torch.zeros(1)
    del state["features.0.0.weight"]
    state["features.12.1.bias"] = torch.zeros(3)
    with pytest.raises(NasError) as caught:
        load_pretrained(network, architecture, state)
    said = str(caught.value)
    assert said.startswith("weights of torchvision (MobileNetV3) do not fit this network: ")
    assert "1 missing: features.0.0.weight;" in said
    assert "12 of no layer here: odd.0, odd.1," in said
    assert "odd.9 and 2 more;" in said
    assert said.endswith("1 of another shape: features.12.1.bias is 3 instead of 576")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("weights", ["torchvision mobilenet_v2", "timm lcnet_050", "timm mobilevit_xxs"])
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v4_conv_small", "mobileone_s1", "efficientvit_b0"])
def test_weights_of_another_network_are_refused(name: str, weights: str) -> None:
    """Whatever is wrong with them, the family of the weights is named."""
    architecture = reference(name)
    network = weightless(architecture)
    with pytest.raises(NasError, match=r"weights of (torchvision|timm) \(.*do not fit this network: "):
        load_pretrained(network, architecture, library_state(weights))


def test_a_network_of_another_architecture_is_refused() -> None:
    """A mistake in the call, not in the weights."""
    _, architecture = small()
    with pytest.raises(NasError, match="the network must be built from the architecture: 16 blocks, but it has 1"):
        load_pretrained(nn.Sequential(nn.Identity()), architecture, library_state(SMALL))


def test_an_unknown_family_lists_those_that_are_known() -> None:
    """With the first names, which say what it is."""
    with pytest.raises(NasError, match=r"first of 1 are layer1\.0\.conv1\.weight\. Known: MobileNetV2 \(torchvision\)"):
        recognise({"layer1.0.conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "path",
    [
        "tf_efficientnet_b0_aa-827b6e33.pth",
        "models--timm--tf_mobilenetv3_large_minimal_100.in1k/snapshots/1/model.safetensors",
        "tf_mixnet_s.in1k/model.safetensors",
    ],
)
def test_networks_of_tensorflow_are_refused(path: str) -> None:
    """Before the file is read: their padding is another."""
    with pytest.raises(NasError, match=r"pad images at the right and bottom only"):
        load_pretrained(*small(), path)


class Harmful:
    """Something that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise AssertionError('this ran')",)


def test_a_file_that_could_run_code_is_not_read(tmp_path: Path) -> None:
    """torch.load would run it without weights_only."""
    path = tmp_path / "model.pth"
    torch.save({"state_dict": Harmful()}, path)
    with pytest.raises(NasError, match=r"model\.pth must hold tensors alone"):
        load_pretrained(*small(), path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.pth", b"", "x.pth"),
        ("x.pth", b"hello, world", "x.pth"),
        ("x.pth", b"PK\x03\x04" + bytes(40), "x.pth"),
        ("x.safetensors", b"", "is not a file of weights, or a damaged one"),
        ("x.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "is not a file of weights, or a damaged one"),
        ("x.pth", pickle.dumps([1]), "x.pth"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    """By a NasError that names the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(NasError, match=said):
        load_pretrained(*small(), path)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """Both kinds."""
    for name in ("x.pth", "x.safetensors"):
        with pytest.raises(NasError, match=f"cannot read .*{name}"):
            load_pretrained(*small(), tmp_path / name)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([1, 2], "must map names to tensors, but is a list"),
        ({}, "must map names to tensors, but is empty"),
        ({"epoch": 3}, "must map names to tensors, but 'epoch' is a int"),
        ({"state_dict": {"a": 1}}, "must map names to tensors, but 'a' is a int"),
    ],
)
def test_what_is_no_state_dict_is_refused(data: object, said: str, tmp_path: Path) -> None:
    """By what it is instead."""
    path = tmp_path / "x.pth"
    torch.save(data, path)
    with pytest.raises(NasError, match=said):
        load_pretrained(*small(), path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_larger_epsilon_lies_in_the_running_variances(dtype: torch.dtype) -> None:
    """1e-3 in torchvision's MobileNetV3, 1e-5 in ours; weights may be in half precision."""
    network, architecture = small()
    state = {name: tensor.to(dtype) for name, tensor in library_state(SMALL).items()}
    load_pretrained(network, architecture, state)
    difference = network[0][1].running_var - state["features.0.1.running_var"].float()
    assert torch.allclose(difference, torch.full_like(difference, 1e-3 - 1e-5), rtol=1e-3)
    assert network[0][1].eps == 1e-5
