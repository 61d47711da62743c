"""Trees for tests: the interpreters of this machine, the built tree, and small ones around its launcher."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run-report.json").read_text())


def interpreter(version):
    """A real CPython of that version on this machine, or None."""
    named = shutil.which(f"python{version}")
    installed = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [Path(named)] if named else []
    candidates += sorted(installed.glob(f"{version}.*/bin/python{version}"))
    for candidate in candidates:
        # its own word for where it is: what PATH finds may be a shell script in front of it
        told = (
            "import os, sys; print('%s %d.%d' % ((os.path.realpath(sys.executable),) + sys.version_info[:2]))"
        )
        asked = subprocess.run([candidate, "-c", told], capture_output=True, check=False, text=True)
        if asked.stdout.endswith(f" {version}\n"):
            return asked.stdout.rpartition(" ")[0]
    return None


def open_to_all(path):
    """So that another uid reaches what pytest keeps for its own."""
    shared = Path(tempfile.gettempdir())
    for one in (path, *path.parents):
        if one == shared:
            return
        one.chmod(one.stat().st_mode | 0o055)


def without_usual_pythons(command):
    """The command in a mount namespace where the launcher's last places have no Python."""
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    hide = (
        "for python in /usr/local/bin/python3 /usr/bin/python3 /opt/venv/bin/python3; do "
        'if [ -e "$python" ]; then mount --bind /dev/null "$python" || exit 99; fi; done; exec "$@"'
    )
    return ["unshare", "--mount", *own, "/bin/sh", "-c", hide, "sh", *command]


def need(version):
    """That interpreter; without it a named skip, and a failure for the one that CI must have."""
    found = interpreter(version)
    if found is None and version == "3.11" and os.environ.get("CI") == "true":
        pytest.fail("CI has no CPython 3.11 to run the tree on")
    if found is None:
        pytest.skip(f"no CPython {version} on this machine")
    return found


def digest_of_sources():
    digest = hashlib.sha256()
    sources = [ROOT / "uv.lock"]
    for folder in ("image", "src"):
        sources += sorted(
            path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"
        )
    for path in sources:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build_once(out, command):
    """Runs `command`, which makes `out`, unless it has for these sources; one test process builds, the others wait."""
    out.parent.mkdir(parents=True, exist_ok=True)
    stamp = out.with_name(out.name + ".stamp")
    wanted = digest_of_sources()
    with out.with_name(out.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out.exists() and stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            built = subprocess.run(command(), cwd=ROOT, capture_output=True, check=False, text=True)
            if built.returncode:
                pytest.fail(f"{out.name} could not be built: {built.stdout} {built.stderr}")
            stamp.write_text(wanted)
    return out


def zig_python():
    """A Python that has the compiler of image/build_tools.txt."""
    home = TOOLS / "zig"
    uv = str(ROOT / ".uv" / "bin" / "uv")
    wanted = (ROOT / "image" / "build_tools.txt").read_text()
    ready = home / ".ready"
    if not ready.exists() or ready.read_text() != wanted:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], check=True)
        packages = ["--python", str(home / "bin" / "python"), "-r", str(ROOT / "image" / "build_tools.txt")]
        subprocess.run([uv, "pip", "install", "--quiet", *packages], check=True)
        ready.write_text(wanted)
    return str(home / "bin" / "python")


@dataclass
class Done:
    """How a launcher ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self):
        lines = self.stdout.splitlines()
        assert len(lines) == 1, f"stdout is not one line: {self.stdout!r} {self.stderr!r}"
        return json.loads(lines[0])

    @property
    def ending(self):
        return self.report["outcome"], self.report["reason"]


@dataclass
class Small:
    """A tree with the real launcher and a program of the test's own."""

    root: Path
    environ: dict = field(default_factory=dict)

    @property
    def log(self):
        return self.root / "termination-log"

    def program(self, text):
        (self.root / "main.py").write_text(text)

    def command(self, *arguments):
        return [str(self.root / "start"), *arguments]

    def env(self, **more):
        return {
            "AUTOTUNE_TERMINATION_LOG": str(self.log),
            "PATH": str(self.root / "bin"),
            **self.environ,
            **more,
        }

    def start(self, *arguments, **environ):
        return subprocess.Popen(
            self.command(*arguments),
            env=self.env(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **environ):
        process = self.start(*arguments, **environ)
        stdout, stderr = process.communicate(timeout=60)
        return Done(process.returncode, stdout, stderr)

    def run_alone(self, *arguments, **environ):
        """Where the machine has no other Python than those that the test has put on PATH."""
        command = without_usual_pythons(self.command(*arguments))
        searched = os.get_exec_path()
        program = shutil.which(command[0], path=os.pathsep.join(searched)) or command[0]
        env = self.env(**environ)
        done = subprocess.run(
            [program, *command[1:]], env=env, capture_output=True, check=False, text=True, timeout=60
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def executable(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def attempts(self):
        return sorted(path.name for path in (self.root / "attempts").iterdir())


LOADED = """
import os, sys, time, signal, json
pipe = int(sys.argv.pop(1))
os.write(pipe, b"L"); os.close(pipe)
"""
