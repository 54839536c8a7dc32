/*
 * wrinklefree.h: the contract between the engine (C) and everything else.
 *
 * Rules that hold for every function here:
 *   - The library never prints and never exits, with one exception: when the file of an open model is cut short or written to, whoever
 *     reads there would die of SIGBUS, or compute with other weights; instead a line on stderr names the file, and the process ends with
 *     exit code 1.
 *   - A function that can fail takes the caller's `error` buffer of `error_size` bytes and, on failure, writes one line there (always
 *     terminated) that names what was wrong, where, and what to do. "no memory" at its beginning says that it may work another time.
 *   - No pointer given to a function is kept after it returns; what is needed later is copied.
 *   - Models are immutable once open and may be used by many engines and threads at once.
 *   - An engine's functions may be called from any thread.
 *
 * src/engine/symbols.ts is generated from this file (`bun build.ts symbols`): every prototype is one declaration that starts
 * with WF_API, every struct holds only fixed-width fields, every constant is a #define of an integer.
 */
#ifndef WRINKLEFREE_H
#define WRINKLEFREE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WF_API __attribute__((visibility("default")))

/* Raised with every change of this file that an older caller would misread. */
#define WF_ABI_VERSION 11

/* ---- The packed file. ---- */

/* The version that this library reads. */
#define WF_FORMAT_VERSION 2

/* Every tensor starts at a multiple of this many bytes. */
#define WF_ALIGNMENT 64U

/* Ternary rows are made of blocks of this many weights, in this many bytes; wf_pack_rows says in which order. */
#define WF_BLOCK_WEIGHTS 128U
#define WF_BLOCK_BYTES 32U

/* Rows whose weights are scaled by groups lie in panels of so many; wf_pack_panels says how. */
#define WF_PANEL_ROWS 16U

/* Bounds on a configuration. They are far above any model that this engine can serve in reasonable time, and low enough
 * that no product of a few of them overflows 64 bits and that int32 sums of ternary rows (127 * inputs) stay exact. */
#define WF_HIDDEN_MAX 65536U
#define WF_INTERMEDIATE_MAX 1048576U
#define WF_LAYERS_MAX 1024U
#define WF_HEADS_MAX 1024U
#define WF_HEAD_DIM_MAX 1024
#define WF_VOCABULARY_MAX (1U << 24)
#define WF_CONTEXT_MAX (1U << 24)
#define WF_ROPE_DIVISOR_MAX 1000000
#define WF_EOS_TOKENS_MAX 64U
#define WF_EXPERTS_MAX 4096U
#define WF_EXPERTS_USED_MAX 64U
#define WF_ARCHITECTURE_MAX 127U /* bytes of the architecture's name */

/* ---- An engine. ---- */

/* The most threads, sequences and prompt tokens of one step that wf_engine_options may ask for */
#define WF_THREADS_MAX 256U
#define WF_SEQUENCES_MAX 256U
#define WF_BATCH_TOKENS_MAX 4096U

/* Tokens in one block of the KV cache. Attention works through a sequence in these, whatever its chunking. */
#define WF_KV_BLOCK 32

/* How the source of wf_pack_rows stores its weights. */
#define WF_SOURCE_F32 0      /* master weights, 4 bytes each */
#define WF_SOURCE_F16 1      /* master weights, IEEE half */
#define WF_SOURCE_BF16 2     /* master weights, bfloat16 */
#define WF_SOURCE_CODES 3    /* one byte a weight: 0, 1, 2 for -1, 0, +1 */
#define WF_SOURCE_I2_S 4     /* codes, four a byte: blocks of 128 weights over all rows, without the scale behind them */
#define WF_SOURCE_TQ1_0 5    /* codes, five a byte, in blocks of 256 weights of one row, each with a scale in half precision */
#define WF_SOURCE_TQ2_0 6    /* codes, four a byte, in such blocks */
#define WF_SOURCE_Q2_0_64 7  /* codes, four a byte, in blocks of 64 weights of one row, each behind a scale in half precision */
#define WF_SOURCE_Q2_0_128 8 /* the same in blocks of 128 */
#define WF_SOURCE_PTQ1_0 9   /* codes, five a byte, in blocks of 128, each with such a scale behind it */

