/** What becomes of the parameters of SGLang's path. */

import { all, formTable, generationTable, type ParameterTable, refuse, requestTable } from "../parameters.ts";

/** Of POST /generate. */
export const generateTable: ParameterTable = {
  ...requestTable,
  timings_per_token: refuse("times come at the end, in meta_info"),
  // The path names no model.
  model: "harmless",
  ...all("followed", "text", "input_ids", "sampling_params"),
  ...all("followed", "return_logprob", "logprob_start_len", "top_logprobs_num", "return_text_in_logprobs"),
  ...all(refuse("use 'top_logprobs_num'"), "token_ids_logprob", "return_sampling_mask"),
  ...all(refuse("log-probabilities come in lists"), "return_flat_raw_top_logprobs", "return_flat_raw_top_logprobs_b64"),
  ...all("harmless", "modalities", "mm_hashes", "mm_content_hashes", "video_config"),
  custom_logit_processor: refuse("this server runs no code of its clients"),
  multi_item_delimiter_indices: refuse("this server doesn't score items"),
  ...all(refuse("use 'max_new_tokens'"), "max_thinking_tokens", "require_reasoning"),
};

/** Of the sampling_params in it. */
export const samplingParamsTable: ParameterTable = {
  ...generationTable,
  ...formTable,
  ...all("followed", "max_new_tokens", "min_new_tokens"),
  stream_interval: "harmless",
  ...all(refuse("use 'max_new_tokens'"), "max_tokens", "max_completion_tokens", "n_predict"),
};
