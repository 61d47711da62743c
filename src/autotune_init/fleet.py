"""`autotune-init fleet`: cluster -> workloads -> what each wants -> the bucket -> { table | JSON | prewarm Jobs }

For people at a terminal, with their own kubeconfig. Nothing in a pod comes here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TextIO

from autotune_init.fleet_lookup import Found, look_up_all
from autotune_init.fleet_options import FleetOptions, parse
from autotune_init.fleet_prewarm import Plan, plan_jobs
from autotune_init.fleet_rows import Row, addresses_of, document_of, rows_of, with_found
from autotune_init.fleet_table import table
from autotune_init.fleet_workloads import gather
from autotune_init.fleet_yaml import to_yaml
from autotune_init.kube import Kube, KubeProblem
from autotune_init.settings import BadSettings
from autotune_init.store_access import StoreAccess
from cache_store.cli.output import escape
from cache_store.clock import SystemClock
from cache_store.dataclass import replace
from cache_store.errors import ADVICE, StoreError
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.identity import Address

CLUSTER = 3  # append only, beside cache_store.exit_codes: the cluster cannot be reached, or refuses


def run_fleet(argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Exit code. Raises nothing."""
    is_json = "--json" in argv
    try:
        options = parse(argv, environ)
        return _Fleet(options, environ, stdout, stderr).run()
    except BadSettings as problem:
        return _failed(stderr, "usage", str(problem), ExitCode.USAGE, is_json=is_json)
    except KubeProblem as problem:
        is_ours = problem.reason in ("cluster-config", "cluster-client")
        code = int(ExitCode.USAGE) if is_ours else CLUSTER
        return _failed(stderr, problem.reason, problem.detail, code, is_json=is_json)
    except StoreError as error:
        message = f"{error}; {error.hint or ADVICE[error.kind]}"
        return _failed(stderr, f"store-{error.kind.value}", message, OF_ERROR[error.kind], is_json=is_json)
    except SystemExit as leaving:  # argparse printed help
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        return _failed(stderr, "interrupted", "interrupted", ExitCode.INTERRUPTED, is_json=is_json)
    except Exception as error:  # noqa: BLE001 -- the one place: a bug of ours is an exit code too
        message = f"please report this: {type(error).__name__}: {error}"
        return _failed(stderr, "internal", message, ExitCode.INTERNAL, is_json=is_json)


class _Fleet:
    def __init__(
        self, options: FleetOptions, environ: Mapping[str, str], stdout: TextIO, stderr: TextIO
    ) -> None:
        self.options = options
        self.environ = environ
        self.stdout = stdout
        self.stderr = stderr
        self.clock = SystemClock()

    def run(self) -> int:
        """Raises `KubeProblem` and `StoreError`."""
        options = self.options
        kube = Kube.open(self.environ, options.context)
        seen = kube.look(None if options.is_everywhere else options.namespace or kube.namespace)
        workloads = gather(seen.pods, seen.controllers)
        rows = rows_of(workloads, seen.products, options.stated, options.settings.store)
        found = {url: self._look_up(url, wanted) for url, wanted in addresses_of(rows).items()}
        rows = tuple(with_found(row, found) for row in rows)
        for warning in seen.warnings:
            self._tell(f"{warning}: what it would show is missing here")
        if options.is_prewarm:
            return self._prewarm(kube, rows)
        if options.is_json:
            self.stdout.write(json.dumps(document_of(rows, seen.warnings)) + "\n")
        elif not rows:
            self._tell(
                "no workload here has the label autotune-cache.dev/inject or our init container (-A: everywhere)"
            )
        else:
            self.stdout.writelines(f"{line}\n" for line in table(rows))
        return int(ExitCode.OK)

    def _look_up(self, url: str, wanted: set[Address]) -> dict[Address, Found]:
        access = StoreAccess(replace(self.options.settings, store=url), self.environ, self.clock)
        try:
            return look_up_all(access.open(), wanted, self.clock.now())
        finally:
            access.close()

    def _prewarm(self, kube: Kube, rows: Sequence[Row]) -> int:
        options = self.options
        plan = plan_jobs(rows, options.choices)
        if options.output == "yaml" and plan.jobs:
            self.stdout.write(to_yaml(plan.jobs))
        if options.output == "name" and not options.applies:
            self.stdout.writelines(f"{_path(job)}\n" for job in plan.jobs)
        if options.applies:
            self._apply(kube, plan)
        for sentence in plan.doubts:
            self._tell(sentence)
        for sentence in plan.left_out:
            self._tell(f"no Job for {sentence}")
        if not plan.jobs and not plan.left_out:
            self._tell("nothing is missing that a Job could tune")
        return int(ExitCode.OK)

    def _apply(self, kube: Kube, plan: Plan) -> None:
        """Raises `KubeProblem` at the first Job that the cluster refuses; what was created is told before."""
        for job in plan.jobs:
            verb = "created" if kube.create_job(job) else "exists"
            if self.options.output == "name":
                self.stdout.write(f"{_path(job)} {verb}\n")
                self.stdout.flush()
            else:
                self._tell(f"{_path(job)} {verb}")

    def _tell(self, text: str) -> None:
        self.stderr.write(f"autotune-init fleet: {escape(text)}\n")


def _path(job: Mapping[str, Mapping[str, str]]) -> str:
    return f"job/{job['metadata']['namespace']}/{job['metadata']['name']}"


def _failed(stderr: TextIO, kind: str, message: str, code: int, *, is_json: bool) -> int:
    if is_json:
        document = {"error": {"kind": kind, "message": message, "exit_code": int(code)}}
        stderr.write(json.dumps(document) + "\n")
    else:
        stderr.write(f"autotune-init fleet: {escape(message)}\n")
    return int(code)
