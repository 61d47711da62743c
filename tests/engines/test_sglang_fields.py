"""--field statements, and what comes with an answer: every input with its source, the ranks, the reasons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.command_lines import FIELDS, asked, question, refused

from autotune_init.engines import EngineCache, NotCached, Question, Refusal
from autotune_init.engines.registry import ask


def test_fields_alone_decide_everything():
    answer = ask(question(config=None, fields=FIELDS))

    assert answer.key_text == (
        "m/x|torch.bfloat16|None|auto|2|1|1|1|SomeConfig|candidate_selection=v2_default|skip_ops="
    )
    assert answer.source == "override"
    assert answer.rank_files == ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")


def test_one_field_settles_what_argv_leaves_open():
    open_argv = ("--moe-runner-backend", "marlin")
    assert "moe_runner_backend" in refused(*open_argv).detail

    assert "|marlin|" in asked(*open_argv, fields={"moe_runner_backend": "marlin"}).key_text


def test_with_every_field_stated_unknown_flags_no_longer_matter():
    argv = ("--speculative-num-steps", "3", "--some-new-flag")

    assert asked(*argv, fields=FIELDS).key == ask(question(fields=FIELDS)).key


@pytest.mark.parametrize(
    "argv",
    [
        ("--attn-dp-size", "2"), ("--config", "x"), ("--conf", "x"), ("--dwdp-size", "2"), ("--dp-size", "x"),
        ("--attn-cp-size", "2"), ("--dp-size-of-a-fork", "2"), ("stray",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_decides_the_files_is_refused_even_with_every_field_stated(argv):
    assert refused(*argv, fields=FIELDS).reason == "undecidable"


def test_what_decides_the_files_is_read_in_every_spelling_even_with_every_field_stated():
    assert asked("--dp-siz", "2", fields=FIELDS).all_rank_files[1] == "rank_tp0_pp0_dp1.json"
    assert asked("--data-parallel", "2", fields=FIELDS).key == asked(fields=FIELDS).key
    assert asked("--flashinfer-autotune-skip", "a", fields=FIELDS).key_text.endswith("skip_ops=a")
    assert asked("--nnode", "2", fields=FIELDS).nnodes == 2
    assert isinstance(ask(question("--disable-flashinfer-autot", fields=FIELDS)), NotCached)


def test_a_dp_rank_from_the_environment_is_refused_even_with_every_field_stated():
    assert "SGLANG_DP_RANK" in refused(fields=FIELDS, environ={"SGLANG_DP_RANK": "1"}).detail


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tp_size": "two"}, "tp_size"),
        ({"tp_size": True}, "tp_size"),
        ({"tp_size": "99999999999999999999"}, "tp_size"),
        ({"nonsense": "1"}, "nonsense"),
        ({"is_draft": "perhaps"}, "is_draft"),
        ({"model_path": ""}, "model_path"),
        ({"dtype": "auto"}, "dtype"),
    ],
    ids=str,
)
def test_a_statement_of_the_wrong_kind_is_refused(fields, named):
    answer = refused(fields=fields)

    assert answer.reason == "key-inputs"
    assert named in answer.detail


@pytest.mark.parametrize(
    "fields", [{"attn_dp_size": 2}, {"dp_size": 2, "enable_dp_attention": "true", "attn_dp_size": 1}], ids=str
)
def test_statements_that_contradict_each_other_are_refused(fields):
    assert "state all three" in refused("--tp", "2", fields=fields).detail


def test_a_drafts_key_needs_its_own_quantization():
    fields = {**FIELDS, "is_draft": "true"}

    assert "draft_quantization" in refused(fields=fields).detail
    answer = asked(fields={**fields, "draft_quantization": "None"})
    assert answer.key_text.endswith("|draft_quant=None")
    assert not isinstance(
        ask(question(fields=fields | {"draft_quantization": "fp8"}, version="0.5.14")), EngineCache
    )


def test_every_input_has_a_value_and_a_source():
    answer = asked("--tp", "2", "--dtype", "half", config="llama-mofp8")
    inputs = {one.name: (one.value, one.source) for one in answer.inputs}

    assert inputs["model_path"] == ("m/x", "argv")
    assert inputs["dtype"] == ("torch.float16", "argv")
    assert inputs["quantization"] == (None, "no --quantization")
    assert inputs["moe_runner_backend"] == ("auto", "auto, for llama on sm90")
    assert inputs["tp_size"] == (2, "argv")
    assert inputs["pp_size"] == (1, "default")
    assert inputs["config_class"] == ("LlamaConfig", "config.json")
    assert inputs["cache_root"] == ("/c", "--cache-dir")
    assert inputs["arch"] == ("sm90", "compute capability")
    assert all(one.source for one in answer.inputs)
    for part in answer.key_text.split("|")[:9]:
        assert part in {str(value) for value, _ in inputs.values()}


def test_ranks_of_this_pod_and_of_the_replica():
    argv = ("--tp", "16", "--nnodes", "2", "--node-rank", "1")
    answer = asked(*argv, "--dp", "2", "--enable-dp-attention")

    assert answer.rank_files == tuple(f"rank_tp{tp}_pp0_dp1.json" for tp in range(8, 16))
    assert len(answer.all_rank_files) == 16
    assert answer.nnodes == 2
    assert asked("--tp", "2", "--dp", "2").all_rank_files == tuple(
        f"rank_tp{tp}_pp0_dp{dp}.json" for tp in (0, 1) for dp in (0, 1)
    )


def test_ranks_that_do_not_fit_are_refused():
    assert refused("--tp", "3", "--nnodes", "2").reason == "key-ranks"
    assert refused("--tp", "4", "--nnodes", "2", "--node-rank", "2").reason == "key-ranks"


@pytest.mark.parametrize("engine", ["tensorrt-llm", "", "SGLang"])
def test_another_engine_is_refused_by_name(engine):
    answer = ask(Question(engine, "1", "0.7.2", (9, 0)))

    assert isinstance(answer, Refusal)
    assert answer.reason == "unknown-engine"
    assert repr(engine) in answer.detail


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["--tp", "--model-path", "--dp", "=", "--", "--nnodes=2", "--ep", "m/x", "2", "-m"]
            ),
        ),
        max_size=8,
    ),
    st.dictionaries(
        st.sampled_from([*FIELDS, "dp_size", "skip_ops", "x"]), st.one_of(st.none(), st.text(), st.integers())
    ),
)
def test_nothing_that_is_typed_raises(argv, fields):
    answer = ask(question(*argv, fields=fields))

    assert isinstance(answer, EngineCache | Refusal | NotCached)