/* wf_engine_options.kv_kind */
#define WF_KV_KIND_F32 0 /* exact */
#define WF_KV_KIND_F16 2 /* half precision: half the memory, slightly other logits */
#define WF_KV_KIND_Q8 1 /* 8-bit integers with a scale for each head and position: a quarter of the memory, slightly other logits */

/* wf_engine_options.head */
#define WF_HEAD_SCREENED 0 /* an 8-bit sketch finds the tokens that can matter, the bf16 weights decide; the same tokens, sooner */
#define WF_HEAD_EXACT 1    /* the bf16 weights of all tokens, always; saves the sketch's memory, one byte a weight of the head */

/* wf_engine_options.zeros: what becomes of the zeros that relu² leaves in the FFN of small batches */
#define WF_ZEROS_SKIP 0     /* weights that only meet zeros are not read; the same tokens, sooner */
#define WF_ZEROS_MULTIPLY 1 /* all weights are read; saves a second copy of the down projections, a fifth of the ternary weights */

/* wf_event.kind */
#define WF_EVENT_TOKEN 1       /* one token was generated */
#define WF_EVENT_DONE 2        /* nothing follows for this request */
#define WF_EVENT_PROGRESS 3    /* the request began to run, or a piece of its prompt was computed */
#define WF_EVENT_PROMPT 4      /* the log-probability of one prompt token */
#define WF_EVENT_ALTERNATIVE 5 /* one of the likeliest tokens at the place of the WF_EVENT_TOKEN or _PROMPT before it */

/* wf_sampling.temperature_place: after all that leaves tokens out. */
#define WF_TEMPERATURE_LAST 4

/* The most alternatives of a request (wf_sampling.top_logprobs). */
#define WF_TOP_LOGPROBS_MAX 20

/* The kinds of lists of tokens. Where none of those that these leave may follow, the answer ends with WF_REASON_GRAMMAR. */
#define WF_LIST_ALLOWED 1  /* the answer has no other tokens than those of such lists */
#define WF_LIST_BAD_WORD 2 /* after all tokens of the list but its last, the answer doesn't have that one */
#define WF_LIST_BREAKERS 3 /* tokens that break what dry_multiplier takes for a repetition, and are never penalised for one */
#define WF_LIST_BREAKER 4  /* several tokens that do so together */

/* wf_event.reason of a WF_EVENT_DONE */
#define WF_REASON_STOP 1   /* an end-of-text or stop token (which was delivered as a WF_EVENT_TOKEN), or the end of its grammar */
#define WF_REASON_LENGTH 2 /* max_tokens or the end of the context was reached */
#define WF_REASON_CANCELLED 3 /* wf_engine_cancel, or the engine is being destroyed */
#define WF_REASON_GRAMMAR 4   /* the answer can't be continued within its grammar, or only at the cost of too much memory */

/* What wf_machine_measure measures: GB/s (10^9 bytes), multiply-adds in 10^9 a second, or µs of a phase. */
#define WF_MACHINE_READ_BANDWIDTH 0 /* reading in order from a buffer much larger than the caches, in the best way that is known */
#define WF_MACHINE_MULTIPLY_ADDS 1  /* multiply-adds of bytes with all numbers in registers */
#define WF_MACHINE_FLOAT_MULTIPLY_ADDS 2 /* the same of floats */
#define WF_MACHINE_PHASE 3               /* handing out units to all threads and waiting for them, without their work */
#define WF_MACHINE_TERNARY 4             /* in the product of some tokens with rows of 2560 ternary weights that come from memory */
#define WF_MACHINE_SKETCH 5              /* in that with rows of 2560 weights of six bits, as in the head's sketch */
#define WF_MACHINE_ATTENTION_F32 6       /* in attention of the last tokens of 4096 positions, by how keys and values are kept */
#define WF_MACHINE_ATTENTION_F16 7
#define WF_MACHINE_ATTENTION_Q8 8

