/*
 * doorbell.h: a pair of descriptors: who writes a byte to the bell, or closes it, wakes whoever reads the doorbell.
 */
#ifndef WF_DOORBELL_H
#define WF_DOORBELL_H

#include <stdint.h>

/* Both ends are non-blocking and no child process inherits them. Returns 0, or -1 with `error`; then both are -1. */
int wf_doorbell_open(int *doorbell, int *bell, char *error, uint32_t error_size);

/* Rings it. A full or closed socket is no fault: the other end has a byte to read, or has left. */
void wf_doorbell_ring(int bell);

/* Closes one end and sets it to -1; -1 is allowed. */
void wf_doorbell_close(int *end);

#endif
