/* What the launcher must know of the command line; the program itself reads all of it. Pure. */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

struct settings {
    const char *python;          /* --python, AUTOTUNE_PYTHON; NULL where neither is said */
    const char *termination_log; /* --termination-log, AUTOTUNE_TERMINATION_LOG */
    double deadline_s;           /* --deadline, AUTOTUNE_DEADLINE; 1800 where it is not a number that the program takes */
    int is_strict;
    char **engine_argv; /* what stands behind the first `--`; NULL-terminated, perhaps empty */
};

/* A flag beats its variable, the last of several flags wins (src/autotune_init/settings.py). */
struct settings read_settings(char **argv, char **environ);

/* The value of a variable; NULL where it is unset or empty, which the program takes for unset too. */
const char *variable(char **environ, const char *name);

#endif
