/**
 * What becomes of the parameters that clients send. Each dialect has a table of all those that its peers know, so that none of them is
 * ignored in silence: it is followed, it changes nothing here, or it is refused by its name. Names that no peer knows are ignored.
 */

import { isObject, type JsonObject } from "../json.ts";
import { unsupported } from "../serving/request_error.ts";

/** A parameter that would change the answer and can't be followed. */
export interface RefusedParameter {
  /** Why, or what to use instead. */
  refused: string;
  /** Whether this value asks for nothing, so that it may stand in a request all the same. */
  asksForNothing: (value: unknown, body: JsonObject) => boolean;
}

/** "followed": a reader checks its value. "harmless": whatever its value, the answer is the same. */
export type Treatment = "followed" | "harmless" | RefusedParameter;

/** The treatment of each parameter, by its name. */
export type ParameterTable = Readonly<Record<string, Treatment>>;

/** Values by which clients say that they don't want a thing. */
function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === false || value === "" || (isObject(value) && Object.keys(value).length === 0);
}

/** Refuses every value but those that ask for nothing by themselves. */
export function refuse(why: string): RefusedParameter {
  return { refused: why, asksForNothing: isEmpty };
}

/** Refuses every value but some. */
export function refuseUnless(why: string, asksForNothing: RefusedParameter["asksForNothing"]): RefusedParameter {
  return { refused: why, asksForNothing };
}

/** Refuses every value but this one. */
export function refuseOtherThan(neutral: unknown, why: string): RefusedParameter {
  return { refused: why, asksForNothing: (value) => value === neutral };
}

/** Parameters of one treatment. */
export function all(treatment: Treatment, ...names: string[]): ParameterTable {
  return Object.fromEntries(names.map((name) => [name, treatment]));
}

/**
 * Refuses the parameters that can't be followed. null is as good as absent.
 *
 * @param path of the object, where the parameters lie inside of another one.
 * @throws RequestError 400 that names the first of them.
 */
export function checkParameters(body: JsonObject, table: ParameterTable, path?: string): void {
  for (const [name, value] of Object.entries(body)) {
    const treatment = Object.hasOwn(table, name) ? table[name] : undefined;
    if (typeof treatment !== "object" || value === null || treatment.asksForNothing(value, body)) continue;
    throw unsupported(path === undefined ? name : `${path}.${name}`, treatment.refused);
  }
}

const FORMS = "this server holds answers to JSON Schemas only";
const LIKELIEST = "this server has no such sampler";
const ONE_PROCESS = "this server is one process";
const OWN_CODE = "this server runs no code of its clients";
const NO_SUCH_FIELD = "this server's answers have no such field";
const TEXT_ONLY = "this model reads text only";

const isNegative = (value: unknown) => typeof value === "number" && value < 0;
const isNotPositive = (value: unknown) => typeof value === "number" && value <= 0;

