/**
 * GET /openapi.json: all of the API, described for programs. The tests send what it describes and check that the answers are what
 * it says.
 */

import { version } from "../../version.ts";

/** A JSON Schema (2020-12), as OpenAPI 3.1 has it. */
export interface Schema {
  type?: string | readonly string[];
  description?: string;
  enum?: readonly unknown[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  additionalProperties?: Schema;
  anyOf?: readonly Schema[];
  default?: unknown;
  $ref?: string;
}

/** One operation: a method on a path. */
export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  security?: readonly object[];
  parameters?: readonly object[];
  requestBody?: { required: true; content: Record<string, { schema: Schema }> };
  responses: Readonly<
    Record<string, { description: string; headers?: object; content?: Record<string, { schema: Schema }> }>
  >;
}

/** The whole description. */
export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string; description: string; license: { name: string; identifier: string } };
  security: readonly object[];
  paths: Readonly<Record<string, { get?: Operation; post?: Operation }>>;
  components: { schemas: Readonly<Record<string, Schema>>; securitySchemes: object };
}

const string: Schema = { type: "string" };
const boolean: Schema = { type: "boolean" };
const integer: Schema = { type: "integer" };
const number: Schema = { type: "number" };
const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const array = (items: Schema, more: Schema = {}): Schema => ({ type: "array", items, ...more });
const object = (properties: Record<string, Schema>, required: readonly string[] = []): Schema => ({
  type: "object",
  properties,
  required,
});
/** An object all of whose properties are there. */
const whole = (properties: Record<string, Schema>): Schema => object(properties, Object.keys(properties));
const said = (schema: Schema, description: string): Schema => ({ ...schema, description });
/** A parameter that may be null, which is as good as absent. */
const orNull = (schema: Schema): Schema =>
  typeof schema.type === "string" && schema.enum === undefined
    ? { ...schema, type: [schema.type, "null"] }
    : { anyOf: [schema, { type: "null" }] };
const allOrNull = (properties: Record<string, Schema>): Record<string, Schema> =>
  Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, orNull(schema)]));
const within = (minimum: number, maximum: number): Schema => ({ minimum, maximum });

/** What answers of OpenAI's APIs and their chunks begin with. */
const header = (kind: string): Record<string, Schema> => ({
  id: string,
  object: { ...string, enum: [kind] },
  created: integer,
  model: string,
  system_fingerprint: string,
});
/** A chunk of a stream of them, and what whole answers look like where they have the same shape. */
const chunk = (kind: string, choice: Schema): Schema => {
  const always = { ...header(kind), choices: array(choice) };
  const sometimes = { usage: orNull(ref("Usage")), timings: ref("Timings"), prompt_progress: ref("PromptProgress") };
  return object({ ...always, ...sometimes }, Object.keys(always));
};

const tokenId: Schema = { ...integer, minimum: 0 };
const anyPrompt: Schema = {
  anyOf: [
    string,
    array(tokenId, { minItems: 1 }),
    array({ anyOf: [string, array(tokenId, { minItems: 1 })] }, { minItems: 1, maxItems: 256 }),
  ],
};

/** The parameters of sampling that mean the same everywhere. */
const samplingParameters = allOrNull({
  temperature: said(
    { ...number, ...within(0, 2) },
    "0: the likeliest token. Absent: the server's --temperature, or 1 when top_p, top_k or min_p is there.",
  ),
  top_p: { ...number, ...within(0, 1) },
  top_k: said({ ...integer, minimum: -1 }, "0 and -1: off."),
  min_p: { ...number, ...within(0, 1) },
  repetition_penalty: said({ ...number, ...within(0.001, 1000) }, "Over prompt and answer; also repeat_penalty."),
  repeat_penalty: { ...number, ...within(0.001, 1000) },
  frequency_penalty: { ...number, ...within(-2, 2) },
  presence_penalty: { ...number, ...within(-2, 2) },
  seed: said(integer, "The same request with the same seed gives the same answer. Absent: random."),
  stop: { anyOf: [{ ...string, minLength: 1 }, array({ ...string, minLength: 1 }, { maxItems: 64 })] },
  stop_token_ids: array(tokenId, { maxItems: 1024 }),
  ignore_eos: boolean,
  n: said({ ...integer, ...within(1, 128) }, "Choices, each with a seed of its own."),
});

