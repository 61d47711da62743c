#include "copy.h"

#include "child.h"
#include "copy_files.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES 10 /* for `start` itself: a second apart, while other containers of the pod may free space */
#define MARK_BYTES 256

static size_t read_mark(int directory, char mark[MARK_BYTES])
{
    int file = openat(directory, COMPLETE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, mark, MARK_BYTES - 1);
    if (file >= 0)
        close(file);
    mark[length > 0 ? length : 0] = '\0';
    return strlen(mark);
}

static int is_copied(int from, int to)
{
    char ours[MARK_BYTES], theirs[MARK_BYTES];
    return read_mark(from, ours) > 0 && read_mark(to, theirs) > 0 && strcmp(ours, theirs) == 0;
}

static int put_start(int from, int to, struct copied *copied)
{
    for (int tries = 0; tries < TRIES; tries++) {
        if (copy_file(from, "start", to, "start", copied) == 0)
            return 0;
        if (errno == EROFS || errno == EACCES || errno == EPERM || errno == ENOENT)
            return -1; /* no time will change that */
        nanosleep(&(struct timespec){1, 0}, NULL);
    }
    return -1;
}

/* Any uid may leave its attempts here; ours is seldom the engine's. */
static void make_attempts(int to)
{
    mkdirat(to, "attempts", 01777);
    int attempts = openat(to, "attempts", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (attempts < 0)
        return;
    fchmod(attempts, 01777); /* past the umask */
    close(attempts);
}

static int open_directory(const char *path)
{
    char parent[4096];
    if (mkdir(path, 0755) != 0 && errno == ENOENT && strlen(path) < sizeof parent)
        for (size_t end = 1; path[end]; end++)
            if (path[end + 1] == '/' || path[end + 1] == '\0') {
                snprintf(parent, sizeof parent, "%.*s", (int)end + 1, path);
                mkdir(parent, 0755);
            }
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int finish(const char *directory, const char *outcome, const char *detail, const struct copied *copied,
                  double began, const char *termination_log)
{
    TEXT(line, REPORT_BYTES);
    TEXT(shown, 1200);
    TEXT(place, 1200);
    text_add_json(&shown, detail);
    text_add_json(&place, directory);
    text_format(&line, "{\"schema\": \"autotune-cache/copy/v1\", \"outcome\": \"%s\", \"detail\": \"%s\", ", outcome,
                shown.bytes);
    text_format(&line, "\"directory\": \"%s\", \"files\": %ld, \"bytes\": %lld, \"seconds\": %.3f}", place.bytes,
                copied->files, copied->bytes, monotonic_s() - began);
    publish_line(line.bytes, termination_log);
    return strcmp(outcome, "failed") == 0;
}

static int copy_rest(int from, int to, struct copied *copied)
{
    static const char *const kept[] = {"start", "attempts", COMPLETE, NULL};
    unlinkat(to, COMPLETE, 0);
    if (remove_inside(to, kept) != 0 || copy_inside(from, to, kept, copied) != 0)
        return -1;
    return copy_file(from, COMPLETE, to, COMPLETE, copied);
}

int copy_program(const char *tree, const char *directory, const char *termination_log)
{
    static const char *const kept[] = {"start", "attempts", NULL};
    struct copied copied = {0};
    TEXT(detail, 1024);
    double began = monotonic_s();
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error like a full disk, not a death */
    int from = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC), to = open_directory(directory);
    if (from >= 0 && to >= 0 && is_copied(from, to))
        return finish(directory, "complete", "it was there already", &copied, began, termination_log);
    if (from < 0 || to < 0 || put_start(from, to, &copied) != 0) {
        text_format(&detail, "nothing could be put there: %s", strerror(errno));
        return finish(directory, "failed", detail.bytes, &copied, began, termination_log);
    }
    make_attempts(to);
    if (copy_rest(from, to, &copied) != 0) {
        text_format(&detail, "%s: %s; pods will start without the cache", copied.at, strerror(errno));
        remove_inside(to, kept);
        return finish(directory, "incomplete", detail.bytes, &copied, began, termination_log);
    }
    return finish(directory, "complete", "", &copied, began, termination_log);
}
