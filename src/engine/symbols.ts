/** Generated from csrc/wrinklefree.h by `bun build.ts symbols`. Do not edit. */

export const ABI_VERSION = 11;
export const FORMAT_VERSION = 2;
export const ALIGNMENT = 64;
export const BLOCK_WEIGHTS = 128;
export const BLOCK_BYTES = 32;
export const PANEL_ROWS = 16;
export const HIDDEN_MAX = 65536;
export const INTERMEDIATE_MAX = 1048576;
export const LAYERS_MAX = 1024;
export const HEADS_MAX = 1024;
export const HEAD_DIM_MAX = 1024;
export const VOCABULARY_MAX = 16777216;
export const CONTEXT_MAX = 16777216;
export const ROPE_DIVISOR_MAX = 1000000;
export const EOS_TOKENS_MAX = 64;
export const EXPERTS_MAX = 4096;
export const EXPERTS_USED_MAX = 64;
export const ARCHITECTURE_MAX = 127;
export const THREADS_MAX = 256;
export const SEQUENCES_MAX = 256;
export const BATCH_TOKENS_MAX = 4096;
export const KV_BLOCK = 32;
export const SOURCE_F32 = 0;
export const SOURCE_F16 = 1;
export const SOURCE_BF16 = 2;
export const SOURCE_CODES = 3;
export const SOURCE_I2_S = 4;
export const SOURCE_TQ1_0 = 5;
export const SOURCE_TQ2_0 = 6;
export const SOURCE_Q2_0_64 = 7;
export const SOURCE_Q2_0_128 = 8;
export const SOURCE_PTQ1_0 = 9;
export const KV_KIND_F32 = 0;
export const KV_KIND_F16 = 2;
export const KV_KIND_Q8 = 1;
export const HEAD_SCREENED = 0;
export const HEAD_EXACT = 1;
export const ZEROS_SKIP = 0;
export const ZEROS_MULTIPLY = 1;
export const EVENT_TOKEN = 1;
export const EVENT_DONE = 2;
export const EVENT_PROGRESS = 3;
export const EVENT_PROMPT = 4;
export const EVENT_ALTERNATIVE = 5;
export const TEMPERATURE_LAST = 4;
export const TOP_LOGPROBS_MAX = 20;
export const LIST_ALLOWED = 1;
export const LIST_BAD_WORD = 2;
export const LIST_BREAKERS = 3;
export const LIST_BREAKER = 4;
export const REASON_STOP = 1;
export const REASON_LENGTH = 2;
export const REASON_CANCELLED = 3;
export const REASON_GRAMMAR = 4;
export const MACHINE_READ_BANDWIDTH = 0;
export const MACHINE_MULTIPLY_ADDS = 1;
export const MACHINE_FLOAT_MULTIPLY_ADDS = 2;
export const MACHINE_PHASE = 3;
export const MACHINE_TERNARY = 4;
export const MACHINE_SKETCH = 5;
export const MACHINE_ATTENTION_F32 = 6;
export const MACHINE_ATTENTION_F16 = 7;
export const MACHINE_ATTENTION_Q8 = 8;

