/*
 * lifetime_test.c: models and engines come and go: on threads of their own, with calls that come too late, with files that are cut short,
 * and nothing stays behind whatever fails.
 *
 * The linker puts __wrap_wf_start_thread in the place of wf_start_thread, so that threads can be made to be lacking.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/threads.h"
#include "check.h"
#include "image.h"
#include "kernels/dispatch.h"
#include "model/model.h"
#include "process.h"
#include "wrinklefree.h"

#define ERROR_BYTES 256U
#define PATIENCE_MS 60000

static const struct recipe tiny = {512, 32, 32, 1, 2, 1, 10, true, false, false, NULL, NULL};
static const wf_engine_options options = {.threads = 2, .max_sequences = 2};
static const wf_sampling endless = {.top_p = 1.0f, .repetition_penalty = 1.0f, .max_tokens = UINT32_MAX, .ignore_eos = 1};

static struct check_random source = {.state = 0x9e3779b97f4a7c15U};

/* Writes a packed model to a file of its own; path[PATH_MAX]. */
static void write_model(char *path) {
    struct image *image = image_build(&tiny);
    image_randomise(image, &source);
    image_write(image, path);
    image_drop(image);
}

static wf_model *open_model(const char *path) {
    char error[ERROR_BYTES] = "";
    wf_model *model = wf_model_open(path, error, sizeof error);
    if (model == NULL) {
        printf("%s\n", error);
        exit(1);
    }
    return model;
}

static wf_engine *make_engine(const wf_model *model) {
    char error[ERROR_BYTES] = "";
    wf_engine *engine = wf_engine_create(model, &options, NULL, 0, error, sizeof error);
    if (engine == NULL) {
        printf("%s\n", error);
        exit(1);
    }
    return engine;
}

static uint32_t submit(wf_engine *engine, char *error) {
    const uint32_t prompt[3] = {5, 6, 7};
    return wf_engine_submit(engine, prompt, 3, &endless, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, 0, error, ERROR_BYTES);
}

/* ---- Files that are cut short ---- */

