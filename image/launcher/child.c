#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNKILLABLE_S 3.0 /* stuck in the kernel (a GPU driver can do that): waiting longer would hang the pod */

static sigset_t held, before;

double monotonic_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void hold_signals(void)
{
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGCHLD);
    sigprocmask(SIG_BLOCK, &held, &before);
}

static void become(char **argv, char **environ, int status, int has_own_group)
{
    if (has_own_group)
        setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    execve(argv[0], argv, environ);
    dprintf(status, "X%s", strerror(errno));
    _exit(127);
}

static void send(pid_t child, int signal_number, int has_own_group)
{
    kill(has_own_group ? -child : child, signal_number);
}

/* Reaps all that has ended. The child's group is killed before the child is reaped: until then its number is taken. */
static int has_ended(pid_t child, int has_own_group, int *status)
{
    siginfo_t ended = {0};
    while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid) {
        int is_ours = ended.si_pid == child;
        int other;
        if (is_ours && has_own_group)
            kill(-child, SIGKILL);
        if (waitpid(ended.si_pid, is_ours ? status : &other, 0) < 0)
            return 0;
        if (is_ours)
            return 1;
        ended.si_pid = 0;
    }
    return 0;
}

/* The next of SIGTERM, SIGINT and SIGCHLD; -1 where none came until then. */
static int next_signal(double until)
{
    double left = until - monotonic_s();
    if (left < 0)
        left = 0;
    struct timespec wait = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
    int number = sigtimedwait(&held, NULL, &wait);
    return number < 0 && errno == EINTR ? SIGCHLD : number;
}

static void watch(pid_t pid, double until, int has_own_group, struct child *child)
{
    int status = 0;
    size_t tellings = 0;
    static const int telling[] = {SIGTERM, SIGKILL};
    static const double patience_s[] = {GRACE_S, UNKILLABLE_S};
    while (!has_ended(pid, has_own_group, &status)) {
        int number = next_signal(until);
        if (number == SIGTERM || number == SIGINT) {
            child->is_terminated = 1;
            send(pid, number, has_own_group);
        } else if (number < 0) {
            child->ending = TIMED_OUT;
            if (tellings == sizeof telling / sizeof *telling)
                return;
            send(pid, telling[tellings], has_own_group);
            until = monotonic_s() + patience_s[tellings++];
        }
    }
    if (WIFEXITED(status)) /* late perhaps, but it has said itself how it ended */
        child->ending = EXITED;
    else if (child->ending != TIMED_OUT)
        child->ending = KILLED_BY_SIGNAL;
    child->number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static void read_said(int status, char said[SAID_BYTES])
{
    size_t used = 0;
    for (ssize_t got; used < SAID_BYTES - 1 && (got = read(status, said + used, SAID_BYTES - 1 - used)) > 0;)
        used += (size_t)got;
    said[used] = '\0';
}

struct child run_child(char **argv, char **environ, double until, int has_own_group)
{
    struct child child = {.ending = NOT_STARTED};
    int status[2];
    char number[16];
    if (pipe(status) != 0) {
        snprintf(child.said, sizeof child.said, "X%s", strerror(errno));
        return child;
    }
    /* a grandchild may hold the other end for ever: reading must not wait for it */
    fcntl(status[0], F_SETFL, O_NONBLOCK);
    fcntl(status[0], F_SETFD, FD_CLOEXEC);
    snprintf(number, sizeof number, "%d", status[1]);
    for (char **word = argv; *word; word++)
        if (strcmp(*word, STATUS_FD) == 0)
            *word = number;
    pid_t pid = fork();
    if (pid == 0)
        become(argv, environ, status[1], has_own_group);
    close(status[1]);
    if (pid > 0) {
        if (has_own_group)
            setpgid(pid, pid);
        watch(pid, until, has_own_group, &child);
        read_said(status[0], child.said);
    } else {
        snprintf(child.said, sizeof child.said, "X%s", strerror(errno));
    }
    close(status[0]);
    if (child.said[0] == 'X')
        child.ending = NOT_STARTED;
    return child;
}
