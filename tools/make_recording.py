"""Records a terminal: one pod tunes, the next one hits, then a look into the bucket. Writes docs/img/terminal.svg.

    python tools/make_recording.py     # needs `make servers` (MinIO)

The lines are really typed into bash at a terminal of fixed size, and what is drawn is what they answered; durations and
ages are those of that minute. The tune is a recorded H100's, replayed, as in `make demo`.
"""

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PICTURE = ROOT / "docs" / "img" / "terminal.svg"
COLUMNS, ROWS = 118, 60
MAX_PICTURE_BYTES = 60_000
TITLE = "autotune-cache"
ENGINE = (
    "python3 -m sglang.launch_server --model-path examples/model --dtype bfloat16 "
    "--quantization modelopt_fp8 --moe-runner-backend flashinfer_cutlass"
)
FOLDER = Path("/tmp/demo")  # it is in the picture
REPLAY = f"python {FOLDER}/examples/replay_tuner.py {FOLDER}/examples/h100-sample/bmm_fp8_tuned.json"
SETTINGS = {
    "AUTOTUNE_STORE": "s3://models/autotune",
    "AUTOTUNE_FACTS": "examples/facts-h100.json",
    "AUTOTUNE_TUNER": "command",
    "AUTOTUNE_TUNER_COMMAND": REPLAY,
}
POD = "autotune-init run --holder {pod} --cache-dir {pod} -- $ENGINE > {pod}.json"
# KEY: the beginning of the key that the first pod has reported
TYPED = (
    "echo $ENGINE",
    "# one pod finds nothing and tunes; without a GPU here, a recorded tune is replayed",
    POD.format(pod="pod-a"),
    "# the next one finds it with one request",
    POD.format(pod="pod-b"),
    "# what is in the bucket",
    "cache-store ls",
    "cache-store show KEY | head -9",
    "cache-store stats | head -6",
)
THEME = TerminalTheme(
    (24, 26, 31),
    (208, 211, 217),
    [(24, 26, 31), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194),
     (171, 178, 191)],
    [(140, 148, 163), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194),
     (255, 255, 255)],
)  # fmt: skip


def answer(line: str, folder: Path, environ: dict[str, str]) -> str:
    """What the terminal shows after `line`, colours included. stderr is a pipe: a bar on it would be drawn and wiped out."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # EIO: the program has ended
        pass
    os.close(ours)
    _, story = process.communicate()
    if process.returncode:
        sys.exit(f"{line}\n{story.decode()}{seen.decode()}")
    return story.decode() + seen.decode().replace("\r\n", "\n")


def record(folder: Path, environ: dict[str, str]) -> list[tuple[str, str]]:
    """(line, answer), in order."""
    told = []
    for line in TYPED:
        if "KEY" in line:
            line = line.replace("KEY", json.loads((folder / "pod-a.json").read_text())["key"][:6])  # noqa: PLW2901 -- as typed
        told.append((line, answer(line, folder, environ)))
    return told


def draw(told: list[tuple[str, str]]) -> str:
    """The picture, with the fonts of whoever looks at it: nothing is loaded from anywhere."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, color_system="truecolor", force_terminal=True
        )
        for line, said in told:
            if line.startswith("#"):
                console.print(Text(line, style="bright_black"))
                continue
            for text in (
                Text.assemble(("$ ", "green"), (line, "bold bright_white")),
                *Text.from_ansi(said).split(),
            ):
                # as a terminal does it, in the middle of words
                for part in text.divide(range(COLUMNS, len(text), COLUMNS)):
                    console.print(part, soft_wrap=True)
        # rich's own template loads Fira Code from a content network
        template = re.sub(r"    @font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        template = template.replace(
            "Fira Code, monospace",
            "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
        )
        return console.export_svg(title=TITLE, theme=THEME, code_format=template, unique_id="terminal")


def main() -> int:
    from tools.cluster.s3_server import make_bucket, s3_server

    with lent(FOLDER) as folder, s3_server(port=free_port()) as server:
        (folder / "examples").symlink_to(ROOT / "examples")
        make_bucket(server, "models")
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = {
            "PATH": programs,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "ENGINE": ENGINE,
        }
        told = record(folder, environ | server.settings | SETTINGS)
    picture = draw(told)
    if len(picture) > MAX_PICTURE_BYTES:
        sys.exit(f"the picture has {len(picture)} bytes, more than {MAX_PICTURE_BYTES}: show less")
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture)
    print(f"wrote {PICTURE.relative_to(ROOT)}, {len(picture)} bytes")
    return 0


@contextmanager
def lent(folder: Path) -> Iterator[Path]:
    folder.mkdir()  # fails where somebody else's is
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
