"""Starts real `autotune-init run` processes for tests: its own cache dir, a clean environment, a facts file."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "examples" / "h100-sample" / "bmm_fp8_tuned.json"
FACTS = ROOT / "examples" / "facts-h100.json"
ENGINE = (
    "python3", "-m", "sglang.launch_server",
    "--model-path", "examples/model",
    "--dtype", "bfloat16",
    "--quantization", "modelopt_fp8",
    "--moe-runner-backend", "flashinfer_cutlass",
)  # fmt: skip
REPLAY = shlex.join([sys.executable, str(ROOT / "examples" / "replay_tuner.py"), str(RECORDING)])


def clean_environ(**more):
    kept = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


@dataclass
class Pod:
    """One pod: where its engine looks, and how it is started."""

    root: Path
    store: str
    tp: int = 1
    flags: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    facts: Path = FACTS
    engine: tuple[str, ...] = ENGINE

    @property
    def cache(self):
        return self.root / "cache"

    def command(self, *flags):
        return [
            sys.executable, "-m", "autotune_init", "run",
            "--store", self.store,
            "--cache-dir", str(self.cache),
            "--facts", str(self.facts),
            "--termination-log", str(self.root / "termination-log"),
            *self.flags, *flags,
            "--", *self.engine, "--tp", str(self.tp),
        ]  # fmt: skip

    def start(self, *flags):
        self.root.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            self.command(*flags),
            cwd=ROOT,
            env=clean_environ(**self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags, timeout=60):
        process = self.start(*flags)
        stdout, stderr = process.communicate(timeout=timeout)
        return Done(process.returncode, stdout, stderr)

    def files(self):
        """Every file below the cache dir: path relative to it -> bytes."""
        if not self.cache.exists():
            return {}
        return {
            str(p.relative_to(self.cache)): p.read_bytes()
            for p in sorted(self.cache.rglob("*"))
            if p.is_file()
        }

    def rank_files(self):
        return {Path(name).name: body for name, body in self.files().items()}


@dataclass
class Done:
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self):
        lines = self.stdout.strip().splitlines()
        assert len(lines) == 1, f"stdout is not one line: {self.stdout!r} {self.stderr}"
        return json.loads(lines[0])

    @property
    def ending(self):
        return self.report["outcome"], self.report["reason"]
