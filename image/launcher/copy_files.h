/* Copying and removing below open directories. No link in the target is ever followed. */
#ifndef COPY_FILES_H
#define COPY_FILES_H

struct copied {
    long files;
    long long bytes;
    char at[256]; /* the name of what was copied or removed last, for people */
};

/* All return 0, or -1 with errno. `kept`: names at the top that are left alone, NULL-terminated. */

/* Through a name of its own in the same directory and a rename: whoever opens `name` finds all of it or nothing. */
int copy_file(int from, const char *source, int to, const char *name, struct copied *copied);

/* Everything inside `from` into `to`, which has none of it yet. Modes become 0755 and 0644, owners ours. */
int copy_inside(int from, int to, const char *const *kept, struct copied *copied);

int remove_inside(int directory, const char *const *kept);

#endif
