/** The description of what every dialect has: errors, and parameters that mean the same everywhere. */

import {
  allOrNull,
  array,
  boolean,
  integer,
  number,
  object,
  orNull,
  type Schema,
  said,
  string,
  whole,
  within,
} from "./openapi.ts";
import { PROMPTS_MAX } from "./prompts.ts";
import { CACHE_SALT_LENGTH_MAX } from "./request.ts";
import { BOUNDS, STOP_IDS_MAX, STOP_STRINGS_MAX } from "./sampling.ts";
import { WORD_LENGTH_MAX, WORDS_MAX } from "./token_lists.ts";

export const tokenId: Schema = { ...integer, minimum: 0 };

/** A text, ids, or up to so many of either. */
export function anyPrompt(most = PROMPTS_MAX): Schema {
  const ids = array(tokenId, { minItems: 1 });
  return { anyOf: [string, ids, array({ anyOf: [string, ids] }, { minItems: 1, maxItems: most })] };
}

/** The parameters of sampling that mean the same everywhere. */
export const samplingParameters = allOrNull({
  temperature: said(
    { ...number, ...within(BOUNDS.temperature) },
    "0: the likeliest token. Absent: the server's --temperature, or 1 when top_p, top_k or min_p leaves tokens out.",
  ),
  top_p: { ...number, ...within(BOUNDS.probability) },
  top_k: said({ ...integer, minimum: BOUNDS.topK.low }, "0 and -1: off."),
  min_p: { ...number, ...within(BOUNDS.probability) },
  repetition_penalty: said(
    { ...number, ...within(BOUNDS.repetitionPenalty) },
    "Over prompt and answer; also repeat_penalty.",
  ),
  repeat_penalty: { ...number, ...within(BOUNDS.repetitionPenalty) },
  frequency_penalty: { ...number, ...within(BOUNDS.penalty) },
  presence_penalty: { ...number, ...within(BOUNDS.penalty) },
  repeat_last_n: said(
    { ...integer, ...within(BOUNDS.window) },
    "How many tokens these three penalties look back; -1: everywhere, 0: nowhere.",
  ),
  typical_p: said({ ...number, ...within(BOUNDS.typicalP) }, "After top_k."),
  top_n_sigma: said({ ...number, ...within(BOUNDS.topNSigma) }, "Before the temperature; off when not over 0."),
  xtc_probability: said({ ...number, ...within(BOUNDS.probability) }, "After min_p."),
  xtc_threshold: said({ ...number, ...within(BOUNDS.probability) }, "Over 0.5: off. Absent: 0.1."),
  min_keep: said({ ...integer, minimum: 0 }, "Tokens that typical_p, top_p, min_p and xtc leave at least."),
  dry_multiplier: said({ ...number, ...within(BOUNDS.dryMultiplier) }, "0: off."),
  dry_base: said({ ...number, ...within(BOUNDS.dryBase) }, "Absent: 1.75."),
  dry_allowed_length: said({ ...integer, minimum: 0 }, "Absent: 2."),
  dry_penalty_last_n: said({ ...integer, ...within(BOUNDS.window) }, "-1: everywhere, 0: nowhere."),
  dry_sequence_breakers: said(
    array({ ...string, minLength: 1, maxLength: WORD_LENGTH_MAX }, { maxItems: WORDS_MAX }),
    "Texts beyond which no repetition reaches. Absent: new lines, colons, quotation marks and asterisks.",
  ),
  bad_words: said(
    array({ ...string, minLength: 1, maxLength: WORD_LENGTH_MAX }, { maxItems: WORDS_MAX }),
    "Words that the answer doesn't hold, spelled as the tokenizer spells them, at the beginning of a word or not.",
  ),
  allowed_token_ids: said(array(tokenId, { minItems: 1 }), "The answer has no other tokens than these."),
  include_stop_str_in_output: said(boolean, "Whether the stop string is a part of the answer; also no_stop_trim."),
  no_stop_trim: boolean,
  skip_special_tokens: said(boolean, "false: control tokens are spelled out."),
  t_max_predict_ms: said(
    { ...integer, minimum: -1 },
    "Milliseconds since its first token after which an answer ends, once it has a new line.",
  ),
  sampling_seed: said(integer, "SGLang's name of seed."),
  seed: said(integer, "The same request with the same seed gives the same answer. Absent: random."),
  stop: { anyOf: [{ ...string, minLength: 1 }, array({ ...string, minLength: 1 }, { maxItems: STOP_STRINGS_MAX })] },
  stop_token_ids: array(tokenId, { maxItems: STOP_IDS_MAX }),
  ignore_eos: boolean,
  n: said({ ...integer, ...within(BOUNDS.choices) }, "Choices, each with a seed of its own."),
  n_cmpl: said({ ...integer, ...within(BOUNDS.choices) }, "llama.cpp's name of n."),
});

export const logitBias = {
  logit_bias: orNull({
    type: "object",
    description: "Added to the logits, by token id.",
    additionalProperties: { ...number, ...within(BOUNDS.bias) },
  }),
};

export const commonParameters = {
  model: orNull(said(string, "The name that /v1/models gives, or nothing.")),
  cache_salt: orNull(
    said(
      { ...string, maxLength: CACHE_SALT_LENGTH_MAX },
      "Only requests with the same API key and salt share cached prompts.",
    ),
  ),
};

export const streamParameters = {
  stream: orNull(said(boolean, "Answer with server-sent events.")),
  stream_options: orNull(said(object({ include_usage: orNull(boolean) }), "Only with stream.")),
  timings_per_token: orNull(said(boolean, "Times of the answer so far in each chunk of a stream.")),
  return_progress: orNull(said(boolean, "Only with stream: chunks with prompt_progress while the prompt is computed.")),
};

export const jsonSchema = said(
  { type: "object" },
  "A JSON Schema that the answer is valid by. A keyword that can't be followed is a 400 that names it.",
);

/** The parameters that say which form an answer has. At most one of them may be set. */
export const formParameters = {
  response_format: orNull({
    anyOf: [
      whole({ type: { ...string, enum: ["text"] } }),
      said(whole({ type: { ...string, enum: ["json_object"] } }), "Any JSON object."),
      whole({
        type: { ...string, enum: ["json_schema"] },
        json_schema: object(
          { name: string, description: orNull(string), schema: jsonSchema, strict: orNull(boolean) },
          ["name", "schema"],
        ),
      }),
    ],
  }),
  json_schema: orNull(jsonSchema),
  guided_json: orNull(jsonSchema),
  structured_outputs: orNull(object({ json: orNull(jsonSchema), json_object: orNull(boolean) })),
};

/** Schemas that every dialect refers to. */
export const sharedSchemas: Record<string, Schema> = {
  Error: whole({
    error: object(
      {
        message: string,
        type: { ...string, enum: ["invalid_request_error", "rate_limit_error", "server_error"] },
        param: { type: ["string", "null"] },
        code: { type: ["string", "null"] },
        n_prompt_tokens: integer,
        n_ctx: integer,
      },
      ["message", "type", "param", "code"],
    ),
  }),
  Timings: whole({
    prompt_n: integer,
    prompt_ms: number,
    prompt_per_second: number,
    predicted_n: integer,
    predicted_ms: number,
    predicted_per_second: number,
    time_to_first_token_ms: number,
  }),
  PromptProgress: whole({ total: integer, cache: integer, processed: integer, time_ms: number }),
};
