"""How containers spell the engine's command line: what is read, and what is refused by which name."""

import pytest

from autotune_init.engines.command_line import Unreadable, read_command

ENVIRON = {
    "MODEL": "org/m", "TP": "8", "FLAGS": "--dtype auto --page-size 64", "EMPTY": "", "LWS_LEADER_ADDRESS": "leader.svc",
    "LWS_WORKER_INDEX": "1", "HOME": "/root", "PATH": "/usr/bin",
}  # fmt: skip
SGLANG, SERVE = "sglang.launch_server", "sglang serve"
VLLM, API = "vllm serve", "vllm.entrypoints.openai.api_server"
M = ["--model-path", "org/m"]
MTP = [*M, "--tp", "8"]
S = "python3 -m sglang.launch_server --model-path org/m"


def spelled(value):
    return ascii(value) if isinstance(value, list) else None


def read(*words, engine=None, **environ):
    return read_command(words, {**ENVIRON, **environ}, engine)


@pytest.mark.parametrize(
    ("words", "program", "argv"),
    [
        # programs
        (["python3", "-m", SGLANG, *M], SGLANG, M),
        (["python", "-m", SGLANG, *M], SGLANG, M),
        (["/opt/venv/bin/python", "-m", SGLANG, *M], SGLANG, M),
        (["/usr/bin/python3.12", "-u", "-m", SGLANG, *M], SGLANG, M),
        (["python3", "-uB", "-X", "faulthandler", "-W", "ignore", "-OO", "-m", SGLANG, *M], SGLANG, M),
        (["python3", "-Xdev", "-Wignore", "-um", SGLANG, *M], SGLANG, M),
        (["python3", "-I", "-msglang.launch_server", *M], SGLANG, M),
        (["python3", "--check-hash-based-pycs", "never", "-m", SGLANG, *M], SGLANG, M),
        (["sglang", "serve", *M], SERVE, M),
        (["/sgl-workspace/venv/bin/sglang", "serve", "org/m"], SERVE, ["org/m"]),
        (["python3", "/usr/local/bin/sglang", "serve", *M], SERVE, M),
        (["python3", "-m", "sglang.cli.main", "serve", *M], SERVE, M),
        (["vllm", "serve", "org/m", "--tensor-parallel-size", "8"], VLLM, ["org/m", "--tensor-parallel-size", "8"]),
        (["/usr/local/bin/vllm", "serve", "/models/m"], VLLM, ["/models/m"]),
        (["python3", "-m", API, "--model", "org/m"], API, ["--model", "org/m"]),
        (["python", "-m", "vllm.entrypoints.cli.main", "serve", "org/m"], VLLM, ["org/m"]),
        (["exec", "python3", "-m", SGLANG, *M], SGLANG, M),
        # wrappers
        (["env", "python3", "-m", SGLANG, *M], SGLANG, M),
        (["/usr/bin/env", "-u", "X", "A=b", "python3", "-m", SGLANG, *M], SGLANG, M),
        (["env", "-uX", "--unset=Y", "--chdir=/x", "--", "A=b", "sglang", "serve", *M], SERVE, M),
        (["nice", "-n", "5", "sglang", "serve", *M], SERVE, M),
        (["nice", "--adjustment=5", "sglang", "serve", *M], SERVE, M),
        (["numactl", "--interleave=all", "python3", "-m", SGLANG, *M], SGLANG, M),
        (["numactl", "--cpunodebind", "0", "-m", "0", "--", "sglang", "serve", *M], SERVE, M),
        (["tini", "--", "sglang", "serve", *M], SERVE, M),
        (["/usr/bin/tini", "-s", "-p", "SIGTERM", "--", "sglang", "serve", *M], SERVE, M),
        (["tini", "-g", "vllm", "serve", "org/m"], VLLM, ["org/m"]),
        (["/usr/bin/dumb-init", "--rewrite", "15:2", "--", "sglang", "serve", *M], SERVE, M),
        (["/opt/nvidia/nvidia_entrypoint.sh", "python3", "-m", SGLANG, *M], SGLANG, M),
        (["stdbuf", "-oL", "-eL", "sglang", "serve", *M], SERVE, M),
        (["ionice", "-c", "2", "-n", "0", "sglang", "serve", *M], SERVE, M),
        (["setsid", "-w", "sglang", "serve", *M], SERVE, M),
        (["nohup", "sglang", "serve", *M], SERVE, M),
        (["taskset", "-c", "0-7", "sglang", "serve", *M], SERVE, M),
        (["taskset", "0xff", "sglang", "serve", *M], SERVE, M),
        (["timeout", "100", "sglang", "serve", *M], SERVE, M),
        (["timeout", "-k", "5", "--signal=TERM", "1h", "nice", "sglang", "serve", *M], SERVE, M),
        (["tini", "--", "bash", "-c", f"exec {S}"], SGLANG, M),
        # shell lines
        (["sh", "-c", "python3 -m sglang.launch_server --model-path $MODEL --tp $TP --host 0.0.0.0"],
         SGLANG, [*MTP, "--host", "0.0.0.0"]),
        (["/bin/sh", "-ec", f"exec {S} --tp ${{TP}}"], SGLANG, MTP),
        (["bash", "-lc", f"{S} --tp ${{TP:-1}}"], SGLANG, MTP),
        (["bash", "-euxo", "pipefail", "-c", S], SGLANG, M),
        (["bash", "--norc", "-c", "--", S], SGLANG, M),
        (["sh", "-c", f"{S} --tp ${{SIZE:-8}}"], SGLANG, MTP),
        (["sh", "-c", f'{S} "--tp" \'8\''], SGLANG, MTP),
        (["sh", "-c", f"{S} \\\n  --tp 8 \\\n"], SGLANG, MTP),
        (["sh", "-c", f"# start\nset -e\n{S} --tp 8  # all of them\n"], SGLANG, MTP),
        (["sh", "-c", f"set -ex; ulimit -n 65536 && exec {S}"], SGLANG, M),
        (["sh", "-c", f"{S} $FLAGS"], SGLANG, [*M, "--dtype", "auto", "--page-size", "64"]),
        (["sh", "-c", f'{S} --x "$FLAGS"'], SGLANG, [*M, "--x", "--dtype auto --page-size 64"]),
        (["sh", "-c", f"{S} $EMPTY"], SGLANG, M),
        (["sh", "-c", f'{S} "$EMPTY"'], SGLANG, [*M, ""]),
        (["sh", "-c", f"{S} ${{TP:+--tp $TP}}"], SGLANG, MTP),
        (["sh", "-c", f"TP=4; {S} --tp $TP"], SGLANG, [*M, "--tp", "4"]),
        (["sh", "-c", f"TP=4 {S} --tp $TP"], SGLANG, MTP),
        (["bash", "-c", f"{S} --x $'a\\tb'"], SGLANG, [*M, "--x", "a\tb"]),
        (["sh", "-c", f"{S} --json '{{\"a\": [1, \"$TP\"]}}'"], SGLANG, [*M, "--json", '{"a": [1, "$TP"]}']),
        (["sh", "-c", f"{S} >/var/log/engine.log 2>&1"], SGLANG, M),
        (["sh", "-c", f"nvidia-smi; ls -l /models; sleep 5; echo ready > /tmp/x; {S}"], SGLANG, M),
        (["sh", "-c", 'exec sglang serve "$@"', "--", *M], SERVE, M),
        (["sh", "-c", "exec sglang serve --model-path $1 --tp ${2}", "start", "org/m", "8"], SERVE, MTP),
        (["sh", "-c", f"exec bash -c '{S} --tp $TP'"], SGLANG, MTP),
        (["bash", "-c", "export VLLM_USE_V1=1 && vllm serve $MODEL --port 8000"], VLLM, ["org/m", "--port", "8000"]),
        # LeaderWorkerSet, vLLM's production stack, SGLang's multi-node documentation
        (["sh", "-c", f"{S} --tp 16 --dist-init-addr $(LWS_LEADER_ADDRESS):20000".replace("$(LWS_LEADER_ADDRESS)",
          "$LWS_LEADER_ADDRESS") + " --nnodes 2 --node-rank $LWS_WORKER_INDEX --trust-remote-code"],
         SGLANG, [*M, "--tp", "16", "--dist-init-addr", "leader.svc:20000", "--nnodes", "2", "--node-rank", "1",
                  "--trust-remote-code"]),
        (["vllm", "serve", "facebook/opt-125m", "--host", "0.0.0.0", "--port", "8000", "--no-enable-prefix-caching"],
         VLLM, ["facebook/opt-125m", "--host", "0.0.0.0", "--port", "8000", "--no-enable-prefix-caching"]),
        (["/bin/bash", "-c", "export HF_TOKEN=x\npython3 -m vllm.entrypoints.openai.api_server \\\n --model $MODEL \\\n"],
         API, ["--model", "org/m"]),
    ],
    ids=spelled,
)  # fmt: skip
def test_a_spelling_is_read(words, program, argv):
    line = read(*words)

    assert (line.program, list(line.argv)) == (program, argv)
    assert line.engine == ("vllm" if "vllm" in program else "sglang")


