"""Sets a stage, plays rounds on it, and judges each."""

import contextlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.processes import gates, minio, radosgw
from tests.processes.checks import Tally, judge
from tests.processes.fault_proxy import FaultProxy
from tests.processes.pods import Nursery, Pod
from tests.processes.rounds import STEPS, Round, plan_of
from tests.processes.stages import DirectoryStage, S3Stage, share_with_group

UIDS = (12001, 12002)


@contextlib.contextmanager
def minio_stage(folder, *, seed, share):
    with minio.serve(folder / "minio") as endpoint:
        bucket = minio.Bucket(endpoint, "rounds").create()
        with FaultProxy(bucket.port, seed=seed, share=share) as proxy:
            stage = S3Stage("minio", bucket, proxy)
            yield stage
            stage.close()


@contextlib.contextmanager
def radosgw_stage(folder, *, seed, share):
    with radosgw.serve(folder / "radosgw") as endpoint:
        # a plain bucket: on a versioned one radosgw 16 ignores conditions, and the product refuses it
        bucket = minio.Bucket(
            endpoint, "rounds", radosgw.ACCESS, radosgw.SECRET, keeps_versions=False
        ).create()
        with FaultProxy(bucket.port, seed=seed, share=share) as proxy:
            stage = S3Stage("radosgw", bucket, proxy)
            yield stage
            stage.close()


@contextlib.contextmanager
def directory_stage(folder, *, seed, share):
    """It has no wire to spoil."""
    root = folder / "shared"
    root.mkdir()
    yield DirectoryStage(root)


@contextlib.contextmanager
def two_uids_stage(folder, *, seed, share):
    root = folder / "shared"
    root.mkdir()
    share_with_group(root)
    folder.chmod(0o755)
    yield DirectoryStage(root, UIDS)


STAGES = {
    "minio": minio_stage,
    "radosgw": radosgw_stage,
    "directory": directory_stage,
    "directory-two-uids": two_uids_stage,
}


def steps_of(stage):
    return (*STEPS, *gates.BEFORE_LINK_OF) if isinstance(stage, DirectoryStage) else STEPS


def learn_folder(nursery, folder):
    """Where below a round's prefix the pods' bundle lies, from the report of one that finds nothing."""
    (folder / "nothing").mkdir()
    pod = Pod(folder / "learning", "learning", (folder / "nothing").as_uri())
    nursery.wait(nursery.start(pod), 60)
    return "/".join(pod.last.report[part] for part in ("flashinfer_version", "arch", "key", "environment"))


def play_rounds(stage, numbers, folder, *, seed, side_by_side=2, tell=lambda _: None, mutant=""):
    """The tally of all rounds. A round's files are kept where something was wrong."""
    tally, lock = Tally(), threading.Lock()
    rounds_folder = folder / "rounds"
    rounds_folder.mkdir()
    rounds_folder.chmod(0o755)
    steps = steps_of(stage)

    def play(number):
        plan = plan_of(number, seed, steps)
        one = Round(plan, stage, nursery, rounds_folder, folder=key_folder, mutant=mutant)
        played = one.play()
        written = stage.written(one.prefix, key_folder)
        with lock:
            found = judge(played, written, tally)
            struck = ", ".join(f"{'stop' if s.stops else 'kill'} {s.pod.name}" for s in played.struck)
            tell(f"round {number:4d} {played.plan.at:14s} {played.seconds:5.1f} s  {struck or '-'}")
            for problem in found:
                tell(f"    {problem}")
        if not found:
            shutil.rmtree(one.root, ignore_errors=True)  # a killed pod's tuner may still write there

    with Nursery() as nursery, ThreadPoolExecutor(side_by_side) as players:
        key_folder = learn_folder(nursery, folder)
        for _ in players.map(play, numbers):
            pass
    # once more, for a write that the wire held back may have come after its round
    tally.problems.extend(stage.late_problems())
    return tally
