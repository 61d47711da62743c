"""A deterministic simulator of the whole protocol: one seed replays everything.

    world     events in virtual time, and processes that are generators of waiting times
    store     one bucket behind a bad network
    pods      one pod's way through the product's own protocol code
    fleet     controllers, operators and a run of one seed
    checks    what must hold after every step and at the end
    mutants   versions of the protocol that are wrong on purpose: each must be caught

`python -m cache_store.testing.simulation SEEDS`.
"""
