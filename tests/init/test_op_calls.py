"""The job's vocabulary, without torch."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from autotune_init.inside import op_calls

JOB = {"calls": [], "cache": "/c/tuned.json", "work": "/c", "max_tokens": 512, "capability": [9, 0]}


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
