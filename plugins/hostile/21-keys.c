/*
 * Crime 21: reads and fills the kernel's key rings, which other processes share.
 *
 * Expected: killed, each of them. What is asked for is not there, and what is added has no type.
 */
#include "crime.h"

#define SESSION_KEYRING (-3)
#define GET_KEYRING_ID 0

static const char *commit(const crime_scene *scene) {
    const crime_call calls[] = {
        {NULL, "keyctl", SYS_keyctl, {GET_KEYRING_ID, SESSION_KEYRING, 0}},
        {NULL, "add_key", SYS_add_key, {(long)"crime", (long)"crime", 0, 0, SESSION_KEYRING}},
        {NULL, "request_key", SYS_request_key, {(long)"crime", (long)"crime", 0, 0}},
    };
    return CRIME_MAKE(scene, calls);
}

CRIME(commit);