/** Every exported function, as bun:ffi wants it. */
export const symbols = {
  wf_abi_version: { args: [], returns: "u32" },
  wf_cpu_tier: { args: [], returns: "cstring" },
  wf_cpu_tiers: { args: [], returns: "cstring" },
  wf_cpu_tier_reason: { args: [], returns: "cstring" },
  wf_cpu_cores: { args: [], returns: "u32" },
  wf_file_lock: { args: ["i32", "u32"], returns: "i32" },
  wf_listening_socket: { args: ["u32", "i32"], returns: "i32" },
  wf_replace_listener: { args: ["i32", "i32", "buffer", "u32"], returns: "i32" },
  wf_leave_listener: { args: ["i32", "buffer", "u32"], returns: "i32" },
  wf_listening_address: { args: ["i32", "buffer", "u32"], returns: "i32" },
  wf_quiet_peer: { args: ["i32", "u32"], returns: "u32" },
  wf_end_connection: { args: ["i32"], returns: "void" },
  wf_send_datagram: { args: ["buffer", "buffer", "u32", "buffer", "u32"], returns: "i32" },
  wf_model_open: { args: ["buffer", "buffer", "u32"], returns: "ptr" },
  wf_model_open_bytes: { args: ["buffer", "u64", "buffer", "buffer", "u32"], returns: "ptr" },
  wf_model_open_random: { args: ["buffer", "u64", "u64", "f64", "buffer", "buffer", "u32"], returns: "ptr" },
  wf_model_close: { args: ["ptr"], returns: "void" },
  wf_model_logits: { args: ["ptr", "u32", "buffer", "u32", "buffer", "buffer", "u32"], returns: "i32" },
  wf_plan_memory: { args: ["buffer", "u64", "buffer", "buffer", "buffer", "buffer", "u32"], returns: "i32" },
  wf_engine_create: { args: ["ptr", "buffer", "buffer", "u32", "buffer", "u32"], returns: "ptr" },
  wf_engine_doorbell: { args: ["ptr"], returns: "i32" },
  wf_engine_set_vocabulary: { args: ["ptr", "buffer", "buffer", "u32", "buffer", "u32"], returns: "i32" },
  wf_engine_submit: {
    args: [
      "ptr",
      "buffer",
      "u32",
      "buffer",
      "buffer",
      "u32",
      "buffer",
      "buffer",
      "u32",
      "buffer",
      "u32",
      "buffer",
      "u32",
      "buffer",
      "u32",
    ],
    returns: "u32",
  },
  wf_engine_take_embedding: { args: ["ptr", "u32", "buffer", "u32"], returns: "u32" },
  wf_engine_cancel: { args: ["ptr", "u32"], returns: "void" },
  wf_engine_drain: { args: ["ptr", "buffer", "u32"], returns: "u32" },
  wf_engine_read_stats: { args: ["ptr", "buffer"], returns: "void" },
  wf_engine_destroy: { args: ["ptr"], returns: "void" },
  wf_task_doorbell: { args: ["ptr"], returns: "i32" },
  wf_task_progress: { args: ["ptr", "buffer"], returns: "void" },
  wf_model_open_begin: { args: ["buffer", "u64", "buffer", "u32"], returns: "ptr" },
  wf_model_open_end: { args: ["ptr", "buffer", "u32"], returns: "ptr" },
  wf_engine_create_begin: { args: ["ptr", "buffer", "buffer", "u32", "buffer", "u32"], returns: "ptr" },
  wf_engine_create_end: { args: ["ptr", "buffer", "u32"], returns: "ptr" },
  wf_engine_destroy_begin: { args: ["ptr", "buffer", "u32"], returns: "ptr" },
  wf_engine_destroy_end: { args: ["ptr"], returns: "void" },
  wf_machine_measure: { args: ["u32", "buffer", "u32", "u32", "buffer", "u32"], returns: "f64" },
  wf_kv_token_bytes: { args: ["u32", "u32", "u32", "u32"], returns: "u64" },
  wf_screened_row_bytes: { args: ["u32"], returns: "u64" },
  wf_packed_row_bytes: { args: ["u64"], returns: "u64" },
  wf_sum_of_magnitudes: { args: ["buffer", "u32", "u64"], returns: "f64" },
  wf_ternary_magnitude: { args: ["buffer", "u32", "u64"], returns: "f32" },
  wf_pack_rows: { args: ["buffer", "u32", "u64", "u64", "f32", "buffer", "buffer", "u32"], returns: "i32" },
  wf_ternary_group: { args: ["buffer", "u32", "u64", "u64"], returns: "u32" },
  wf_grouped_row_bytes: { args: ["u64", "u32"], returns: "u64" },
  wf_pack_groups: { args: ["buffer", "u32", "u64", "u64", "u32", "buffer", "buffer", "u32"], returns: "i32" },
  wf_pack_panels: { args: ["buffer", "u64", "u64", "u32", "buffer"], returns: "void" },
} as const;