/* How an engine is laid out; fixed while it lives. */
typedef struct wf_engine_options {
    uint32_t threads;       /* threads that compute, 1 to WF_THREADS_MAX */
    uint32_t max_sequences; /* requests that decode together, 1 to WF_SEQUENCES_MAX */
    uint32_t context;   /* tokens that one request may hold, prompt and answer; 0: the model's, before it was stretched if it was by
                             * LongRoPE, whose positions a longer one changes for all requests */
    uint32_t kv_tokens; /* tokens that the KV pool holds for all requests; at least `context`; 0: context * max_sequences */
    uint32_t batch_tokens; /* most prompt tokens of one step, 1 to WF_BATCH_TOKENS_MAX (a quarter while others are answering);
                             * 0: as many as a step has time for, 64 to 512 (16 to 512 while others are answering) */
    uint32_t kv_kind;      /* WF_KV_KIND_… */
    uint32_t head;         /* WF_HEAD_… */
    uint32_t zeros;        /* WF_ZEROS_… */
} wf_engine_options;

/* What memory an engine takes. */
typedef struct wf_memory_plan {
    uint32_t context;       /* tokens that one request may hold */
    uint32_t kv_blocks;     /* of the KV pool, WF_KV_BLOCK tokens each */
    uint64_t kv_bytes;      /* of the pool when it is full */
    uint64_t sketch_bytes;  /* of the head's sketch; 0: there is none */
    uint64_t column_bytes;  /* of the second copy of the down projections; 0: there is none */
    uint64_t buffer_bytes;  /* of what steps work with, about */
    uint64_t grammar_bytes; /* of what is found out about requests' grammars, at most */
} wf_memory_plan;

/* How one request's tokens are chosen. Applied in this order: bias, repetition, frequency and presence penalties, dry, grammar and lists,
 * top_n_sigma, top_k, temperature, typical_p, top_p, min_p, xtc, draw by rank; temperature_place says whether the temperature comes later. The draw is keyed by
 * (seed, position): the same request with the same seed gives the same tokens. */
typedef struct wf_sampling {
    float temperature;        /* 0: the likeliest token; at most 100 */
    float top_p;              /* 0 to 1; 1: off. At least one token always stays */
    float min_p;              /* 0 to 1; 0: off. Tokens below min_p times the likeliest one's probability are left out */
    float repetition_penalty; /* over 0; 1: off. Positive logits of seen ids are divided by it, others multiplied */
    float frequency_penalty;  /* times the number of occurrences among the generated ids, subtracted */
    float presence_penalty;   /* subtracted once for each id among the generated ones */
    float top_n_sigma; /* over 0; 0: off. Tokens that many standard deviations of all logits below the largest one are left out */
    float typical_p; /* 0 to 1; 0 and 1: off. The tokens whose −ln p is nearest to the entropy, with more than that weight, stay */
    float
        xtc_probability; /* 0 to 1; 0: off. The chance that all of those over the threshold but the least likely one are left out */
    float xtc_threshold; /* 0 to 1, of the probability after all truncation; over 0.5: off */
    float
        dry_multiplier; /* over 0; 0: off. Subtracted, times dry_base ^ (length − dry_allowed_length), from what goes on with a repetition */
    float dry_base;              /* at least 1, else dry is off */
    uint32_t dry_allowed_length; /* repetitions of fewer tokens cost nothing */
    uint32_t dry_window;         /* how many tokens are looked at for repetitions, prompt and answer; 0: all */
    uint32_t penalty_window;     /* how many tokens the other three penalties look at, prompt and answer; 0: all */
    uint32_t min_keep;           /* typical_p, top_p, min_p and xtc leave at least so many, where there are so many; 0 and 1: one */
    uint32_t top_k;              /* 0: off */
    uint32_t temperature_place;  /* how many of typical_p, top_p, min_p and xtc come before the temperature, 0 to 4 */
    uint32_t max_tokens;         /* what does not fit into the context ends it with WF_REASON_LENGTH all the same; 0: prompt only */
    uint32_t min_tokens;      /* no end-of-text or stop token before this many; a complete grammar ends the answer all the same */
    uint32_t ignore_eos;      /* 1: the model's end-of-text tokens are ordinary tokens (the request's stop ids still stop) */
    uint32_t logprobs;        /* 1: events carry log-probabilities of the model's own distribution, before penalties */
    uint32_t top_logprobs;    /* 0 to WF_TOP_LOGPROBS_MAX alternatives with each, the likeliest first */
    uint32_t prompt_logprobs; /* 1: the prompt's tokens too, from the second one on; nothing of it is taken from the prefix cache */
    uint64_t seed;
    uint64_t scope; /* below 2^63; only requests of one scope share what was computed for equal prefixes */
} wf_sampling;

