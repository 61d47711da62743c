"""Ending a cluster: only processes that it started, then its mounts, its bridge and its run folder.

Works from what lies on disk, so it also cleans up after a crashed `up` or a killed part.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

from tools.cluster.daemons import Daemons, end
from tools.cluster.errors import ClusterError
from tools.cluster.layout import BRIDGE, CACHE, Layout

# the kubelet first: it would start containers again
_ORDER = (
    "kubelet",
    "minio",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-apiserver",
    "etcd",
    "containerd",
)
# the kubelet changes these for the whole machine
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_SYSCTL_ROOT = Path("/proc/sys")


def save_sysctls(layout: Layout) -> None:
    kept = layout.run / "sysctl"
    kept.mkdir()
    for name in SYSCTLS:
        path = _SYSCTL_ROOT / name
        if path.exists():
            (kept / name.replace("/", ".")).write_text(path.read_text())


def tear_down(daemons: Daemons, layout: Layout) -> None:
    """All of its state is wiped afterwards, so nothing needs to end gracefully."""
    daemons.stop(*_ORDER)
    daemons.stop(*daemons.recorded())  # what tests have started beside it, such as a controller
    kill_containers(layout)
    _remove_shim_sockets(layout)
    _unmount(layout)
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)
    _remove_cgroups()
    _restore_sysctls(layout)
    _remove_traces(layout)
    left = our_mounts(layout)
    if left:
        raise ClusterError(f"mounts are left, so {layout.run} is not removed: {', '.join(left[:3])}")
    shutil.rmtree(layout.run)


def our_mounts(layout: Layout) -> list[str]:
    """Mount points below the run folder and buildah's store, deepest first."""
    below = (f"{layout.run}/", f"{CACHE}/buildah/", f"{CACHE}/buildah-run/")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if f"{point}/".startswith(below)), reverse=True)


def kill_containers(layout: Layout) -> None:
    """The containers of that cluster and what watches them."""
    _kill_first_processes(layout)
    _kill_shims(layout)


def _kill_first_processes(layout: Layout) -> None:
    # Not `ctr tasks rm -f`, which takes seconds for each: a container's first process takes its pid namespace along.
    for record in _tasks(layout).glob("*/init.pid"):
        try:
            pid = int(record.read_text())
            # the record may be older than a crash: its cgroup must name this container
            is_it = record.parent.name in Path(f"/proc/{pid}/cgroup").read_text()
        except (OSError, ValueError):
            continue
        if is_it:
            end(pid, signal.SIGKILL, 5)


def _kill_shims(layout: Layout) -> None:
    """Only those whose arguments name our own socket."""
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = cmdline.read_bytes().split(b"\0")
        except OSError:
            continue
        is_shim = arguments[0].rpartition(b"/")[2].startswith(b"containerd-shim")
        if is_shim and str(layout.containerd_socket).encode() in arguments:
            end(int(cmdline.parent.name), signal.SIGKILL, 5)


def _remove_shim_sockets(layout: Layout) -> None:
    # the one thing that containerd keeps elsewhere
    for name in ("bootstrap.json", "address"):
        for record in _tasks(layout).glob(f"*/{name}"):
            for socket in re.findall(r"/run/containerd/s/[0-9a-f]{64}", record.read_text()):
                Path(socket).unlink(missing_ok=True)


def _unmount(layout: Layout) -> None:
    for _ in range(3):  # a mount below a mount shows after the first pass
        for point in our_mounts(layout):
            subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def _remove_cgroups() -> None:
    # empty by now; the kernel refuses to remove one that still holds a process
    for controller in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]:
        for group in sorted(controller.glob("k8s.io/**/"), reverse=True):
            try:
                group.rmdir()
            except OSError:
                pass  # another cluster's, or gone already


def _restore_sysctls(layout: Layout) -> None:
    for kept in (layout.run / "sysctl").glob("*"):
        try:
            (_SYSCTL_ROOT / kept.name.replace(".", "/", 1)).write_text(kept.read_text())
        except OSError:
            pass  # read-only in some containers, where the kubelet could not change it either


def _remove_traces(layout: Layout) -> None:
    """What the kubelet and CNI write outside of the folders that they are given."""
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{layout.run}/"):
            link.unlink()
    for kept in Path("/var/lib/cni/results").glob(f"{BRIDGE}-*"):
        kept.unlink()
    plugins = Path("/var/lib/kubelet/device-plugins")
    if str(plugins) not in Path("/proc/net/unix").read_text():
        (plugins / "kubelet.sock").unlink(missing_ok=True)  # no kubelet listens there any more
    for folder in (plugins, plugins.parent):
        try:
            folder.rmdir()
        except OSError:
            pass  # not empty, so not only ours


def _tasks(layout: Layout) -> Path:
    return layout.run / "ctd" / "io.containerd.runtime.v2.task" / "k8s.io"