/** Every struct: its size in bytes, and where each field lies. */
export const layouts = {
  wf_engine_options: {
    size: 32,
    fields: {
      threads: { offset: 0, type: "u32" },
      max_sequences: { offset: 4, type: "u32" },
      context: { offset: 8, type: "u32" },
      kv_tokens: { offset: 12, type: "u32" },
      batch_tokens: { offset: 16, type: "u32" },
      kv_kind: { offset: 20, type: "u32" },
      head: { offset: 24, type: "u32" },
      zeros: { offset: 28, type: "u32" },
    },
  },
  wf_memory_plan: {
    size: 48,
    fields: {
      context: { offset: 0, type: "u32" },
      kv_blocks: { offset: 4, type: "u32" },
      kv_bytes: { offset: 8, type: "u64" },
      sketch_bytes: { offset: 16, type: "u64" },
      column_bytes: { offset: 24, type: "u64" },
      buffer_bytes: { offset: 32, type: "u64" },
      grammar_bytes: { offset: 40, type: "u64" },
    },
  },
  wf_sampling: {
    size: 112,
    fields: {
      temperature: { offset: 0, type: "f32" },
      top_p: { offset: 4, type: "f32" },
      min_p: { offset: 8, type: "f32" },
      repetition_penalty: { offset: 12, type: "f32" },
      frequency_penalty: { offset: 16, type: "f32" },
      presence_penalty: { offset: 20, type: "f32" },
      top_n_sigma: { offset: 24, type: "f32" },
      typical_p: { offset: 28, type: "f32" },
      xtc_probability: { offset: 32, type: "f32" },
      xtc_threshold: { offset: 36, type: "f32" },
      dry_multiplier: { offset: 40, type: "f32" },
      dry_base: { offset: 44, type: "f32" },
      dry_allowed_length: { offset: 48, type: "u32" },
      dry_window: { offset: 52, type: "u32" },
      penalty_window: { offset: 56, type: "u32" },
      min_keep: { offset: 60, type: "u32" },
      top_k: { offset: 64, type: "u32" },
      temperature_place: { offset: 68, type: "u32" },
      max_tokens: { offset: 72, type: "u32" },
      min_tokens: { offset: 76, type: "u32" },
      ignore_eos: { offset: 80, type: "u32" },
      logprobs: { offset: 84, type: "u32" },
      top_logprobs: { offset: 88, type: "u32" },
      prompt_logprobs: { offset: 92, type: "u32" },
      seed: { offset: 96, type: "u64" },
      scope: { offset: 104, type: "u64" },
    },
  },
  wf_event: {
    size: 40,
    fields: {
      request: { offset: 0, type: "u32" },
      kind: { offset: 4, type: "u32" },
      token: { offset: 8, type: "u32" },
      reason: { offset: 12, type: "u32" },
      count: { offset: 16, type: "u32" },
      rank: { offset: 20, type: "u32" },
      logprob: { offset: 24, type: "f32" },
      elapsed_ms: { offset: 32, type: "f64" },
    },
  },
  wf_engine_stats: {
    size: 120,
    fields: {
      running: { offset: 0, type: "u32" },
      waiting: { offset: 4, type: "u32" },
      blocks: { offset: 8, type: "u32" },
      blocks_used: { offset: 12, type: "u32" },
      blocks_cached: { offset: 16, type: "u32" },
      copying: { offset: 20, type: "u32" },
      phases: { offset: 24, type: "u32" },
      prompt_tokens: { offset: 32, type: "u64" },
      cached_tokens: { offset: 40, type: "u64" },
      generated_tokens: { offset: 48, type: "u64" },
      steps: { offset: 56, type: "u64" },
      pauses: { offset: 64, type: "u64" },
      ffn_inputs: { offset: 72, type: "u64" },
      ffn_zeros: { offset: 80, type: "u64" },
      skipped_bytes: { offset: 88, type: "u64" },
      head_bytes: { offset: 96, type: "u64" },
      step_ms: { offset: 104, type: "f64" },
      busy_ms: { offset: 112, type: "f64" },
    },
  },
  wf_progress: {
    size: 16,
    fields: {
      done: { offset: 0, type: "u64" },
      total: { offset: 8, type: "u64" },
    },
  },
} as const;