@pytest.mark.parametrize(
    ("words", "engine", "program", "argv"),
    [
        (["--model-path", "org/m"], "sglang", "", ["--model-path", "org/m"]),
        (["--model", "org/m"], "vllm", "", ["--model", "org/m"]),
        (["org/m", "--port", "1"], "vllm", "", ["org/m", "--port", "1"]),
        (["/models/m", "-tp", "8"], "vllm", "", ["/models/m", "-tp", "8"]),
        (["serve", "org/m"], "vllm", VLLM, ["org/m"]),
        (["serve", "--model-path", "org/m"], "sglang", SERVE, ["--model-path", "org/m"]),
        (["--model-path", "$MODEL"], "sglang", "", ["--model-path", "$MODEL"]),
    ],
    ids=str,
)
def test_arguments_alone_are_the_stated_engines(words, engine, program, argv):
    line = read(*words, engine=engine)

    assert (line.engine, line.program, list(line.argv)) == (engine, program, argv)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "no-command"),
        ([""], "no-command"),
        (["exec"], "no-command"),
        (["python3"], "no-command"),
        (["tini", "--"], "no-command"),
        (["sh", "-c"], "no-command"),
        (["sh", "-c", ""], "no-command"),
        (["sh", "-c", "set -e; sleep infinity"], "no-command"),
        (["--model-path", "org/m"], "engine-not-said"),
        (["/entrypoint.sh", *M], "entrypoint-script"),
        (["start.sh"], "entrypoint-script"),
        (["/opt/run_server", *M], "entrypoint-script"),
        (["bash", "/start.sh", *M], "entrypoint-script"),
        (["sh", "-e", "start.sh"], "entrypoint-script"),
        (["python3", "serve.py", *M], "entrypoint-script"),
        (
            ["sh", "-c", f"bash /vllm-workspace/multi-node-serving.sh leader --ray_cluster_size=2; {S}"],
            "entrypoint-script",
        ),
        (["sh", "-c", "/entrypoint.sh"], "entrypoint-script"),
        (["sglang", *M], "unknown-program"),
        (["sglang", "generate", *M], "unknown-program"),
        (["vllm", "bench", "serve"], "unknown-program"),
        (["python3", "-m", "sglang.bench_serving"], "unknown-program"),
        (["python3", "-m", "sglang_router.launch_server", *M], "unknown-program"),
        (["python3", "-m", "dynamo.sglang", *M], "unknown-program"),
        (["python3", "-c", "import sglang"], "unknown-program"),
        (["python3", "-", "-m", SGLANG, *M], "unknown-program"),
        (["torchrun", "-m", SGLANG, *M], "unknown-program"),
        (["sh", "-c", f"pip install x && {S}"], "unknown-program"),
        (["org/m", "--port", "1"], "unknown-program"),
        (["env", "-S", "A=b sglang serve"], "unknown-wrapper"),
        (["timeout", "--odd", "5", "sglang", "serve"], "unknown-wrapper"),
        (["nice", "-n", "1", "-x", "sglang", "serve"], "unknown-wrapper"),
        (["nice"] * 9 + ["sglang", "serve"], "too-deep"),
        (["sh", "-c", f"{S}; vllm serve org/m"], "two-engines"),
        (["sh", "-c", f"exec {S}\nexec {S}"], "two-engines"),
        (["sglang", "serve", "--model-path", "$(MODEL_PATH)"], "unexpanded-variable"),
        (["sglang", "serve", "--host=$(POD.IP)"], "unexpanded-variable"),
        (["sh", "-c", f"{S} | tee log"], "shell-operator"),
        (["sh", "-c", f"{S} || sleep 9"], "shell-operator"),
        (["sh", "-c", f"{S} & wait"], "shell-operator"),
        (["bash", "-c", f"{S} &> log"], "shell-operator"),
        (["sh", "-c", f"{S} < file"], "shell-redirection"),
        (["sh", "-c", f"{S} <<END\nx\nEND"], "shell-redirection"),
        (["sh", "-c", f"{S} 3>&1"], "shell-redirection"),
        (["bash", "-c", f"exec > >(tee log); {S}"], "shell-redirection"),
        (["sh", "-c", f"{S} --tp $(nproc)"], "shell-substitution"),
        (["sh", "-c", f"{S} --tp `nproc`"], "shell-substitution"),
        (["sh", "-c", f"{S} --tp $((4*2))"], "shell-substitution"),
        (["sh", "-c", f'{S} --tp "$(nproc)"'], "shell-substitution"),
        (["sh", "-c", f"{S} *"], "shell-glob"),
        (["sh", "-c", f"{S} --x [1]"], "shell-glob"),
        (["sh", "-c", f"X='*'; {S} $X"], "shell-glob"),
        (["sh", "-c", f"{S} --x ~/m"], "shell-expansion"),
        (["bash", "-c", f"{S} --x {{a,b}}"], "shell-expansion"),
        (["sh", "-c", f"f() {{ {S}; }}; f"], "shell-compound"),
        (["sh", "-c", f"if true; then {S}; fi"], "shell-compound"),
        (["sh", "-c", f"for x in 1; do {S}; done"], "shell-compound"),
        (["sh", "-c", f"while true; do {S}; done"], "shell-compound"),
        (["sh", "-c", f"( {S} )"], "shell-compound"),
        (["sh", "-c", f"! {S}"], "shell-compound"),
        (["sh", "-c", f"eval {S}"], "shell-command"),
        (["sh", "-c", f"source /env && {S}"], "shell-command"),
        (["sh", "-c", f". /env && {S}"], "shell-command"),
        (["sh", "-c", f"set -- a; {S}"], "shell-command"),
        (["sh", "-c", f"set -a; {S}"], "shell-command"),
        (["sh", "-c", f"false; {S}"], "shell-command"),
        (["sh", "-c", f"cd ..; {S}"], "shell-command"),
        (["sh", "-c", f"exit 1; {S}"], "shell-command"),
        (["sh", "-c", f"{S} --tp $SIZE"], "shell-unset-variable"),
        (["sh", "-c", f"{S} --tp ${{SIZE:?}}"], "shell-unset-variable"),
        (["sh", "-c", f"{S} --tp $3", "x", "1"], "shell-unset-variable"),
        (["bash", "-c", f"{S} --host ${{HOSTNAME:-x}}"], "shell-unset-variable"),
        (["sh", "-c", f"{S} ${{MODEL##*/}}"], "shell-parameter"),
        (["sh", "-c", f"{S} ${{X:=1}}"], "shell-parameter"),
        (["sh", "-c", f"{S} --tp $#"], "shell-parameter"),
        (["sh", "-c", f"{S} $PWD"], "shell-parameter"),
        (["sh", "-c", f"{S} $'a'"], "shell-parameter"),
        (["sh", "-c", f"IFS=,; {S}"], "shell-assignment"),
        (["sh", "-c", f"A=1 B=$A {S}"], "shell-assignment"),
        (["sh", "-c", f"export X=$FLAGS; {S}"], "shell-assignment"),
        (["bash", "-c", f"TP+=1; {S}"], "shell-assignment"),
        (["sh", "-c", f"{S} 'open"], "shell-syntax"),
        (["sh", "-c", f'{S} "open'], "shell-syntax"),
        (["sh", "-c", f"; {S}"], "shell-syntax"),
        (["sh", "-c", f"{S} &&"], "shell-syntax"),
        (["sh", "-c", f"{S} a\x00"], "shell-syntax"),
        (["sh", "-ic", S], "shell-option"),
        (["bash", "-O", "extglob", "-c", S], "shell-option"),
    ],
    ids=spelled,
)
def test_what_cannot_be_read_for_certain_is_refused_by_name(words, reason):
    with pytest.raises(Unreadable) as refused:
        read(*words)

    assert refused.value.reason == reason
    assert refused.value.detail


