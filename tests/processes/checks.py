"""What must be true after a round, as sentences about what is not. Pure but for reading what the pods left."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

from tests.processes.pods import DEADLINE_S
from tests.processes.rounds import Played
from tests.processes.stages import Written

WARM = ("tuned", "waited", "hit", "local")


@dataclass
class Tally:
    """Figures over many rounds."""

    rounds: int = 0
    processes: int = 0
    killed: Counter = field(default_factory=Counter)
    stopped: Counter = field(default_factory=Counter)
    rounds_with: Counter = field(default_factory=Counter)
    rounds_over_a_tombstone: int = 0
    bundles_written_once: int = 0
    outcomes: Counter = field(default_factory=Counter)
    half_placed_at_kill: int = 0
    temporary_files_left: int = 0
    slowest_s: float = 0.0
    cold: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def figures(self):
        counted = {
            name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()
        }
        return {**counted, "slowest_s": round(self.slowest_s, 1)}


def judge(played: Played, written: Written, tally: Tally):
    """Adds the round to the tally, with all that was wrong."""
    tally.rounds += 1
    tally.rounds_over_a_tombstone += played.plan.over_tombstone
    tally.rounds_with[played.plan.at] += bool(played.struck)
    for one in played.struck:
        (tally.stopped if one.stops else tally.killed)[one.at] += 1
    for pod in played.pods:
        tally.processes += len(pod.runs)
        tally.temporary_files_left += len(pod.hidden())
        tally.slowest_s = max(tally.slowest_s, *(run.seconds for run in pod.runs))
        ending = _ending(pod.last)
        tally.outcomes[ending] += 1
        if ending.startswith("cold"):
            stopped_s = round(pod.last.stopped_s, 1)
            tally.cold.append(
                f"round {played.plan.number}, {pod.name}: {ending} after {pod.last.seconds:.1f} s, stopped for {stopped_s} s"
            )
    bundle = bundle_in(written)
    tally.bundles_written_once += bool(bundle) and written.versions == written.writes == 1
    tally.half_placed_at_kill += sum(is_half(one.files_at_kill, bundle) for one in played.struck)
    found = [
        *problems_of_bundle(written, bundle),
        *problems_of_reader(played.reader, bundle),
        *(problem for one in played.struck for problem in problems_of_kill(one, bundle)),
        *(problem for pod in played.pods for problem in problems_of_pod(pod, bundle)),
    ]
    tally.problems.extend(f"round {played.plan.number} ({played.plan.at}): {problem}" for problem in found)
    return found


def _ending(run):
    report = run.report
    return "no report" if report is None else f"{report['outcome']}/{report['reason']}"


def bundle_in(written):
    """Rank file -> bytes of the published bundle, {} where there is none."""
    if written.body is None:
        return {}
    register = json.loads(written.body)
    ranks = register.get("ranks", {})  # a tombstone has none
    return {name: register["files"][digest].encode() for name, digest in ranks.items()}


def problems_of_bundle(written, bundle):
    if not bundle:
        yield "no bundle after all pods ended"
    for name, body in bundle.items():
        digest = json.loads(written.body)["ranks"][name]
        if hashlib.sha256(body).hexdigest() != digest:
            yield f"{name} in the bundle does not have its digest"
    if bundle and (written.versions != 1 or written.writes != 1):
        yield f"bundle.json has {written.versions} versions and was written {written.writes} times"
    if written.unconditional:
        yield f"{written.unconditional} registers were written without a condition"


def problems_of_reader(reader, bundle):
    if reader.last.code != 0 or _ending(reader.last) != "hit/found" or reader.visible() != bundle:
        said = reader.last.stderr.read_text()[-500:]
        yield f"a reader afterwards: exit code {reader.last.code}, {_ending(reader.last)} {said}"


def is_half(files, bundle):
    return bool(files) and files.keys() < bundle.keys()


def problems_of_kill(one, bundle):
    """At the kill: whole files of one bundle, although perhaps not yet all of them."""
    for name, body in one.files_at_kill.items():
        if bundle.get(name) != body:
            yield f"{one.pod.name}, killed at {one.at}: {name} is not the bundle's"


def problems_of_pod(pod, bundle):
    for run in pod.runs:
        if run.code is None:
            yield f"{pod.name}: still running after {run.seconds:.1f} s"
        elif run.seconds > DEADLINE_S:
            yield f"{pod.name}: late, {run.seconds:.1f} s"
    if pod.last.code != 0:
        yield f"{pod.name}: exit code {pod.last.code}: {pod.last.stderr.read_text()[-500:]}"
        return
    files, ending = pod.visible(), _ending(pod.last)
    if files and files != bundle:
        of = sorted(name for name, body in files.items() if bundle.get(name) != body)
        yield f"{pod.name} ({ending}): torn: has {sorted(files)}, of which not the bundle's: {of}"
    is_warm = ending.partition("/")[0] in WARM
    if is_warm != bool(files):
        yield f"{pod.name}: {ending}, and {len(files)} files"
