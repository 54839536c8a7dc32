/**
 * Every parameter that the peers of an endpoint know is followed, changes nothing, or is refused by its name: none is ignored in silence.
 * What the tables in src/api say is held against the peers' own lists of fields, against the server, and against its description.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as llamaCpp from "../src/api/llama_cpp/parameters.ts";
import * as openAi from "../src/api/openai/parameters.ts";
import type { OpenApiDocument } from "../src/api/openapi.ts";
import type { ParameterTable } from "../src/api/parameters.ts";
import * as sglang from "../src/api/sglang/parameters.ts";
import { QUESTION } from "./support/chat.ts";
import { startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(120_000);

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "off"]);
});
afterAll(() => server.stop());

const MESSAGES = [{ role: "user", content: QUESTION }];

/** An endpoint, its table, and a request to it that is right. */
interface Endpoint {
  path: string;
  table: ParameterTable;
  /** Name of the request's schema in the description. */
  schema: string;
  request: Record<string, unknown>;
  /** The parameter that holds those of the table. */
  inside?: string;
}

const ENDPOINTS: Endpoint[] = [
  {
    path: "/v1/chat/completions",
    table: openAi.chatTable,
    schema: "ChatRequest",
    request: { messages: MESSAGES, max_tokens: 2 },
  },
  {
    path: "/v1/completions",
    table: openAi.completionTable,
    schema: "CompletionRequest",
    request: { prompt: "x", max_tokens: 2 },
  },
  {
    path: "/completion",
    table: llamaCpp.completionTable,
    schema: "LlamaRequest",
    request: { prompt: "x", n_predict: 2 },
  },
  {
    path: "/generate",
    table: sglang.generateTable,
    schema: "GenerateRequest",
    request: { text: "x", sampling_params: { max_new_tokens: 2 } },
  },
  {
    path: "/generate",
    table: sglang.samplingParamsTable,
    schema: "GenerateRequest",
    request: { text: "x", sampling_params: { max_new_tokens: 2 } },
    inside: "sampling_params",
  },
  { path: "/tokenize", table: llamaCpp.tokenizeTable, schema: "TokenizeRequest", request: { messages: MESSAGES } },
  { path: "/detokenize", table: llamaCpp.detokenizeTable, schema: "DetokenizeRequest", request: { tokens: [5] } },
  {
    path: "/apply-template",
    table: llamaCpp.applyTemplateTable,
    schema: "TemplateRequest",
    request: { messages: MESSAGES },
  },
];

/** Values of every kind. */
const VALUES = [true, false, 0, 1, 2, -5, 0.5, "x", "", ["x"], [], { x: 1 }, {}];

/** A request with one parameter more. */
function withParameter({ request, inside }: Endpoint, name: string, value: unknown): Record<string, unknown> {
  if (inside === undefined) return { ...request, [name]: value };
  return { ...request, [inside]: { ...(request[inside] as object), [name]: value } };
}

/** What an answer says, without what differs from one time to the next. */
async function answerTo({ path }: Endpoint, body: unknown): Promise<{ status: number; text: string; param: string }> {
  const response = await server.post(path, body);
  const answer = (await response.json()) as { error?: { param: string; code: string } };
  const text = JSON.stringify(answer, (key, value) =>
    ["id", "created", "timings", "e2e_latency", "generation_settings", "cached_tokens", "tokens_cached"].includes(key)
      ? undefined
      : value,
  );
  return { status: response.status, text, param: answer.error?.param ?? "" };
}

