/* What the attempts of this pod's init container left behind: a kill loop must not hold the pod up.

   A kill (out of memory, a node that went down) leaves <n>.started, a good end renames it to <n>.ended. The file is
   locked while its attempt lives, so that one that runs beside us is not taken for a killed one. */
#ifndef ATTEMPT_H
#define ATTEMPT_H

struct attempt {
    int directory; /* -1 where nothing can be kept: no such directory, read-only, full */
    int file;
    long number;
    long killed; /* the number of an earlier attempt that was killed; 0 where there is none */
};

struct attempt begin_attempt(const char *tree);
void end_attempt(const struct attempt *attempt);

#endif
