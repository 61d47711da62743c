/* The report of a run that our program could not write itself: docs/schemas/run-report.json. */
#ifndef REPORT_H
#define REPORT_H

#include "text.h"

#define REPORT_BYTES 4096 /* kubelet cuts a termination message there (pkg/kubelet/container/runtime.go) */

struct report {
    const char *outcome;
    const char *reason;
    const char *detail;
    int exit_code;
    double seconds;
};

/* One JSON object of less than REPORT_BYTES, without a line end. Pure; the detail is cut where it is too long. */
void write_report(const struct report *report, struct text *into);

/* The line on stdout, and in `termination_log` if that exists. What cannot be written is given up. */
void publish_line(const char *line, const char *termination_log);

#endif