describe.each(ENDPOINTS.map((endpoint) => [endpoint.path, endpoint.inside ?? "the body", endpoint] as const))(
  "%s, %s",
  (_path, _inside, endpoint) => {
    const { table, inside } = endpoint;
    const pathOf = (name: string) => (inside === undefined ? name : `${inside}.${name}`);
    const names = (isWanted: (treatment: ParameterTable[string]) => boolean) =>
      Object.keys(table).filter((name) => isWanted(table[name] as ParameterTable[string]));

    test("what is refused is refused by its name, unless it asks for nothing", async () => {
      for (const name of names((treatment) => typeof treatment === "object")) {
        const treatment = table[name];
        if (typeof treatment !== "object") continue;
        const body = (inside === undefined ? endpoint.request : endpoint.request[inside]) as Record<string, unknown>;
        const asking = VALUES.filter((value) => !treatment.asksForNothing(value, body));
        expect(asking.length).toBeGreaterThan(0);
        for (const value of asking) {
          const answer = await answerTo(endpoint, withParameter(endpoint, name, value));
          expect([name, answer.status, answer.param]).toEqual([name, 400, pathOf(name)]);
          expect(answer.text).toContain("unsupported_parameter");
        }
      }
    });

    test("what changes nothing changes nothing", async () => {
      const plain = await answerTo(endpoint, endpoint.request);
      expect(plain.status).toBe(200);
      for (const name of names((treatment) => treatment === "harmless")) {
        for (const value of VALUES) {
          expect([name, await answerTo(endpoint, withParameter(endpoint, name, value))]).toEqual([name, plain]);
        }
      }
    });

    test("what is followed is read: some value of the wrong kind is refused by its name", async () => {
      for (const name of names((treatment) => treatment === "followed")) {
        const faults = [];
        for (const value of [{ x: [{}] }, 7.5, "\ud800", [[{}]]]) {
          const answer = await answerTo(endpoint, withParameter(endpoint, name, value));
          expect([name, value, [200, 400, 404].includes(answer.status)]).toEqual([name, value, true]);
          if (answer.status !== 200) faults.push(answer.text);
        }
        expect([name, faults.some((fault) => new RegExp(`'(\\w+\\.)?${name}\\b`).test(fault))]).toEqual([name, true]);
      }
    });

    test("null is as good as absent", async () => {
      const plain = await answerTo(endpoint, endpoint.request);
      const present = Object.keys((inside === undefined ? endpoint.request : endpoint.request[inside]) as object);
      for (const name of Object.keys(table).filter((one) => !present.includes(one))) {
        expect([name, await answerTo(endpoint, withParameter(endpoint, name, null))]).toEqual([name, plain]);
      }
    });

    test("the description has what is followed", async () => {
      const description = (await (await fetch(`${server.url}/openapi.json`)).json()) as OpenApiDocument;
      let described = description.components.schemas[endpoint.schema]?.properties ?? {};
      if (inside !== undefined)
        described = described[inside]?.properties ?? described[inside]?.anyOf?.[0]?.properties ?? {};
      const unknown = Object.keys(described).filter((name) => table[name] === undefined);
      expect(unknown).toEqual([]);
      const followed = names((treatment) => treatment === "followed");
      expect(followed.filter((name) => !Object.hasOwn(described, name))).toEqual([]);
    });
  },
);

/** The fields of an interface of the OpenAI SDK. */
function fieldsOfSdk(file: string, name: string): string[] {
  const text = readFileSync(join(import.meta.dir, "../node_modules/openai/resources", file), "utf8");
  const body = text.slice(text.indexOf(`export interface ${name} {`));
  const fields = [...body.slice(0, body.indexOf("\n}")).matchAll(/^ {4}(\w+)\??:/gm)].map(
    ([, field]) => field as string,
  );
  expect(fields.length).toBeGreaterThan(15);
  return fields;
}

const words = (text: string) => text.trim().split(/\s+/);

// Fields of the peers' requests, as their own sources define them in 2026: vLLM's protocol.py, llama.cpp's server-schema.cpp and
// server-common.cpp, SGLang's io_struct.py, sampling_params.py and protocol.py.

const VLLM = words(`
  use_beam_search top_k min_p repetition_penalty watermarking length_penalty stop_token_ids include_stop_str_in_output ignore_eos
  min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens truncation_side allowed_token_ids prompt_logprobs
  logprob_token_ids bad_words add_special_tokens response_format structured_outputs priority request_id session_id
  return_tokens_as_token_ids return_token_ids routed_experts_prompt_start return_token_offsets return_mm_kwargs cache_salt
  kv_transfer_params ec_transfer_params vllm_xargs repetition_detection thinking_token_budget stream_interval best_of guided_json
  guided_regex guided_choice guided_grammar guided_decoding_backend guided_whitespace_pattern logits_processors`);

const VLLM_CHAT = words(`
  echo add_generation_prompt continue_final_message documents chat_template chat_template_kwargs media_io_kwargs mm_processor_kwargs
  include_reasoning return_prompt_text`);

const VLLM_TOKENIZE = words(`
  model prompt messages add_special_tokens return_token_strs add_generation_prompt continue_final_message chat_template
  chat_template_kwargs media_io_kwargs mm_processor_kwargs tools`);

const LLAMA_CPP = words(`
  verbose timings_per_token stream stream_options cache_prompt return_tokens return_progress sse_ping_interval n_predict max_tokens
  max_completion_tokens n_indent n_keep n_discard n_cmpl n n_cache_reuse t_max_prompt_ms t_max_predict_ms response_fields top_k top_p min_p
  top_n_sigma xtc_probability xtc_threshold typical_p temperature dynatemp_range dynatemp_exponent repeat_last_n repeat_penalty
  frequency_penalty presence_penalty dry_multiplier dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers mirostat
  mirostat_tau mirostat_eta adaptive_target adaptive_decay seed n_probs logprobs min_keep backend_sampling post_sampling_probs lora
  json_schema grammar grammar_lazy grammar_triggers preserved_tokens reasoning_control reasoning_budget_tokens reasoning_budget_start_tag
  reasoning_budget_end_tags reasoning_budget_end_tag reasoning_budget_message logit_bias ignore_eos stop samplers id_slot`);