/** How tokens are chosen and when an answer ends, in every dialect that generates. */
export const generationTable: ParameterTable = {
  ...all("followed", "temperature", "top_p", "top_k", "min_p", "logit_bias"),
  ...all("followed", "seed", "sampling_seed", "n", "n_cmpl"),
  ...all("followed", "repetition_penalty", "repeat_penalty", "frequency_penalty", "presence_penalty"),
  ...all("followed", "stop", "stop_token_ids", "ignore_eos"),
  ...all("followed", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold", "min_keep"),
  ...all("followed", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
  ...all("followed", "repeat_last_n", "bad_words", "allowed_token_ids"),
  ...all("followed", "include_stop_str_in_output", "no_stop_trim", "skip_special_tokens", "t_max_predict_ms"),
  samplers: refuse("use /completion, or the parameters of the samplers"),
  truncate_prompt_tokens: refuse("prompts are taken whole"),
  truncation_side: "harmless",
  mirostat: refuseOtherThan(0, LIKELIEST),
  dynatemp_range: refuseOtherThan(0, LIKELIEST),
  adaptive_target: refuseUnless(LIKELIEST, isNegative),
  // They only say how those are meant.
  ...all("harmless", "mirostat_tau", "mirostat_eta", "dynatemp_exponent", "adaptive_decay"),
  ...all(refuse("this server draws tokens one by one"), "use_beam_search", "beam_width"),
  ...all("harmless", "length_penalty", "early_stopping"),
  best_of: refuseUnless(
    "every choice is returned, so it can only be the same as 'n'",
    (value, body) => value === (body.n ?? 1),
  ),
  ...all(refuse("use 'stop'"), "stop_regex"),
  n_indent: refuseOtherThan(0, "use 'stop'"),
  repetition_detection: refuse("use 'frequency_penalty'"),
  watermarking: refuse(LIKELIEST),
  ...all(refuse(OWN_CODE), "logits_processors", "custom_logit_processor", "vllm_xargs"),
  custom_params: "harmless",
  thinking_token_budget: refuseOtherThan(-1, "use 'max_tokens'"),
  reasoning_budget_tokens: refuseOtherThan(-1, "use 'max_tokens'"),
  ...all("harmless", "reasoning_budget_start_tag", "reasoning_budget_end_tag", "reasoning_budget_end_tags"),
  ...all("harmless", "reasoning_budget_message", "reasoning_control"),
  // Tokens have no spaces between them but their own.
  spaces_between_special_tokens: "harmless",
};

/** The form of an answer, in every dialect that generates. */
export const formTable: ParameterTable = {
  ...all("followed", "response_format", "json_schema", "guided_json", "structured_outputs"),
  ...all(
    refuse(FORMS),
    "grammar",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "regex",
    "ebnf",
    "structural_tag",
  ),
  ...all(refuse(FORMS), "grammar_triggers", "guided_whitespace_pattern"),
  ...all("harmless", "grammar_lazy", "preserved_tokens", "guided_decoding_backend"),
};

/** What vLLM's `structured_outputs` may hold. */
export const structuredOutputsTable: ParameterTable = {
  ...all("followed", "json", "json_object"),
  ...all(refuse(FORMS), "regex", "choice", "grammar", "structural_tag"),
  ...all(refuse("JSON is written with a space at most"), "whitespace_pattern", "disable_any_whitespace"),
  disable_additional_properties: refuse("say so in the schema"),
  // Which library it is done with.
  ...all("harmless", "disable_fallback", "_backend", "_backend_was_auto"),
};

/** What else requests of every dialect that generates may hold. */
export const requestTable: ParameterTable = {
  ...all("followed", "model", "stream", "cache_salt"),
  // Names, places and turns of requests, and the caches' business: answers are the same with and without.
  ...all("harmless", "request_id", "rid", "session_id", "conversation_id", "priority", "routing_key", "extra_key"),
  ...all("harmless", "cache_prompt", "id_slot", "n_cache_reuse", "no_logs", "log_metrics", "custom_labels"),
  ...all("harmless", "data_parallel_rank", "routed_dp_rank", "backend_sampling", "background"),
  // How a stream is cut into events.
  ...all("harmless", "stream_interval", "sse_ping_interval"),
  // No context is ever shifted.
  ...all("harmless", "n_keep", "n_discard"),
  ...all(refuse(ONE_PROCESS), "kv_transfer_params", "ec_transfer_params", "bootstrap_host", "bootstrap_room"),
  ...all(refuse("this server has no adapters"), "lora", "lora_path", "lora_id"),
  ...all(refuse("this server keeps no sessions; send the whole prompt"), "session_params"),
  ...all(refuse(TEXT_ONLY), "image_data", "audio_data", "video_data", "multimodal_data", "input_embeds"),
  ...all(refuse(TEXT_ONLY), "prompt_embeds", "positional_embed_overrides"),
  ...all("harmless", "media_io_kwargs", "mm_processor_kwargs", "use_audio_in_video", "max_dynamic_patch"),
  ...all("harmless", "min_dynamic_patch", "return_mm_kwargs", "routed_experts_prompt_start"),
  ...all(refuse(NO_SUCH_FIELD), "return_hidden_states", "return_routed_experts", "return_token_ids"),
  ...all(refuse(NO_SUCH_FIELD), "return_prompt_token_ids", "return_prompt_text", "return_token_offsets"),
  ...all(refuse(NO_SUCH_FIELD), "return_tokens_as_token_ids", "logprob_token_ids", "post_sampling_probs"),
  ...all(refuse(NO_SUCH_FIELD), "return_cached_tokens_details", "return_meta_info", "return_entropy", "verbose"),
  timings_per_token: "followed",
  response_fields: refuse("answers have all of their fields"),
  t_max_prompt_ms: refuseUnless("use a shorter prompt", isNotPositive),
};

/** What `stream_options` may hold. */
export const streamOptionsTable: ParameterTable = {
  include_usage: "followed",
  // Padding against those who watch the lengths of encrypted events.
  include_obfuscation: "harmless",
  continuous_usage_stats: refuse("the usage comes at the end, with 'include_usage'"),
};
