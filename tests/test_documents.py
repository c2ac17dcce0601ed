"""The READMEs name commands, options, files and headings that exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "experiments", "latency_tables", "nas/deploy", "nas/networks", "search_spaces")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

WITH_SUBCOMMANDS = ("nas.networks", "nas.latency", "nas.deploy", "nas.accuracy")


def commands(text: str) -> Iterator[list[str]]:
    """The words behind `python -m` (or torchrun's `-m`), of code blocks and of code within a line."""
    blocks = re.sub(r"\\\n\s+", " ", text).splitlines()
    lines = [line.strip() for line in blocks if line.startswith("    ")]
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        found = re.search(r"(?:python|torchrun.*) -m (nas\b.*)", line)
        if found:
            yield shlex.split(found[1], comments=True)


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command's `--help` prints: its module's, or that of its subcommand."""
    module = importlib.import_module(words[0])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{words[0]}.__main__")
    subcommand = [words[1]] if words[0] in WITH_SUBCOMMANDS and len(words) > 1 else []
    with pytest.raises(SystemExit) as ended:
        module.main([*subcommand, "--help"])
    assert ended.value.code == 0, words
    return capsys.readouterr().out


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_commands_and_their_options_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option stands in the command's help."""
    helps: dict[tuple[str, ...], str] = {}
    for words in commands(path.read_text(encoding="utf-8")):
        key = tuple(words[:2]) if words[0] in WITH_SUBCOMMANDS else (words[0],)
        if key not in helps:
            helps[key] = help_of(words, capsys)
        options = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        unknown = {option for option in options if not re.search(rf"{option}(?![\w-])", helps[key])}
        assert not unknown, (words, unknown)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    """Those within the project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_file(), target
        if heading:
            assert heading in headings(file), target


def headings(path: Path) -> set[str]:
    """The anchors that GitHub gives to a file's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_modules_and_files_that_are_named_exist(path: Path) -> None:
    """Paths of nas/, and files of the folders of spaces, tables and experiments."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\bnas(?:/\w+)+(?:\.\w+)?", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\b(?:experiments|search_spaces|latency_tables)/\w+\.\w+", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"^(?:from|import) (nas[\w.]*)", text, re.MULTILINE):
        assert importlib.util.find_spec(name) is not None, name
