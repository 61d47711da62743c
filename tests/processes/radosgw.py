"""A Ceph object gateway of our own on loopback: one monitor, one OSD in memory, one radosgw, from Debian's packages.

    python -m tests.processes.radosgw    # fetches the packages and unpacks them below .tools/radosgw; installs nothing

No `ceph` program is needed, which would want Python bindings of the system: the first map of OSDs and all keys are handed
to the monitor when its store is made.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".tools" / "radosgw"
ACCESS, SECRET = "rounds", "rounds-of-processes"
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
# what these depend on for work that nobody does here
UNWANTED = (
    "python3", "lvm2", "liblvm", "dmeventd", "sudo", "smartmontools", "xfsprogs", "parted", "nvme", "cryptsetup", "logrotate",
    "dmidecode", "hdparm", "gdisk", "uuid-runtime", "libcephfs", "librbd",
)  # fmt: skip
KEYRING = (
    ("mon.", ("mon", "allow *")),
    ("client.admin", ("mon", "allow *", "osd", "allow *")),
    ("osd.0", ("mon", "allow profile osd", "osd", "allow *")),
    ("client.rgw", ("mon", "allow *", "osd", "allow *")),
)
CONFIG = """\
[global]
fsid = {fsid}
keyring = {run}/keyring
mon_host = v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_max_pg_per_osd = 1000
# the share of the file system that must be free; 5 % of a large disk is more than all that this writes
mon_data_avail_crit = 0
mon_data_avail_warn = 0
osd_class_dir = {libraries}/rados-classes
osd_class_load_list = *
osd_class_default_list = *
erasure_code_dir = {libraries}/ceph/erasure-code
plugin_dir = {libraries}/ceph
plugin_crypto_accelerator = crypto_openssl
run_dir = {run}
crash_dir = {run}
admin_socket = {run}/$name.asok
log_file = {run}/$name.log
mon_cluster_log_file = {run}/cluster.log
pid_file = {run}/$name.pid
ms_bind_ipv6 = false
public_network = 127.0.0.0/8
[mon.a]
mon_data = {run}/mon
[osd.0]
osd_data = {run}/osd
osd_objectstore = memstore
memstore_device_bytes = 1073741824
[client.rgw]
rgw_data = {run}
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
"""


def is_there():
    return (HOME / "root" / "usr" / "bin" / "radosgw").exists()


def fetch():
    """Needs apt's lists (`apt-get update`) and no rights beyond writing below .tools. Some 70 MB."""
    shutil.rmtree(HOME, ignore_errors=True)
    debs = HOME / "debs"
    debs.mkdir(parents=True)
    asked = ["apt-get", "-s", "install", "--no-install-recommends", *PACKAGES]
    planned = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    wanted = [name for name in names if not any(part in name for part in UNWANTED)]
    subprocess.run(["apt-get", "download", "--quiet", *wanted], cwd=debs, check=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(deb), str(HOME / "root")], check=True)
    shutil.rmtree(debs)


class Daemons:
    """Runs Ceph's programs with the unpacked libraries, and ends those that stay."""

    def __init__(self, run):
        root = HOME / "root"
        self.run_folder = run
        self.binaries = root / "usr" / "bin"
        self.libraries = root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
        paths = (self.libraries, self.libraries / "ceph", root / "lib" / self.libraries.name)
        self.environ = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, paths))}
        self.started = []

    def call(self, program, *arguments):
        command = [str(self.binaries / program), *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")

    def start(self, program, *arguments):
        command = [str(self.binaries / program), *map(str, arguments), "-f"]
        with (self.run_folder / f"{program}.out").open("wb") as out:
            self.started.append(subprocess.Popen(command, env=self.environ, stdout=out, stderr=out))

    def end(self):
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def serve(run):
    """Its endpoint; ACCESS and SECRET open it. 10 to 20 s to start. Raises FileNotFoundError where it was not fetched."""
    if not is_there():
        raise FileNotFoundError("radosgw is not there: run `python -m tests.processes.radosgw`")
    run.mkdir(parents=True)
    daemons = Daemons(run)
    v2, v1, port = (_free_port() for _ in range(3))
    fsid = str(uuid.uuid4())
    config = run / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, run=run, libraries=daemons.libraries, v2=v2, v1=v1, port=port))
    try:
        _make_cluster(daemons, config, fsid, f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]")
        daemons.start("radosgw", "-c", config, "-n", "client.rgw")
        endpoint = f"http://127.0.0.1:{port}"
        _wait_until_ready(daemons, endpoint)
        daemons.call(
            "radosgw-admin", "-c", config, "user", "create", "--uid", ACCESS, "--display-name", ACCESS,
            "--access-key", ACCESS, "--secret-key", SECRET,
        )  # fmt: skip
        yield endpoint
    finally:
        daemons.end()


def _make_cluster(daemons, config, fsid, address):
    run = daemons.run_folder
    (run / "mon").mkdir()
    (run / "osd").mkdir()
    for number, (name, capabilities) in enumerate(KEYRING):
        pairs = zip(capabilities[::2], capabilities[1::2], strict=True)
        caps = [part for subject, allowed in pairs for part in ("--cap", subject, allowed)]
        create = [] if number else ["--create-keyring"]
        daemons.call("ceph-authtool", *create, run / "keyring", "--gen-key", "-n", name, *caps)
    daemons.call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, run / "monmap")
    daemons.call("osdmaptool", "--createsimple", 1, run / "osdmap")
    made_of = ("--monmap", run / "monmap", "--osdmap", run / "osdmap", "--keyring", run / "keyring")
    daemons.call("ceph-mon", "-c", config, "-i", "a", "--mkfs", *made_of)
    daemons.start("ceph-mon", "-c", config, "-i", "a")
    daemons.call("ceph-osd", "-c", config, "-i", 0, "--mkfs", "--osd-uuid", uuid.uuid4(), "--no-mon-config")
    daemons.start("ceph-osd", "-c", config, "-i", 0)


def _wait_until_ready(daemons, endpoint):
    for _ in range(600):
        if any(process.poll() is not None for process in daemons.started):
            break
        try:
            with urllib.request.urlopen(endpoint, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    said = "\n".join(path.read_text(errors="replace")[-1000:] for path in daemons.run_folder.glob("*.out"))
    raise RuntimeError(f"radosgw did not start:\n{said}")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(not is_there())
    fetch()
