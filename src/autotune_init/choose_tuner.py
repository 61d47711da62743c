"""The tuner that the settings name. Each is imported only where it is used: a hit pays for none."""

from __future__ import annotations

from collections.abc import Callable

from autotune_init.settings import Settings
from autotune_init.tuners import Tuner
from cache_store.clock import SystemClock


def choose_tuner(
    settings: Settings, engine: str, *, clock: SystemClock, tell: Callable[[str], None]
) -> Tuner | None:
    """One for target and draft, since a started engine has tuned both; None where this pod tunes nothing."""
    if settings.tuner == "command":
        from autotune_init.tuners.command import CommandTuner

        return CommandTuner(settings.tuner_command or "", clock=clock, progress=tell)
    if settings.tuner == "flashinfer-ops":
        from autotune_init.tuners.flashinfer_ops import FlashinferOpsTuner

        return FlashinferOpsTuner(engine=engine, clock=clock, progress=tell)
    if settings.tuner == "engine":
        from autotune_init.tuners.engine import EngineTuner

        return EngineTuner(clock=clock, progress=tell)
    return None
