"""A deterministic simulator of the whole protocol: one seed replays everything.

    world     events in virtual time, and processes that are generators of waiting times
    store     one bucket behind a bad network
    seats     who is in a fleet, and what outlives a container
    pods      one pod's way through the product's own protocol code
    tuning    its tune
    operators the product's operations by somebody who takes their time
    draws     what a seed decides before anything happens
    fleet     controllers, operators and a run of one seed
    checks    what must hold after every step and at the end
    mutants   versions of the protocol that are wrong on purpose: each must be caught

`python -m cache_store.testing.simulation SEEDS`.
"""
