/* What a Python's end means for the pod. Pure, but for `is_complete`. */
#ifndef VERDICT_H
#define VERDICT_H

#include "child.h"
#include "interpreter.h"

#define PROGRAM_FAILED 25 /* "program-" of src/autotune_init/outcomes.py */
#define TERMINATED 143
#define GROUP_TORN 26 /* "group-torn" there: the one ending of the program that is no 0 without --strict */

struct verdict {
    const char *outcome;
    const char *reason; /* NULL where the program has reported itself */
    char detail[2048];
    int exit_code; /* the program's own */
    int tries_next;
};

struct verdict no_python(void);
struct verdict killed_before(long attempt);
struct verdict incomplete(const char *tree);

/* `fails_open`: `run` without --strict, where no exit code but 0 is the program's own. */
struct verdict judge(const struct child *child, const char *python, int fails_open, double limit_s);

/* Every candidate and where it came from, behind the detail. */
void name_tried(struct verdict *verdict, const struct candidates *found);

/* `key` and `facts` have no report to say it in: there the number says it always. */
int exit_code_of(const struct verdict *verdict, int is_run, int is_strict);

/* Whether the tree is all there: a copy writes its mark last. */
int is_complete(const char *tree);

#endif
