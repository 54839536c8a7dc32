/*
 * threads.h: a pool that splits one piece of work at a time over a fixed number of threads, the caller's included.
 */
#ifndef WF_THREADS_H
#define WF_THREADS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Starts a thread to which no signals are delivered, which are the host program's business, but for faults of its own: the handlers of
 * those run on the thread that has them, or not at all. False when there can be none. */
bool wf_start_thread(pthread_t *thread, void *(*run)(void *), void *argument);

typedef struct wf_pool wf_pool;

/* One unit of the work; units run in any order and on any thread. */
typedef void (*wf_work)(void *context, uint32_t unit);

/* A pool of `threads` (at least 1), of which it starts all but one. Thread i is pinned to cpus[i % cpu_count]; the caller pins
 * itself. NULL when memory or threads are lacking. */
wf_pool *wf_pool_create(uint32_t threads, const uint32_t *cpus, uint32_t cpu_count);

/* Stops and frees a pool. NULL is allowed. */
void wf_pool_destroy(wf_pool *pool);

/* Runs work(context, 0 … units − 1) and returns when all are done. One caller at a time. */
void wf_pool_run(wf_pool *pool, wf_work work, void *context, uint32_t units);

uint32_t wf_pool_threads(const wf_pool *pool);

/* How often work was begun, modulo 2^32: whoever watches the caller sees by it that it goes on. Any thread may ask. */
uint32_t wf_pool_runs(wf_pool *pool);

#endif