const logitBias = {
  logit_bias: orNull({
    type: "object",
    description: "Added to the logits, by token id.",
    additionalProperties: { ...number, ...within(-100, 100) },
  }),
};

const commonParameters = {
  model: orNull(said(string, "The name that /v1/models gives, or nothing.")),
  cache_salt: orNull(
    said({ ...string, maxLength: 1024 }, "Only requests with the same API key and salt share cached prompts."),
  ),
};

const streamParameters = {
  stream: orNull(said(boolean, "Answer with server-sent events.")),
  stream_options: orNull(said(object({ include_usage: orNull(boolean) }), "Only with stream.")),
  return_progress: orNull(said(boolean, "Only with stream: chunks with prompt_progress while the prompt is computed.")),
};

const jsonSchema = said(
  { type: "object" },
  "A JSON Schema that the answer is valid by. A keyword that can't be followed is a 400 that names it.",
);

/** The parameters that say which form an answer has. At most one of them may be set. */
const formParameters = {
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
  structured_outputs: orNull(object({ json: orNull(jsonSchema) })),
};

const toolChoice = orNull(
  said(
    {
      anyOf: [
        { ...string, enum: ["none", "auto", "required"] },
        whole({ type: { ...string, enum: ["function"] }, function: whole({ name: string }) }),
      ],
    },
    "'required' and a function make the answer consist of calls whose arguments are valid by the tools' schemas.",
  ),
);

const openAiParameters = {
  ...commonParameters,
  ...samplingParameters,
  ...logitBias,
  ...streamParameters,
  ...formParameters,
  min_tokens: orNull({ ...integer, minimum: 0 }),
  user: orNull(string),
};

const textPart = object({ type: { ...string, enum: ["text"] }, text: string }, ["type", "text"]);