def test_a_script_says_what_to_do():
    with pytest.raises(Unreadable, match="put the engine's own command line behind --"):
        read("/entrypoint.sh")


def test_a_kubelets_leftover_is_named():
    with pytest.raises(Unreadable, match=r"no variable MODEL_PATH"):
        read("sglang", "serve", "--model-path", "$(MODEL_PATH)")


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_the_command_and_the_stated_engine_agree(engine):
    other = "vllm" if engine == "sglang" else "sglang"

    assert read(engine, "serve", engine=engine).engine == engine
    with pytest.raises(Unreadable) as refused:
        read(engine, "serve", engine=other)
    assert refused.value.reason == "engine-mismatch"


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["env", "A=b", "C=", "sglang", "serve"], {"A": "b", "C": ""}),
        (["env", "-u", "TP", "sglang", "serve"], {"TP": None}),
        (["env", "-i", "TP=1", "sglang", "serve"], {**dict.fromkeys(ENVIRON), "TP": "1"}),
        (["sh", "-c", "A=b exec sglang serve"], {"A": "b"}),
        (["sh", "-c", "A=b; sglang serve"], {}),
        (["sh", "-c", "TP=b; sglang serve"], {"TP": "b"}),
        (["sh", "-c", "A=b; export A; sglang serve"], {"A": "b"}),
        (["sh", "-c", "export A=b B=$TP && unset TP; sglang serve"], {"A": "b", "B": "8", "TP": None}),
        (["sh", "-c", "unset TP; TP=1; sglang serve"], {"TP": None}),
        (["sh", "-c", "TP=1 env A=$TP sglang serve"], {"TP": "1", "A": "8"}),
    ],
    ids=spelled,
)
def test_the_engine_gets_the_environment_that_the_line_makes(words, change):
    expected = {name: text for name, text in {**ENVIRON, **change}.items() if text is not None}

    assert read(*words).environ == expected


