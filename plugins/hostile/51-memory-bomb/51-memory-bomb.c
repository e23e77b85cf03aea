/*
 * Crime 51: allocates memory and touches it until it is stopped.
 *
 * Expected: killed by the kernel at the function's memory limit: 502, outcome "out_of_memory", and no other
 * process with it. Unconfined, it stops by itself at 4 GiB or when malloc says no, and fails.
 */
#include <hairtrigger.h>
#include <stdlib.h>

#define PIECE ((size_t)1 << 20)
#define PIECES 4096
#define PAGE 4096

static int32_t invoke(const ht_host *host, void *state, ht_invocation *invocation, const ht_request *request) {
    static char *pieces[PIECES];
    int i, count;
    (void)state;
    (void)invocation;
    (void)request;
    for (count = 0; count < PIECES; count++) {
        size_t offset;
        volatile char *piece = pieces[count] = (char *)malloc(PIECE);
        if (piece == NULL) {
            break;
        }
        for (offset = 0; offset < PIECE; offset += PAGE) {
            piece[offset] = 1;
        }
    }
    ht_log_text(host, HT_LOG_ERROR, count == PIECES ? "nobody stopped the bomb" : "malloc stopped the bomb");
    for (i = 0; i < count; i++) {
        free(pieces[i]);
    }
    return 1;
}

HT_FUNCTION(invoke);
