"""Recipe, memo and engine: who is asked, who is believed, what is remembered, and what never happens."""

import json
from dataclasses import replace

import pytest
from tests.pods import FACTS, ROOT

from autotune_init.ask_engine import EngineCannotSay
from autotune_init.engines import EngineCache, NotCached, Question, Refusal
from autotune_init.engines.registry import ask
from autotune_init.settle_key import Means, agreed, cache_of, settle
from autotune_init.settled import needs_engine
from cache_store.clock import SystemClock
from cache_store.errors import ErrorKind, StoreError
from cache_store.memo import Memo, memo_key
from cache_store.objects.counting import Counting
from cache_store.objects.memory import MemoryStore

METADATA = json.loads(FACTS.read_text())["metadata"]
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
ARGV = ("--model-path", "/m", "--dtype", "bfloat16", "--quantization", "modelopt_fp8", "--moe-runner-backend",
        "flashinfer_cutlass", "--tp", "2", "--api-key", "hunter2")  # fmt: skip
QUESTION = Question("sglang", "0.5.23", "0.7.2", (9, 0), ARGV, CONFIG, cache_dir="/c", driver="580.95")
UNSURE = Refusal("undecidable", "a flag that is not in the table")
INPUTS = {"engine": "sglang", "n": 1}


def decided():
    answer = ask(QUESTION)
    assert isinstance(answer, EngineCache), answer
    return answer


def answer_of(cache, question=QUESTION, **changes):
    """What resolve_sglang.py would say where it agrees with this cache."""
    value = cache.resolved
    fields = {
        "model_path": value["model_path"], "dtype": value["dtype"], "quantization": value["quantization"],
        "moe_runner_backend": value["moe_runner_backend"], "config_class": value["config_class"], "skip_ops": "",
        "tp_size": value["tp_size"], "pp_size": value["pp_size"], "attn_dp_size": 1, "dp_size": 1,
        "ep_size": value["moe_ep_size"], "nnodes": 1, "node_rank": 0, "model_quantization": None,
    }  # fmt: skip
    target = {
        "role": "target", "key": cache.key, "folder": f"flashinfer/autotune/0.7.2/sm90/{cache.key}", "files": list(cache.all_rank_files), "fields": fields, "tunes": True,
        "tunes_why": "the release's own rule",
    }  # fmt: skip
    return {
        "schema": "autotune-cache/resolution/v1", "engine": "sglang", "engine_version": question.engine_version,
        "flashinfer_version": question.flashinfer_version, "capability": list(question.capability),
        "argv": list(question.argv), "workers": [target], **changes,
    }  # fmt: skip


class World:
    """A store that counts, and an engine that counts how often it is asked."""

    def __init__(self, given=None, store=None):
        self.given = answer_of(decided()) if given is None else given
        self.store = Counting(store or MemoryStore(SystemClock()))
        self.asked = 0

    def ask(self):
        self.asked += 1
        if isinstance(self.given, EngineCannotSay):
            raise self.given
        return self.given

    def means(self, **changes):
        return replace(Means(self.ask, lambda: INPUTS, lambda: self.store, holder="pod-a"), **changes)

    def settle(self, recipe=UNSURE, policy="auto", **changes):
        return settle(QUESTION, recipe, policy, self.means(**changes))

    @property
    def requests(self):
        return self.store.counts.total_requests


@pytest.mark.parametrize(
    ("recipe", "policy", "is_needed"),
    [
        (UNSURE, "auto", True),
        (UNSURE, "always", True),
        (UNSURE, "never", False),
        (Refusal("unknown-engine-version", "0.9"), "auto", True),
        (Refusal("key-ranks", "x"), "always", False),
        (NotCached("engine-does-not-tune", "x"), "always", False),
        (decided(), "auto", False),
        (decided(), "always", True),
        (decided(), "never", False),
        (replace(decided(), kind="entries"), "always", False),
    ],
)
def test_when_the_engine_is_asked(recipe, policy, is_needed):
    assert needs_engine(recipe, policy) is is_needed


def test_a_recipe_that_decides_costs_neither_a_request_nor_a_child():
    world = World()
    recipe = decided()

    assert world.settle(recipe).answer == recipe
    assert (world.asked, world.requests) == (0, 0)


