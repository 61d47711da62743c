"""`autotune-init run` and `key` where the engine itself is asked: through real processes, with an engine's Python that is
a stand-in. tests/engines_live does the same with a real SGLang.
"""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from tests.pods import FACTS, REPLAY, ROOT, Pod, clean_environ

from autotune_init.engines import EngineCache, Question
from autotune_init.engines.registry import ask
from cache_store.objects.open_url import open_store

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run-report.json").read_text())
TUNE = ("--tuner", "command", "--tuner-command", REPLAY)
METADATA = json.loads(FACTS.read_text())["metadata"]
VERSION = METADATA["flashinfer_version"]
MODEL = ("--model-path", "examples/model", "--dtype", "bfloat16", "--quantization", "modelopt_fp8",
         "--moe-runner-backend", "flashinfer_cutlass")  # fmt: skip
SERVE = ("sglang", "serve", *MODEL)
TP = ("--tp", "1")
UNKNOWN = {"SGLANG_SWITCH_OF_A_FORK": "1"}  # no rule follows it: the recipe refuses
DRAFT = ("--speculative-algorithm", "EAGLE3", "--speculative-num-steps", "3", "--speculative-eagle-topk", "1",
         "--speculative-num-draft-tokens", "4")  # fmt: skip

# an interpreter that runs `-c` programs as a real one, and in place of the resolver and the launcher the test's own
PYTHON = """#!/bin/sh
export PYTHONPATH={site}
case "$1 $2" in
  *resolve_sglang.py*) echo asked >> {calls}; exec {real} {answers} ;;
  "-m sglang.launch_server") shift 2; echo started >> {calls}; exec {real} {launcher} "$@" ;;
  *) exec {real} "$@" ;;
esac
"""
LAUNCHER = """
import json, os, sys
argv = sys.argv[1:]
value = lambda name: argv[len(argv) - 1 - argv[::-1].index(name) + 1]
kept = [word for name in ("--model-path", "--host", "--port") for word in (name, value(name))]
os.execv(sys.executable, [sys.executable, "-S", {stub!r}, *kept, "--stub-metadata", {metadata!r},
         "--stub-record", {record!r}, *{folders!r}])
"""


def decided(*words, **config):
    read = json.loads((ROOT / "examples" / "model" / "config.json").read_text())
    answer = ask(
        Question(
            "sglang",
            "0.5.23",
            VERSION,
            (9, 0),
            (*MODEL, *words),
            read,
            cache_dir="/c",
            driver="580.95",
            **config,
        )
    )
    assert isinstance(answer, EngineCache), answer
    return answer


def folder(cache):
    return f"flashinfer/autotune/{VERSION}/sm90/{cache.key}"


def worker(cache, *, tunes=True):
    fields = {name: cache.resolved[name] for name in ("model_path", "dtype", "quantization", "moe_runner_backend",
              "config_class", "tp_size", "pp_size")}  # fmt: skip
    fields |= {"skip_ops": "", "attn_dp_size": 1, "dp_size": 1, "ep_size": 1, "nnodes": 1, "node_rank": 0,
               "model_quantization": cache.resolved.get("draft_quantization")}  # fmt: skip
    return {
        "role": "draft" if cache.resolved["is_draft"] else "target", "key": cache.key, "folder": folder(cache),
        "files": list(cache.all_rank_files), "fields": fields, "tunes": tunes, "tunes_why": "the release's own rule",
    }  # fmt: skip


def says(*workers, **changes):
    """A program that answers like inside/resolve_sglang.py."""
    answer = {
        "schema": "autotune-cache/resolution/v1", "engine": "sglang", "engine_version": "0.5.23",
        "flashinfer_version": VERSION, "capability": [9, 0], "workers": list(workers), **changes,
    }  # fmt: skip
    return (
        f"import json, sys\nanswer = json.loads({json.dumps(answer)!r})\n"
        "answer.setdefault('argv', json.load(sys.stdin)['argv'])\nprint('AUTOTUNE-ANSWER ' + json.dumps(answer))\n"
    )


