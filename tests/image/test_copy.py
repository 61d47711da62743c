"""`start copy`: all of the tree or a launcher that says what is missing, whatever was there before."""

import json
import os
import shutil
import signal
import stat
import subprocess

import pytest
from tests.image.trees import Small, open_to_all


@pytest.fixture
def source(tmp_path, small):
    """A small tree to copy: folders, modes, a link, an empty file, one of some size."""
    lib = small.root / "lib" / "common" / "package"
    lib.mkdir(parents=True)
    (small.root / "lib" / "cp312").mkdir()
    (lib / "__init__.py").write_text("")
    (lib / "module.py").write_text("A = 1\n")
    (lib / "large.so").write_bytes(os.urandom(3_000_000))
    (lib / "tool").write_text("#!/bin/sh\n")
    (lib / "tool").chmod(0o700)
    (lib / "module.py").chmod(0o600)
    (lib / "link").symlink_to("module.py")
    shutil.rmtree(small.root / "bin")
    small.log.unlink()
    return small.root


def copy(source, target, *, log=None, **more):
    environ = {"AUTOTUNE_TERMINATION_LOG": str(log)} if log else {"AUTOTUNE_TERMINATION_LOG": "/nowhere"}
    done = subprocess.run(
        [source / "start", "copy", target],
        env=environ,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        **more,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def content(folder):
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_copied_with_plain_modes(source, tmp_path):
    log = tmp_path / "log"
    log.touch()
    target = tmp_path / "not" / "yet" / "there"

    code, said = copy(source, target, log=log, umask=0o077)

    assert (code, said["outcome"], said["files"]) == (0, "complete", 7)
    assert json.loads(log.read_text()) == said
    assert content(target) == content(source)
    assert (mode(target / "start"), mode(target / "lib"), mode(target / "lib/common/package/tool")) == (
        0o755,
    ) * 3
    assert mode(target / "lib/common/package/module.py") == 0o644
    assert mode(target / "attempts") == 0o1777
    assert (target / "lib" / "cp312").is_dir()


def test_a_second_copy_finds_it_there(source, tmp_path):
    copy(source, tmp_path / "t")
    (tmp_path / "t" / "attempts" / "1.started").touch()

    code, said = copy(source, tmp_path / "t")

    assert (code, said["outcome"], said["files"]) == (0, "complete", 0)
    assert (tmp_path / "t" / "attempts" / "1.started").exists()


def test_a_torn_copy_is_made_anew(source, tmp_path):
    target = tmp_path / "t"
    copy(source, target)
    (target / ".complete").unlink()
    (target / "lib/common/package/large.so").write_bytes(b"half")
    (target / "lib/common/package/of_another_release.py").touch()
    (target / ".main.py.new").touch()

    assert copy(source, target)[0] == 0
    assert content(target) == content(source)


def test_another_release_replaces_what_is_there_and_keeps_the_attempts(source, tmp_path):
    target = tmp_path / "t"
    copy(source, target)
    (target / "attempts" / "1.started").touch()
    (source / ".complete").write_text("sha256:newer\n")
    (source / "lib/common/package/module.py").write_text("A = 2\n")

    assert copy(source, target)[1]["outcome"] == "complete"
    assert (target / "lib/common/package/module.py").read_text() == "A = 2\n"
    assert (target / "attempts" / "1.started").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 0.01])
def test_a_copy_that_was_killed_anywhere_is_repaired(source, tmp_path, seconds):
    target = tmp_path / "t"
    process = subprocess.Popen([source / "start", "copy", target], stdout=subprocess.DEVNULL, env={})
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    is_marked = (target / ".complete").exists()
    assert not is_marked or content(target) == content(source)

    assert copy(source, target)[0] == 0
    assert content(target) == content(source)


