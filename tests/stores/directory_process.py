"""A process that uses a directory store, for the tests that race and kill real ones. Not a test.

ROOT race KEY ROUNDS GO        both verbs, as fast as it can, each round begun when the file GO<round> is there
ROOT count KEY TIMES           a counter: read, add one, replace
ROOT die KEY VERB STEP         kill -9 before the STEP-th file system call of one write
ROOT once VERB KEY [ETAG]      one call as uid 65534 where we are root; prints the kind of error
ROOT full KEY                  one write with RLIMIT_FSIZE as the full disk
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

from cache_store.clock import fresh_nonce
from cache_store.errors import StoreError
from cache_store.objects import Written
from cache_store.objects.directory import DirectoryStore

WATCHED = frozenset(
    {
        "open",
        "os.link",
        "os.rename",
        "os.remove",
        "os.mkdir",
        "os.listdir",
        "os.scandir",
        "os.symlink",
        "os.chmod",
    }
)


def race(store, key, rounds, go):
    me = os.getpid()
    etag = store.get(key, limit_bytes=1000).etag
    for number in range(int(rounds)):
        print(f"ready {number}", flush=True)
        while not Path(f"{go}{number}").exists():
            time.sleep(0.0005)
        created = store.put_if_absent(f"{key}-{number}", b"%d" % me)
        replaced = store.put_if_match(key, b"%d %d" % (number, me), etag)
        print(
            f"won {number} {int(isinstance(created, Written))} {int(isinstance(replaced, Written))}",
            flush=True,
        )
        while not Path(f"{go}{number}.done").exists():
            time.sleep(0.0005)
        etag = store.get(key, limit_bytes=1000).etag


def count(store, key, times):
    for _ in range(int(times)):
        while True:
            seen = store.get(key, limit_bytes=1000)
            number = int(seen.body.split()[0])
            if isinstance(store.put_if_match(key, b"%d %d" % (number + 1, os.getpid()), seen.etag), Written):
                break


def die(store, key, verb, step):
    etag = "" if verb == "put_if_absent" else store.get(key, limit_bytes=1000).etag
    left = int(step)

    def watch(event, arguments):
        nonlocal left
        if event in WATCHED:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if verb == "put_if_absent":
        store.put_if_absent(key, b"new")
    elif verb == "put_if_match":
        store.put_if_match(key, b"new", etag)
    else:
        store.delete(key)
    left = 0  # what follows is no step
    print("survived", flush=True)


def pause(store, key, verb, event_to_stop_at):
    seen = store.get(key, limit_bytes=1000)
    is_stopped = False

    def watch(event, arguments):
        nonlocal is_stopped
        if event == event_to_stop_at and not is_stopped:
            is_stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(watch)
    if verb == "put_if_absent":
        print(store.put_if_absent(key, b"paused"), flush=True)
    else:
        print(store.put_if_match(key, b"paused", seen.etag), flush=True)


def once(store, verb, key, etag=""):
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        if verb == "get":
            answer = store.get(key, limit_bytes=1000)
        elif verb == "put_if_absent":
            answer = store.put_if_absent(key, b"x")
        else:
            answer = store.put_if_match(key, b"x", etag)
        print(answer)
    except StoreError as error:
        print(f"StoreError {error}")


def full(store, key):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        print(store.put_if_absent(key, b"x" * 5000))
    except StoreError as error:
        print(f"StoreError {error}")


if __name__ == "__main__":
    root, job, *rest = sys.argv[1:]
    globals()[job](DirectoryStore(Path(root), nonce=fresh_nonce), *rest)