class World:
    def __init__(self, tmp):
        self.tmp = tmp
        self.calls = tmp / "calls"
        self.answers = tmp / "answers.py"
        self.python = tmp / "python"
        (tmp / "store").mkdir()
        info = tmp / "site" / "sglang-0.5.23.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Name: sglang\nVersion: 0.5.23\n")
        (info / "RECORD").write_text("sglang/__init__.py,sha256=abc,3\n")
        self.python.write_text(
            PYTHON.format(site=tmp / "site", calls=self.calls, real=sys.executable, answers=self.answers,
                          launcher=tmp / "launcher.py")
        )  # fmt: skip
        self.python.chmod(0o755)

    def answers_with(self, program):
        self.answers.write_text(program)

    def launches(self, *caches):
        folders = [word for cache in caches for word in ("--stub-folder", folder(cache))]
        text = LAUNCHER.format(
            stub=str(ROOT / "tests" / "init" / "launcher_stub.py"), metadata=json.dumps(METADATA),
            record=str(self.tmp / "record"), folders=folders,
        )  # fmt: skip
        (self.tmp / "launcher.py").write_text(text)

    def pod(self, name, *flags, engine=SERVE, environ=UNKNOWN):
        return Pod(
            self.tmp / name,
            (self.tmp / "store").as_uri(),
            flags=("--python", str(self.python), *flags),
            engine=engine,
            environ=environ,
        )

    def called(self, what):
        return self.calls.read_text().split().count(what) if self.calls.exists() else 0

    def key(self, *flags, engine=SERVE, environ=UNKNOWN):
        done = subprocess.run(
            [sys.executable, "-m", "autotune_init", "key", "--facts", str(FACTS), "--cache-dir", "/c", "--python",
             str(self.python), *flags, "--", *engine],
            cwd=ROOT, env=clean_environ(**environ), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    @property
    def store(self):
        return open_store((self.tmp / "store").as_uri(), environ={}, adapter="auto", request_timeout_s=5.0)

    def memos(self):
        return [entry.key for entry in self.store.list("_resolved/")]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def check(done, outcome, reason, code=0):
    assert done.ending == (outcome, reason), done.stderr
    assert done.code == code, done.stderr
    jsonschema.validate(done.report, SCHEMA)
    assert "Traceback" not in done.stderr
    return done.report


def test_the_first_pod_asks_and_the_second_needs_two_requests_and_no_child(world):
    world.answers_with(says(worker(decided())))

    first = check(world.pod("a", *TUNE).run(), "tuned", "published")
    second = check(world.pod("b", *TUNE).run(), "hit", "found")

    assert (first["key_source"], second["key_source"]) == ("resolver", "memo")
    assert first["key"] == second["key"] == decided().key
    assert second["requests"] == 2
    assert world.called("asked") == 1
    assert not any("memo" in warning for warning in second["warnings"])


def test_what_the_recipe_decides_is_one_request_and_no_child(world):
    world.answers_with("raise SystemExit(1)")
    check(world.pod("a", *TUNE, environ={}).run(), "tuned", "published")

    hit = check(world.pod("b", environ={}).run(), "hit", "found")

    assert (hit["requests"], hit["key_source"]) == (1, "recipe")
    assert world.called("asked") == 0
    assert world.memos() == []


def test_a_pod_of_another_gpu_does_not_believe_the_memo(world):
    world.answers_with(says(worker(decided())))
    check(world.pod("a", *TUNE).run(), "tuned", "published")
    facts = json.loads(FACTS.read_text())
    facts["gpu"]["name"] = facts["metadata"]["gpu"] = "NVIDIA H200"
    (world.tmp / "h200.json").write_text(json.dumps(facts))
    other = world.pod("b")
    other.facts = world.tmp / "h200.json"

    assert check(other.run(), "cold", "miss")["key_source"] == "resolver"
    assert len(world.memos()) == 2


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(600)", "--resolve-timeout"),
        ("import os; os.abort()", "killed by signal 6"),
        ("print('rubbish')", "without an answer"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "exit code 1"),
        (says(worker(decided()), argv=["--tp", "8"]), "it answers for argv"),
        (says(worker(decided()), engine="vllm"), "it answers for engine"),
        (says(worker(decided()), engine_version="0.5.22"), "it answers for engine_version"),
        (says({**worker(decided()), "key": "0" * 16}), "the engine's key is"),
        (says({**worker(decided()), "files": ["../../../etc/passwd"]}), "rank files"),
        ("print('AUTOTUNE-ANSWER {\"refused\": \"undecidable\", \"detail\": \"ValueError: no model\"}')", "no model"),
    ],
    ids=["hangs", "crashes", "rubbish", "no torch", "other argv", "other engine", "other version", "wrong key",
         "path", "refuses"],
)  # fmt: skip
def test_given_an_engine_that_does_not_answer_then_skipped_by_name_and_nothing_is_remembered(
    world, program, said
):
    world.answers_with(program)

    report = check(world.pod("a", *TUNE, "--resolve-timeout", "3").run(), "skipped", "undecidable")

    assert "the recipe: SGLANG_SWITCH_OF_A_FORK" in report["detail"]
    assert said in report["detail"]
    assert world.memos() == []
    strict = world.pod("a", *TUNE, "--resolve-timeout", "3", "--strict").run()
    check(strict, "skipped", "undecidable", 17)


