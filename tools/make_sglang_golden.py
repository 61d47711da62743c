"""Asks each SGLang release's own path function where it would look, and writes the answers as golden vectors.

    pip download --no-deps -d WHEELS sglang==0.5.23 ...
    python tools/make_sglang_golden.py WHEELS/*.whl

The function is taken out of the wheel and run against stand-ins for the objects that it reads; no SGLang code is kept.
Writes tests/data/sglang_golden.json: `cases` (inputs) and, per release, the path for each case below the cache dir.
"""

import ast
import hashlib
import json
import random
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "data" / "sglang_golden.json"
NAMES = {
    "flashinfer_autotune_cache_path",
    "_flashinfer_autotune_cache_path",
    "get_flashinfer_autotune_skip_ops",
}
CASES = 80


class RecordedPath(PurePosixPath):
    """Path functions create the key's directory on the side; here nothing is created."""

    def mkdir(self, *_args: object, **_kwargs: object) -> None:
        return


def make_cases() -> list[dict[str, object]]:
    rng = random.Random(20261122)
    pick = rng.choice
    cases = []
    for number in range(CASES):
        tp, pp, dp = pick([1, 2, 4, 8, 16]), pick([1, 1, 1, 2, 4]), pick([1, 1, 2, 8])
        cases.append(
            {
                "model_path": pick(
                    ["Qwen/Qwen3-30B-A3B", "/models/m", "m/x/", "./m//x", "m|x=1", "модель/é", "a b"]
                ),
                "dtype": pick(["torch.bfloat16", "torch.float16", "torch.float32"]),
                "quantization": pick([None, None, "fp8", "modelopt_fp8", "modelopt_fp4", "mxfp8"]),
                "moe_runner_backend": pick(
                    [
                        "auto",
                        "flashinfer_trtllm",
                        "flashinfer_cutlass",
                        "flashinfer_mxfp4",
                        "flashinfer_megamoe",
                    ]
                ),
                "tp_size": tp,
                "pp_size": pp,
                "attn_dp_size": dp,
                "moe_ep_size": pick([1, tp]),
                "config_class": pick(["Qwen3MoeConfig", "LlamaConfig", "_DeepseekV32ConfigAlias"]),
                "skip_ops": pick([None, [], ["b_op", "a_op"], ["mxfp8_gemm"], ["x", "x"], ["a,b"]]),
                "is_draft": number % 4 == 3,
                "draft_quantization": pick([None, "fp8"]),
                "flashinfer_version": pick(["0.6.11.post1", "0.6.18", "0.7.2"]),
                "capability": pick([[9, 0], [10, 0], [10, 3], [12, 0], [12, 1]]),
                "gpu_uuid": "GPU-b1ec2a0e-9b3f-4a5c-8d7e-0123456789ab",
                "rank": {"tp": rng.randrange(tp), "pp": rng.randrange(pp), "dp": pick([None, *range(dp)])},
            }
        )
    return cases


def functions_of(wheel: Path) -> dict[str, tuple[ast.FunctionDef, dict[str, object]]]:
    """Name -> (function, constants of its module that it may read)."""
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not (name.startswith("sglang/srt/model_executor/") and name.endswith(".py")):
                continue
            text = archive.read(name).decode()
            if not any(f"def {wanted}(" in text for wanted in NAMES):
                continue
            tree = ast.parse(text)
            constants = {
                node.targets[0].id: eval(ast.unparse(node.value), {"frozenset": frozenset})
                for node in tree.body
                if isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "FLASHINFER_AUTOTUNE_WORKAROUND_SKIPS"
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.name in NAMES:
                    found[node.name] = (node, constants)
    return found


def stand_ins(case: dict[str, object]) -> tuple[SimpleNamespace, dict[str, object]]:
    """The objects that any release's function reads, filled from one case."""
    rank = case["rank"]
    sizes = SimpleNamespace(
        tp_size=case["tp_size"], pp_size=case["pp_size"], attn_dp_size=case["attn_dp_size"], dp_size=case["attn_dp_size"],
        moe_ep_size=case["moe_ep_size"], tp_rank=rank["tp"], pp_rank=rank["pp"], dp_rank=rank["dp"],
    )  # fmt: skip
    server_args = SimpleNamespace(
        model_path=case["model_path"],
        quantization=case["quantization"],
        moe_runner_backend=case["moe_runner_backend"],
        flashinfer_autotune_skip_ops=case["skip_ops"],
    )
    config_class = type(str(case["config_class"]), (), {})
    runner = SimpleNamespace(
        **vars(sizes),
        ps=sizes,
        server_args=server_args,
        dtype=case["dtype"],
        device="cuda",
        gpu_id=0,
        is_draft_worker=case["is_draft"],
        model_config=SimpleNamespace(hf_config=config_class(), quantization=case["draft_quantization"]),
    )
    runner.model_runner = runner
    torch = SimpleNamespace(
        cuda=SimpleNamespace(get_device_capability=lambda _device: tuple(case["capability"]))
    )
    execution = SimpleNamespace(
        moe=SimpleNamespace(moe_runner_backend=case["moe_runner_backend"]),
        kernel=SimpleNamespace(flashinfer_autotune_skip_ops=case["skip_ops"]),
    )
    flashinfer, platforms = ModuleType("flashinfer"), ModuleType("sglang.srt.platforms")
    flashinfer.__version__ = case["flashinfer_version"]
    bare_uuid = str(case["gpu_uuid"]).removeprefix("GPU-")  # torch spells a UUID without NVML's prefix
    platforms.current_platform = SimpleNamespace(get_device_uuid=lambda _index: bare_uuid)
    sys.modules.update({"flashinfer": flashinfer, "sglang.srt.platforms": platforms})
    for parent in ("sglang", "sglang.srt"):
        sys.modules.setdefault(parent, ModuleType(parent))
    return runner, {
        "torch": torch,
        "hashlib": hashlib,
        "Path": RecordedPath,
        "ModelRunner": object,
        "envs": SimpleNamespace(SGLANG_CACHE_DIR=SimpleNamespace(get=lambda: "/c")),
        "get_model": lambda: server_args,
        "get_exec": lambda: execution,
        "get_parallel": lambda: sizes,
    }


def ask(functions: dict[str, tuple[ast.FunctionDef, dict[str, object]]], case: dict[str, object]) -> str:
    runner, namespace = stand_ins(case)
    for function, constants in functions.values():
        namespace.update(constants)
        source = "from __future__ import annotations\n" + ast.unparse(function)
        exec(compile(source, "<wheel>", "exec"), namespace)
    name = next(name for name in functions if name.endswith("cache_path"))
    return str(namespace[name](runner).relative_to("/c"))


def main() -> int:
    cases = make_cases()
    paths = {}
    for wheel in map(Path, sys.argv[1:]):
        version = re.match(r"sglang-([^-]+)-", wheel.name).group(1)
        paths[version] = [ask(functions_of(wheel), case) for case in cases]
        print(version, len(set(paths[version])), "different paths", file=sys.stderr)
    ordered = dict(sorted(paths.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])]))
    GOLDEN.write_text(json.dumps({"cases": cases, "paths": ordered}, ensure_ascii=False, indent=0) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
