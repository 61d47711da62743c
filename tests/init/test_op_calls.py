"""The job's vocabulary, without torch: what is asked for, what is left out and why."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import pytest

from autotune_init.inside import op_calls

JOB = {"calls": [], "cache": "/c/tuned.json", "work": "/c", "max_tokens": 512, "capability": [9, 0]}


def test_mm_bf16_with_cublaslt_is_left_out_with_the_reason():
    make, why = op_calls._OPS["mm_bf16"]({"op": "mm_bf16", "n": 64, "k": 64})
    assert make is None
    assert "3868" in why


@pytest.mark.parametrize("is_installed", [True, False])
def test_mm_bf16_with_cudnn_needs_its_frontend(monkeypatch, is_installed):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object() if is_installed else None)
    make, why = op_calls._OPS["mm_bf16"]({"op": "mm_bf16", "backend": "cudnn", "n": 64, "k": 64})
    assert (make is not None) is is_installed
    assert ("cudnn-frontend" in why) is not is_installed


def test_a_job_is_read_as_it_was_written():
    job = op_calls.read_job(JOB)
    assert (job.cache, job.capability, job.max_tokens) == (Path("/c/tuned.json"), (9, 0), 512)


@pytest.mark.parametrize("name", list(JOB))
def test_a_job_with_a_hole_is_a_bug_and_said_so(name):
    with pytest.raises(KeyError, match=name):
        op_calls.read_job({field: value for field, value in JOB.items() if field != name})


def test_stdin_must_be_an_object():
    with pytest.raises(TypeError):
        op_calls.load_stdin(io.StringIO("[1]"))