const LLAMA_CPP_CHAT = words(`
  chat_format reasoning_format generation_prompt parse_tool_calls chat_parser continue_final_message echo add_generation_prompt
  chat_template_kwargs`);

const SGLANG_SAMPLING = words(`
  max_new_tokens stop stop_token_ids stop_regex temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty
  min_new_tokens n json_schema regex ebnf structural_tag ignore_eos skip_special_tokens spaces_between_special_tokens no_stop_trim
  custom_params stream_interval logit_bias sampling_seed beam_width`);

const SGLANG_GENERATE = words(`
  rid session_id text input_ids input_embeds image_data video_data audio_data mm_hashes mm_content_hashes use_audio_in_video video_config
  sampling_params return_logprob logprob_start_len top_logprobs_num token_ids_logprob return_sampling_mask return_text_in_logprobs
  return_flat_raw_top_logprobs return_flat_raw_top_logprobs_b64 stream log_metrics return_hidden_states return_routed_experts modalities
  session_params lora_path lora_id custom_logit_processor positional_embed_overrides bootstrap_host bootstrap_room routed_dp_rank
  data_parallel_rank routing_key conversation_id background require_reasoning max_thinking_tokens priority extra_key no_logs
  custom_labels return_entropy return_prompt_token_ids max_dynamic_patch min_dynamic_patch multi_item_delimiter_indices cache_salt`);

const SGLANG_CHAT = words(`
  regex ebnf stop_regex no_stop_trim lora_path session_params separate_reasoning stream_reasoning rid extra_key return_hidden_states
  return_routed_experts return_cached_tokens_details return_prompt_token_ids return_meta_info custom_logit_processor custom_params
  input_ids routing_key priority use_audio_in_video max_dynamic_patch min_dynamic_patch`);

describe("the tables hold every field", () => {
  test.each<[string, ParameterTable, () => string[]]>([
    [
      "of OpenAI's chat",
      openAi.chatTable,
      () => fieldsOfSdk("chat/completions/completions.d.ts", "ChatCompletionCreateParamsBase"),
    ],
    [
      "of OpenAI's completions",
      openAi.completionTable,
      () => fieldsOfSdk("completions.d.ts", "CompletionCreateParamsBase"),
    ],
    ["of vLLM's chat", openAi.chatTable, () => [...VLLM, ...VLLM_CHAT]],
    ["of vLLM's completions", openAi.completionTable, () => [...VLLM, "prompt_embeds"]],
    ["of vLLM's tokenizer", llamaCpp.tokenizeTable, () => VLLM_TOKENIZE],
    ["of llama.cpp's chat", openAi.chatTable, () => [...LLAMA_CPP, ...LLAMA_CPP_CHAT]],
    ["of llama.cpp's completions in OpenAI's shape", openAi.completionTable, () => LLAMA_CPP],
    ["of llama.cpp's own completions", llamaCpp.completionTable, () => [...LLAMA_CPP, "prompt", "image_data"]],
    ["of llama.cpp's tokenizer", llamaCpp.tokenizeTable, () => words("content add_special parse_special with_pieces")],
    ["of SGLang's chat", openAi.chatTable, () => [...SGLANG_CHAT]],
    ["of SGLang's generate", sglang.generateTable, () => SGLANG_GENERATE],
    ["of SGLang's sampling_params", sglang.samplingParamsTable, () => SGLANG_SAMPLING],
  ])("%s", (_name, table, fields) => {
    expect(fields().filter((field) => !Object.hasOwn(table, field))).toEqual([]);
  });
});

describe("structured_outputs", () => {
  const ask = (form: object) =>
    server.post("/v1/chat/completions", { messages: MESSAGES, max_tokens: 8, structured_outputs: form });

  test("what asks for nothing, or for JSON, is followed", async () => {
    const off = {
      regex: null,
      choice: [],
      disable_any_whitespace: false,
      disable_fallback: true,
      _backend: "xgrammar",
    };
    expect((await ask(off)).status).toBe(200);
    const answer = (await (await ask({ ...off, json_object: true })).json()) as {
      choices: { message: { content: string } }[];
    };
    expect(answer.choices[0]?.message.content).toStartWith("{");
  });

  test.each(["regex", "choice", "grammar", "structural_tag", "whitespace_pattern", "disable_additional_properties"])(
    "%s is refused by its name",
    async (name) => {
      const { error } = (await (await ask({ [name]: "x" })).json()) as { error: { param: string; code: string } };
      expect([error.param, error.code]).toEqual([`structured_outputs.${name}`, "unsupported_parameter"]);
    },
  );
});

test("an option of a stream that can't be followed is refused by its name", async () => {
  const body = { messages: MESSAGES, stream: true, stream_options: { continuous_usage_stats: true } };
  const response = await server.post("/v1/chat/completions", body);
  expect(response.status).toBe(400);
  const { error } = (await response.json()) as { error: { param: string } };
  expect(error.param).toBe("stream_options.continuous_usage_stats");
});
