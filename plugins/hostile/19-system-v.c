/*
 * Crime 19: makes memory, queues and semaphores that outlive it: of System V, and POSIX queues.
 *
 * Expected: killed, each of them. Sizes and names are such that there is nothing to be made.
 */
#include "crime.h"
#include <fcntl.h>
#include <sys/ipc.h>

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "shmget", SYS_shmget, {IPC_PRIVATE, 0, IPC_CREAT | 0600}},
        {NULL, "shmat", SYS_shmat, {-1, 0, 0}},
        {NULL, "shmctl", SYS_shmctl, {-1, IPC_RMID, 0}},
        {NULL, "msgget", SYS_msgget, {0x63726d65, 0600}},
        {NULL, "semget", SYS_semget, {IPC_PRIVATE, -1, IPC_CREAT | 0600}},
        {NULL, "mq_open", CRIME_GIVES_FD | SYS_mq_open, {(long)"crime-does-not-exist", O_RDONLY, 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);
