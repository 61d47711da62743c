"""What our programs themselves make of a command line."""

import random
import shlex

from autotune_init.flags import build_parser
from autotune_init.fleet_options import parse
from autotune_init.settings import settings_from, split_engine_argv
from cache_store.cli.app import cli
from cache_store.cli.session import Session
from cache_store.testing.clock import ManualClock


def parses(line):
    """Raises where the program would not take it. Nothing is run."""
    program, *argv = shlex.split(line)
    if program == "cache-store":
        session = Session({}, ManualClock(), random.Random(1), lambda: "", None)
        with cli.make_context("cache-store", argv, obj=session) as context:
            name, command, rest = cli.resolve_command(context, context._protected_args + context.args)
            command.make_context(name, rest, parent=context, obj=session)
    elif argv[0] == "fleet":
        parse(argv[1:], {})
    else:
        parser = build_parser(argv[0], "")
        if argv[0] == "key":
            parser.add_argument("--json", action="store_true")
        ours, engine_argv = split_engine_argv(argv[1:])
        settings_from(vars(parser.parse_args(ours)), engine_argv, {})
