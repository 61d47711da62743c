#include "copy_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (1 << 18)

static int is_kept(const char *name, const char *const *kept)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 1;
    for (; *kept; kept++)
        if (strcmp(name, *kept) == 0)
            return 1;
    return 0;
}

/* closedir and close keep the errno of what failed before them */
static int closed(int file, int result)
{
    int problem = errno;
    close(file);
    errno = problem;
    return result;
}

static int fill(int source, int target, long long *bytes)
{
    static char chunk[CHUNK_BYTES];
    static int is_refused = 0; /* across file systems it always is: not asked 3,000 times */
    while (!is_refused) {
        ssize_t length = copy_file_range(source, NULL, target, NULL, 1 << 30, 0);
        if (length < 0) { /* other file systems, old kernels, a target that the kernel copies nothing to */
            is_refused = 1;
            break;
        }
        *bytes += length;
        if (length == 0)
            break; /* the end, or a source of a kind that says so at once: read on to be sure */
    }
    for (;;) {
        ssize_t length = read(source, chunk, sizeof chunk);
        if (length <= 0)
            return (int)length;
        for (ssize_t done = 0; done < length;) {
            ssize_t written = write(target, chunk + done, (size_t)(length - done));
            if (written < 0)
                return -1;
            done += written;
            *bytes += written;
        }
    }
}

/* Makes `name`, which must not exist. */
static int copy_new(int from, const char *source, int to, const char *name, struct copied *copied)
{
    struct stat found;
    snprintf(copied->at, sizeof copied->at, "%s", name);
    int in = openat(from, source, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return -1;
    if (fstat(in, &found) != 0)
        return closed(in, -1);
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return closed(in, -1);
    int result = fill(in, out, &copied->bytes);
    if (result == 0)
        result = fchmod(out, found.st_mode & 0100 ? 0755 : 0644);
    copied->files++;
    result = closed(in, result);
    /* network file systems say only here that the disk is full */
    return result == 0 ? close(out) : closed(out, result);
}

int copy_file(int from, const char *source, int to, const char *name, struct copied *copied)
{
    char fresh[300];
    snprintf(fresh, sizeof fresh, ".%s.new", name);
    if (unlinkat(to, fresh, 0) != 0 && errno != ENOENT)
        return -1;
    if (copy_new(from, source, to, fresh, copied) == 0 && renameat(to, fresh, to, name) == 0)
        return 0;
    int problem = errno;
    unlinkat(to, fresh, 0);
    errno = problem;
    return -1;
}

static int copy_link(int from, int to, const char *name)
{
    char target[4096];
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length < 0)
        return -1;
    target[length] = '\0';
    return symlinkat(target, to, name);
}

static int copy_directory(int from, int to, const char *name, struct copied *copied)
{
    static const char *const none[] = {NULL};
    int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return -1;
    if (mkdirat(to, name, 0700) != 0)
        return closed(in, -1);
    int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0)
        return closed(in, -1);
    int result = copy_inside(in, out, none, copied);
    if (result == 0)
        result = fchmod(out, 0755);
    return closed(in, closed(out, result));
}

int copy_inside(int from, int to, const char *const *kept, struct copied *copied)
{
    int result = 0, listed = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = listed < 0 ? NULL : fdopendir(listed);
    if (!listing)
        return -1;
    for (struct dirent *entry; result == 0 && (entry = readdir(listing));) {
        struct stat found;
        if (is_kept(entry->d_name, kept))
            continue;
        result = fstatat(from, entry->d_name, &found, AT_SYMLINK_NOFOLLOW);
        if (result == 0 && S_ISDIR(found.st_mode))
            result = copy_directory(from, to, entry->d_name, copied);
        else if (result == 0 && S_ISLNK(found.st_mode))
            result = copy_link(from, to, entry->d_name);
        else if (result == 0)
            result = copy_new(from, entry->d_name, to, entry->d_name, copied);
    }
    int problem = errno;
    closedir(listing);
    errno = problem;
    return result;
}

static int remove_entry(int directory, const char *name)
{
    static const char *const none[] = {NULL};
    if (unlinkat(directory, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    int inside = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inside < 0)
        return -1;
    int result = remove_inside(inside, none);
    return closed(inside, result == 0 ? unlinkat(directory, name, AT_REMOVEDIR) : result);
}

int remove_inside(int directory, const char *const *kept)
{
    int result = 0, listed = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = listed < 0 ? NULL : fdopendir(listed);
    if (!listing)
        return -1;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (!is_kept(entry->d_name, kept) && remove_entry(directory, entry->d_name) != 0)
            result = -1;
    int problem = errno;
    closedir(listing);
    errno = problem;
    return result;
}
