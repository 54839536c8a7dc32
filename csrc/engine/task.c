/*
 * task.c: the calls that take long, each on a thread of its own. Who began one reads its doorbell, which ends when the call has returned.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/doorbell.h"
#include "base/error.h"
#include "base/threads.h"
#include "model/model.h"
#include "wrinklefree.h"

/* Of the message of a call that failed. */
#define ERROR_BYTES 8192U

struct wf_task {
    pthread_t thread;
    int doorbell; /* -1 when the caller has it */
    int bell;
    void (*work)(wf_task *task);
    char *path;
    wf_reading reading; /* of the file of that */
    uint64_t memory;    /* for it */
    wf_model *model;    /* that was opened, or that an engine is made on */
    wf_engine *engine;
    wf_engine_options options;
    uint32_t *cpus; /* [cpu_count] */
    uint32_t cpu_count;
    char error[ERROR_BYTES];
};

static void open_model(wf_task *task) {
    task->model = wf_model_open_watched(task->path, task->memory, &task->reading, task->error, sizeof task->error);
}

static void create_engine(wf_task *task) {
    task->engine = wf_engine_create(task->model, &task->options, task->cpus, task->cpu_count, task->error, sizeof task->error);
}

static void destroy_engine(wf_task *task) { wf_engine_destroy(task->engine); }

static void *run_task(void *argument) {
    wf_task *task = argument;
    task->work(task);
    wf_doorbell_close(&task->bell);
    return NULL;
}

static void free_task(wf_task *task) {
    wf_doorbell_close(&task->doorbell);
    wf_doorbell_close(&task->bell);
    wf_model_close(task->model);
    free(task->path);
    free(task->cpus);
    free(task);
}

static wf_task *make_task(void (*work)(wf_task *), char *error, uint32_t error_size) {
    wf_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        wf_fail(error, error_size, "no memory to begin with");
        return NULL;
    }
    task->work = work;
    if (wf_doorbell_open(&task->doorbell, &task->bell, error, error_size) == 0)
        return task;
    free_task(task);
    return NULL;
}

/* Starts a task that has all that it needs. */
static wf_task *begin(wf_task *task, bool is_complete, char *error, uint32_t error_size) {
    if (is_complete && wf_start_thread(&task->thread, run_task, task))
        return task;
    wf_fail(error, error_size, "no memory or thread to begin with");
    free_task(task);
    return NULL;
}

int32_t wf_task_doorbell(wf_task *task) {
    const int doorbell = task->doorbell;
    task->doorbell = -1;
    return doorbell;
}

void wf_task_progress(wf_task *task, wf_progress *progress) {
    *progress = (wf_progress){atomic_load(&task->reading.done), atomic_load(&task->reading.total)};
}

wf_task *wf_model_open_begin(const char *path, uint64_t memory, char *error, uint32_t error_size) {
    wf_task *task = make_task(open_model, error, error_size);
    if (task == NULL)
        return NULL;
    task->path = strdup(path);
    task->memory = memory;
    return begin(task, task->path != NULL, error, error_size);
}

wf_model *wf_model_open_end(wf_task *task, char *error, uint32_t error_size) {
    pthread_join(task->thread, NULL);
    wf_model *model = task->model;
    task->model = NULL; /* the caller's */
    if (model == NULL)
        wf_fail(error, error_size, "%s", task->error);
    free_task(task);
    return model;
}

wf_task *wf_engine_create_begin(const wf_model *model, const wf_engine_options *options, const uint32_t *cpus, uint32_t cpu_count,
                                char *error, uint32_t error_size) {
    wf_task *task = make_task(create_engine, error, error_size);
    if (task == NULL)
        return NULL;
    task->options = *options;
    task->cpu_count = cpu_count;
    task->cpus = calloc((size_t)cpu_count + 1, sizeof *task->cpus);
    if (task->cpus != NULL && cpu_count > 0)
        memcpy(task->cpus, cpus, cpu_count * sizeof *task->cpus);
    task->model = wf_model_retain(model);
    return begin(task, task->cpus != NULL, error, error_size);
}

wf_engine *wf_engine_create_end(wf_task *task, char *error, uint32_t error_size) {
    pthread_join(task->thread, NULL);
    wf_engine *engine = task->engine;
    if (engine == NULL)
        wf_fail(error, error_size, "%s", task->error);
    free_task(task);
    return engine;
}

wf_task *wf_engine_destroy_begin(wf_engine *engine, char *error, uint32_t error_size) {
    wf_task *task = make_task(destroy_engine, error, error_size);
    if (task == NULL)
        return NULL;
    task->engine = engine;
    return begin(task, true, error, error_size);
}

void wf_engine_destroy_end(wf_task *task) {
    pthread_join(task->thread, NULL);
    free_task(task);
}
