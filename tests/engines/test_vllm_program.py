"""The resolver for vLLM as a program: what it says where there is no vLLM, and that it leaves nothing behind."""

import json
import shutil
import socket
import subprocess
import sys

import pytest
from tests.pods import ROOT

from autotune_init.inside.asked_in_fork import CannotResolve, in_fork

PROGRAM = ROOT / "src" / "autotune_init" / "inside" / "resolve_vllm.py"
GPU = json.loads((ROOT / "tests" / "data" / "vllm_cases.json").read_text())["gpus"]["sm90"]
MARK = "AUTOTUNE-ANSWER "


def run(folder, job):
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM)],
        input=json.dumps(job).encode(),
        capture_output=True,
        check=False,
        cwd=folder,
        env=environ,
        timeout=60,
    )
    marked = [text for text in done.stdout.decode().splitlines() if text.startswith(MARK)]
    return done.returncode, [json.loads(text[len(MARK) :]) for text in marked], done.stderr.decode()


@pytest.mark.parametrize("gpu", [GPU, None], ids=["a GPU that is pretended", "the GPU that is here"])
def test_a_python_without_the_engine_is_a_refusal_that_names_it(tmp_path, gpu):
    assert shutil.which("cc"), "a libcuda is made with the C compiler"

    code, answers, stderr = run(tmp_path, {"argv": ["./m"], "gpu": gpu, "node_rank": 0})

    assert code == 0, stderr
    assert [answer["refused"] for answer in answers] == ["undecidable"]
    assert answers[0]["detail"].startswith("engine: ModuleNotFoundError")


def test_asking_leaves_no_file_behind(tmp_path):
    run(tmp_path, {"argv": ["./m"], "gpu": GPU, "node_rank": 0})

    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["tmp"]


def test_no_name_is_looked_up_and_nothing_connected(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import vllm_surroundings, socket\n"
        "vllm_surroundings.no_network()\n"
        "def fails(what, *given):\n"
        "    try: what(*given)\n"
        "    except OSError as error: return type(error).__name__\n"
        "port = int(sys.argv[2])\n"
        "print(fails(socket.create_connection, ('127.0.0.1', port)), fails(socket.getaddrinfo, 'localhost', port))\n"
        "print(fails(socket.socket().connect, ('127.0.0.1', port)))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", program, str(PROGRAM.parent), port],
            capture_output=True,
            check=True,
            text=True,
        )

    assert done.stdout.split() == ["gaierror", "gaierror", "OSError"]


def test_what_a_fork_answers_or_raises_reaches_the_one_who_asked():
    def refuse():
        raise CannotResolve("rule", "why: because")

    def fail():
        raise SystemExit(3)

    def vanish():
        raise MemoryError("x" * 5000)

    assert in_fork(lambda: {"answer": [1, None]}) == {"answer": [1, None]}
    with pytest.raises(CannotResolve, match=r"^rule: why: because$"):
        in_fork(refuse)
    with pytest.raises(CannotResolve, match=r"^worker: SystemExit: 3$"):
        in_fork(fail)
    with pytest.raises(CannotResolve, match=r"^worker: MemoryError: x{800,900}$"):
        in_fork(vanish)


def test_a_fork_that_is_killed_is_a_refusal():
    import os
    import signal

    with pytest.raises(CannotResolve, match="wait status 9"):
        in_fork(lambda: os.kill(os.getpid(), signal.SIGKILL))
