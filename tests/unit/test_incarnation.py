import pytest

from autotune_init.incarnation import incarnation

UID = "3d1f9b0e-8a52-4f0a-9a57-0c4b4f7c1e10"
LINE = "1234 1200 259:1 /var/lib/kubelet/pods/{}/{} /{} rw,relatime - ext4 /dev/root rw\n"


def kubelets(tmp_path, *uids):
    lines = [LINE.format(uid, "etc-hosts", "etc/hosts") for uid in uids]
    lines += [LINE.format(uid, "volumes/kubernetes.io~empty-dir/cache", "cache") for uid in uids]
    path = tmp_path / "mountinfo"
    path.write_text("22 1 0:21 / /proc rw - proc proc rw\n" + "".join(lines))
    return path


def told(mounts, stated=None, **environ):
    return incarnation(stated, environ, lambda: "fresh", mounts)


def test_what_is_stated_wins_then_the_downward_api_then_the_kubelets_mounts(tmp_path):
    mounts = kubelets(tmp_path, UID)

    assert told(mounts, "mine", POD_UID="other") == "mine"
    assert told(mounts, POD_UID="other") == "other"
    assert told(mounts) == UID
    assert told(kubelets(tmp_path, UID.replace("-", ""))) == UID.replace("-", "")


@pytest.mark.parametrize("uids", [(), (UID, UID.replace("3", "4"))], ids=["none", "two"])
def test_where_nothing_says_so_every_run_is_a_pod_of_its_own(tmp_path, uids):
    assert told(kubelets(tmp_path, *uids)) == "run-fresh"


def test_without_a_proc_every_run_is_a_pod_of_its_own(tmp_path):
    assert told(tmp_path / "absent") == "run-fresh"
