"""Named steps of a pod at which a test can hold it: it tells the test that it is there, and waits for a byte.

The product has no such hooks: what is wrapped is what its own driver, its placing and its directory store call.
"""

import json
import os
import socket

BEFORE_CLAIM = "before-claim"
AFTER_CLAIM = "after-claim"
MID_TUNE = "mid-tune"
BEFORE_PUBLISH = "before-publish"
AFTER_PUBLISH = "after-publish"  # written and known, nothing else done
BEFORE_PLACE = "before-place"
BETWEEN_FILES = "between-files"
BEFORE_LINK = "between-fsync-and-link"  # the directory store's only, of one object: BEFORE_LINK_OF
BEFORE_LINK_OF = (f"{BEFORE_LINK}:claim.json", f"{BEFORE_LINK}:bundle.json")
EVERYWHERE = (
    BEFORE_CLAIM, AFTER_CLAIM, MID_TUNE, BEFORE_PUBLISH, AFTER_PUBLISH, BEFORE_PLACE, BETWEEN_FILES,
)  # fmt: skip


def open_gate(at, address, name):
    """Hold this process at step `at`, the first time that it comes there."""
    passed = []

    def arrive(step, of=""):
        if at not in (step, f"{step}:{of}") or passed:
            return
        passed.append(step)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(address)
            line.sendall(json.dumps({"pod": name, "pid": os.getpid(), "step": step}).encode() + b"\n")
            line.recv(1)

    _wrap_driver(arrive)
    _wrap_placing(arrive)
    _wrap_directory(arrive)


def check_that_steps_exist():
    """A renamed function would otherwise be held nowhere, and every test would pass."""
    import autotune_init.place
    from cache_store.objects.version_files import VersionedFile
    from cache_store.participate import Driver

    for owner, name in (
        (Driver, "_answer"),
        (autotune_init.place, "_make_directories"),
        (autotune_init.place, "_swap"),
        (VersionedFile, "step"),
    ):
        if not callable(getattr(owner, name)):
            raise TypeError(f"{owner} has no {name}")


def _wrap_driver(arrive):
    from cache_store.participate import Driver
    from cache_store.steps import Done, Work, WriteBundle, WriteClaim

    answer_it = Driver._answer
    works = []

    def answer(self, step):
        is_taking = isinstance(step, WriteClaim) and json.loads(step.body)["counter"] == 0
        if is_taking:
            arrive(BEFORE_CLAIM)
        if isinstance(step, Work):
            works.append(step)
            if len(works) == 2:  # the first began it, and was over because a heartbeat was due
                arrive(MID_TUNE)
        if isinstance(step, WriteBundle):
            arrive(BEFORE_PUBLISH)
        answered = answer_it(self, step)
        if isinstance(answered, Done):
            if is_taking:
                arrive(AFTER_CLAIM)
            if isinstance(step, WriteBundle):
                arrive(AFTER_PUBLISH)
        return answered

    Driver._answer = answer


def _wrap_placing(arrive):
    import autotune_init.place

    make_it, link_it = autotune_init.place._make_directories, os.link
    links = []

    def make_directories(*arguments, **named):
        arrive(BEFORE_PLACE)
        return make_it(*arguments, **named)

    def link(source, target, *arguments, **named):
        # `place` keeps a link to what was there before it renames each file over it
        if str(target).endswith(".old"):
            links.append(target)
            if len(links) == 2:
                arrive(BETWEEN_FILES)
        return link_it(source, target, *arguments, **named)

    autotune_init.place._make_directories = make_directories
    os.link = link


def _wrap_directory(arrive):
    from cache_store.objects.version_files import VersionedFile

    step_it = VersionedFile.step

    def step(self, temp, number):
        arrive(BEFORE_LINK, of=self._plain.name)
        return step_it(self, temp, number)

    VersionedFile.step = step