def test_the_first_pod_asks_and_remembers_and_the_second_reads_with_one_request():
    world = World()
    first = world.settle()
    spent = world.requests
    second = world.settle()

    assert (first.answer.key, first.answer.source, first.asked) == (decided().key, "resolver", True)
    assert (second.answer.key, second.answer.source, second.asked) == (decided().key, "memo", False)
    assert (world.asked, spent, world.requests - spent) == (1, 2, 1)
    assert first.warnings == second.warnings == ()


def test_no_secret_of_the_command_line_lies_in_the_bucket():
    world = World()
    world.settle()
    body = world.store.get(memo_key(INPUTS), limit_bytes=1 << 20).body

    assert b"hunter2" not in body
    assert json.loads(body)["holder"] == "pod-a"


def test_without_a_store_the_engine_is_asked_each_time():
    world = World()
    world.settle(open_store=None)
    world.settle(open_store=None)

    assert (world.asked, world.requests) == (2, 0)


def test_who_only_wants_to_know_leaves_nothing_behind():
    world = World()
    world.settle(remembers=False)

    assert list(world.store.list("")) == []


def bad_memo(**changes):
    memo = json.loads(Memo(inputs=INPUTS, answer=answer_of(decided())).encode())
    return json.dumps({**memo, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"garbage",
        bad_memo(schema="other"),
        bad_memo(inputs={"n": 2}),
        bad_memo(answer={}),
        bad_memo(answer=answer_of(decided())),  # its command line has a secret: not what we write
        bad_memo(answer=answer_of(replace(decided(), key="0" * 16), argv=[*ARGV[:-1], "***"])),
        bad_memo(answer={**answer_of(decided()), "argv": [*ARGV[:-1], "***"], "engine_version": "0.5.22"}),
    ],
    ids=["garbage", "schema", "inputs", "no answer", "unmasked", "wrong key", "other version"],
)
def test_a_bad_memo_is_ignored_with_a_warning_and_the_engine_is_asked(body):
    world = World()
    world.store.put_if_absent(memo_key(INPUTS), body)

    settled = world.settle()

    assert (settled.answer.source, world.asked) == ("resolver", 1)
    assert "should be deleted" in settled.warnings[0]
    assert world.store.get(memo_key(INPUTS), limit_bytes=1 << 20).body == body


class Failing:
    """A store of which one operation fails."""

    def __init__(self, operation):
        self.inner = MemoryStore(SystemClock())
        self.operation = operation
        self.url = self.inner.url

    def __getattr__(self, name):
        if name == self.operation:

            def fail(*_args, **_kwargs):
                raise StoreError(ErrorKind.DENIED, "403")

            return fail
        return getattr(self.inner, name)


@pytest.mark.parametrize("operation", ["get", "put_if_absent"])
def test_a_store_that_refuses_is_a_warning_and_never_a_failure(operation):
    world = World(store=Failing(operation))

    settled = world.settle()

    assert settled.answer.key == decided().key
    assert len(settled.warnings) == 1


def test_a_lost_race_is_a_warning():
    world = World()

    def ask_slowly():
        world.store.put_if_absent(memo_key(INPUTS), bad_memo(holder="pod-b"))
        return world.given

    settled = world.settle(ask=ask_slowly)

    assert settled.answer.source == "resolver"
    assert settled.warnings == ("another pod remembered the engine's answer first",)


def test_code_that_cannot_be_told_apart_is_asked_and_not_remembered():
    world = World()

    def inputs():
        raise EngineCannotSay("code-unknown", "no RECORD")

    settled = world.settle(inputs=inputs)

    assert settled.answer.source == "resolver"
    assert "no RECORD" in settled.warnings[0]
    assert world.requests == 0