/* What happened to a request. */
typedef struct wf_event {
    uint32_t request;  /* the id that wf_engine_submit returned */
    uint32_t kind;     /* WF_EVENT_… */
    uint32_t token;    /* the id; WF_EVENT_PROGRESS: prompt tokens computed so far */
    uint32_t reason;   /* WF_EVENT_DONE: WF_REASON_… */
    uint32_t count;    /* WF_EVENT_TOKEN, _PROMPT: alternatives that follow; _PROGRESS: prompt tokens found in the prefix cache */
    uint32_t rank;     /* WF_EVENT_PROMPT: one more than there are tokens that are likelier in its place */
    float logprob;     /* natural logarithm; 0 when not asked for */
    double elapsed_ms; /* since the request was submitted */
} wf_event;

/* What an engine is doing and has done. Counters run since it was created. */
typedef struct wf_engine_stats {
    uint32_t running;       /* requests in the batch */
    uint32_t waiting;       /* requests that are not, those paused included */
    uint32_t blocks;        /* of the KV pool, WF_KV_BLOCK tokens each */
    uint32_t blocks_used;   /* by running requests */
    uint32_t blocks_cached; /* by nobody, but still findable */
    uint32_t copying;       /* 1 while copies of weights are made that make steps faster, else 0 */
    uint32_t phases;        /* parts of steps that were begun, modulo 2^32: it changes many times in a step */
    uint64_t prompt_tokens; /* of admitted requests */
    uint64_t cached_tokens; /* of those, found in the prefix cache */
    uint64_t generated_tokens;
    uint64_t steps;
    uint64_t pauses;        /* requests put aside because the pool was full */
    uint64_t ffn_inputs;    /* of down projections in steps that looked for zeros */
    uint64_t ffn_zeros;     /* among those */
    uint64_t skipped_bytes; /* of weights that zeros made needless */
    uint64_t head_bytes;    /* that were read for logits: of the head's rows and of its sketch */
    double step_ms;         /* the last step */
    double busy_ms;         /* all steps */
} wf_engine_stats;

/* How far a call is that takes long, in bytes that it reads. */
typedef struct wf_progress {
    uint64_t done;
    uint64_t total; /* 0: it does not read, or has not begun to */
} wf_progress;

/* A model, mapped read-only from a packed file. */
typedef struct wf_model wf_model;

/* A running engine: the decode loop's thread, its workers and its KV cache. */
typedef struct wf_engine wf_engine;

/* A call that takes long, under way on a thread of its own. */
typedef struct wf_task wf_task;

/* WF_ABI_VERSION of the library that was loaded. */
WF_API uint32_t wf_abi_version(void);

/* The name of the kernel tier in use: "avx2", "scalar", … The best that the processor has, or the one named by the environment
 * variable WRINKLEFREE_CPU at the first use. NULL when that names no tier of this build or one that the processor lacks. */
WF_API const char *wf_cpu_tier(void);

/* The names of all tiers that this processor can run, best first, separated by commas. */
WF_API const char *wf_cpu_tiers(void);

/* Why that is no better tier, in a few words: "no tiles: the processor has none", "WRINKLEFREE_CPU asks for it", … NULL when there is no
 * better one. */
WF_API const char *wf_cpu_tier_reason(void);

/* The cores that this process may run on. */
WF_API uint32_t wf_cpu_cores(void);

/* Locks an open file against other processes (and other openings of it in this one): alone, or together with others that share it. It never
 * waits. The lock ends when the descriptor is closed, also by the process' end. 0: another has it. 1: it is locked, or lies on a file
 * system that has no locks, where nobody is kept out. */
WF_API int32_t wf_file_lock(int32_t descriptor, uint32_t is_shared);

/* The descriptor of a socket of this process that listens on a TCP port, the lowest one over `after`; -1 when there is none. */
WF_API int32_t wf_listening_socket(uint32_t port, int32_t after);

/* Has this process' event loop accept the connections of another listening socket, `by`, where it accepted those of `listener`, which
 * is closed. `by` stays open and may be closed. Nonzero on failure, after which `listener` is of no use. */
WF_API int32_t wf_replace_listener(int32_t listener, int32_t by, char *error, uint32_t error_size);

/* Has this process' event loop accept no more connections of `listener`; they wait for whoever else has the socket. Nonzero on failure. */
WF_API int32_t wf_leave_listener(int32_t listener, char *error, uint32_t error_size);

