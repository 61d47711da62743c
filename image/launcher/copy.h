/* `start copy`: the program's tree into an empty volume that another container runs it from. */
#ifndef COPY_H
#define COPY_H

#define COMPLETE ".complete" /* holds the digest of the whole tree, and comes last */

/* Never leaves half a tree that looks whole. `start` itself comes first: where the rest does not fit, it can still say
   so in the other container, and that pod starts. Returns the exit code: 0 also where the rest did not fit, 1 where not
   even `start` could be put there, since the container that needs it could then never be created; this one is tried
   again by the kubelet. Prints one JSON line, and the same to the termination log. */
int copy_program(const char *tree, const char *directory, const char *termination_log);

#endif
