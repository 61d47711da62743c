"""The built tree on real interpreters: the same hit as from a checkout, and nothing of the engine's gets in the way."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.image.trees import ROOT, SCHEMA, VERSIONS, Done, interpreter, need, open_to_all
from tests.pods import ENGINE, FACTS, REPLAY, Pod


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A store that has this pod's bundle, tuned and published by a checkout's program."""
    root = tmp_path_factory.mktemp("fleet")
    (root / "store").mkdir()
    store = (root / "store").as_uri()
    done = Pod(root / "first", store).run("--tuner", "command", "--tuner-command", REPLAY)
    assert done.ending[0] == "tuned"
    return store


@pytest.fixture(scope="session")
def copied(tree, tmp_path_factory):
    """What `start copy` makes of the tree: what pods run."""
    place = tmp_path_factory.mktemp("volume") / "opt"
    subprocess.run([tree / "start", "copy", place], check=True, capture_output=True)
    return place


def start(place, python, *words, environ=None):
    """The launcher in an environment where `python` is the one on PATH."""
    found = {"PATH": os.path.dirname(python), "HOME": "/nowhere", **(environ or {})}
    done = subprocess.run(
        [place / "start", *words],
        cwd=ROOT,
        env=found,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def flags_of(store, cache):
    return ["--store", store, "--cache-dir", str(cache), "--facts", str(FACTS)]


def run(place, python, store, cache, *, environ=None):
    return start(
        place,
        python,
        "run",
        "--strict",
        *flags_of(store, cache),
        "--termination-log",
        "/nowhere",
        "--",
        *ENGINE,
        "--tp",
        "1",
        environ=environ,
    )


def environment(tmp_path, python, *, name="venv", **packages):
    """A virtual environment with packages of the test's own: {file below site-packages: text}."""
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / name], check=True)
    [site] = (tmp_path / name / "lib").glob("python*/site-packages")
    for path, text in packages.items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return str(tmp_path / name / "bin" / "python3"), site


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hit_on_every_python(copied, published, tmp_path, version):
    python = need(version)

    done = run(copied, python, published, tmp_path / "cache")

    assert done.ending == ("hit", "found"), done.stderr
    assert done.code == 0
    Draft202012Validator(SCHEMA).validate(done.report)
    assert [path.name for path in (tmp_path / "cache").rglob("*.json")] == ["rank_tp0_pp0_dp0.json"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hit_on_s3_on_every_python(copied, tmp_path, s3, version):
    """obstore's wheel is another one on 3.10; s3fs runs without its friends' compiled parts."""
    python = need(version)
    Pod(tmp_path / "first", s3.url, environ=s3.environ).run("--tuner", "command", "--tuner-command", REPLAY)

    by_obstore = run(copied, python, s3.url, tmp_path / "a", environ=s3.environ)
    by_s3fs = run(
        copied, python, s3.url, tmp_path / "b", environ={**s3.environ, "AUTOTUNE_STORE_ADAPTER": "fsspec"}
    )

    assert by_obstore.ending == ("hit", "found"), by_obstore.stderr
    assert by_s3fs.ending == ("hit", "found"), by_s3fs.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_key_and_facts_on_every_python(copied, version):
    python = need(version)

    key = start(copied, python, "key", "--json", "--facts", str(FACTS), "--", *ENGINE, "--tp", "1")
    facts = start(copied, python, "facts", "--facts", str(FACTS))

    assert key.code == 0, key.stderr
    assert "/sm90/" in json.loads(key.stdout)["directory"]
    assert json.loads(facts.stdout)["gpu"]["name"] == "NVIDIA H100 80GB HBM3"


def test_an_old_engine_python_hands_over_to_another_one_and_stays_the_one_that_is_asked(
    copied, published, tmp_path
):
    """given an engine on Python 3.9 and a newer one on PATH then the newer one runs us, and the engine's packages count."""
    old, new = need("3.9"), need("3.11")
    words = ["run", "--store", published, "--cache-dir", str(tmp_path), "--termination-log", "/nowhere"]

    done = start(
        copied, new, *words, "--", old, "-m", "sglang.launch_server", "--model-path", "examples/model"
    )

    assert done.code == 0
    assert done.ending == ("skipped", "environment-no-flashinfer") or done.report["reason"].startswith(
        "environment-"
    )
    assert "Traceback" not in done.stderr


def test_the_engines_own_versions_of_our_libraries_do_not_matter(copied, published, tmp_path):
    """given an engine with an old pydantic, fsspec and typing_extensions when we run then ours are imported, and the
    engine's are what counts as installed."""
    broken = "raise ImportError('this is the engine\\'s')"
    python, _ = environment(
        tmp_path,
        need("3.11"),
        **{
            "pydantic/__init__.py": broken,
            "pydantic_core/__init__.py": broken,
            "typing_extensions.py": broken,
            "fsspec/__init__.py": broken,
            "obstore/__init__.py": broken,
            "pydantic-1.10.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: pydantic\nVersion: 1.10.2\n",
        },
    )
    program = "from autotune_init.installed import InstalledPackages; import sys; "
    program += "print(InstalledPackages(tuple(sys.path)).version('pydantic'))"
    shown = subprocess.run(
        [
            python,
            "-c",
            f"import sys; sys.path[:0] = ['{copied}/lib/cp311', '{copied}/lib/common']; {program}",
        ],
        capture_output=True,
        check=False,
        text=True,
    )

    assert run(copied, python, published, tmp_path / "cache").ending == ("hit", "found")
    assert shown.stdout == "1.10.2\n"


def test_what_a_sitecustomize_has_imported_already_does_not_matter(copied, published, tmp_path):
    """As OpenTelemetry's automatic instrumentation does, through PYTHONPATH."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text("import typing_extensions, pydantic.main")
    (hooks / "typing_extensions.py").write_text("")
    (hooks / "pydantic").mkdir()
    (hooks / "pydantic" / "__init__.py").write_text("")
    (hooks / "pydantic" / "main.py").write_text("")

    done = run(copied, need("3.11"), published, tmp_path / "cache", environ={"PYTHONPATH": str(hooks)})

    assert done.ending == ("hit", "found"), done.stderr


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONDONTWRITEBYTECODE": ""},
        {"PYTHONPATH": "::/nowhere"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "0", "LC_ALL": "C"},
        {"PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0"},
        {"PYTHONPROFILEIMPORTTIME": "1"},
    ],
    ids=lambda environ: " ".join(environ),
)
def test_the_engines_python_settings_do_not_matter(copied, published, tmp_path, environ):
    done = run(copied, need("3.11"), published, tmp_path / "cache", environ=environ)

    assert done.ending == ("hit", "found"), done.stderr


def test_a_pythonhome_that_kills_the_interpreter_is_a_reason_and_not_a_failed_pod(copied):
    done = start(
        copied,
        need("3.11"),
        "run",
        environ={"PYTHONHOME": "/nowhere", "AUTOTUNE_TERMINATION_LOG": "/nowhere"},
    )

    assert (done.code, done.ending) == (0, ("skipped", "program-unloadable"))
    assert "before our program had loaded" in done.report["detail"]


def test_children_on_the_engines_python_see_nothing_of_ours(copied, tmp_path):
    """The tuner's command is such a child: what it can import is what the engine can."""
    python, _ = environment(tmp_path, need("3.11"))
    (tmp_path / "store").mkdir()
    look = (
        "import json, os, sys, importlib.util as u; open(os.environ['SEEN'], 'w').write(json.dumps("
        "[sys.path, u.find_spec('pydantic') is not None, 'PYDANTIC_DISABLE_PLUGINS' in os.environ]))"
    )
    (tmp_path / "look.py").write_text(look)
    flags = flags_of((tmp_path / "store").as_uri(), tmp_path / "cache")
    tuner = ["--tuner", "command", "--tuner-command", f"{python} {tmp_path / 'look.py'}"]
    words = ["run", *flags, *tuner, "--termination-log", "/nowhere", "--", *ENGINE, "--tp", "1"]

    done = start(copied, python, *words, environ={"SEEN": str(tmp_path / "seen")})

    path, finds_pydantic, is_switched_off = json.loads((tmp_path / "seen").read_text())
    assert done.ending == ("cold", "tuner-incomplete") or done.report["outcome"] == "cold"
    assert not [entry for entry in path if str(copied) in entry]
    assert (finds_pydantic, is_switched_off) == (False, False)


def test_plugins_of_the_engines_pydantic_are_not_loaded(copied, tmp_path):
    """They are installed for another pydantic, and reading 300 packages' entry points takes 0.2 s."""
    python, _ = environment(
        tmp_path,
        need("3.11"),
        **{
            "spy.py": "import os; open(os.environ['SPY'], 'w').close(); plugin = object()",
            "spy-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: spy\nVersion: 1\n",
            "spy-1.dist-info/entry_points.txt": "[pydantic]\nspy = spy:plugin\n",
        },
    )

    (tmp_path / "store").mkdir()
    flags = flags_of((tmp_path / "store").as_uri(), tmp_path / "cache")
    tuner = ["--tuner", "command", "--tuner-command", "/bin/false", "--termination-log", "/nowhere"]
    environ = {"SPY": str(tmp_path / "spied"), "PYTHONVERBOSE": "1"}

    done = start(copied, python, "run", *flags, *tuner, "--", *ENGINE, "--tp", "1", environ=environ)

    assert done.ending[0] == "cold", done.stderr
    assert "import 'pydantic.main'" in done.stderr  # a claim is read and written with it
    assert not (tmp_path / "spied").exists()


def test_a_hit_compiles_nothing_and_writes_nothing_into_the_tree(tree, published, tmp_path):
    place = tmp_path / "opt"
    subprocess.run([tree / "start", "copy", place], check=True, capture_output=True)
    before = {path: path.stat().st_mtime_ns for path in (place / "lib").rglob("*")}
    python = need("3.11")

    done = run(place, python, published, tmp_path / "cache", environ={"PYTHONVERBOSE": "1"})

    assert done.ending == ("hit", "found")
    assert {path: path.stat().st_mtime_ns for path in (place / "lib").rglob("*")} == before
    ours = [line for line in done.stderr.splitlines() if str(place / "lib") in line]
    assert [line for line in ours if "code object from" in line and line.rstrip("'").endswith(".py")] == []
    assert [line for line in ours if "code object from" in line]
    assert not [line for line in ours if "pydantic" in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the uid needs root")
def test_a_tree_of_another_uid_runs(copied, published, tmp_path):
    """As where the policy's first container copies as 65532 and the engine runs as somebody else."""
    python = need("3.11")
    if not all(parent.stat().st_mode & 0o001 for parent in Path(python).parents):
        python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    store = tmp_path / "store"
    shutil.copytree(published.removeprefix("file://"), store)
    open_to_all(copied)
    for path in store.rglob("*"):
        open_to_all(path)
    flags = [
        "--store",
        store.as_uri(),
        "--cache-dir",
        str(cache),
        "--facts",
        str(FACTS),
        "--termination-log",
        "/nowhere",
    ]

    done = subprocess.run(
        [
            copied / "start",
            "run",
            *flags,
            "--model-config",
            str(ROOT / "examples/model"),
            "--",
            *ENGINE,
            "--tp",
            "1",
        ],
        env={"PATH": os.path.dirname(python)},
        user=4711,
        group=4711,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
        text=True,
    )

    assert json.loads(done.stdout)["reason"] == "found", done.stdout + done.stderr


def test_the_manifest_names_every_file(tree):
    manifest = json.loads((tree / "manifest.json").read_text())
    files = {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", ".complete")
    }

    assert manifest["files"] == files
    assert manifest["pythons"] == ["310", "311", "312", "313"]
    digest = hashlib.sha256((tree / "manifest.json").read_bytes()).hexdigest()
    assert (tree / ".complete").read_text() == f"sha256:{digest}\n"


def test_every_module_is_compiled_for_every_interpreter_of_this_machine(tree):
    common = tree / "lib" / "common"
    sources = {path.relative_to(common).as_posix(): path for path in common.rglob("*.py")}
    assert sources

    for version in filter(interpreter, VERSIONS):
        tag = f"cpython-{version.replace('.', '')}"
        alone = {
            name
            for name, path in sources.items()
            if (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists()
        }
        in_one = in_the_one_file(tree, version)

        assert alone | in_one == sources.keys(), version
        assert alone & in_one == set(), "twice is twice the bytes for each pod to copy"
        assert {name for name in in_one if "/inside/" in name} == set(), "programs of the engine's Python"


def in_the_one_file(tree, version):
    """The sources of the modules in it, asked of that Python: the format is its own."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import own_modules as own; own.take_own_modules(sys.argv[1] + '/lib');"
        "print(*(source for source, *_ in sys.meta_path[0].modules.values()))"
    )
    told = said(interpreter(version), program, tree).split()
    return {source.removeprefix("common/") for source in told}


def said(python, program, *words, cwd=None):
    command = [python, "-B", "-c", program, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def importers(place, python):
    """The kinds of importers that our own modules come from, in this tree."""
    program = (
        "import sys, own_modules; own_modules.take_own_modules('lib'); sys.path.insert(0, 'lib/common');"
        "import autotune_init.main, cache_store.bundle;"
        "own = [m for n, m in sys.modules.items() if n.partition('.')[0] in ('autotune_init', 'cache_store')];"
        "print(*sorted({type(m.__loader__).__name__ for m in own}))"
    )
    return said(python, program, cwd=place).split()


HIT = """
import json, os, sys
tree, out = sys.argv[1:3]
del sys.argv[1:3]
sys.path.insert(0, tree)
import own_modules
before = set(sys.modules)
if out.endswith("one-by-one"):
    own_modules.OwnModules.run_all_of_every_start = lambda self: None
end = os._exit
def told(code):
    own = next(one for one in sys.meta_path if isinstance(one, own_modules.OwnModules)).modules
    together = [name for name, (_, _, _, size) in own.items() if size == 0]
    with open(out, "w") as file:
        json.dump([code, sorted(set(sys.modules) - before), sorted(own), sorted(together)], file)
    end(code)
os._exit = told
own_modules.load(tree)()
"""


def modules_of_a_hit(copied, python, tmp_path, s3, how):
    """(those imported, our own, those in the one piece) of a hit through obstore."""
    Pod(tmp_path / "tuned", s3.url, environ=s3.environ).run("--tuner", "command", "--tuner-command", REPLAY)
    out = tmp_path / how
    words = ["run", "--strict", *flags_of(s3.url, tmp_path / "cache"), "--termination-log", "/nowhere"]
    done = subprocess.run(
        [python, "-B", "-c", HIT, copied, out, *words, "--", *ENGINE, "--tp", "1"],
        cwd=ROOT,
        env={"PATH": os.path.dirname(python), "HOME": "/nowhere", **s3.environ},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "hit"
    code, imported, own, together = json.loads(out.read_text())
    assert code == 0
    return set(imported), set(own), set(together)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_hit_imports_of_ours_is_what_lies_in_one_piece(copied, tmp_path, s3, version):
    """A module more would be read at every start for nothing; one less is looked for and read alone."""
    imported, own, together = modules_of_a_hit(copied, need(version), tmp_path, s3, "one-by-one")

    assert imported & own == together


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hit_takes_neither_typing_nor_urllib(copied, tmp_path, s3, version):
    """6 ms of 70: obstore and pathlib each want a name or two of them (image/own_modules.py)."""
    imported, _, _ = modules_of_a_hit(copied, need(version), tmp_path, s3, "together")

    assert "obstore" in imported
    # Python 3.10 has the obstore 0.11 of its own, which wants more of typing and finds it
    of_obstore = {"typing"} if version == "3.10" else set()
    assert imported & {"typing", "urllib.parse", "ipaddress", "pydantic"} == of_obstore


def test_what_stands_in_for_a_module_is_gone_when_the_program_runs_and_the_whole_is_there_on_demand(copied):
    program = (
        "import sys; sys.argv[:] = ['main.py', 'run']; sys.path.insert(0, %r); import own_modules; own_modules.load(%r);"
        "import pathlib, typing, urllib.parse;"
        "print(pathlib.Path('/a b').as_uri(), typing.Any, urllib.parse.urlsplit('a://b/c').netloc)"
    )

    assert said(need("3.11"), program % (str(copied), str(copied))) == "file:///a%20b typing.Any b\n"


def test_given_a_release_that_wants_more_of_a_module_when_imported_then_it_finds_the_whole(copied, tmp_path):
    (tmp_path / "wanting.py").write_text("from typing import TYPE_CHECKING, NamedTuple\n")
    program = (
        "import sys; sys.path[:0] = [%r, %r]; import own_modules; stand_in = type(sys)('typing');"
        "stand_in.TYPE_CHECKING = False; own_modules.import_beside('wanting', stand_in);"
        "print(sys.modules['wanting'].NamedTuple.__module__, sys.modules['typing'] is stand_in)"
    )

    assert said(need("3.11"), program % (str(copied), str(tmp_path))) == "typing False\n"


@pytest.mark.parametrize("spoiled", [None, "gone", "cut", "of another build", "empty"])
@pytest.mark.parametrize("version", VERSIONS)
def test_given_the_one_file_of_our_modules_is_spoiled_when_started_then_it_is_still_a_hit(
    copied, published, tmp_path, version, spoiled
):
    place = tmp_path / "opt"
    shutil.copytree(copied, place, copy_function=os.link)  # the tree is 70 MB
    file = place / "lib" / f"cp{version.replace('.', '')}" / "own_modules.bin"
    body = file.read_bytes()
    file.unlink()
    if spoiled != "gone":
        file.write_bytes(
            {None: body, "cut": body[:-1], "of another build": b"\0" + body[1:], "empty": b""}[spoiled]
        )

    came_from = importers(place, need(version))
    done = run(place, need(version), published, tmp_path / "cache")

    assert came_from == (["SourceFileLoader"] if spoiled else ["OwnModules"])
    assert done.ending[0] == "hit", done.stderr


def test_nothing_of_the_tree_counts_as_installed(tree):
    """importlib.metadata and our own reader see the engine's packages only."""
    assert list(tree.rglob("*.dist-info")) == []
    assert list(tree.rglob("*.egg-info")) == []


def test_a_hit_is_quick(copied, published, tmp_path):
    """A bound that only a missing .pyc or an eager import breaks; docs/evidence has the numbers."""
    python, seconds = need("3.11"), []
    for number in range(3):
        began = time.monotonic()
        run(copied, python, published, tmp_path / str(number))
        seconds.append(time.monotonic() - began)

    assert min(seconds) < 1.5
