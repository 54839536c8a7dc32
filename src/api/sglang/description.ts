/** The description of SGLang's path. */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import {
  array,
  boolean,
  type Described,
  integer,
  number,
  object,
  orNull,
  post,
  ref,
  said,
  string,
  whole,
  within,
} from "../openapi.ts";
import { PROMPTS_MAX } from "../prompts.ts";
import {
  commonParameters,
  formParameters,
  jsonSchema,
  logitBias,
  samplingParameters,
  tokenId,
} from "../shared_description.ts";
import { NEW_TOKENS_DEFAULT } from "./generate.ts";

export const sglangDescription: Described = {
  schemas: {
    GenerateRequest: object({
      text: orNull(
        said({ anyOf: [string, array(string, { minItems: 1, maxItems: PROMPTS_MAX })] }, "Either this or input_ids."),
      ),
      input_ids: orNull({
        anyOf: [
          array(tokenId, { minItems: 1 }),
          array(array(tokenId, { minItems: 1 }), { minItems: 1, maxItems: PROMPTS_MAX }),
        ],
      }),
      sampling_params: orNull(
        object({
          ...samplingParameters,
          ...logitBias,
          ...formParameters,
          json_schema: orNull(
            said({ anyOf: [string, jsonSchema] }, "A JSON Schema, also as JSON, that the answer is valid by."),
          ),
          max_new_tokens: orNull({ ...integer, minimum: 0, default: NEW_TOKENS_DEFAULT }),
          min_new_tokens: orNull({ ...integer, minimum: 0 }),
        }),
      ),
      return_logprob: orNull(boolean),
      logprob_start_len: orNull(said({ ...integer, minimum: -1 }, "First token of the prompt to score; -1: none.")),
      top_logprobs_num: orNull({ ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) }),
      return_text_in_logprobs: orNull(said(boolean, "Whether log-probabilities hold the texts of their tokens.")),
      stream: orNull(boolean),
      cache_salt: commonParameters.cache_salt,
    }),
    GenerateAnswer: whole({
      text: string,
      output_ids: array(integer),
      meta_info: object(
        {
          id: string,
          finish_reason: { type: ["object", "null"] },
          prompt_tokens: integer,
          completion_tokens: integer,
          cached_tokens: integer,
          e2e_latency: number,
          input_token_logprobs: { type: "array" },
          input_top_logprobs: { type: "array" },
          output_token_logprobs: { type: "array" },
          output_top_logprobs: { type: "array" },
        },
        ["id", "finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens", "e2e_latency"],
      ),
    }),
  },
  paths: {
    "/generate": {
      post: post(
        "generate",
        "Continues a text, in SGLang's shape.",
        "GenerateRequest",
        { anyOf: [ref("GenerateAnswer"), array(ref("GenerateAnswer"))] },
        ref("GenerateAnswer"),
      ),
    },
  },
};
