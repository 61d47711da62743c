/* Which Pythons could be the engine's, best first. */
#ifndef INTERPRETER_H
#define INTERPRETER_H

#include "arguments.h"
#include "text.h"

#define PATH_BYTES 4096
#define MAX_CANDIDATES 12

struct candidate {
    char path[PATH_BYTES]; /* what to execute; links unresolved, since a virtual environment's python is a link */
    const char *because;   /* who named it, for people */
    int exists;
};

struct candidates {
    struct candidate at[MAX_CANDIDATES];
    size_t count;
};

/* --python; then the first word of the engine's command that is a Python or a script for one (wrappers such as
   `numactl` stand before it, and a shell line is split at its blanks); then `python3` and `python` on PATH; then the
   places where images have one. A path comes once. */
void find_pythons(const struct settings *settings, char **environ, struct candidates *found);

/* Whether the last part of a path is python, python3, python3.12 and the like. Pure. */
int is_python_name(const char *path);

/* The Python that the first bytes of a script name, as a path or a name for PATH; 0 where they name none. Pure.
   Knows `#!/path/python`, `#!/usr/bin/env python3` (with -S, options and assignments), and the `#!/bin/sh` with
   `'''exec' /path/python` that pip and uv write where the path is too long or has blanks. */
int python_of_script(const char *head, struct text *into);

/* As execvp finds it: `name` itself where it has a slash, else the first executable on PATH. 0 where there is none. */
int find_on_path(const char *name, char **environ, char into[PATH_BYTES]);

#endif
