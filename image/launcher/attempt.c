#include "attempt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The n of <n>.started or <n>.ended; 0 for every other name. Pure. */
static long number_of(const char *name, const char *suffix)
{
    char *end;
    long number = *name >= '0' && *name <= '9' ? strtol(name, &end, 10) : 0;
    return number > 0 && number < 1000000 && strcmp(end, suffix) == 0 ? number : 0;
}

static int is_alive(int directory, const char *name)
{
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return 0;
    int is_locked = flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(file);
    return is_locked;
}

static void look_back(struct attempt *attempt)
{
    DIR *listing = fdopendir(dup(attempt->directory));
    if (!listing)
        return;
    for (struct dirent *entry; (entry = readdir(listing));) {
        long started = number_of(entry->d_name, ".started");
        long number = started ? started : number_of(entry->d_name, ".ended");
        if (number >= attempt->number)
            attempt->number = number + 1;
        if (started > attempt->killed && !is_alive(attempt->directory, entry->d_name))
            attempt->killed = started;
    }
    closedir(listing);
}

struct attempt begin_attempt(const char *tree)
{
    struct attempt attempt = {.directory = -1, .file = -1, .number = 1};
    char name[64];
    int here = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (here < 0)
        return attempt;
    attempt.directory = openat(here, "attempts", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(here);
    if (attempt.directory < 0)
        return attempt;
    look_back(&attempt);
    if (attempt.killed)
        return attempt;
    snprintf(name, sizeof name, "%ld.started", attempt.number);
    attempt.file = openat(attempt.directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (attempt.file >= 0)
        flock(attempt.file, LOCK_EX | LOCK_NB);
    return attempt;
}

void end_attempt(const struct attempt *attempt)
{
    char from[64], to[64];
    if (attempt->file < 0)
        return;
    snprintf(from, sizeof from, "%ld.started", attempt->number);
    snprintf(to, sizeof to, "%ld.ended", attempt->number);
    renameat(attempt->directory, from, attempt->directory, to);
}