def test_an_engine_whose_python_is_not_there_ends_before_the_question(world):
    world.python.unlink()

    done = world.pod("a").run()

    assert done.report["outcome"] == "skipped"
    assert str(world.python) in done.report["detail"]


def test_the_engine_is_never_asked_where_the_operator_says_so(world):
    check(world.pod("a", "--resolver", "never").run(), "skipped", "undecidable")

    assert world.called("asked") == 0


def test_recipe_and_engine_that_differ_are_not_used(world):
    world.answers_with(says(worker(decided("--dtype", "float16"))))

    report = check(world.pod("a", *TUNE, "--resolver", "always", environ={}).run(), "skipped", "key-mismatch")

    assert "torch.bfloat16" in report["detail"]
    assert "torch.float16" in report["detail"]


def test_an_engine_that_does_not_tune_is_not_looked_up_and_its_path_is_still_told(world):
    world.answers_with(says(worker(decided(), tunes=False)))

    report = check(world.pod("a", *TUNE).run(), "skipped", "engine-does-not-tune")

    assert report["key"] == decided().key
    assert report["detail"] == "the release's own rule"
    assert report["requests"] == 2  # the memo, looked for and written
    code, text, _ = world.key()
    assert (code, decided().key in text, "does not tune here" in text) == (0, True, True)


def test_a_bad_memo_is_told_and_the_engine_is_asked(world):
    world.answers_with(says(worker(decided())))
    check(world.pod("a", *TUNE).run(), "tuned", "published")
    [memo] = world.memos()
    world.store.delete(memo)
    world.store.put_if_absent(memo, b"garbage")

    report = check(world.pod("b").run(), "hit", "found")

    assert report["key_source"] == "resolver"
    assert "should be deleted" in report["warnings"][0]


# -- drafts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drafted(world):
    """(command line, the target's cache with its draft's)."""
    path = world.tmp / "draft"
    path.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLMEagle3"], "torch_dtype": "bfloat16",
              "hidden_size": 512, "num_hidden_layers": 1}  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    words = (*DRAFT, "--speculative-draft-model-path", str(path))
    cache = decided(*words, draft_config=config)
    assert cache.draft is not None
    return (*SERVE, *words), cache


def test_target_and_draft_are_both_tuned_and_both_found(world, drafted):
    engine, cache = drafted

    tuned = check(world.pod("a", *TUNE, engine=engine, environ={}).run(), "tuned", "published")
    pod = world.pod("b", engine=engine, environ={})
    hit = check(pod.run(), "hit", "found")

    for report, outcome in ((tuned, "tuned"), (hit, "hit")):
        assert report["key"] == cache.key
        assert report["draft"]["key"] == cache.draft.key
        assert report["draft"]["outcome"] == outcome
        assert report["draft"]["ranks"] == ["rank_tp0_pp0_dp0.json"]
    assert hit["requests"] == 2
    assert {Path(name).parent.name for name in pod.files()} == {cache.key, cache.draft.key}


def test_a_draft_that_stays_cold_is_not_hidden_behind_a_warm_target(world, drafted):
    engine, cache = drafted
    check(world.pod("a", *TUNE, engine=engine, environ={}).run(), "tuned", "published")
    [key] = [
        entry.key
        for entry in world.store.list("")
        if entry.key.endswith("bundle.json") and cache.draft.key in entry.key
    ]
    world.store.delete(key)

    report = check(world.pod("b", engine=engine, environ={}).run(), "cold", "miss")

    assert report["draft"]["outcome"] == "cold"
    assert report["detail"].startswith("draft worker: ")
    assert report["saved_s"] > 0