const schemas: Record<string, Schema> = {
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
  Usage: whole({
    prompt_tokens: integer,
    completion_tokens: integer,
    total_tokens: integer,
    prompt_tokens_details: whole({ cached_tokens: integer }),
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
  Message: object(
    {
      role: { ...string, enum: ["system", "developer", "user", "assistant", "tool"] },
      content: { anyOf: [string, array(textPart), { type: "null" }] },
      name: orNull(string),
      tool_call_id: orNull(string),
      tool_calls: array(ref("ToolCall")),
    },
    ["role"],
  ),
  ToolCall: object(
    {
      id: string,
      type: { ...string, enum: ["function"] },
      function: whole({ name: string, arguments: said(string, "JSON.") }),
    },
    ["function"],
  ),
  Tool: whole({
    type: { ...string, enum: ["function"] },
    function: object(
      {
        name: { ...string, pattern: "^[A-Za-z0-9_-]{1,64}$" },
        description: orNull(string),
        parameters: orNull({ type: "object" }),
      },
      ["name"],
    ),
  }),
  ChatRequest: object(
    {
      messages: said(
        array(ref("Message"), { minItems: 1 }),
        "A last message of the assistant is continued rather than answered.",
      ),
      ...openAiParameters,
      max_tokens: orNull({ ...integer, minimum: 1 }),
      max_completion_tokens: orNull(said({ ...integer, minimum: 1 }, "Absent: to the end of the context.")),
      logprobs: orNull(boolean),
      top_logprobs: orNull(said({ ...integer, ...within(0, 20) }, "Only with logprobs.")),
      tools: orNull(array(ref("Tool"), { maxItems: 128 })),
      tool_choice: toolChoice,
      parallel_tool_calls: orNull(boolean),
      chat_template_kwargs: orNull(said({ type: "object" }, "Further variables of the model's template.")),
    },
    ["messages"],
  ),
  ChatLogprobs: whole({
    content: array(
      whole({
        token: string,
        logprob: number,
        bytes: array(integer),
        top_logprobs: array(whole({ token: string, logprob: number, bytes: array(integer) })),
      }),
    ),
    refusal: { type: "null" },
  }),
  ChatAnswer: whole({
    ...header("chat.completion"),
    choices: array(
      whole({
        index: integer,
        message: object(
          {
            role: { ...string, enum: ["assistant"] },
            content: { type: ["string", "null"] },
            refusal: { type: "null" },
            tool_calls: array(ref("ToolCall")),
          },
          ["role", "content", "refusal"],
        ),
        logprobs: orNull(ref("ChatLogprobs")),
        finish_reason: { ...string, enum: ["stop", "length", "tool_calls"] },
      }),
    ),
    usage: ref("Usage"),
    timings: ref("Timings"),
  }),
  ChatChunk: chunk(
    "chat.completion.chunk",
    whole({
      index: integer,
      delta: object({
        role: { ...string, enum: ["assistant"] },
        content: string,
        tool_calls: array(
          object({ index: integer, id: string, type: string, function: { type: "object" } }, ["index"]),
        ),
      }),
      logprobs: orNull(ref("ChatLogprobs")),
      finish_reason: { type: ["string", "null"] },
    }),
  ),
  CompletionRequest: object(
    {
      prompt: anyPrompt,
      ...openAiParameters,
      max_tokens: orNull(
        said({ ...integer, minimum: 0 }, "Absent: to the end of the context. 0 with echo: scores only."),
      ),
      max_completion_tokens: orNull({ ...integer, minimum: 0 }),
      echo: orNull(boolean),
      logprobs: orNull(said({ ...integer, ...within(0, 20) }, "Likeliest tokens beside the chosen one.")),
      best_of: orNull(said(integer, "Only the same as n.")),
      suffix: orNull({ ...string, enum: [""] }),
    },
    ["prompt"],
  ),
  CompletionLogprobs: whole({
    tokens: array(string),
    token_logprobs: array({ type: ["number", "null"] }),
    top_logprobs: array(orNull({ type: "object", additionalProperties: number })),
    text_offset: array(integer),
  }),
  CompletionAnswer: chunk(
    "text_completion",
    whole({
      text: string,
      index: integer,
      logprobs: orNull(ref("CompletionLogprobs")),
      finish_reason: { type: ["string", "null"], enum: ["stop", "length", null] },
    }),
  ),
  LlamaRequest: object(
    {
      prompt: anyPrompt,
      ...commonParameters,
      ...samplingParameters,
      ...formParameters,
      n_predict: orNull(said({ ...integer, minimum: -1 }, "-1: to the end of the context.")),
      n_probs: orNull({ ...integer, ...within(0, 20) }),
      logit_bias: orNull({
        anyOf: [
          {
            type: "object",
            additionalProperties: {
              anyOf: [
                { ...number, ...within(-100, 100) },
                { ...boolean, enum: [false] },
              ],
            },
          },
          array(array({ type: ["number", "string", "boolean"] }, { minItems: 2, maxItems: 2 })),
        ],
        description:
          "Pairs of a token id or a text and a bias, or an object of them; a text's bias is for each of its tokens, false forbids.",
      }),
      min_tokens: orNull({ ...integer, minimum: 0 }),
      stream: orNull(boolean),
      return_tokens: orNull(boolean),
      return_progress: orNull(boolean),
    },
    ["prompt"],
  ),
  LlamaAnswer: object(
    {
      index: integer,
      content: string,
      tokens: array(integer),
      stop: boolean,
      id_slot: integer,
      model: string,
      prompt: string,
      tokens_predicted: integer,
      tokens_evaluated: integer,
      tokens_cached: integer,
      generation_settings: { type: "object" },
      has_new_line: boolean,
      truncated: boolean,
      stop_type: { ...string, enum: ["eos", "word", "limit"] },
      stopping_word: string,
      timings: ref("Timings"),
      completion_probabilities: array({ type: "object" }),
      prompt_progress: ref("PromptProgress"),
    },
    ["index", "content", "tokens", "stop", "id_slot", "tokens_predicted", "tokens_evaluated"],
  ),
  GenerateRequest: object({
    text: orNull(said({ anyOf: [string, array(string, { minItems: 1, maxItems: 256 })] }, "Either this or input_ids.")),
    input_ids: orNull({
      anyOf: [array(tokenId, { minItems: 1 }), array(array(tokenId, { minItems: 1 }), { minItems: 1, maxItems: 256 })],
    }),
    sampling_params: orNull(
      object({
        ...samplingParameters,
        ...logitBias,
        json_schema: orNull(said(string, "A JSON Schema, as JSON, that the answer is valid by.")),
        max_new_tokens: orNull({ ...integer, minimum: 0, default: 128 }),
        min_new_tokens: orNull({ ...integer, minimum: 0 }),
      }),
    ),
    return_logprob: orNull(boolean),
    logprob_start_len: orNull(said({ ...integer, minimum: -1 }, "First token of the prompt to score; -1: none.")),
    top_logprobs_num: orNull({ ...integer, ...within(0, 20) }),
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
  TokenizeRequest: object({
    content: orNull(said(string, "Encoded as it is.")),
    prompt: orNull(said(string, "Encoded with the tokens that the tokenizer puts before every text.")),
    messages: said(array(ref("Message")), "Go through the chat template first."),
    model: orNull(string),
    add_special: orNull(boolean),
    add_special_tokens: orNull(boolean),
    with_pieces: orNull(boolean),
    return_token_strs: orNull(boolean),
    tools: orNull(array(ref("Tool"), { maxItems: 128 })),
  }),
  TokenizeAnswer: object(
    {
      tokens: array({
        anyOf: [integer, whole({ id: integer, piece: { anyOf: [string, array(integer)] } })],
      }),
      token_strs: array(string),
      count: integer,
      max_model_len: integer,
    },
    ["tokens", "count", "max_model_len"],
  ),
  DetokenizeRequest: object({ tokens: array(tokenId, { maxItems: 262_144 }), model: orNull(string) }, ["tokens"]),
  DetokenizeAnswer: whole({ content: string, prompt: string }),
  TemplateRequest: object(
    {
      messages: array(ref("Message"), { minItems: 1 }),
      model: orNull(string),
      tools: orNull(array(ref("Tool"), { maxItems: 128 })),
      tool_choice: toolChoice,
      chat_template_kwargs: orNull({ type: "object" }),
    },
    ["messages"],
  ),
  TemplateAnswer: whole({ prompt: string }),
  Model: whole({
    id: string,
    object: { ...string, enum: ["model"] },
    created: integer,
    owned_by: string,
    root: string,
    parent: { type: "null" },
    max_model_len: integer,
    meta: { type: "object" },
  }),
  ModelList: whole({ object: { ...string, enum: ["list"] }, data: array(ref("Model")) }),
  Health: {
    ...whole({
      status: { ...string, enum: ["ok"] },
      phase: { ...string, enum: ["loading", "ready", "draining"] },
      version: string,
      model: { type: ["string", "null"] },
      kernels: string,
      requests: { type: "object" },
    }),
    description: "Further fields say how the model is run and what its engine does.",
    additionalProperties: {},
  },
  Ready: whole({ status: { ...string, enum: ["ready"] } }),
};

const json = (schema: Schema) => ({ "application/json": { schema } });
const retryAfter = { "Retry-After": { description: "Seconds to wait.", schema: integer } };

const failures = {
  "400": { description: "The request is wrong; `param` names what.", content: json(ref("Error")) },
  "401": { description: "No API key, or a wrong one.", content: json(ref("Error")) },
  "403": { description: "A host name under which the server doesn't answer.", content: json(ref("Error")) },
  "404": { description: "Another model's name.", content: json(ref("Error")) },
  "408": { description: "The body did not arrive in time.", content: json(ref("Error")) },
  "413": { description: "The body is too large.", content: json(ref("Error")) },
  "415": { description: "The body's encoding is not known.", content: json(ref("Error")) },
  "429": { description: "Too much is under way.", headers: retryAfter, content: json(ref("Error")) },
  "500": { description: "A fault of the server.", content: json(ref("Error")) },
  "503": { description: "Loading or shutting down.", headers: retryAfter, content: json(ref("Error")) },
};

/** @param chunk what the events of a stream hold, where the answer can be one. */
function post(operationId: string, summary: string, request: string, answer: Schema, chunk?: Schema): Operation {
  const content = { ...json(answer), ...(chunk === undefined ? {} : { "text/event-stream": { schema: chunk } }) };
  return {
    operationId,
    summary,
    requestBody: { required: true, content: json(ref(request)) },
    responses: { "200": { description: "The answer.", content }, ...failures },
  };
}

function get(operationId: string, summary: string, answer: Schema, statuses: (keyof typeof failures)[]): Operation {
  const content = answer.type === "string" ? { "text/plain": { schema: answer } } : json(answer);
  return {
    operationId,
    summary,
    responses: {
      "200": { description: "The answer.", content },
      ...Object.fromEntries(statuses.map((status) => [status, failures[status]])),
    },
  };
}

/** The description of this server. */
export function openApiDocument(): OpenApiDocument {
  return {
    openapi: "3.1.0",
    info: {
      title: "wrinklefree",
      version,
      description:
        "1.58-bit language models from a plain CPU, under OpenAI's API. Fields that are not described are ignored; parameters of " +
        "OpenAI's that would change the answer and can't be honoured are refused by name.",
      license: { name: "MIT", identifier: "MIT" },
    },
    security: [{}, { bearer: [] }, { header: [] }],
    paths: {
      "/v1/chat/completions": {
        post: post("createChatCompletion", "Answers a chat.", "ChatRequest", ref("ChatAnswer"), ref("ChatChunk")),
      },
      "/v1/completions": {
        post: post(
          "createCompletion",
          "Continues texts, and scores them.",
          "CompletionRequest",
          ref("CompletionAnswer"),
          ref("CompletionAnswer"),
        ),
      },
      "/v1/models": { get: get("listModels", "The model that is served.", ref("ModelList"), ["401", "403", "503"]) },
      "/v1/models/{model}": {
        get: {
          ...get("retrieveModel", "The model's facts.", ref("Model"), ["401", "403", "404", "503"]),
          parameters: [{ name: "model", in: "path", required: true, schema: string }],
        },
      },
      "/completion": {
        post: post(
          "llamaCompletion",
          "Continues a text, in llama.cpp's shape.",
          "LlamaRequest",
          { anyOf: [ref("LlamaAnswer"), array(ref("LlamaAnswer"))] },
          ref("LlamaAnswer"),
        ),
      },
      "/generate": {
        post: post(
          "generate",
          "Continues a text, in SGLang's shape.",
          "GenerateRequest",
          { anyOf: [ref("GenerateAnswer"), array(ref("GenerateAnswer"))] },
          ref("GenerateAnswer"),
        ),
      },
      "/tokenize": { post: post("tokenize", "A text's token ids.", "TokenizeRequest", ref("TokenizeAnswer")) },
      "/detokenize": { post: post("detokenize", "The text of ids.", "DetokenizeRequest", ref("DetokenizeAnswer")) },
      "/apply-template": {
        post: post("applyTemplate", "The prompt that messages become.", "TemplateRequest", ref("TemplateAnswer")),
      },
      "/health": {
        get: { ...get("health", "Whether the process is alive.", ref("Health"), ["403"]), security: [] },
      },
      "/ready": {
        get: { ...get("ready", "Whether requests are taken.", ref("Ready"), ["403", "503"]), security: [] },
      },
      "/metrics": { get: get("metrics", "Counters for Prometheus.", string, ["401", "403"]) },
      "/openapi.json": { get: get("openApi", "This description.", { type: "object" }, ["401", "403"]) },
    },
    components: {
      schemas,
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        header: { type: "apiKey", in: "header", name: "X-Api-Key" },
      },
    },
  };
}
