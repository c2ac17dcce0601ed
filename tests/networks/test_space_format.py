"""Does a wrong space file say everything that is wrong with it?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas.errors import ConfigError, NasError
from nas.networks.space import load_space, read_space
from nas.networks.space_format import LayerFormat, SpaceFormat, StageFormat

GOOD = """name: good
classes: 3
resolution: 32
stem: {op: conv, out: 16, kernel: 3, stride: 2, act: relu}
stages:
  - {op: mbconv, out: 16, act: relu}
head:
  - {op: pool}
  - {op: linear, out: classes}
"""
OUT = "out must be a whole number of channels, at least 1, or the word classes,"
README = Path(__file__).parents[2] / "search_spaces" / "README.md"


def problems(text: str | bytes, folder: Path) -> list[str]:
    """What is wrong with a space file, without the folder's name."""
    path = folder / "x.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        read_space(path)
    return [problem.replace(str(path), "x.yaml") for problem in caught.value.problems]


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """What the other tests break is whole."""
    path = tmp_path / "x.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_space(path).size == 1


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Each with its file, line, path and value, unknown keys with the nearest known one first."""
    text = """name: ../../x
clases: 3
resolution: [32, 32]
stem: {op: linear, out: 16, act: relu}
per_block: [kernal]
stages:
  - {op: mbcnv, out: [], act: rellu, kernell: 3}
  - {op: mbconv, out: 16, act: relu,
     kernel: [3, 4], depth: true}
  - conv
head:
  - {op: linear, out: 10}
  - {op: pool, kernel: 3}