def test_only_the_draft_is_warmed_where_only_the_draft_tunes(world, drafted):
    engine, cache = drafted
    world.answers_with(says(worker(cache, tunes=False), worker(cache.draft)))

    pod = world.pod("a", *TUNE, engine=engine)
    report = check(pod.run(), "tuned", "published")

    assert report["draft"]["outcome"] == "tuned"
    assert {Path(name).parent.name for name in pod.files()} == {cache.draft.key}


def test_one_start_of_the_engine_tunes_target_and_draft(world, drafted):
    engine, cache = drafted
    world.launches(cache, cache.draft)

    pod = world.pod("a", "--tuner", "engine", engine=engine, environ={})
    report = check(pod.run(timeout=120), "tuned", "published")

    assert world.called("started") == 1
    assert report["tuner"] == "engine"
    assert {Path(name).parent.name for name in pod.files()} == {cache.key, cache.draft.key}


def test_a_folder_that_the_engine_does_not_use_is_a_failed_tune(world):
    world.launches(decided("--dtype", "float16"))

    check(world.pod("a", "--tuner", "engine", environ={}).run(timeout=120), "cold", "tuner-wrong-key")


# -- hazards -----------------------------------------------------------------------------------------------------


def test_a_known_hazard_ends_the_run_unless_it_is_allowed_and_then_it_is_told(world, drafted):
    engine, _ = drafted
    old = ("--engine-version", "0.5.20")

    check(
        world.pod("a", *TUNE, *old, engine=engine, environ={}).run(),
        "skipped",
        "known-bad-sglang-draft-clears-target",
    )
    allowed = world.pod(
        "a", *TUNE, *old, "--allow-known-bad", "sglang-draft-clears-target", engine=engine, environ={}
    )
    done = allowed.run()

    report = check(done, "tuned", "published")
    assert any(warning.startswith("DANGER") for warning in report["warnings"])
    assert "DANGER" in done.stderr


# -- key ---------------------------------------------------------------------------------------------------------


def test_key_tells_the_engines_answer_its_draft_and_leaves_no_memo(world, drafted):
    engine, cache = drafted
    world.answers_with(says(worker(cache), worker(cache.draft)))

    code, text, _ = world.key("--json", "--store", (world.tmp / "store").as_uri(), engine=engine)

    answer = json.loads(text)
    assert code == 0
    assert (answer["key"], answer["draft"]["key"], answer["source"]) == (
        cache.key,
        cache.draft.key,
        "resolver",
    )
    assert answer["tunes"] is True
    assert world.memos() == []


def test_key_shows_the_draft_and_whether_each_tunes(world, drafted):
    engine, cache = drafted
    code, text, _ = world.key(engine=engine, environ={})

    assert code == 0
    assert cache.draft.key in text
    assert text.count("It tunes here") == 2


def explained(world, as_json, *words, environ=UNKNOWN):
    """`key --verify-with`, as main.py calls it."""
    program = (
        "import json, os, sys; from autotune_init.explain import explain_key; from autotune_init.settings import Settings;"
        "flags = json.loads(sys.argv[1]); settings = Settings(facts=flags['facts'], cache_dir='/c', "
        "engine_argv=tuple(flags['argv']));"
        "sys.exit(explain_key(settings, dict(os.environ), sys.stdin, sys.stdout, sys.stderr, as_json=flags['json'], "
        "is_batch=False, verify_with=flags['python']))"
    )
    flags = {"facts": str(FACTS), "argv": [*SERVE, *words], "json": as_json, "python": str(world.python)}
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(flags)],
        cwd=ROOT, env=clean_environ(**environ), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout if as_json else done.stdout + done.stderr


def test_verifying_says_whether_the_engine_agrees(world):
    world.answers_with(says(worker(decided())))

    code, text = explained(world, False, environ={})
    assert (code, "it agrees" in text) == (0, True), text
    code, text = explained(world, False, "--tp", "1", "--dtype", "float16", environ={})
    assert code == 17
    assert "torch.float16" in text
    assert "torch.bfloat16" in text


def test_verifying_where_the_recipe_refuses_gives_the_engines_answer_and_says_so(world):
    world.answers_with(says(worker(decided())))

    code, text = explained(world, True)

    answer = json.loads(text)
    assert (code, answer["key"], answer["verification"]["agrees"]) == (0, decided().key, None)