def test_links_in_the_target_are_never_followed(source, tmp_path):
    """given a container that shares the volume and has put links there when we copy then nothing outside changes."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "kept").write_text("kept")
    (outside / "file").write_text("untouched")
    target = tmp_path / "t"
    target.mkdir()
    (target / "start").symlink_to(outside / "file")
    (target / ".start.new").symlink_to(outside / "file")
    (target / "main.py").symlink_to(outside / "file")
    (target / "lib").symlink_to(outside / "folder")
    (target / "attempts").symlink_to(outside / "folder")
    (target / ".complete").symlink_to(source / ".complete")

    code, said = copy(source, target)

    assert (code, said["outcome"]) == (0, "complete")
    assert content(outside) == {"folder/kept": b"kept", "file": b"untouched"}
    assert mode(outside / "folder") != 0o1777
    assert not (target / "lib").is_symlink()
    assert content(target / "lib") == content(source / "lib")


def limited(source, target, kilobytes):
    """In a file system of that size."""
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = f'mount -t tmpfs -o size={kilobytes}k none "$1" || exit 99; "$0/start" copy "$1/in"; code=$?; ls -A "$1/in"; '
    script += '"$1/in/start" run; echo "run $?"; exit $code'
    target.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", *own, "/bin/sh", "-c", script, str(source), str(target)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode != 99, done.stderr
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[0]), lines[1:]


def test_a_full_disk_leaves_a_launcher_that_says_so_and_the_pod_starts(source, tmp_path):
    code, said, (first, second, *rest) = limited(source, tmp_path / "small", 1024)

    assert (code, said["outcome"]) == (0, "incomplete")
    assert "No space left on device" in said["detail"]
    assert [first, second] == ["attempts", "start"]
    assert json.loads(rest[0])["reason"] == "program-unloadable"
    assert "not complete (disk full?)" in json.loads(rest[0])["detail"]
    assert rest[1] == "run 0"


def test_where_not_even_the_launcher_fits_the_container_is_tried_again(source, tmp_path):
    """given no room at all then exit 1: the kubelet repeats this container, while the next could never be created."""
    code, said, rest = limited(source, tmp_path / "tiny", 8)

    assert (code, said["outcome"]) == (1, "failed")
    assert "start" not in rest


def test_a_read_only_target_fails_at_once(source, tmp_path):
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    (tmp_path / "t").mkdir()
    script = 'mount -t tmpfs -o ro none "$1" || exit 99; exec "$0/start" copy "$1"'
    done = subprocess.run(
        ["unshare", "--mount", *own, "/bin/sh", "-c", script, str(source), str(tmp_path / "t")],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    assert "Read-only file system" in json.loads(done.stdout)["detail"]


def test_a_file_size_limit_is_an_error_and_no_death(source, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    code, said = copy(source, tmp_path / "t", preexec_fn=limit)

    assert (code, said["outcome"]) == (0, "incomplete")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["attempts", "start"]


def test_a_copy_can_be_copied(source, tmp_path):
    copy(source, tmp_path / "one")
    (tmp_path / "one" / "attempts" / "1.started").touch()

    assert copy(tmp_path / "one", tmp_path / "two")[1]["outcome"] == "complete"
    assert list((tmp_path / "two" / "attempts").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the uid needs root")
def test_any_uid_can_copy_and_any_other_can_run(source, tmp_path):
    """The slim image's uid copies, the engine's runs and keeps its attempts."""
    place = tmp_path / "volume"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    open_to_all(tmp_path)
    for path in source.rglob("*"):
        path.chmod(path.stat().st_mode | 0o044)

    assert copy(source, place, user=65532, group=65532, extra_groups=[])[1]["outcome"] == "complete"
    (place / "main.py").unlink()
    done = subprocess.run(
        [place / "start", "run"],
        env={"PATH": "/nowhere"},
        user=4711,
        group=4711,
        extra_groups=[],
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert sorted(path.name for path in (place / "attempts").iterdir()) == ["1.ended"]


def test_the_whole_tree_arrives_and_stays_small(tree, tmp_path):
    code, said = copy(tree, tmp_path / "t")

    assert (code, said["outcome"]) == (0, "complete")
    assert content(tmp_path / "t") == content(tree)
    assert said["bytes"] < 110_000_000
    assert Small(tmp_path / "t").attempts() == []
