"""cp between two servers that know different credentials, by the lines of docs/cli-cache-store.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.bundles import bundle, identity
from tests.docs.reading_pages import fences, statements
from tests.pods import ROOT, clean_environ

from cache_store.exit_codes import ExitCode

PAGE = (ROOT / "docs" / "cli-cache-store.md").read_text().split("\n## cp\n")[1].split("\n## ")[0]
TYPED = [line for one in fences(PAGE) if one.language == "sh" for _, line in statements(one.body)]
# MinIO refuses a token that it did not issue, and so tells whether the source's went along with the key
TOKEN = {"AWS_SESSION_TOKEN": "of-the-source"}


@pytest.fixture(params=["versitygw", "ministack"])
def two(park, request):
    """Source and destination with a bucket each; a bundle is in the first. versitygw knows one key, MiniStack takes all."""
    source, there = park.get(request.param), park.get("minio")
    bucket, other = source.create_bucket(), there.create_bucket()
    source.beside.put_object(
        Bucket=bucket, Key=f"staging/{identity().address.bundle_key}", Body=bundle().encode()
    )
    return source, bucket, there, other


def types(two, *, yes, lines=TYPED, by_option=False, **environ):
    """The page's lines, in one shell, with this test's servers in the place of the page's."""
    source, bucket, there, other = two
    text = "\n".join(lines)
    for written, meant in (
        ("s3://models/staging", f"s3://{bucket}/staging"),
        ("s3://models-eu/prod", f"s3://{other}/prod"),
        ("their-key", there.access),
        ("their-secret", there.secret),
        ("eu-central-1", "us-east-1"),
        ("--dry-run", "--yes --json" if yes else "--dry-run --json"),
    ):
        assert written in "\n".join(TYPED), "the page says something else now"
        text = text.replace(written, meant)
    if by_option:
        text += f" --to-endpoint {there.endpoint}"
    endpoint = {} if by_option else {"AUTOTUNE_TO_AWS_ENDPOINT_URL_S3": there.endpoint}
    programs = f"{Path(sys.executable).parent}:{clean_environ()['PATH']}"
    environ = clean_environ(**(source.environ | endpoint | environ), PATH=programs)
    done = subprocess.run(
        ["bash", "-eu", "-c", text], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, json.loads(done.stdout or done.stderr)


@pytest.mark.parametrize("by_option", [True, False], ids=["--to-endpoint", "variable"])
def test_given_other_credentials_there_when_copied_then_each_server_is_asked_with_its_own(two, by_option):
    source, _, there, other = two
    more = TOKEN if source.name == "ministack" else {}

    dry_code, dry = types(two, yes=False, by_option=by_option, **more)
    code, told = types(two, yes=True, by_option=by_option, **more)

    assert (dry_code, code) == (0, 0), (dry, told)
    assert (dry["is_dry"], told["is_dry"]) == (True, False)
    assert [row["verdict"] for row in dry["results"] + told["results"]] == ["changed", "changed"]
    found = there.beside.get_object(Bucket=other, Key=f"prod/{identity().address.bundle_key}")
    assert found["Body"].read() == bundle().encode()


def test_given_the_sources_credentials_alone_when_copied_then_the_destination_refuses(two):
    code, told = types(two, yes=True, lines=TYPED[-1:])

    assert (code, told["error"]["kind"]) == (ExitCode.DENIED, "store-denied")
