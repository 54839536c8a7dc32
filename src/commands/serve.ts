/**
 * `wrinklefree serve`: the HTTP server, from the command line to its last answer.
 */

import { totalmem } from "node:os";
import { cpuTier, describeCpuTier } from "../engine/library.ts";
import { KV_BLOCK, SEQUENCES_MAX } from "../engine/symbols.ts";
import { Failure, UsageError } from "../errors.ts";
import { resolveModel } from "../models/resolve.ts";
import { type Listening, listen } from "../server/app.ts";
import { isHostName, isLoopback } from "../server/host.ts";
import { LOG_FORMATS } from "../server/log.ts";
import { isBasePath } from "../server/path.ts";
import { StopSignals, untilStopped } from "../server/shutdown.ts";
import { Service } from "../serving/service.ts";
import { REASONING_FORMATS, ServerState } from "../serving/state.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes } from "../terminal/output.ts";
import { observeProgress } from "../terminal/progress.ts";
import { version } from "../version.ts";
import { readApiKeys } from "./api_keys.ts";
import type { Command } from "./command.ts";
import { modelOptions, modelOptionsUsage, readModelOptions } from "./model_options.ts";
import { decimalNumber, oneOf, parseOptions, wholeNumber } from "./options.ts";
import { modelUsage, readStoreOptions, storeOptions, storeOptionsUsage } from "./store_options.ts";

/** Answers under way at once, those in the batch and those that wait, unless --queue says otherwise. */
const ANSWERS_MAX = 1024;

/** Prompt tokens that wait at once, unless --queue-tokens says otherwise. */
const QUEUE_TOKENS = 262_144;

export const command: Command = {
  name: "serve",
  summary: "answer OpenAI-compatible requests over HTTP",
  usage: `usage: wrinklefree serve [MODEL] [options]

${modelUsage} Without it, the demo model is served.

  --host ADDRESS     where to listen (default: 127.0.0.1, this machine only)
  --port N           (default: 30000; 0: any that is free)
${modelOptionsUsage}
${storeOptionsUsage}
  --parallel N       requests that are answered together (default: 4)
  --queue N          requests that may wait for that; more are told to come back later. Each of the n answers of a
                     request counts (default: ${ANSWERS_MAX} less --parallel)
  --queue-tokens N   tokens of the prompts that may wait (default: ${QUEUE_TOKENS})
  --reasoning-format F  what becomes of what a model thinks: auto makes it reasoning_content, none leaves it in the text
                     (default: auto)
  --temperature T    for requests that don't set one (default: 0, the likeliest token)
  --served-name NAME what answers call the model (default: its own name)
  --alias NAME       another name by which requests may call it (may be given several times)
  --any-model        answer whatever model a request names
  --api-key-file F   clients have to send one of the keys in this file, one a line (may be given several times; a
                     pipe will do). The environment variable WRINKLEFREE_API_KEY holds a key as well, or several
                     with spaces between them
  --api-key KEY      a key on the command line, where other users of this machine may see it for a moment (may be given
                     several times)
  --insecure         without a key, listen on an address that others can reach; anyone there can use the server
  --allowed-host N   without a key, answer under this host name too, that of a reverse proxy for one, beside the
                     machine's own names (may be given several times)
  --base-path PATH   what a reverse proxy leaves before every path, /llm for one; one that takes it off needs no such
                     option
  --cors-origin URL  let web pages of this origin use the server, * for all (may be given several times)
  --keep-alive N     seconds after which an idle connection is closed (default: 60; 255 at most)
  --log FORMAT       a line on stderr for each request: text, json or off (default: text)
`,
  run: serve,
};