/* Writes the address of a socket that listens for streams, always terminated: "127.0.0.1:80", "[::]:80" or "unix:/path". Nonzero when the
 * descriptor is no such socket, or the address does not fit. */
WF_API int32_t wf_listening_address(int32_t descriptor, char *address, uint32_t size);

/* The port of the other end of a connection that came in at a TCP port of this process; 0 for what is none, and for one with bytes that
 * are not sent yet. */
WF_API uint32_t wf_quiet_peer(int32_t descriptor, uint32_t port);

/* Ends a connection in both directions, which whoever has its descriptor learns as if the other end had gone. */
WF_API void wf_end_connection(int32_t descriptor);

/* Sends a datagram to a unix socket: at a path, or in the abstract namespace with '@' in front. It never waits. Nonzero on failure. */
WF_API int32_t wf_send_datagram(const char *socket_name, const uint8_t *bytes, uint32_t size, char *error, uint32_t error_size);

/* Opens a packed file (extension .wf): maps it and checks all of it that later code relies on. NULL on failure. */
WF_API wf_model *wf_model_open(const char *path, char *error, uint32_t error_size);

/* The same from `size` bytes in memory, which are copied. `name` stands for the path in messages. */
WF_API wf_model *wf_model_open_bytes(const uint8_t *bytes, uint64_t size, const char *name, char *error, uint32_t error_size);

/* Makes a model that was never trained, to measure with: header[header_size] are the first bytes of a packed file, up
 * to its tensors, and `size` is how many the whole file would have. Its weights are made up in memory: evenly
 * distributed ternary codes, norms of 1, and scales at which activations stay near 1; the same for the same arguments. It
 * goes through the checks of a file. About half of the gates of its FFN are not positive, and `zeros`, a share from 0 to 1 of
 * all of them, when that is more. NULL on failure. */
WF_API wf_model *wf_model_open_random(const uint8_t *header, uint64_t header_size, uint64_t size, double zeros, const char *name,
                                      char *error, uint32_t error_size);

/* Gives a model up; it is unmapped when no engine uses it any more. NULL is allowed. */
WF_API void wf_model_close(wf_model *model);

/* Computes the logits of every position of one prompt: logits[count][vocabulary], `threads` as in wf_engine_options. For tests and
 * checks: it makes an engine's buffers, runs and frees them. Returns 0, or -1 with `error`. */
WF_API int32_t wf_model_logits(const wf_model *model, uint32_t threads, const uint32_t *tokens, uint32_t count, float *logits,
                               char *error, uint32_t error_size);

/* What memory an engine will take beside the model's file, without making it or reading a weight: header[header_size] are the first bytes of
 * a packed file, up to its tensors; `name` stands for its path in messages. Returns 0, or -1 with `error` for a header that is none and for
 * options that wf_engine_create would refuse. */
WF_API int32_t wf_plan_memory(const uint8_t *header, uint64_t header_size, const char *name, const wf_engine_options *options,
                              wf_memory_plan *plan, char *error, uint32_t error_size);

/* Starts an engine on a model, which stays mapped until the engine is destroyed. cpus[cpu_count] are the cores to pin to, one thread each in turn; none when
 * cpu_count is 0. NULL on failure. */
WF_API wf_engine *wf_engine_create(const wf_model *model, const wf_engine_options *options, const uint32_t *cpus,
                                   uint32_t cpu_count, char *error, uint32_t error_size);

/* A file descriptor that becomes readable when events wait; the engine writes one byte for each batch of events, and ends it when it is
 * destroyed. It is non-blocking. The caller owns it from now on and closes it; asked for again, it is -1. */
WF_API int32_t wf_engine_doorbell(wf_engine *engine);

/* Tells the engine the bytes of the model's tokens, which requests with a grammar need: token t is bytes[offsets[t]] …
 * bytes[offsets[t + 1] − 1], with offsets[count + 1]. Tokens without bytes, and those from `count` on, are in no grammar. Once for an
 * engine. Returns 0, or -1 with `error`. */
WF_API int32_t wf_engine_set_vocabulary(wf_engine *engine, const uint8_t *bytes, const uint32_t *offsets, uint32_t count,
                                        char *error, uint32_t error_size);

