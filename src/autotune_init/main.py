"""settings -> facts -> engine recipe -> lookup -> plan -> { place | wait | tune -> verify -> publish -> place | cold } -> report

The composition root. Heavy modules are imported inside the commands, so that help, a typo and `local` cost nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from autotune_init.flags import build_parser, plain_flags
from autotune_init.outcomes import BAD_SETTINGS, OK
from autotune_init.settings import BadSettings, Settings, settings_from, split_engine_argv
from cache_store.annotation import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from types import FrameType

    from autotune_init.supervise import Supervisor

USAGE = """usage: autotune-init {run,key,facts} [options] [-- ENGINE ARGV...]
       autotune-init fleet [prewarm] [options]

  run     find the fleet's tuned kernels for this pod, or tune once and publish; prints one JSON report
  key     say where the engine will look for its autotune files, and why (--json, --batch)
  facts   print what this node is, as the JSON that --facts reads
  fleet   say which workloads of a cluster find their tuned kernels; make Jobs that tune what is missing

autotune-init COMMAND --help shows every option. --version prints the version.
"""

DESCRIPTIONS = {
    "run": "Find the fleet's tuned kernels for this pod's engine, or tune once and publish the result.",
    "key": "Say where the engine will look for its autotune files: every input, its value and where that came from.",
    "facts": "Print what this node is, as the JSON that --facts reads.",
}


def run(
    argv: Sequence[str], environ: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO
) -> int:
    """The program: arguments and environment in, exit code out."""
    if not argv or argv[0] in ("-h", "--help"):
        stdout.write(USAGE)
        return OK if argv else BAD_SETTINGS
    if argv[0] == "--version":
        from autotune_init import __version__

        stdout.write(f"autotune-init {__version__}\n")
        return OK
    command, rest = argv[0], list(argv[1:])
    if command == "fleet":
        from autotune_init.fleet import run_fleet

        return run_fleet(rest, environ, stdout, stderr)
    if command not in DESCRIPTIONS:
        stderr.write(f"autotune-init: no such command: {command}\n{USAGE}")
        return BAD_SETTINGS
    if command == "run":
        return _run(rest, environ, stdout, stderr)
    try:
        given, settings = _settings(command, rest, environ)
        if command == "facts":
            from autotune_init.node import print_facts

            return print_facts(settings, environ, stdout, stderr)
        from autotune_init.explain import explain_key

        return explain_key(
            settings,
            environ,
            stdin,
            stdout,
            stderr,
            as_json=bool(given.get("json")),
            is_batch=bool(given.get("batch")),
            verify_with=given.get("verify_with"),
        )
    except BadSettings as problem:
        stderr.write(f"autotune-init {command}: {problem}\n")
        return BAD_SETTINGS
    except SystemExit as leaving:  # argparse printed help
        return int(leaving.code or 0)


def _settings(
    command: str, argv: Sequence[str], environ: Mapping[str, str]
) -> tuple[Mapping[str, Any], Settings]:
    """What stands on the command line, and all settings."""
    ours, engine_argv = split_engine_argv(argv)
    plain = plain_flags(ours)
    if plain is not None:
        return plain, settings_from(plain, engine_argv, environ)
    parser = build_parser(command, DESCRIPTIONS[command])
    if command == "key":
        parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
        parser.add_argument(
            "--batch", action="store_true", help="JSON lines from stdin, one answer line each"
        )
        parser.add_argument(
            "--verify-with", metavar="PYTHON", help="ask the engine on this Python beside the recipe"
        )
    given = vars(parser.parse_args(ours))
    return given, settings_from(given, engine_argv, environ)


def _run(argv: Sequence[str], environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> int:
    """Never raises, and exits 0 unless --strict: the cache must not be why a pod does not start."""
    from autotune_init.story import Story

    story = Story(stderr)
    try:
        try:
            _, settings = _settings("run", argv, environ)
        except SystemExit as leaving:
            return int(leaving.code or 0)
        except BadSettings as problem:
            from autotune_init.ending import end_with_bad_settings

            return end_with_bad_settings(problem, argv, environ, stdout, story)
        from autotune_init.pod import run_pod

        return run_pod(settings, environ, stdout, story, install_signals=_install_signals)
    except Exception as error:  # noqa: BLE001 -- the one place: a bug of ours must not stop the pod either
        from autotune_init.ending import end_with_bug

        return end_with_bug(error, argv, environ, stdout, story)


def _install_signals(supervisor: Supervisor) -> None:
    def on_signal(_number: int, _frame: FrameType | None) -> None:
        supervisor.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
