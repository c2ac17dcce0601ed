"""A wrong space file is refused with every problem in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nas.errors import ConfigError, NasError
from nas.networks.architecture import OPERATORS
from nas.networks.operators import units
from nas.networks.space.format import LayerFormat, SpaceFormat, StageFormat, TiedFormat
from nas.networks.space.keys import STAGE_OPERATORS
from nas.networks.space.search_space import load_space, read_space

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
README = Path(__file__).parents[3] / "search_spaces" / "README.md"


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
        "unknown per_block key 'kernal'. Known: kernel, start_kernel, heads, expand, hidden, variant, se, transformer, "
        "act, expand_groups, transformer_depth, groups, branches, op (x.yaml:5, per_block[0])",
        "the stem must be of conv and max_pool, but has a linear (x.yaml:4, stem)",
        "unknown operator 'mbcnv'. Known: mbconv, conv, mixconv, fused_mbconv, ds_conv, fbnet, mobile_one, "
        "mobile_vit, uib, shuffle_xception, lite_mla, shuffle_v1, shuffle_v2, ghost, rep_ghost "
        "(x.yaml:7, stages[0].op)",
        "a choice needs at least one value, but got an empty list (x.yaml:7, stages[0].out)",
        "unknown activation 'rellu'. Known: relu, relu6, silu, none, hsigmoid, hswish, sigmoid "
        "(x.yaml:7, stages[0].act)",
        "unknown key 'kernell'. Known, nearest first: kernel, start_kernel, per_block, expand, hidden, variants, "
        "transformer_depth, se_divisor, se, transformer, expand_groups, hidden_divisor, gate, norm, depth, heads, "
        "scale, se_of, groups, se_act, stride, branches, act, op, out (x.yaml:7, stages[0].kernell)",
        "depth must be a whole number, but got True (x.yaml:9, stages[1].depth)",
        "kernel must be odd and at least 1, but got 4. Common choices: 3, 5, 7 (x.yaml:9, stages[1].kernel[1])",
        "stages[2] must be a group of keys and values, but got 'conv' (x.yaml:10, stages[2])",
        "a pool has neither kernel nor stride (x.yaml:13, head[1])",
        "unknown key 'clases'. Known, nearest first: classes, stages, name, stem, resolution, head, tied, divisor, "
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
            "  - {op: pool}\n  - {op: pool}\n",
            "head[1] is a pool, but only conv and linear layers can follow the pool (x.yaml:7, head)",
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


STAGE = "{op: mbconv, out: 16, act: relu}"
STEM = "{op: conv, out: 16, kernel: 3, stride: 2, act: relu}"
POOL = "  - {op: pool}\n"
GROUPED = "conv, fused_mbconv, fbnet, shuffle_v1, mixconv, mobile_one"


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "{op: uib, out: 16, act: relu, se: 0.25}",
            [
                "se is not a key of uib, but only of ds_conv, mbconv, fused_mbconv, mixconv, ghost, rep_ghost, "
                "mobile_one (x.yaml:6, stages[0].se)"
            ],
        ),
        (
            "{op: [uib, shuffle_v2], out: 16, act: relu, groups: 2, norm: last}",
            [
                f"groups is not a key of uib or shuffle_v2, but only of {GROUPED} (x.yaml:6, stages[0].groups)",
                "norm is not a key of uib or shuffle_v2, but only of mbconv (x.yaml:6, stages[0].norm)",
            ],
        ),
        ("{op: lite_mla, out: 16}", ["the key 'transformer' is missing (x.yaml:6, stages[0])"]),
        (
            "{op: mbconv, out: 16, act: relu, kernel: 0}",
            [
                "kernel must be odd and at least 1, but got 0 (no convolution), which only uib can have "
                "(x.yaml:6, stages[0].kernel)"
            ],
        ),
        (
            "{op: mbconv, out: 16, act: relu, stride: 2, depth: [0, 1]}",
            ["only a stage of stride 1 can have depth 0, but its stride is 2 (x.yaml:6, stages[0])"],
        ),
        (
            "{op: mbconv, out: 16, act: relu, scale: down}",
            ["scale must be true, false or up, but got 'down' (x.yaml:6, stages[0].scale)"],
        ),
        (
            "{op: mbconv, out: 16, act: relu, se_act: sigmoid, se_of: in}",
            [
                "se_of must be 'expanded' or 'input', but got 'in' (x.yaml:6, stages[0].se_of)",
                "unknown se_act 'sigmoid'. Known: silu, hswish, relu (x.yaml:6, stages[0].se_act)",
            ],
        ),
        # What no network of the stage could be built from.
        (
            "{op: uib, out: 16, act: relu, stride: 2, kernel: [0, 3]}",
            [
                "a uib block of stride 2 needs a depthwise convolution, but has neither kernel_size nor "
                "start_kernel_size (x.yaml:6, stages[0])"
            ],
        ),
        (
            "{op: fbnet, out: 16, act: relu, groups: [1, 3]}",
            ["groups must divide out_channels, but got 3 and 16 (x.yaml:6, stages[0])"],
        ),
        (
            "{op: [mbconv, shuffle_v2], out: 17, act: relu, scale: false}",
            ["out_channels of a shuffle_v2 block must be even, but got 17 (x.yaml:6, stages[0])"],
        ),
        # Variants.
        (
            "{op: mbconv, out: 16, act: relu, variants: {}}",
            ["at least one row is needed, but the list is empty (x.yaml:6, stages[0].variants)"],
        ),
        (
            "{op: mbconv, out: 16, act: relu, variants: {a: {kernel: 4}, b: {kernl: 3}}}",
            [
                "kernel must be odd and at least 1, but got 4. Common choices: 3, 5, 7 "
                "(x.yaml:6, stages[0].variants.a.kernel)",
                "unknown key 'kernl'. Known, nearest first: kernel, start_kernel, expand, hidden, se, transformer, "
                "expand_groups, heads, groups, transformer_depth, branches, act, op "
                "(x.yaml:6, stages[0].variants.b.kernl)",
            ],
        ),
        (
            "{op: mbconv, out: 16, act: relu, kernel: [3, 5], variants: {a: {kernel: 3}}}",
            [
                "kernel is decided by the variants, so it cannot be a choice of the stage, too "
                "(x.yaml:6, stages[0].kernel)"
            ],
        ),
        (
            "{op: mbconv, out: 16, act: relu, variants: {a: {groups: 2}, b: {op: uib, groups: 2}}}",
            [
                f"variant a: groups is not a key of mbconv, but only of {GROUPED} (x.yaml:6, stages[0].variants)",
                f"variant b: groups is not a key of uib, but only of {GROUPED} (x.yaml:6, stages[0].variants)",
            ],
        ),
        (
            "{op: mbconv, out: 16, variants: {a: {act: relu}, b: {kernel: 5}}}",
            ["the key 'act' is missing (x.yaml:6, stages[0])"],
        ),
    ],
)
def test_a_stage_says_what_its_operators_cannot_have(stage: str, expected: list[str], tmp_path: Path) -> None:
    """All at once, with the operators that have it."""
    assert problems(GOOD.replace(STAGE, stage), tmp_path) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (STEM, "[{op: max_pool, kernel: 3}]", "the stem must begin with a conv (x.yaml:4, stem)"),
        (STEM, "[]", "the stem must begin with a conv (x.yaml:4, stem)"),
        (
            STEM,
            "[{op: conv, out: 8}, {op: max_pool, kernel: 3, act: relu}]",
            "a max_pool has no act (x.yaml:4, stem[1])",
        ),
        (
            STEM,
            "[{op: conv, out: 8}, {op: conv, out: 16, groups: 3}]",
            "groups must divide out_channels, but got 3 and 16 (x.yaml:4, stem)",
        ),
        (
            STEM,
            "[{op: conv, out: 8}, {op: conv, out: 48, groups: 3}]",
            "groups must divide the input's channels, but got 3 and 8 (x.yaml:4, stem)",
        ),
        (
            POOL,
            "  - {op: conv, out: 48, groups: 3}\n" + POOL,
            "groups must divide the input's channels, but got 3 and 16 (x.yaml:7, head)",
        ),
        (
            POOL,
            POOL + "  - {op: conv, out: 8, kernel: 3}\n",
            "head[1] sees a single pixel after the pool, but its kernel is 3 (x.yaml:7, head)",
        ),
        (
            POOL,
            POOL + "  - {op: linear, out: 8}\n  - {op: conv, out: 8}\n",
            "head[2] is a conv, but only linear layers can follow a linear layer (x.yaml:7, head)",
        ),
        (POOL, "  - {op: pool, bias: false}\n", "a pool has no bias to leave out (x.yaml:8, head[0])"),
        (POOL, "  - {op: pool, groups: 2}\n", "a pool has no groups (x.yaml:8, head[0])"),
    ],
)
def test_layers_say_what_they_cannot_be(old: str, new: str, expected: str, tmp_path: Path) -> None:
    """In the stem and in the head."""
    assert problems(GOOD.replace(old, new), tmp_path) == [expected]


@pytest.mark.parametrize(
    ("keys", "rows", "expected"),
    [
        (
            "[stage1.out]",
            "{s: [16], l: [24]}",
            ["stage1.out is tied to size, so it must not be given elsewhere, but is [16] there (x.yaml:2, tied)"],
        ),
        (
            "[stage1.depth, width]",
            "{s: [1, 1.0], l: [200, x], m: [1]}",
            [
                "row l: stage1.depth must be less than or equal to 100, but got 200 (x.yaml:2, tied[0].rows)",
                "row l: width must be a valid number, but got 'x' (x.yaml:2, tied[0].rows)",
                "row m must have 2 values, one for each key, but has 1 (x.yaml:2, tied[0].rows)",
            ],
        ),
        (
            "[stage1.kernel]",
            "{s: [4]}",
            [
                "row s: stage1.kernel: kernel must be odd and at least 1, but got 4. Common choices: 3, 5, 7 "
                "(x.yaml:2, tied[0].rows)"
            ],
        ),
        ("[stage7.depth]", "{s: [1]}", ["stage7.depth is tied, but there are only 1 stages (x.yaml:2, tied)"]),
        ("[stage1.depth]", "{}", ["at least one row is needed, but the list is empty (x.yaml:2, tied[0].rows)"]),
        (
            "[stage1.expand]",
            "{s: [[1, 2]]}",
            ["row s: stage1.expand must be one value in each row, but got [1, 2] (x.yaml:2, tied[0].rows)"],
        ),
        (
            "[stage1.groups]",
            "{s: [2]}",
            [f"groups is not a key of mbconv, but only of {GROUPED} (x.yaml:6, stages[0])"],
        ),
        (
            "[stage1.depth]",
            "{1: [1]}",
            ["rows[1] must be text, but got 1; put it in quotes (x.yaml:2, tied[0].rows[1])"],
        ),
    ],
)
def test_tied_decisions_say_what_is_wrong_with_them(keys: str, rows: str, expected: list[str], tmp_path: Path) -> None:
    """Each row and key is named."""
    tied = f"tied: [{{name: size, keys: {keys}, rows: {rows}}}]"
    assert problems(GOOD.replace("classes: 3", tied), tmp_path) == expected


def test_tied_decisions_exclude_each_other(tmp_path: Path) -> None:
    """One name and one key each; stages and the whole space have their names already; what cannot be tied is said."""
    group = "{name: a, keys: [stage1.depth], rows: {s: [1]}}"
    assert problems(GOOD.replace("classes: 3", f"tied: [{group}, {group}]"), tmp_path) == [
        "two tied decisions are called a (x.yaml:2, tied)",
        "stage1.depth is tied twice (x.yaml:2, tied)",
    ]
    for name in ("width", "stage1", "a.b"):
        (problem,) = problems(
            GOOD.replace("classes: 3", f"tied: [{group.replace('name: a', f'name: {name}')}]"), tmp_path
        )
        assert problem.startswith(f"a tied decision cannot be called {name!r}")
    (problem,) = problems(GOOD.replace("classes: 3", f"tied: [{group.replace('depth', 'stride')}]"), tmp_path)
    assert problem.startswith("'stage1.stride' cannot be tied. Known: resolution, width, stage1.depth, stage1.out, ")


@pytest.mark.parametrize("op", STAGE_OPERATORS)
def test_every_operator_makes_blocks_that_can_be_built(op: str, tmp_path: Path) -> None:
    """Of the keys that it needs; the units of the smallest network have parameters."""
    keys = "".join(f", {key}: {value}" for key, value in NEEDED.items() if key in STAGE_OPERATORS[op])
    path = tmp_path / "x.yaml"
    path.write_text(GOOD.replace(STAGE, f"{{op: {op}, out: 32{keys}}}"), encoding="utf-8")
    space = read_space(path)
    (member,) = [space.decode({})]
    assert member.blocks[1].op == op
    assert all(unit.params > 0 for unit in units(member) if unit.block.op != "pool")


# One value for each key, with which all operators can be built on 16 channels.
NEEDED = {
    "kernel": 3,
    "start_kernel": 3,
    "stride": 2,
    "expand": 2,
    "groups": 2,
    "expand_groups": 1,
    "transformer": 16,
    "transformer_depth": 2,
    "heads": 2,
    "branches": 1,
    "se": 0.25,
    "act": "relu",
}


def test_the_table_of_operators_is_whole() -> None:
    """Every operator that is not a layer can be a stage's, has a builder, and the README's row has its keys."""
    assert set(STAGE_OPERATORS) == set(OPERATORS) - {"max_pool", "pool", "linear"}
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {op: frozenset(re.findall(r"`(\w+)`", keys)) for op, keys in rows if op in STAGE_OPERATORS}
    assert told == STAGE_OPERATORS


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
    with pytest.raises(NasError, match=r"search space must be a name \(.*Known: .*mbv3") as caught:
        load_space(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../x.yaml", "x" * 300 + ".yaml", "a\0.yaml", "tests.yaml"])
def test_a_file_that_is_not_there_is_said(name: str) -> None:
    """The known spaces are named."""
    with pytest.raises(NasError, match=r"there is no search space file .*Known: .*mbv3"):
        load_space(name)


def test_the_readme_explains_every_key() -> None:
    """Each key of a space, a stage and a layer has its row, with the default that the code has."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {(key, default.strip()) for key, default in rows}
    for model in (SpaceFormat, StageFormat, LayerFormat, TiedFormat):
        for key, field in model.model_fields.items():
            assert (key, default_words(field.default, required=field.is_required())) in told


def default_words(default: object, *, required: bool) -> str:
    """A default as the README writes it."""
    if required:
        return "required"
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return f"`{default}`".lower()
    if isinstance(default, tuple):
        words = [f"{value:g}" if isinstance(value, float) else str(value) for value in default]
        return f"`[{', '.join(words)}]`" if len(words) > 1 else f"`{words[0]}`"
    return f"`{default}`"