/* Queues a request: `count` prompt ids, at least 1 and fewer than the context (as many, when max_tokens is 0). stop_ids end the answer beside the model's own
 * end-of-text ids; bias_values[i] is added to the logit of bias_ids[i]; lists[lists_size] are any number of WF_LIST_…, each its kind, its length and
 * so many ids. With a grammar (grammar_size over 0; its form is that of
 * csrc/grammar/grammar.h) the answer's bytes are of it, unless it is cut off: it ends where it is complete, at an end-of-text or stop token that is
 * chosen, or by itself where nothing else may follow. Returns the request's id, never 0; 0 on failure. */
WF_API uint32_t wf_engine_submit(wf_engine *engine, const uint32_t *tokens, uint32_t count, const wf_sampling *sampling,
                                 const uint32_t *stop_ids, uint32_t stop_count, const uint32_t *bias_ids, const float *bias_values,
                                 uint32_t bias_count, const uint32_t *lists, uint32_t lists_size, const uint8_t *grammar,
                                 uint32_t grammar_size, char *error, uint32_t error_size);

/* Elements of the embedding that a request's text has, put into values[capacity], once its WF_EVENT_DONE is drained; the second time 0. A model
 * that gives embeddings (`pooling` in its configuration) takes requests of max_tokens 0 only; nothing of them stays in the prefix cache, and
 * the embedding is that of the text as a whole, not yet scaled to length 1. 0 where there is none, or when capacity is too small. */
WF_API uint32_t wf_engine_take_embedding(wf_engine *engine, uint32_t request, float *values, uint32_t capacity);

/* Ends a request at whatever stage it is; its WF_EVENT_DONE follows. Unknown and finished ids are ignored. */
WF_API void wf_engine_cancel(wf_engine *engine, uint32_t request);

/* Moves up to `capacity` waiting events to events[] and returns their number. Never blocks for longer than a memory copy. */
WF_API uint32_t wf_engine_drain(wf_engine *engine, wf_event *events, uint32_t capacity);

/* Fills `stats`; never blocks for longer than a memory copy. */
WF_API void wf_engine_read_stats(wf_engine *engine, wf_engine_stats *stats);

/* Cancels what runs, stops the threads, which takes until the step at hand is computed, and frees everything. Calls on the engine that are
 * under way on other threads come to their ends first; later ones fail, or do nothing where they can't. NULL and what is destroyed already
 * are ignored. */
WF_API void wf_engine_destroy(wf_engine *engine);

/* ---- The same for those who can't wait: `…_begin` starts a thread that makes the call, `…_end` waits for it, frees the task and gives the
 * call's result. The doorbell tells when there is nothing to wait for. `…_begin` is NULL with `error` when memory or threads are
 * lacking. ---- */

/* A file descriptor that becomes readable, at its end, when the task's call has returned. It is non-blocking. The caller owns it from now on
 * and closes it. */
WF_API int32_t wf_task_doorbell(wf_task *task);

/* Says how far the opening of a model is. Until `…_end`. */
WF_API void wf_task_progress(wf_task *task, wf_progress *progress);

/* `memory`: bytes that this process may have, 0: all that the machine has. A file is read in advance if it leaves a quarter of them; of a
 * larger one what is needed is read when it is. */
WF_API wf_task *wf_model_open_begin(const char *path, uint64_t memory, char *error, uint32_t error_size);
WF_API wf_model *wf_model_open_end(wf_task *task, char *error, uint32_t error_size);

WF_API wf_task *wf_engine_create_begin(const wf_model *model, const wf_engine_options *options, const uint32_t *cpus,
                                       uint32_t cpu_count, char *error, uint32_t error_size);
WF_API wf_engine *wf_engine_create_end(wf_task *task, char *error, uint32_t error_size);

WF_API wf_task *wf_engine_destroy_begin(wf_engine *engine, char *error, uint32_t error_size);
WF_API void wf_engine_destroy_end(wf_task *task);

/* What `threads` threads (1 to WF_THREADS_MAX) of this machine do together at most, or a phase of theirs takes at least, in the unit of
 * `kind`, one of WF_MACHINE_…: the median of several passes. `tier` names one of wf_cpu_tiers, or is NULL for the one in use. `tokens` is
 * 1 to 1024 for products and attention, 0 for the others. Takes about a second, for many tokens several, and up to a quarter of the memory. 0 with `error` on failure. */
