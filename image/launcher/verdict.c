#include "verdict.h"

#include "copy.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct verdict ended(const char *outcome, const char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static struct verdict ended(const char *outcome, const char *reason, const char *format, ...)
{
    struct verdict verdict = {.outcome = outcome, .reason = reason};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(verdict.detail, sizeof verdict.detail, format, arguments);
    va_end(arguments);
    return verdict;
}

static struct verdict next(struct verdict verdict)
{
    verdict.tries_next = 1;
    return verdict;
}

struct verdict no_python(void)
{
    return ended("skipped", "program-no-python", "there is no Python in this image; CPython 3.10 to 3.13 is needed");
}

struct verdict killed_before(long attempt)
{
    return ended("skipped", "program-killed-before",
                 "attempt %ld of this container was killed (out of memory, or its node went down); it is not tried again "
                 "in this pod",
                 attempt);
}

struct verdict incomplete(const char *tree)
{
    return ended("skipped", "program-unloadable",
                 "the copy of our program in %s is not complete (disk full?); see the container that made it", tree);
}

static struct verdict judge_beginning(const struct child *child, const char *python)
{
    if (child->ending == NOT_STARTED)
        return next(ended("skipped", "program-unloadable", "%s cannot be executed: %s", python, child->said + 1));
    if (child->said[0] == 'V')
        return next(ended("skipped", "program-python-version", "%s is %s; CPython 3.10 to 3.13 is needed", python,
                          child->said + 1));
    if (child->said[0] == 'U')
        return next(ended("skipped", "program-unloadable", "%s does not load our program: %s", python, child->said + 1));
    if (child->ending == KILLED_BY_SIGNAL)
        return next(ended("skipped", "program-unloadable", "%s died of signal %d (%s) before our program had loaded",
                          python, child->number, strsignal(child->number)));
    return next(ended("skipped", "program-unloadable", "%s ended with exit code %d before our program had loaded", python,
                      child->number));
}

struct verdict judge(const struct child *child, const char *python, int fails_open, double limit_s)
{
    int is_told_to = child->is_terminated && child->ending == KILLED_BY_SIGNAL;
    if (is_told_to || (child->is_terminated && child->said[0] != 'L'))
        return ended("cold", "terminated", "SIGTERM");
    if (child->ending == TIMED_OUT)
        return ended("skipped", "program-crashed", "it had not ended after %.0f s and was killed", limit_s);
    /* nothing in an image kills with 9: that is the kernel, short of memory, and the next Python would fare no better */
    int is_out_of_memory = child->ending == KILLED_BY_SIGNAL && child->number == SIGKILL;
    if (child->said[0] != 'L' && !is_out_of_memory)
        return judge_beginning(child, python);
    if (child->ending == KILLED_BY_SIGNAL)
        return ended("skipped", "program-crashed", "it died of signal %d (%s)%s", child->number, strsignal(child->number),
                     is_out_of_memory ? "; out of memory?" : "");
    if (fails_open && child->number != 0 && child->number != GROUP_TORN)
        return ended("skipped", "program-crashed", "it ended with exit code %d", child->number);
    return (struct verdict){.exit_code = child->number};
}

void name_tried(struct verdict *verdict, const struct candidates *found)
{
    struct text detail = {verdict->detail, strlen(verdict->detail), sizeof verdict->detail};
    text_add(&detail, "; looked at");
    for (size_t i = 0; i < found->count; i++)
        text_format(&detail, "%s %.200s%s (%s)", i ? "," : "", found->at[i].path, found->at[i].exists ? "" : ": absent",
                    found->at[i].because);
}

int exit_code_of(const struct verdict *verdict, int is_run, int is_strict)
{
    if (is_run && !is_strict)
        return 0;
    return strcmp(verdict->reason, "terminated") == 0 ? TERMINATED : PROGRAM_FAILED;
}

int is_complete(const char *tree)
{
    TEXT(mark, PATH_BYTES + 16);
    text_format(&mark, "%s/%s", tree, COMPLETE);
    return access(mark.bytes, R_OK) == 0;
}
