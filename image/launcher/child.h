/* One Python that runs the program: started, watched, ended, and how it ended. */
#ifndef CHILD_H
#define CHILD_H

#define SAID_BYTES 1024
#ifndef GRACE_S      /* a test's launcher has less patience */
#define GRACE_S 10.0 /* between SIGTERM and SIGKILL, as the program's own (supervise.py grace_of) */
#endif


enum ending { EXITED, KILLED_BY_SIGNAL, TIMED_OUT, NOT_STARTED };

struct child {
    enum ending ending;
    int number;        /* exit code, or signal */
    int is_terminated; /* we were told to stop, and told the child */
    /* What it told us before the program proper began (image/main.py): `L` loaded, `V`... its version is not one of
       ours, `U`... our modules do not load; empty where the interpreter itself died. */
    char said[SAID_BYTES];
};

/* Run argv[0] with this environment to its end or to `until` (CLOCK_MONOTONIC seconds). The word STATUS_FD in argv is
   replaced by the number of the pipe that the child tells its state on. SIGTERM and SIGINT are passed on. As process 1
   of a container this also reaps what others have left. */
#define STATUS_FD "{status-fd}"
struct child run_child(char **argv, char **environ, double until, int has_own_group);

/* Before the first child: signals stay pending from here on, and none is lost between two children. */
void hold_signals(void);

double monotonic_s(void);

#endif
