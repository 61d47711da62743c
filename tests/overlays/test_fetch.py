"""What is fetched is what is pinned, whoever it came from."""

import subprocess

import pytest
from tools.charts import fetch
from tools.charts.pins import Pin


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A git mirror with one chart; CHARTS_MIRROR names it, and what is fetched goes to a folder of the test."""
    folder = tmp_path / "mirror" / "owner" / "name.git"
    folder.mkdir(parents=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    (folder / "chart").mkdir()
    (folder / "chart" / "Chart.yaml").write_text("name: one\n")
    (folder / "other.txt").write_text("not asked for\n")
    for words in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
    monkeypatch.setenv("CHARTS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(fetch, "CHARTS", tmp_path / "charts")
    return commit


def pinned(monkeypatch, commit, digest, paths=("chart",)):
    pin = Pin("one", "example.com/owner/name", "v1", digest, paths, commit=commit)
    monkeypatch.setattr(fetch, "PINS", (pin,))
    return pin


def test_only_the_named_paths_come(mirror, monkeypatch, tmp_path):
    (tmp_path / "same" / "chart").mkdir(parents=True)
    (tmp_path / "same" / "chart" / "Chart.yaml").write_text("name: one\n")
    pin = pinned(monkeypatch, mirror, fetch.tree_digest(tmp_path / "same"))
    folder = fetch.fetch("one")
    assert sorted(path.name for path in folder.iterdir()) == [".pin", "chart"]
    assert fetch.is_there(pin)
    monkeypatch.delenv("CHARTS_MIRROR")
    assert fetch.fetch("one") == folder  # nothing is asked for again


def test_other_bytes_than_the_pinned_are_refused(mirror, monkeypatch, tmp_path):
    pin = pinned(monkeypatch, mirror, "sha256:other")
    with pytest.raises(fetch.FetchError, match="pinned is sha256:other"):
        fetch.fetch("one")
    assert not fetch.is_there(pin)
    assert not (tmp_path / "charts" / "one").exists()


def test_a_changed_pin_is_fetched_again(mirror, monkeypatch, tmp_path):
    (tmp_path / "same" / "chart").mkdir(parents=True)
    (tmp_path / "same" / "chart" / "Chart.yaml").write_text("name: one\n")
    pinned(monkeypatch, mirror, fetch.tree_digest(tmp_path / "same"))
    fetch.fetch("one")
    pinned(monkeypatch, mirror, "sha256:newer")
    with pytest.raises(fetch.FetchError):
        fetch.fetch("one")


def test_a_commit_that_the_mirror_lacks(mirror, monkeypatch):
    pinned(monkeypatch, "0" * 40, "sha256:any")
    with pytest.raises(fetch.FetchError, match="git archive"):
        fetch.fetch("one")


def test_a_mirror_without_the_repository(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("CHARTS_MIRROR", str(tmp_path))
    pinned(monkeypatch, mirror, "sha256:any")
    with pytest.raises(fetch.FetchError, match=r"CHARTS_MIRROR has no owner/name\.git"):
        fetch.fetch("one")


def test_a_link_in_an_archive_is_refused(mirror, monkeypatch, tmp_path):
    folder = tmp_path / "mirror" / "owner" / "name.git"
    (folder / "chart" / "link").symlink_to("/etc/passwd")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for words in (["add", "."], [*identity, "commit", "--quiet", "-m", "two"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    pinned(monkeypatch, "HEAD", "sha256:any")
    with pytest.raises(fetch.FetchError, match="chart/link is neither a file nor a folder"):
        fetch.fetch("one")


def test_an_unknown_name():
    with pytest.raises(fetch.FetchError, match="nothing is called helmet; there are production-stack"):
        fetch.chosen(["helmet"])