@pytest.mark.parametrize(
    ("words", "directory"),
    [
        (["sglang", "serve"], None),
        (["sh", "-c", "cd /models && exec sglang serve"], "/models"),
        (["sh", "-c", "cd /a; cd b; sglang serve"], "/a/b"),
        (["sh", "-c", "cd b; sglang serve"], "b"),
        (["sh", "-c", "cd; sglang serve"], "/root"),
        (["env", "-C", "/w", "sglang", "serve"], "/w"),
        (["sh", "-c", "cd /a && env --chdir=c sglang serve"], "/a/c"),
    ],
    ids=spelled,
)
def test_relative_paths_begin_where_the_line_goes(words, directory):
    assert read(*words).directory == directory


def test_what_a_reading_rests_on_is_said():
    assert read("sh", "-c", "sglang serve --tp $TP").assumes == ()
    login = read("bash", "-lc", "sglang serve --tp ${SIZE:-1}").assumes
    assert [sentence.split()[0] for sentence in login] == ["the", "SIZE"]


@pytest.mark.parametrize("name", ["BASH_ENV", "SHELLOPTS", "BASH_FUNC_python3%%", "POSIXLY_CORRECT"])
def test_a_variable_that_changes_bash_is_refused(name):
    assert read("sh", "-c", S, **{name: "x"}).engine == "sglang"
    with pytest.raises(Unreadable) as refused:
        read("bash", "-c", S, **{name: "x"})
    assert refused.value.reason == "shell-environment"
