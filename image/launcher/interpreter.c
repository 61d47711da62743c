#include "interpreter.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define MAX_WRAPPER_WORDS 24 /* `timeout 9 numactl -N 0 env A=1 python3` and longer; a model's arguments come after */
#define BLANKS " \t"

int is_python_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strncmp(name, "python", 6) == 0 && strspn(name + 6, "0123456789.") == strlen(name + 6);
}

static int is_executable(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode) && access(path, X_OK) == 0;
}

int find_on_path(const char *name, char **environ, char into[PATH_BYTES])
{
    if (strchr(name, '/')) {
        snprintf(into, PATH_BYTES, "%s", name);
        return is_executable(into);
    }
    const char *path = variable(environ, "PATH");
    for (const char *entry = path ? path : USUAL_PATH; *name && *entry; entry += *entry == ':') {
        size_t length = strcspn(entry, ":");
        int wanted = length ? snprintf(into, PATH_BYTES, "%.*s/%s", (int)length, entry, name)
                            : snprintf(into, PATH_BYTES, "./%s", name);
        if (wanted < PATH_BYTES && is_executable(into))
            return 1;
        entry += length;
    }
    return 0;
}

/* The next word of a line, without the quotes that pip and uv put around a path; 0 at its end. */
static int next_word(const char **at, struct text *word)
{
    *at += strspn(*at, BLANKS);
    char quote = **at == '"' || **at == '\'' ? *(*at)++ : '\0';
    const char ends[] = {quote ? quote : ' ', quote ? '\n' : '\t', '\n', '\r', '\0'};
    size_t length = strcspn(*at, ends);
    word->used = 0;
    text_add_part(word, *at, length);
    *at += length + (quote && (*at)[length] == quote);
    return word->used > 0;
}

static int is_named(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, name) == 0;
}

int python_of_script(const char *head, struct text *into)
{
    if (strncmp(head, "#!", 2) != 0)
        return 0;
    const char *at = head + 2;
    if (!next_word(&at, into))
        return 0;
    if (is_named(into->bytes, "sh")) {
        const char *line = strchr(head, '\n');
        if (!line || strncmp(line + 1, "'''exec' ", 9) != 0)
            return 0;
        at = line + 10;
        return next_word(&at, into) && is_python_name(into->bytes);
    }
    if (is_named(into->bytes, "env"))
        do {
            if (!next_word(&at, into))
                return 0;
        } while (into->bytes[0] == '-' || strchr(into->bytes, '='));
    return is_python_name(into->bytes);
}

static int python_of_file(const char *path, struct text *into)
{
    char head[1024];
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t length = file < 0 ? -1 : read(file, head, sizeof head - 1);
    if (file >= 0)
        close(file);
    if (length <= 0)
        return 0;
    head[length] = '\0';
    return python_of_script(head, into);
}

static void add(struct candidates *found, const char *name, const char *because, char **environ)
{
    if (found->count == MAX_CANDIDATES)
        return;
    struct candidate *next = &found->at[found->count];
    next->because = because;
    next->exists = find_on_path(name, environ, next->path);
    if (!next->exists)
        snprintf(next->path, sizeof next->path, "%s", name);
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->at[i].path, next->path) == 0)
            return;
    found->count++;
}

/* 1 where this word of the engine's command settles it. */
static int add_of_word(struct candidates *found, const char *word, char **environ)
{
    char path[PATH_BYTES];
    TEXT(named, PATH_BYTES);
    if (is_python_name(word)) {
        add(found, word, "the engine's command", environ);
        return 1;
    }
    if (*word == '\0' || *word == '-' || !find_on_path(word, environ, path) || !python_of_file(path, &named))
        return 0;
    add(found, named.bytes, "the script that the engine's command starts", environ);
    return 1;
}

static int add_of_line(struct candidates *found, const char *line, char **environ)
{
    TEXT(word, PATH_BYTES);
    while (next_word(&line, &word) || *line == '\n' || *line == '\r') {
        if (word.used > 0 && add_of_word(found, word.bytes, environ))
            return 1;
        line += *line == '\n' || *line == '\r';
    }
    return 0;
}

void find_pythons(const struct settings *settings, char **environ, struct candidates *found)
{
    found->count = 0;
    if (settings->python)
        add(found, settings->python, "--python", environ);
    char **argv = settings->engine_argv;
    for (int i = 0; i < MAX_WRAPPER_WORDS && argv[i]; i++)
        if (strpbrk(argv[i], " \n") ? add_of_line(found, argv[i], environ) : add_of_word(found, argv[i], environ))
            break;
    add(found, "python3", "PATH", environ);
    add(found, "python", "PATH", environ);
    add(found, "/usr/local/bin/python3", "a usual place", environ);
    add(found, "/usr/bin/python3", "a usual place", environ);
    add(found, "/opt/venv/bin/python3", "a usual place", environ);
}
