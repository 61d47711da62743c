"""The tree, built once for this checkout's lock, sources and launcher, and small trees around its launcher."""

import shutil

import pytest
from tests.image.trees import LOADED, TOOLS, VERSIONS, Small, build_once, interpreter, need, zig_python


@pytest.fixture(scope="session")
def tree():
    """The whole tree, compiled for every interpreter that is here."""

    def command():
        pythons = [
            flag for version in VERSIONS if (found := interpreter(version)) for flag in ("--python", found)
        ]
        return [zig_python(), "image/build_tree.py", "--out", str(TOOLS / "tree"), *pythons]

    return build_once(TOOLS / "tree", command)


@pytest.fixture
def small(tmp_path, tree):
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    shutil.copy2(tree / "start", root / "start")
    (root / ".complete").write_text("sha256:test\n")
    (root / "bin" / "python3").symlink_to(need("3.11"))
    one = Small(root)
    one.log.write_text("")
    one.program(LOADED + "print(json.dumps([sys.executable, *sys.argv[1:]]))")
    return one


@pytest.fixture(scope="session")
def hasty():
    """A launcher that waits a second past the deadline, and another one for SIGTERM."""

    def command():
        program = (
            "import sys; sys.path.insert(0, 'image'); from pathlib import Path; from build_tree import ARCHS, compile_launcher;"
            "cc = [sys.executable, '-m', 'ziglang', 'cc'];"
            "compile_launcher(Path(sys.argv[1]), ARCHS['amd64'].launcher, cc, '-DMARGIN_S=1.0', '-DGRACE_S=1.0')"
        )
        return [zig_python(), "-c", program, str(TOOLS / "hasty-start")]

    return build_once(TOOLS / "hasty-start", command)