@pytest.mark.parametrize(
    "given",
    [
        EngineCannotSay("timeout", "resolve_sglang.py had not ended after 180 s"),
        EngineCannotSay("not-started", "the engine's Python does not start"),
        EngineCannotSay("refused", "ValueError: no such model"),
        {},
        answer_of(decided(), argv=["--tp", "8"]),
        answer_of(decided(), engine="vllm"),
        answer_of(decided(), engine_version="0.5.22"),
        answer_of(decided(), capability=[10, 0]),
        answer_of(decided(), workers=[]),
        answer_of(replace(decided(), key="0" * 16)),
        answer_of(replace(decided(), all_rank_files=("../../etc/passwd",))),
    ],
    ids=[
        "timeout",
        "not started",
        "refused",
        "empty",
        "argv",
        "engine",
        "version",
        "gpu",
        "workers",
        "key",
        "files",
    ],
)
def test_what_is_no_answer_to_this_question_is_a_refusal_that_names_both_and_is_not_remembered(given):
    world = World(given)

    settled = world.settle()

    assert settled.answer.reason == "undecidable"
    assert UNSURE.detail in settled.answer.detail
    assert "the engine itself: " in settled.answer.detail
    assert list(world.store.list("")) == []


def test_a_refusal_keeps_its_own_reason():
    world = World(EngineCannotSay("not-installed", "x"))

    assert world.settle(Refusal("unknown-engine-version", "0.5.99")).answer.reason == "unknown-engine-version"


def test_a_recipe_that_was_to_be_confirmed_is_not_used_alone():
    settled = World(EngineCannotSay("timeout", "too slow")).settle(decided(), "always")

    assert (settled.answer.reason, "too slow" in settled.answer.detail) == ("undecidable", True)


def test_recipe_and_engine_that_agree_give_the_engines_answer():
    settled = World().settle(decided(), "always")

    assert (settled.answer.key, settled.answer.source) == (decided().key, "resolver")


def test_recipe_and_engine_that_differ_are_a_refusal_with_both_texts():
    other = ask(replace(QUESTION, argv=(*ARGV, "--tp", "4")))

    answer = World().settle(other, "always").answer

    assert answer.reason == "key-mismatch"
    assert other.key_text in answer.detail
    assert decided().key_text in answer.detail


# -- vLLM: no recipe, its answers as the release gave them (tests/data/vllm_golden.json) ---------------------------


def vllms(*words, **changes):
    golden = json.loads((ROOT / "tests" / "data" / "vllm_golden.json").read_text())["answers"]
    [given] = [one for one in golden if one["arch"] == "sm90" and one["argv"] == list(words)]
    question = Question("vllm", "0.33.0", "0.7.2.post1", (9, 0), words, {"model_type": "llama"},
                        environ={"HOME": "/root"}, metadata=METADATA)  # fmt: skip
    return question, {**given, **changes}


def test_vllm_is_asked_and_its_answer_remembered():
    question, given = vllms("./qwen3-moe", "-tp", "2")
    world = World(given)

    first, second = (settle(question, UNSURE, "auto", world.means()) for _ in range(2))

    assert first.answer.key == second.answer.key == given["workers"][0]["key"]
    assert (first.answer.source, second.answer.source, world.asked) == ("resolver", "memo", 1)


def test_one_rank_of_vllm_uses_flashinfers_own_store():
    question, given = vllms("./llama", "-tp", "1")

    answer = settle(question, UNSURE, "auto", World(given).means()).answer

    assert (answer.kind, answer.source) == ("entries", "resolver")
    assert answer.directory.startswith("/root/.cache/flashinfer/autotune/v2/")


def test_a_vllm_that_does_not_tune_is_an_answer_and_is_remembered():
    question, given = vllms("./qwen3-moe", "-tp", "2")
    worker = {**given["workers"][0], "tunes": False, "tunes_why": "switched off"}
    world = World({**given, "workers": [worker]})

    answers = [settle(question, UNSURE, "auto", world.means()).answer for _ in range(2)]

    assert answers == [NotCached("engine-does-not-tune", "switched off")] * 2
    assert world.asked == 1


def test_drafts_must_agree_as_well():
    recipe, engine = decided(), cache_of(QUESTION, answer_of(decided()), "resolver")
    draft = replace(decided(), key="0" * 16)

    assert isinstance(agreed(replace(recipe, draft=recipe), replace(engine, draft=engine)), EngineCache)
    refusal = agreed(replace(recipe, draft=draft), replace(engine, draft=engine))
    assert (refusal.reason, "draft" in refusal.detail) == ("key-mismatch", True)
