"""The page of the commands, their help and the exit codes say the same."""

import json
import re
import shlex

import pytest
from tests.cli.conftest import SCHEMAS, check_document
from tests.pods import ROOT

from autotune_init.outcomes import REASONS
from cache_store.cli.app import COMMANDS, cli
from cache_store.errors import ErrorKind
from cache_store.exit_codes import MEANINGS, OF_ERROR, ExitCode

PAGE = (ROOT / "docs" / "cli-cache-store.md").read_text()


def section(command):
    return re.split(r"^## ", PAGE.split(f"\n## {command}\n")[1], flags=re.MULTILINE)[0]


def fields(schema):
    for name, below in schema.get("properties", {}).items():
        yield name
        yield from fields(below)
    for one in schema.get("anyOf", []):
        yield from fields(one)
    if "items" in schema:
        yield from fields(schema["items"])


def test_the_table_of_exit_codes_is_the_code():
    table = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)}

    assert table == {code.value: meaning for code, meaning in MEANINGS.items()}
    assert set(MEANINGS) == set(ExitCode)
    assert set(OF_ERROR) == set(ErrorKind)


def test_exit_codes_do_not_move():
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "USAGE": 2,
        "UNAVAILABLE": 10,
        "CORRUPT": 13,
        "DENIED": 14,
        "OUTPUT": 16,
        "UNFIT": 21,
        "NOT_FOUND": 22,
        "REFUSED": 27,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("internal", ExitCode.INTERNAL),
        ("bad-settings", ExitCode.USAGE),
        ("store-unavailable", ExitCode.UNAVAILABLE),
        ("store-timeout", ExitCode.UNAVAILABLE),
        ("store-not-found", ExitCode.UNAVAILABLE),
        ("bundle-", ExitCode.CORRUPT),
        ("store-denied", ExitCode.DENIED),
        ("place-", ExitCode.OUTPUT),
        ("store-unsupported", ExitCode.UNFIT),
        ("store-ignores-conditions", ExitCode.UNFIT),
    ],
)
def test_autotune_init_means_the_same_by_the_same_number(reason, code):
    assert REASONS[reason][0] == code


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_of_the_json_is_on_the_page(command):
    schema = json.loads((SCHEMAS / f"cache-store-{command}.schema.json").read_text())
    named = set(re.findall(r"`([a-z_]+)(?:\[\])?(?:\.[a-z_]+)?`", PAGE)) | set(
        re.findall(r"`[a-z]+\[\]\.([a-z_]+)", PAGE)
    )
    named |= {
        "schema",
        "store",
        "bundles",
        "claims",
        "Version",
        "Statement",
        "Sid",
        "Effect",
        "Action",
        "Resource",
    }

    assert set(fields(schema)) <= named


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_on_the_page(command):
    own = {
        name for one in cli.get_command(None, command).params for name in one.opts if name.startswith("--")
    }
    shared = {name for one in cli.params for name in one.opts if name.startswith("--")}

    assert [name for name in own - shared if f"{name}" not in section(command)] == []
    assert [name for name in shared - {"--help"} if f"`{name}" not in PAGE] == []
    assert f"[`{command}`](#{command})" in PAGE


def test_every_example_of_json_fits_its_schema():
    examples = [json.loads(text) for text in re.findall(r"```json\n(.+?)\n```", PAGE, re.DOTALL)]

    assert len(examples) == 7
    for document in examples:
        check_document(document)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse_and_the_exit_status(shop, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = shop(command, "--help").stdout

    assert "EXIT STATUS\n" in text
    assert re.search(r"^ +130  interrupted", text, re.MULTILINE)
    examples = re.findall(r"^ +cache-store (.+)$", text.split("EXAMPLES\n")[1], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        words = shlex.split(example.split(" | ")[0].split(" > ")[0])
        assert words[0] == command
        assert shop(*words).code in {0, 22}, "the shop is empty, and nothing else may be wrong"


def test_the_programs_help_lists_commands_and_every_number(shop):
    text = shop("--help").stdout

    assert all(re.search(rf"^  {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert [code for code in ExitCode if not re.search(rf"^ +{code.value}  ", text, re.MULTILINE)] == []