"""
    assert problems(text, tmp_path) == [
        "name must be up to 100 letters, digits, '_', '-' or '.', but got '../../x' (x.yaml:1, name)",
        "a choice must not repeat a value, but got 32 more than once (x.yaml:3, resolution)",
        "unknown per_block key 'kernal'. Known: kernel, expand, se, act, op (x.yaml:5, per_block[0])",
        "the stem must be a conv, but is a linear (x.yaml:4, stem)",
        "unknown operator 'mbcnv'. Known: mbconv (x.yaml:7, stages[0].op)",
        "a choice needs at least one value, but got an empty list (x.yaml:7, stages[0].out)",
        "unknown activation 'rellu'. Known: relu, relu6, silu, none, hsigmoid, hswish, sigmoid "
        "(x.yaml:7, stages[0].act)",
        "unknown key 'kernell'. Known, nearest first: kernel, per_block, expand, se, gate, depth, scale, stride, act, "
        "op, out (x.yaml:7, stages[0].kernell)",
        "depth must be a whole number, but got True (x.yaml:9, stages[1].depth)",
        "kernel must be odd and at least 1, but got 4. Common choices: 3, 5, 7 (x.yaml:9, stages[1].kernel[1])",
        "stages[2] must be a group of keys and values, but got 'conv' (x.yaml:10, stages[2])",
        "a pool has neither kernel nor stride (x.yaml:13, head[1])",
        "unknown key 'clases'. Known, nearest first: classes, stages, name, stem, resolution, head, divisor, "
        "per_block, width (x.yaml:2, clases)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: good", "name: 12", "name must be text, but got 12; put it in quotes (x.yaml:1, name)"),
        (
            "resolution: 32",
            "resolution: 32.5",
            "resolution must be a whole number, but got 32.5 (x.yaml:3, resolution)",
        ),
        ("resolution: 32", "resolution: yes", "resolution must be a whole number, but got True (x.yaml:3, resolution)"),
        (
            "resolution: 32",
            "resolution: 4",
            "resolution must be greater than or equal to 8, but got 4 (x.yaml:3, resolution)",
        ),
        ("resolution: 32", "width: 1", "the key 'resolution' is missing (x.yaml)"),
        ("classes: 3", "width: .nan", "width must be less than or equal to 16, but got nan (x.yaml:2, width)"),
        (
            "classes: 3",
            "width: [1, 1.0]",
            "a choice must not repeat a value, but got 1.0 more than once (x.yaml:2, width)",
        ),
        ("classes: 3", "width: '1'", "width must be a number, but got '1' (x.yaml:2, width)"),
        ("classes: 3", "1: 2", "a key must be text, but got 1 (x.yaml, [1])"),
        ("act: relu}\nhead", "act: no}\nhead", "act must be text, but got False (x.yaml:6, stages[0].act)"),
        (
            "act: relu}\nhead",
            "act: relu, se: 2}\nhead",
            "se must be less than or equal to 1, but got 2 (x.yaml:6, stages[0].se)",
        ),
        (
            "act: relu}\nhead",
            "act: relu, stride: 3}\nhead",
            "stride must be 1 or 2, but got 3 (x.yaml:6, stages[0].stride)",
        ),
        (
            "act: relu}\nhead",
            "act: relu, gate: x}\nhead",
            "unknown gate 'x'. Known: hsigmoid, sigmoid (x.yaml:6, stages[0].gate)",
        ),
        ("act: relu}\nhead", "}\nhead", "the key 'act' is missing (x.yaml:6, stages[0])"),
        (
            "act: relu}\nhead",
            "act: relu, depth: 3000}\nhead",
            "depth must be less than or equal to 100, but got 3000 (x.yaml:6, stages[0].depth)",
        ),
        (
            "act: relu}\nhead",
            "act: relu, kernel: {a: 1}}\nhead",
            "kernel must be a whole number, but got {'a': 1} (x.yaml:6, stages[0].kernel)",
        ),
        (
            "act: relu}\nhead",
            "act: relu, expand: [.inf, 3]}\nhead",
            "expand[0] must be less than or equal to 16, but got inf (x.yaml:6, stages[0].expand[0])",
        ),
        (
            "  - {op: mbconv, out: 16, act: relu}\n",
            "  []\n",
            "at least one row is needed, but the list is empty (x.yaml:5, stages)",
        ),
        (
            "  - {op: mbconv",
            "  a: {op: mbconv",
            "stages must be a list, but got {'a': {'op': 'mbconv', 'out': 16, 'act': 'relu'}} (x.yaml:5, stages)",
        ),
        ("  - {op: pool}\n", "", "head[0] is a linear layer, but no pool stands before it (x.yaml:7, head)"),
        (
            "  - {op: pool}\n",
            "  - {op: pool}\n  - {op: conv, out: 8}\n",
            "head[1] is a conv, but only linear layers can follow the pool (x.yaml:7, head)",
        ),
        (
            "  - {op: pool}\n",
            "  - {op: pool}\n  - {op: linear, out: classes}\n",
            "head[1] has out: classes, but only the last layer can (x.yaml:7, head)",
        ),
        ("out: classes", "out: 3", "the last layer of the head must be a linear with out: classes (x.yaml:7, head)"),
        ("out: classes", "out: clases", OUT + " but got 'clases' (x.yaml:9, head[1].out)"),
        ("out: classes", "out: true", OUT + " but got True (x.yaml:9, head[1].out)"),
        ("{op: pool}", "{op: pool, act: relu}", "a pool has no act (x.yaml:8, head[0])"),
        ("{op: pool}", "{op: pool, out: 3}", "a pool has no out (x.yaml:8, head[0])"),
        ("{op: conv, out: 16, kernel", "{op: conv, kernel", "a conv needs the key 'out' (x.yaml:4, stem)"),
        (
            "{op: conv, out: 16, kernel: 3, stride: 2, act: relu}",
            "conv",
            "stem must be a group of keys and values, but got 'conv' (x.yaml:4, stem)",
        ),
        ("classes: 3", "name: again", "the key name is given twice (x.yaml:1 and x.yaml:2)"),
        ("out: 16, act", "out: 16, out: 24, act", "the key stages[0].out is given twice (x.yaml:6 and x.yaml:6)"),
    ],
)
def test_each_mistake_has_its_line(old: str, new: str, expected: str, tmp_path: Path) -> None:
    """One mistake, one line."""
    assert GOOD.count(old) == 1
    assert problems(GOOD.replace(old, new), tmp_path) == [expected]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "x.yaml must hold keys and values, but holds nothing"),
        ("# nothing\n", "x.yaml must hold keys and values, but holds nothing"),
        ("- a\n- b\n", "x.yaml must hold keys and values, but holds a list"),
        ("mbv3", "x.yaml must hold keys and values, but holds only 'mbv3'"),
        ("name: x\nstages: [\n", r"malformed YAML: .* \(x.yaml:3\)"),
        ("name: x\n\tclasses: 3\n", r"malformed YAML: .* \(x.yaml:\d\)"),
        ("name: x\n---\nname: y\n", r"malformed YAML: but found another document \(x.yaml:2\)"),
        ("name: a\0b", r"malformed YAML: unacceptable character #x0000.* \(x.yaml\)"),
        ("name: !!python/object/apply:os.system [ls]", r"malformed YAML: could not determine a constructor"),
        ("[a]: 2", r"malformed YAML: found unhashable key \(x.yaml:1\)"),
        ("name: 2024-13-01", r"malformed YAML: month must be in 1..12 \(x.yaml\)"),
        ("a: " + "[" * 2000 + "]" * 2000, r"malformed YAML: groups and lists are nested too deeply \(x.yaml\)"),
        (bytes(range(256)), "cannot read x.yaml: .*invalid start byte"),
        (GOOD.encode("utf-16"), "cannot read x.yaml: .*invalid start byte"),
    ],
)
def test_a_file_that_is_no_space_is_one_line(content: str | bytes, said: str, tmp_path: Path) -> None:
    """Malformed YAML names its line where it has one."""
    (problem,) = problems(content, tmp_path)
    assert re.match(said, problem)
    assert "\n" not in problem


def test_anchors_aliases_and_merged_keys_work(tmp_path: Path) -> None:
    """A stage can be repeated, or repeated with a change."""
    path = tmp_path / "x.yaml"
    stage = "  - &stage {op: mbconv, out: 16, act: relu}\n  - *stage\n  - {<<: *stage, out: 24}\n"
    path.write_text(GOOD.replace("  - {op: mbconv, out: 16, act: relu}\n", stage), encoding="utf-8")
    assert [stage.out for stage in read_space(path).format.stages] == [(16,), (16,), (24,)]


def test_a_list_that_contains_itself_is_refused(tmp_path: Path) -> None:
    """Without a traceback and without an end."""
    assert "name must be text, but got [[...]] (x.yaml:1, name)" in problems("name: &a [*a]\n", tmp_path)


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    """A file of 30 lines that stands for 10 to the 9 parts."""
    lines = ["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10))]
    (problem,) = problems("\n".join(lines), tmp_path)
    assert problem.startswith("x.yaml holds more than 100,000 settings")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "", ".", "..", "a/b", "x. y", "a\0b", "x" * 300, "~", "-"])
def test_a_name_cannot_lead_out_of_its_folder(name: str) -> None:
    """It is refused, and the known spaces are named."""
    with pytest.raises(NasError, match=r"search space must be a name \(.*Known: mbv3") as caught:
        load_space(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../x.yaml", "x" * 300 + ".yaml", "a\0.yaml", "tests.yaml"])
def test_a_file_that_is_not_there_is_said(name: str) -> None:
    """The known spaces are named."""
    with pytest.raises(NasError, match=r"there is no search space file .*Known: mbv3"):
        load_space(name)


def test_the_readme_explains_every_key() -> None:
    """Each key of a space, a stage and a layer has its row, with the default that the code has."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(key, default.strip()) for key, default in rows}
    for model in (SpaceFormat, StageFormat, LayerFormat):
        for key, field in model.model_fields.items():
            assert (key, default_words(field.default, required=field.is_required())) in told


def default_words(default: object, *, required: bool) -> str:
    """A default as the README writes it."""
    if required:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    if isinstance(default, tuple):
        words = [f"{value:g}" if isinstance(value, float) else str(value) for value in default]
        return f"`[{', '.join(words)}]`" if len(words) > 1 else f"`{words[0]}`"
    return f"`{default}`"