async function serve(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...modelOptions,
      ...storeOptions,
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "30000" },
      parallel: { type: "string", default: "4" },
      queue: { type: "string" },
      "queue-tokens": { type: "string", default: String(QUEUE_TOKENS) },
      temperature: { type: "string", default: "0" },
      "reasoning-format": { type: "string", default: "auto" },
      "served-name": { type: "string" },
      alias: { type: "string", multiple: true, default: [] },
      "any-model": { type: "boolean", default: false },
      "api-key": { type: "string", multiple: true, default: [] },
      "api-key-file": { type: "string", multiple: true, default: [] },
      insecure: { type: "boolean", default: false },
      "allowed-host": { type: "string", multiple: true, default: [] },
      "base-path": { type: "string", default: "" },
      "cors-origin": { type: "string", multiple: true, default: [] },
      "keep-alive": { type: "string", default: "60" },
      log: { type: "string", default: "text" },
    },
    1,
  );
  const port = wholeNumber(values.port, "port", 0, 65535);
  const temperature = decimalNumber(values.temperature, "temperature", 0, 2);
  const parallel = wholeNumber(values.parallel, "parallel", 1, SEQUENCES_MAX);
  const options = readModelOptions(values, parallel);
  const storeChoice = readStoreOptions(values);
  const limits = {
    answers: values.queue === undefined ? ANSWERS_MAX : parallel + wholeNumber(values.queue, "queue", 0, 65_536),
    promptTokens: wholeNumber(values["queue-tokens"], "queue-tokens", 1, 2 ** 31),
  };
  const keepAliveSeconds = wholeNumber(values["keep-alive"], "keep-alive", 1, 255);
  const log = oneOf(values.log, "log", LOG_FORMATS);
  const reasoningFormat = oneOf(values["reasoning-format"], "reasoning-format", REASONING_FORMATS);
  const corsOrigins = values["cors-origin"].map(readOrigin);
  const allowedHosts = values["allowed-host"].map(readHost);
  const basePath = readBasePath(values["base-path"]);
  const apiKeys = readApiKeys(values["api-key"], values["api-key-file"]);
  if (!isLoopback(values.host) && apiKeys.length === 0 && !values.insecure) {
    throw new Failure(
      `refusing to listen on ${values.host}, where anyone who can reach it could use the server; set WRINKLEFREE_API_KEY or --api-key-file, or add --insecure if that is wanted`,
    );
  }

  // A library that can't be loaded, or a tier that this processor lacks, shows before anything else is done.
  cpuTier();
  // Listening comes before loading: a port that is taken shows at once, and /ready says what is going on while a large model loads.
  const names = { served: values["served-name"], aliases: values.alias, any: values["any-model"] };
  const state = new ServerState(temperature, names, limits, reasoningFormat);
  observeProgress((what, progress) => {
    state.loading = { what, ...progress };
  });
  const signals = new StopSignals();
  const listening = await listen(state, {
    hostname: values.host,
    port,
    apiKeys,
    allowedHosts,
    corsOrigins,
    keepAliveSeconds,
    basePath,
    log,
  });
  let service: Service | undefined;
  try {
    const resolved = await resolveModel(positionals[0], storeChoice);
    // A signal need not wait for the loading, of which nothing stays behind.
    service = await Promise.race([Service.start(resolved, options), signals.first.then(() => undefined)]);
  } catch (error) {
    await listening.stop(true);
    // A conversion ends itself at a signal.
    if (signals.hasCome) return 0;
    throw error;
  }
  if (service === undefined) {
    await listening.stop(true);
    return 0;
  }
  state.setReady(service);
  notes.write(startText(state, service, listening, apiKeys.length > 0));
  await untilStopped(state, listening, signals);
  await service.close();
  return 0;
}

function readHost(text: string): string {
  if (!isHostName(text)) throw new UsageError(`--allowed-host takes a name such as llm.example, not '${text}'`);
  return text;
}

function readBasePath(text: string): string {
  const path = text.replace(/\/$/, "");
  if (path !== "" && !isBasePath(path)) throw new UsageError(`--base-path takes a path such as /llm, not '${text}'`);
  return path;
}

function readOrigin(text: string): string {
  if (text !== "*" && !/^[a-z][a-z0-9+.-]*:\/\/[^/\s]+\/?$/i.test(text)) {
    throw new UsageError(`--cors-origin takes an origin such as https://app.example, or *, not '${text}'`);
  }
  return text;
}

/** What the user needs to know at the start. */
function startText(state: ServerState, service: Service, listening: Listening, needsKey: boolean): string {
  const message = '{"messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":50}';
  const key = needsKey ? " -H 'Authorization: Bearer KEY'" : "";
  return [
    `wrinklefree ${version}`,
    `model    ${state.modelName}: ${service.description}, ${formatBytes(service.bytes)}`,
    `kernels  ${describeCpuTier()}, ${service.threads} threads`,
    ...memoryPlan(service),
    ...listening.urls.map((url, index) => `${index === 0 ? "serving" : "       "}  ${url}/v1`),
    `chat     ${listening.urls[0]}/ in a browser`,
    "",
    `  curl ${listening.urls[0]}/v1/chat/completions${key} -H 'Content-Type: application/json' -d '${message}'`,
    "",
    "",
  ].join("\n");
}

/** What the process will take at most, and what for. */
function memoryPlan({ bytes, kvBytes, kvBlocks, kvTokens, context, parallel }: Service): string[] {
  const lines = [
    `memory   weights ${formatBytes(bytes)}, KV cache up to ${formatBytes(kvBytes)}: ${kvBlocks} blocks of ${KV_BLOCK} tokens`,
    `         ${kvTokens} tokens for ${parallel} requests of up to ${context}, and for prompts seen before`,
  ];
  if (bytes + kvBytes > totalmem()) {
    lines.push(`         more than this machine's ${formatBytes(totalmem())}: lower --memory, --ctx or --parallel`);
  }
  return lines;
}
