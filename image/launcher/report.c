#include "report.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#ifndef PROGRAM_VERSION
#error "pass -DPROGRAM_VERSION (image/build_tree.py takes it from src/cache_store/version.py)"
#endif

#define DETAIL_BYTES 2600 /* leaves room for the fields around it */

void write_report(const struct report *report, struct text *into)
{
    TEXT(detail, DETAIL_BYTES);
    text_add_json(&detail, report->detail);
    text_format(into, "{\"schema\": \"autotune-cache/report/v1\", \"outcome\": \"%s\", \"reason\": \"%s\", ",
                report->outcome, report->reason);
    text_format(into, "\"detail\": \"%s\", \"exit_code\": %d, \"seconds\": %.3f, ", detail.bytes, report->exit_code,
                report->seconds);
    text_add(into, "\"engine\": null, \"engine_version\": null, \"flashinfer_version\": null, \"arch\": null, "
                   "\"key\": null, \"key_source\": null, \"environment\": null, \"directory\": null, \"ranks\": [], "
                   "\"requests\": 0, \"bytes\": 0, \"saved_s\": 0, \"tuner\": null, \"tune_s\": null, "
                   "\"verified\": null, \"coverage\": null, \"epoch\": null, \"nonce\": null, \"draft\": null, "
                   "\"moved_aside\": {}, \"warnings\": [], \"tail\": [], ");
    text_format(into, "\"program\": \"autotune-cache %s\"}", PROGRAM_VERSION);
}

static void write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written <= 0)
            return;
        bytes += written;
        length -= (size_t)written;
    }
}

void publish_line(const char *line, const char *termination_log)
{
    write_all(STDOUT_FILENO, line, strlen(line));
    write_all(STDOUT_FILENO, "\n", 1);
    int log = open(termination_log, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (log < 0)
        return;
    write_all(log, line, strlen(line));
    close(log);
}
