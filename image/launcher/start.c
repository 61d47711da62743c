/* HOW TO USE: the only entry of our program in a container that may have no shell, no libc of a known kind and any
   Python or none.

       start copy DIR                            the tree that this file lies in, into DIR
       start run [options] -- ENGINE ARGV...     our program on the engine's Python; so too `key` and `facts`
       start store ...                           the operators' cache-store, where this image has it

   `run` never fails a pod: whatever keeps our program from its own report is reported here, with exit code 0 unless
   --strict or AUTOTUNE_STRICT asks for 25. */
#include "arguments.h"
#include "attempt.h"
#include "child.h"
#include "copy.h"
#include "interpreter.h"
#include "report.h"
#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#ifndef MARGIN_S
#define MARGIN_S 30.0 /* past the program's own deadline, which it keeps itself unless something is very wrong */
#endif
#define USAGE 2
#define MAX_TRIED_WORDS 8

extern char **environ;

static int find_tree(char tree[PATH_BYTES])
{
    ssize_t length = readlink("/proc/self/exe", tree, PATH_BYTES - 1);
    if (length > 0)
        tree[length] = '\0';
    else if (getauxval(AT_EXECFN)) /* no /proc here */
        snprintf(tree, PATH_BYTES, "%s", (const char *)getauxval(AT_EXECFN));
    else
        return 0;
    char *slash = strrchr(tree, '/');
    if (!slash)
        return snprintf(tree, PATH_BYTES, ".") > 0;
    slash[slash == tree] = '\0';
    return 1;
}

/* python -B main.py FD COMMAND [--python X] WORDS...; -B: nothing is ever written beside what we import. */
static char **argv_for(struct candidate *candidate, char *program, const char *command, const char *python,
                       char **words)
{
    size_t count = 0;
    while (words[count])
        count++;
    char **argv = calloc(count + MAX_TRIED_WORDS + 1, sizeof *argv);
    char **at = argv;
    if (!argv)
        return NULL;
    *at++ = candidate->path;
    *at++ = "-B";
    *at++ = program;
    *at++ = STATUS_FD;
    *at++ = (char *)command;
    if (python) {
        *at++ = "--python";
        *at++ = (char *)python;
    }
    memcpy(at, words, count * sizeof *words);
    return argv;
}

/* The engine's Python is the first that exists. Where ours must run on another one, it is told of the engine's: it would
   otherwise take the packages that it finds beside itself for the engine's, and a wrong bundle is worse than none. */
static struct verdict try_pythons(const char *tree, const char *command, char **words, const struct settings *settings,
                                  double began)
{
    static struct candidates found;
    static char program[PATH_BYTES + 16];
    int is_run = strcmp(command, "run") == 0;
    const char *engines = NULL;
    struct verdict verdict = no_python();
    snprintf(program, sizeof program, "%s/main.py", tree);
    find_pythons(settings, environ, &found);
    for (size_t i = 0; i < found.count; i++) {
        struct candidate *candidate = &found.at[i];
        if (!candidate->exists)
            continue;
        const char *stated = engines && !settings->python ? engines : NULL;
        char **argv = argv_for(candidate, program, command, stated, words);
        if (!argv)
            break;
        struct child child = run_child(argv, environ, began + settings->deadline_s + MARGIN_S, is_run);
        free(argv);
        verdict = judge(&child, candidate->path, is_run && !settings->is_strict, settings->deadline_s + MARGIN_S);
        if (!verdict.tries_next)
            return verdict;
        if (!engines)
            engines = candidate->path;
    }
    name_tried(&verdict, &found);
    return verdict;
}

static int run_program(const char *tree, const char *command, char **words)
{
    double began = monotonic_s();
    int is_run = strcmp(command, "run") == 0;
    struct settings settings = read_settings(words, environ);
    struct attempt attempt = {.directory = -1, .file = -1};
    struct verdict verdict;
    hold_signals();
    if (is_run)
        attempt = begin_attempt(tree);
    if (attempt.killed)
        verdict = killed_before(attempt.killed);
    else if (!is_complete(tree))
        verdict = incomplete(tree);
    else
        verdict = try_pythons(tree, command, words, &settings, began);
    int code = verdict.reason ? exit_code_of(&verdict, is_run, settings.is_strict) : verdict.exit_code;
    if (verdict.reason && is_run) {
        TEXT(line, REPORT_BYTES);
        struct report report = {verdict.outcome, verdict.reason, verdict.detail, code, monotonic_s() - began};
        write_report(&report, &line);
        publish_line(line.bytes, settings.termination_log);
    }
    if (verdict.reason)
        fprintf(stderr, "autotune-init: %s (%s): %s\n", verdict.outcome, verdict.reason, verdict.detail);
    end_attempt(&attempt);
    return code;
}

static int run_store(char **words)
{
    char path[PATH_BYTES];
    if (find_on_path("cache-store", environ, path)) {
        words[-1] = path;
        execve(path, words - 1, environ);
    }
    fprintf(stderr, "start store: cache-store is not in this image; use the slim one\n");
    return PROGRAM_FAILED;
}

int main(int argc, char **argv)
{
    char tree[PATH_BYTES];
    const char *command = argc > 1 ? argv[1] : "";
    if (!find_tree(tree)) {
        fprintf(stderr, "start: cannot find the tree that it lies in\n");
        return USAGE;
    }
    if (strcmp(command, "copy") == 0 && argc == 3)
        return copy_program(tree, argv[2], read_settings(argv + argc, environ).termination_log);
    if (strcmp(command, "run") == 0 || strcmp(command, "key") == 0 || strcmp(command, "facts") == 0 ||
        strcmp(command, "--version") == 0)
        return run_program(tree, command, argv + 2);
    if (strcmp(command, "store") == 0)
        return run_store(argv + 2);
    int is_asked = strcmp(command, "--help") == 0;
    fprintf(is_asked ? stdout : stderr,
            "usage: start copy DIR | start {run,key,facts} [options] [-- ENGINE ARGV...] | start store ...\n");
    return is_asked ? 0 : USAGE;
}
