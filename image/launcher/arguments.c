#include "arguments.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_DEADLINE_S 1800.0
#define MAX_SECONDS (7 * 24 * 3600.0) /* MAX_SECONDS of src/autotune_init/settings.py */

const char *variable(char **environ, const char *name)
{
    size_t length = strlen(name);
    for (; *environ; environ++)
        if (strncmp(*environ, name, length) == 0 && (*environ)[length] == '=')
            return (*environ)[length + 1] ? *environ + length + 1 : NULL;
    return NULL;
}

static int is_end(const char *word)
{
    return word == NULL || strcmp(word, "--") == 0;
}

static const char *flag(char **argv, const char *name)
{
    const char *found = NULL;
    size_t length = strlen(name);
    for (; !is_end(*argv); argv++) {
        if (strncmp(*argv, name, length) != 0)
            continue;
        if ((*argv)[length] == '=')
            found = *argv + length + 1;
        else if ((*argv)[length] == '\0' && !is_end(argv[1]))
            found = argv[1];
    }
    return found;
}

static const char *setting(char **argv, char **environ, const char *name, const char *of_environ)
{
    const char *stated = flag(argv, name);
    return stated ? stated : variable(environ, of_environ);
}

static double seconds(const char *stated)
{
    char *end;
    double number = stated ? strtod(stated, &end) : 0;
    if (!stated || *end != '\0' || !(number > 0 && number <= MAX_SECONDS))
        return DEFAULT_DEADLINE_S;
    return number;
}

static int is_strict(char **argv, const char *of_environ)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    for (; !is_end(*argv); argv++)
        if (strcmp(*argv, "--strict") == 0)
            return 1;
    for (size_t i = 0; of_environ && i < sizeof yes / sizeof *yes; i++)
        if (strcasecmp(of_environ, yes[i]) == 0)
            return 1;
    return 0;
}

struct settings read_settings(char **argv, char **environ)
{
    const char *log = setting(argv, environ, "--termination-log", "AUTOTUNE_TERMINATION_LOG");
    struct settings settings = {
        .python = setting(argv, environ, "--python", "AUTOTUNE_PYTHON"),
        .termination_log = log ? log : "/dev/termination-log",
        .deadline_s = seconds(setting(argv, environ, "--deadline", "AUTOTUNE_DEADLINE")),
        .is_strict = is_strict(argv, variable(environ, "AUTOTUNE_STRICT")),
    };
    while (!is_end(*argv))
        argv++;
    settings.engine_argv = *argv ? argv + 1 : argv;
    return settings;
}
