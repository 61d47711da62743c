"""The facts file, and what is probed where it is silent."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune_init.environment import EnvironmentUnknown, Machine
from autotune_init.facts import (
    MAX_FACTS_BYTES,
    BadFacts,
    Facts,
    Gpu,
    gather,
    load_facts,
    parse_facts,
    to_json,
)
from autotune_init.gpu_names import capability_of
from autotune_init.installed import InstalledPackages
from autotune_init.node import facts_on
from autotune_init.nvml import NodeGpus, NoGpu, NvmlGpu
from autotune_init.settings import Settings
from autotune_init.shared_libraries import LoadedLibraries

EXAMPLE = Path(__file__).parents[2] / "examples" / "facts-h100.json"
H100 = "NVIDIA H100 80GB HBM3"
METADATA = {
    "flashinfer_version": "0.6.18.post1",
    "cuda_version": "13.0",
    "cublas_version": "13.1.0",
    "cudnn_version": "91900",
    "cudnn_frontend_version": "unknown",
    "gpu": H100,
}
NODE = NodeGpus("580.95.05", tuple(NvmlGpu(i, H100, f"GPU-{i}", (9, 0)) for i in range(2)))


def no_gpu():
    raise NoGpu("libnvidia-ml.so.1 cannot be loaded")


def never():
    raise AssertionError("FlashInfer's collector was asked")


def machine(read_gpus=no_gpu, environ=None, search_path=(), ask=never):
    return Machine(environ or {}, InstalledPackages(search_path), LoadedLibraries(), read_gpus, ask)


def test_the_example_is_read():
    facts = load_facts(str(EXAMPLE))
    assert facts.gpu == Gpu(H100, (9, 0), 1, ("GPU-00000000-0000-0000-0000-000000000000",), "580.95")
    assert facts.packages == {"sglang": "0.5.23", "flashinfer-python": "0.7.2.post1"}
    assert facts.metadata["cublas_version"] == "13.1.0"
    assert facts.sources["gpu.uuid"] == facts.sources["metadata.gpu"] == "facts file"


@pytest.mark.parametrize("body", [b"{}", b'{"gpu":{}}', b'{"packages":{},"metadata":{}}'])
def test_everything_may_be_absent(body):
    assert parse_facts(body) == Facts()


REFUSALS = [
    (b"", "not-json", "not JSON"),
    (b"\xff", "not-json", "not JSON"),
    (b"[" * 100_000, "not-json", "not JSON"),
    (b"[]", "bad-value", "the file: wants an object, not list"),
    (b'{"gpus":{}}', "unknown-key", "gpus: no such key; there are gpu, packages, metadata"),
    (b'{"gpu":{"uuids":[]}}', "unknown-key", "gpu.uuids: no such key"),
    (b'{"gpu":null}', "bad-value", "gpu: wants an object"),
    (b'{"gpu":{"name":""}}', "bad-value", "gpu.name"),
    (b'{"gpu":{"name":7}}', "bad-value", "gpu.name: wants text, not int"),
    (b'{"gpu":{"name":"a\\nb"}}', "bad-value", "gpu.name"),
    (b'{"gpu":{"name":"\\ud800"}}', "bad-value", "gpu.name"),
    (b'{"gpu":{"capability":"9.0"}}', "bad-value", "gpu.capability: wants"),
    (b'{"gpu":{"capability":[9]}}', "bad-value", "gpu.capability"),
    (b'{"gpu":{"capability":[9,true]}}', "bad-value", "gpu.capability"),
    (b'{"gpu":{"capability":[9.0,0]}}', "bad-value", "gpu.capability"),
    (b'{"gpu":{"capability":[0,0]}}', "bad-value", "gpu.capability"),
    (b'{"gpu":{"count":0}}', "bad-value", "gpu.count"),
    (b'{"gpu":{"count":null}}', "bad-value", "gpu.count"),
    (b'{"gpu":{"uuid":"GPU-1"}}', "bad-value", "gpu.uuid"),
    (b'{"gpu":{"uuid":[1]}}', "bad-value", "gpu.uuid"),
    (b'{"packages":{"torch":2}}', "bad-value", "packages.torch: wants text, not int"),
    (b'{"packages":{"":"1"}}', "bad-value", "a key of packages"),
    (b'{"metadata":{"gpu":null}}', "bad-value", "metadata.gpu: wants text, not NoneType"),
    (b'{"metadata":{"gpu":"a","gpu":"b"}}', "bad-value", "'gpu' comes twice"),
]


@pytest.mark.parametrize(("body", "reason", "message"), REFUSALS)
def test_refusal_names_the_key(body, reason, message):
    with pytest.raises(BadFacts) as refused:
        parse_facts(body)
    assert refused.value.reason == reason
    assert message in str(refused.value)


def test_a_file_of_a_megabyte_is_read_and_one_byte_more_is_refused(tmp_path):
    path = tmp_path / "facts.json"
    path.write_bytes(b"{}".ljust(MAX_FACTS_BYTES))
    assert load_facts(str(path)) == Facts()
    path.write_bytes(b"{}".ljust(MAX_FACTS_BYTES + 1))
    with pytest.raises(BadFacts) as refused:
        load_facts(str(path))
    assert refused.value.reason == "too-large"


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(BadFacts) as refused:
        load_facts(str(tmp_path / "no.json"))
    assert refused.value.reason == "unreadable"
    assert "no.json: No such file" in str(refused.value)


def test_the_json_itself_is_read_where_a_path_may_stand():
    assert load_facts(' {"gpu":{"name":"x"}}').gpu.name == "x"
    with pytest.raises(BadFacts) as refused:
        load_facts('{"gpu":{"model":"x"}}')
    assert refused.value.reason == "unknown-key"


TEXT = st.text(min_size=1, max_size=40).filter(str.isprintable)
GPUS = st.builds(
    Gpu,
    name=st.none() | TEXT,
    capability=st.none() | st.tuples(st.integers(1, 20), st.integers(0, 9)),
    count=st.none() | st.integers(1, 64),
    uuids=st.lists(TEXT, max_size=3).map(tuple),
    driver=st.none() | TEXT,
    memory_mib=st.none() | st.integers(1, 1 << 26),
)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=4)


@given(st.builds(Facts, gpu=GPUS, packages=TEXTS, metadata=TEXTS))
def test_what_is_printed_is_read_back_equal(facts):
    assert parse_facts(to_json(facts).encode()) == facts


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
        lambda c: st.lists(c)
        | st.dictionaries(
            st.sampled_from(["gpu", "packages", "metadata", "name", "count", "uuid", "capability"]), c
        ),
    )
)
def test_any_json_is_read_or_refused(value):
    try:
        facts = parse_facts(json.dumps(value).encode())
    except BadFacts:
        return
    assert parse_facts(to_json(facts).encode()) == facts


def test_a_complete_file_needs_neither_gpu_nor_packages():
    stated = Facts(Gpu(H100, (9, 0)), {"sglang": "0.5.23"}, METADATA)
    facts = gather(stated, machine())
    assert facts == stated
    assert facts.sources["gpu.name"] == facts.sources["metadata.cudnn_version"] == "facts file"


def test_the_gpu_is_probed_where_the_file_is_silent():
    stated = Facts(metadata={k: v for k, v in METADATA.items() if k != "gpu"})
    facts = gather(stated, machine(lambda: NODE))
    assert facts.gpu == Gpu(H100, (9, 0), 2, ("GPU-0", "GPU-1"), "580.95.05")
    assert facts.metadata == METADATA
    assert list(facts.metadata) == list(METADATA)
    assert facts.sources["metadata.gpu"] == facts.sources["gpu.name"] == "NVML devices 0, 1"
    assert facts.sources["gpu.driver"] == "NVML"


def test_the_memory_is_probed_with_the_rest_and_alone_it_is_no_reason_to_ask():
    gpus = tuple(replace(gpu, memory_mib=81559) for gpu in NODE.gpus)
    node = replace(NODE, gpus=gpus)
    silent = Facts(metadata=METADATA)

    facts = gather(silent, machine(lambda: node))
    assert (facts.gpu.memory_mib, facts.sources["gpu.memory_mib"]) == (81559, "NVML")
    unknown = gather(silent, machine(lambda: NODE))
    assert unknown.gpu.memory_mib is None
    assert "gpu.memory_mib" not in unknown.sources
    assert gather(Facts(unknown.gpu, metadata=METADATA), machine(lambda: node)).gpu.memory_mib is None


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "81559", 1 << 27])
def test_a_memory_that_is_none_is_refused(value):
    with pytest.raises(BadFacts, match="memory_mib"):
        parse_facts(json.dumps({"gpu": {"memory_mib": value}}).encode())


def test_probed_facts_survive_the_way_through_a_file():
    facts = gather(Facts(metadata={k: v for k, v in METADATA.items() if k != "gpu"}), machine(lambda: NODE))
    again = parse_facts(to_json(facts).encode())
    assert again == facts
    assert gather(again, machine()) == facts


def test_only_visible_gpus_count():
    stated = Facts(metadata=METADATA)
    facts = gather(stated, machine(lambda: NODE, {"CUDA_VISIBLE_DEVICES": "1"}))
    assert (facts.gpu.count, facts.gpu.uuids) == (1, ("GPU-1",))


def test_a_node_that_stands_in_for_another_lends_it_nothing_of_its_own_gpu():
    stated = Facts(Gpu("NVIDIA H200", (9, 0)), {}, {**METADATA, "gpu": "NVIDIA H200"})
    facts = gather(stated, machine(lambda: NODE))
    assert facts.gpu == Gpu("NVIDIA H200", (9, 0))


def test_a_file_that_names_a_gpu_fills_the_metadata_field():
    stated = Facts(Gpu(H100, (9, 0)), {}, {k: v for k, v in METADATA.items() if k != "gpu"})
    facts = gather(stated, machine())
    assert facts.metadata["gpu"] == H100
    assert facts.sources["metadata.gpu"] == "facts file"


@pytest.mark.parametrize(
    ("gpu", "message"),
    [(Gpu(), "gpu.name is not stated"), (Gpu(name="NVIDIA X1"), "gpu.capability is not stated")],
)
def test_without_a_gpu_what_only_a_gpu_tells_must_be_stated(gpu, message):
    metadata = {k: v for k, v in METADATA.items() if k != "gpu"}
    with pytest.raises(EnvironmentUnknown, match=message) as unknown:
        gather(Facts(gpu, {}, metadata), machine())
    assert unknown.value.reason == "no-gpu"


def test_a_slice_carries_the_name_that_cuda_gives_it():
    node = NodeGpus("580.95", (NvmlGpu(0, H100, "GPU-0", (9, 0), is_split=True),))
    told = {**METADATA, "gpu": f"{H100} MIG 1g.10gb"}
    stated = Facts(metadata={k: v for k, v in METADATA.items() if k != "gpu"})
    facts = gather(stated, machine(lambda: node, ask=lambda: told))
    assert facts.gpu.name == facts.metadata["gpu"] == f"{H100} MIG 1g.10gb"
    assert facts.gpu.capability == (9, 0)
    assert facts.sources["gpu.name"].startswith("FlashInfer's collector")


def test_a_field_that_this_flashinfer_does_not_have_is_refused():
    stated = Facts(Gpu(H100, (9, 0)), {}, {**METADATA, "cutlass_dsl_version": "4.7.1"})
    with pytest.raises(
        EnvironmentUnknown, match=r"0\.6\.18\.post1 has no metadata field 'cutlass_dsl_version'"
    ):
        gather(stated, machine())


def test_installed_versions_fill_what_the_file_leaves_out(tmp_path):
    for name, version in (("sglang", "0.5.23"), ("torch", "2.15.0")):
        place = tmp_path / f"{name}-{version}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nbody\n")
    stated = Facts(Gpu(H100, (9, 0)), {"torch": "2.14.0"}, METADATA)
    facts = gather(stated, machine(search_path=[str(tmp_path)]))
    assert facts.packages == {"torch": "2.14.0", "sglang": "0.5.23"}
    assert facts.sources["packages.torch"] == "facts file"


def test_probing_imports_nothing_heavy():
    program = (
        "import sys, autotune_init.facts, autotune_init.machine\n"
        "heavy = {'pydantic', 'torch', 'flashinfer', 'ctypes', 'subprocess', 'email', 'importlib.metadata', 'obstore'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        (H100, (9, 0)),
        ("NVIDIA H20", (9, 0)),
        ("NVIDIA H20-3e", (9, 0)),
        ("NVIDIA H200 NVL", (9, 0)),
        ("NVIDIA A100-SXM4-80GB", (8, 0)),
        ("NVIDIA A10G", (8, 6)),
        ("NVIDIA L4", (8, 9)),
        ("NVIDIA L40S", (8, 9)),
        ("NVIDIA B300 SXM6 AC", (10, 3)),
        ("NVIDIA GB200", (10, 0)),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", (12, 0)),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", (9, 0)),
        ("NVIDIA H1000", None),
        ("NVIDIA L400", None),
        ("NVIDIA", None),
        ("H100", None),
        ("", None),
    ],
)
def test_a_gpus_capability_is_known_by_its_name_or_not_guessed(name, capability):
    assert capability_of(name) == capability


def test_a_name_without_a_capability_is_enough_for_a_gpu_that_is_known():
    facts = gather(Facts(Gpu(H100), {}, METADATA), machine())

    assert facts.gpu.capability == (9, 0)
    assert facts.sources["gpu.capability"] == f"table of GPUs: {H100}"


def test_a_stated_gpu_name_stands_for_the_gpu_that_is_not_here():
    facts = facts_on(machine(), Settings(gpu_name=H100, facts=json.dumps({"metadata": METADATA})))

    assert (facts.gpu.name, facts.gpu.capability, facts.metadata["gpu"]) == (H100, (9, 0), H100)


def test_a_gpu_name_that_the_facts_contradict_is_refused():
    with pytest.raises(BadFacts, match="--gpu-name says 'NVIDIA H200', --facts says"):
        facts_on(machine(), Settings(gpu_name="NVIDIA H200", facts=json.dumps({"metadata": METADATA})))


def test_a_gpu_name_that_the_gpu_here_contradicts_is_refused():
    with pytest.raises(EnvironmentUnknown, match="--gpu-name says 'NVIDIA H200', the GPU here is") as refused:
        facts_on(machine(lambda: NODE), Settings(gpu_name="NVIDIA H200"))

    assert refused.value.reason == "other-gpu"