WF_API double wf_machine_measure(uint32_t kind, const char *tier, uint32_t threads, uint32_t tokens, char *error,
                                 uint32_t error_size);

/* The bytes that keys and values of one token take in the KV cache of a model of this shape; 0 for an unknown kind (WF_KV_KIND_…). */
WF_API uint64_t wf_kv_token_bytes(uint32_t layers, uint32_t kv_heads, uint32_t head_dim, uint32_t kv_kind);

/* The bytes of one row of the head's sketch, for a hidden state of `hidden` elements, as far as a greedy choice reads it. */
WF_API uint64_t wf_screened_row_bytes(uint32_t hidden);

/* The bytes of one packed row of `columns` weights: blocks of WF_BLOCK_WEIGHTS codes, WF_BLOCK_BYTES bytes each. */
WF_API uint64_t wf_packed_row_bytes(uint64_t columns);

/* Sum of |w| over `count` master weights (WF_SOURCE_F32, _F16 or _BF16), in double precision. NaN for another source. */
WF_API double wf_sum_of_magnitudes(const void *weights, uint32_t source, uint64_t count);

/* The magnitude that all weights share which are not zero, by their values (master weights) or their blocks' scales (WF_SOURCE_TQ1_0,
 * _TQ2_0; `count` is a multiple of 256). 0 when all are zero; NaN when there are several, one that is negative or not finite, or for
 * another source. */
WF_API float wf_ternary_magnitude(const void *weights, uint32_t source, uint64_t count);

/* Quantises and packs `rows` rows of `columns` weights into out[rows][wf_packed_row_bytes(columns)]. Master weights become
 * clamp(round_half_even(w / scale), -1, 1) in fp32; codes are taken as they are, those of a block whose scale is 0 as zeros. Block b of a row holds weights 128b … 128b+127;
 * its byte p holds the codes (t + 1) of weights p, 32+p, 64+p and 96+p in bits 0-1, 2-3, 4-5 and 6-7. Weights past the last column
 * are zero (code 1). Returns 0, or -1 with `error` (an unknown source, a code over 2, a weight that is not finite, columns that are no
 * whole blocks of WF_SOURCE_TQ1_0 or _TQ2_0). */
WF_API int32_t wf_pack_rows(const void *weights, uint32_t source, uint64_t rows, uint64_t columns, float scale, uint8_t *out,
                            char *error, uint32_t error_size);

/* The widest group of inputs, 128, 64, 32 or 16, by which rows of weights are ternary: in each group only −s, 0 and s. 0 when they are not.
 * Formats of blocks have groups of their own (WF_SOURCE_TQ1_0, _TQ2_0, _Q2_0_…, _PTQ1_0), whatever the weights. */
WF_API uint32_t wf_ternary_group(const void *weights, uint32_t source, uint64_t rows, uint64_t columns);

/* The bytes of one packed row of `columns` weights that are scaled by groups: wf_packed_row_bytes, and a half for each group of its
 * blocks, padded with zeros to an even number. */
WF_API uint64_t wf_grouped_row_bytes(uint64_t columns, uint32_t group);

/* Packs `rows` rows of `columns` weights that are ternary by groups of `group` inputs (16, 32, 64 or 128) or by wider ones, codes and scales
 * as they are, into out[rows][wf_grouped_row_bytes(columns, group)]: codes as wf_pack_rows has them, then the scales. Returns 0, or -1
 * with `error`: weights that are not ternary by such groups, a scale that half precision can't hold, a code over 2, columns that are no whole
 * blocks of the source. */
WF_API int32_t wf_pack_groups(const void *weights, uint32_t source, uint64_t rows, uint64_t columns, uint32_t group, uint8_t *out,
                              char *error, uint32_t error_size);

/* Puts `count` such rows into panels of WF_PANEL_ROWS, as packed files have them: first four bytes of codes of each row of the panel side by
 * side, then the next four of each, and behind them the scales, those of a group side by side. The last panel is filled up with rows of
 * zeros: out[count rounded up][row bytes]. */
WF_API void wf_pack_panels(const uint8_t *rows, uint64_t count, uint64_t columns, uint32_t group, uint8_t *out);

#ifdef __cplusplus
}
#endif

#endif