/* How a child process ended, and what it wrote to stderr: text[size]. */
static int run_child(void (*child)(void), char *text, size_t size) {
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    fflush(stdout);
    const pid_t process = fork();
    if (process == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(60);
        child();
        _exit(77);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t count;
    while (length + 1 < size && (count = read(ends[0], text + length, size - 1 - length)) > 0)
        length += (size_t)count;
    text[length] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(process, &status, 0);
    return status;
}

static char first_path[PATH_MAX], second_path[PATH_MAX], third_path[PATH_MAX];
static const wf_model *touched;

static void *touch(void *unused) {
    (void)unused;
    volatile uint8_t value = touched->embedding.rows[0];
    (void)value;
    return NULL;
}

/* The second of three models is cut short, and a thread of the library's reads there. */
static void cut_second_of_three(void) {
    const wf_model *first = open_model(first_path);
    touched = open_model(second_path);
    const wf_model *third = open_model(third_path);
    if (truncate(second_path, 0) != 0 || first->embedding.rows[0] + third->embedding.rows[0] == 1)
        _exit(70);
    pthread_t thread;
    if (!wf_start_thread(&thread, touch, NULL))
        _exit(71);
    pthread_join(thread, NULL);
}

/* A thread with as little of a stack as can be had. */
static void cut_with_a_small_stack(void) {
    touched = open_model(first_path);
    if (truncate(first_path, 0) != 0)
        _exit(70);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    const bool is_watched = WATCHES_MEMORY || WATCHES_RACES; /* which takes room of its own */
    pthread_attr_setstacksize(&attributes, is_watched ? (size_t)1 << 20 : (size_t)PTHREAD_STACK_MIN);
    pthread_t thread;
    if (pthread_create(&thread, &attributes, touch, NULL) != 0)
        _exit(71);
    pthread_join(thread, NULL);
}

/* Reads a file that was cut short and that is no model's. */
static void cut_another_file(void) {
    const int file = open(third_path, O_RDWR);
    const volatile uint8_t *bytes = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (bytes == MAP_FAILED || ftruncate(file, 0) != 0)
        _exit(70);
    (void)bytes[0];
}

static void say_other(int number, siginfo_t *info, void *context) {
    (void)context;
    if (number == SIGBUS && info->si_addr != NULL && write(STDERR_FILENO, "other\n", 6) == 6)
        _exit(42);
}

/* A handler that was there before gets what is not a model's, … */
static void leave_others_alone(void) {
    struct sigaction action = {.sa_sigaction = say_other, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    open_model(first_path);
    cut_another_file();
}

/* … also where a model was once, … */
static void leave_closed_models_alone(void) {
    struct sigaction action = {.sa_sigaction = say_other, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    wf_model_close(open_model(first_path));
    cut_another_file();
}

/* … and without one the system does what it always does, whether there was a fault … */
static void die_of_faults(void) {
    signal(SIGBUS, SIG_DFL);
    open_model(first_path);
    cut_another_file();
}

/* … or somebody sent the signal. */
static void die_of_a_signal(void) {
    signal(SIGBUS, SIG_DFL);
    open_model(first_path);
    kill(getpid(), SIGBUS);
    usleep(1000000);
}

static void test_files_cut_short(void) {
    char text[8192], expected[PATH_MAX + 64];
    void (*const cuts[])(void) = {cut_second_of_three, cut_with_a_small_stack};
    const char *const cut_paths[] = {second_path, first_path};
    for (size_t i = 0; i < 2; i++) {
        write_model(first_path);
        write_model(second_path);
        write_model(third_path);
        const int status = run_child(cuts[i], text, sizeof text);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %x: %s", (unsigned)status, text);
        snprintf(expected, sizeof expected, "wrinklefree: %s: can't be read any more: ", cut_paths[i]);
        CHECK(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
        const char *end = strchr(text, '\n');
        CHECK(end != NULL && end[1] == '\0', "not one line: %s", text);
        unlink(first_path);
        unlink(second_path);
        unlink(third_path);
    }
    void (*const others[])(void) = {leave_others_alone, leave_closed_models_alone, die_of_faults, die_of_a_signal};
    for (size_t i = 0; i < 4; i++) {
        write_model(first_path);
        write_model(third_path);
        const int status = run_child(others[i], text, sizeof text);
        if (i < 2)
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42 && strcmp(text, "other\n") == 0, "case %zu, status %x: %s", i,
                  (unsigned)status, text);
        else
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS && text[0] == '\0', "case %zu, status %x: %s", i,
                  (unsigned)status, text);
        unlink(first_path);
        unlink(third_path);
    }
}

/* ---- Tasks ---- */

/* Waits for a task as a client does: its doorbell ends. */
static void wait_for(wf_task *task) {
    const int doorbell = wf_task_doorbell(task);
    CHECK((fcntl(doorbell, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(doorbell, F_GETFD) & FD_CLOEXEC) != 0, "the doorbell's flags");
    struct pollfd poll_bell = {.fd = doorbell, .events = POLLIN};
    CHECK(poll(&poll_bell, 1, PATIENCE_MS) == 1, "a task's doorbell is silent");
    uint8_t byte;
    CHECK(read(doorbell, &byte, 1) == 0, "a task's doorbell has more than its end");
    close(doorbell);
}

static void test_tasks(void) {
    char path[PATH_MAX], error[ERROR_BYTES] = "";
    wf_task *task = wf_model_open_begin("/no/such/model.wf", 0, error, sizeof error);
    wait_for(task);
    CHECK(wf_model_open_end(task, error, sizeof error) == NULL && check_is_line(error, sizeof error) &&
              strstr(error, "/no/such/model.wf") != NULL,
          "%s", error);

    write_model(path);
    task = wf_model_open_begin(path, 0, error, sizeof error);
    wait_for(task);
    wf_model *model = wf_model_open_end(task, error, sizeof error);
    CHECK(model != NULL, "%s", error);

    task = wf_engine_create_begin(model, &(wf_engine_options){.threads = 0, .max_sequences = 1}, NULL, 0, error, sizeof error);
    CHECK(wf_engine_create_end(task, error, sizeof error) == NULL && check_is_line(error, sizeof error), "%s", error);

    const uint32_t cpus[1] = {0};
    task = wf_engine_create_begin(model, &options, cpus, 1, error, sizeof error);
    wf_model_close(model); /* the engine to come keeps it */
    wait_for(task);
    wf_engine *engine = wf_engine_create_end(task, error, sizeof error);
    CHECK(engine != NULL, "%s", error);
    for (uint32_t i = 0; i < 6; i++)
        CHECK(submit(engine, error) != 0, "%s", error);
    const int doorbell = wf_engine_doorbell(engine);
    CHECK(doorbell >= 0 && wf_engine_doorbell(engine) == -1, "the doorbell is handed out once");
    struct pollfd poll_bell = {.fd = doorbell, .events = POLLIN};
    CHECK(poll(&poll_bell, 1, PATIENCE_MS) == 1, "the engine does not answer");

    /* While requests run. */
    task = wf_engine_destroy_begin(engine, error, sizeof error);
    wait_for(task);
    wf_engine_destroy_end(task);
    uint8_t bytes[64];
    ssize_t count;
    while ((count = read(doorbell, bytes, sizeof bytes)) > 0)
        continue;
    CHECK(count == 0, "the doorbell's reader does not learn of the engine's end");
    close(doorbell);
    unlink(path);
}

/* ---- Calls that come too late ---- */

static void check_that_it_is_closed(wf_engine *engine) {
    char error[ERROR_BYTES] = "";
    const uint8_t bytes[1] = {'a'};
    const uint32_t offsets[2] = {0, 1};
    wf_event event;
    wf_engine_stats stats = {.steps = 1};
    CHECK(submit(engine, error) == 0 && check_is_line(error, sizeof error), "a request of a destroyed engine: %s", error);
    error[0] = '\0';
    CHECK(wf_engine_set_vocabulary(engine, bytes, offsets, 1, error, sizeof error) == -1 && check_is_line(error, sizeof error),
          "a vocabulary: %s", error);
    CHECK(wf_engine_drain(engine, &event, 1) == 0, "events");
    wf_engine_read_stats(engine, &stats);
    CHECK(stats.steps == 0 && stats.blocks == 0, "figures");
    wf_engine_cancel(engine, 1);
    CHECK(wf_engine_doorbell(engine) == -1, "a doorbell");
    wf_engine_destroy(engine);
}

static void test_calls_that_come_too_late(void) {
    char path[PATH_MAX];
    write_model(path);
    wf_model *model = open_model(path);
    wf_engine *engine = make_engine(model), *other = make_engine(model);
    wf_engine_destroy(engine);
    check_that_it_is_closed(engine);
    check_that_it_is_closed(NULL);
    char error[ERROR_BYTES] = "";
    CHECK(submit(other, error) != 0, "another engine is not concerned: %s", error);
    wf_engine_destroy(other);
    wf_model_close(model);
    unlink(path);
}

static atomic_bool is_over;

static void *use_engine(void *argument) {
    wf_engine *engine = argument;
    char error[ERROR_BYTES];
    wf_event events[64];
    wf_engine_stats stats;
    while (!atomic_load(&is_over)) {
        wf_engine_cancel(engine, submit(engine, error));
        wf_engine_drain(engine, events, 64);
        wf_engine_read_stats(engine, &stats);
    }
    return NULL;
}

static void test_calls_beside_the_end(void) {
    enum { USERS = 3 };
    char path[PATH_MAX];
    write_model(path);
    wf_model *model = open_model(path);
    for (uint32_t round = 0; round < 10; round++) {
        wf_engine *engine = make_engine(model);
        pthread_t users[USERS];
        atomic_store(&is_over, false);
        for (uint32_t i = 0; i < USERS; i++)
            if (pthread_create(&users[i], NULL, use_engine, engine) != 0)
                exit(1);
        usleep((useconds_t)check_below(&source, 5000));
        wf_engine_destroy(engine);
        usleep(1000);
        atomic_store(&is_over, true);
        for (uint32_t i = 0; i < USERS; i++)
            pthread_join(users[i], NULL);
    }
    wf_model_close(model);
    unlink(path);
}

/* ---- What fails leaves nothing behind ---- */

static uint32_t threads_to_come = UINT32_MAX;

bool __real_wf_start_thread(pthread_t *thread, void *(*run)(void *), void *argument);
bool __wrap_wf_start_thread(pthread_t *thread, void *(*run)(void *), void *argument);
bool __wrap_wf_start_thread(pthread_t *thread, void *(*run)(void *), void *argument) {
    if (threads_to_come == 0)
        return false;
    threads_to_come--;
    return __real_wf_start_thread(thread, run, argument);
}

static void test_remains(void) {
    char path[PATH_MAX], error[ERROR_BYTES];
    write_model(path);
    wf_model *model = open_model(path);
    const uint32_t files = process_files();
    /* Nobody asks for the doorbell. */
    wf_engine_destroy(make_engine(model));
    CHECK(process_files() == files, "%u open files, %u before", process_files(), files);
    /* The engine's own thread is lacking, or the next one. */
    for (uint32_t i = 0; i < 2; i++) {
        threads_to_come = i;
        memset(error, 'x', sizeof error);
        CHECK(wf_engine_create(model, &options, NULL, 0, error, sizeof error) == NULL && check_is_line(error, sizeof error),
              "%.80s", error);
        CHECK(process_files() == files, "%u open files, %u before", process_files(), files);
    }
    threads_to_come = 0;
    CHECK(wf_model_open_begin(path, 0, error, sizeof error) == NULL && check_is_line(error, sizeof error), "%.80s", error);
    CHECK(wf_engine_create_begin(model, &options, NULL, 0, error, sizeof error) == NULL, "%.80s", error);
    threads_to_come = UINT32_MAX;
    CHECK(process_files() == files, "%u open files, %u before", process_files(), files);
    /* A task whose doorbell nobody asks for. */
    wf_engine_destroy_end(wf_engine_destroy_begin(make_engine(model), error, sizeof error));
    CHECK(process_files() == files, "%u open files, %u before", process_files(), files);
    wf_model_close(model);
    unlink(path);
}

int main(void) {
    if (wf_kernels_active() == NULL) {
        printf("WRINKLEFREE_CPU names no kernel tier that this processor can run\n");
        return 1;
    }
    test_files_cut_short(); /* first: each case has a handler installed in a process of its own */
    test_tasks();
    test_calls_that_come_too_late();
    test_calls_beside_the_end();
    test_remains();
    return check_report();
}
