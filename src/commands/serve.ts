/**
 * `wrinklefree serve`: the HTTP server, from the command line to its last answer.
 */

import { version } from "../api/usage.ts";
import { cpuTier } from "../engine/library.ts";
import { Failure } from "../errors.ts";
import { type Listening, listen } from "../server/app.ts";
import { isLoopback } from "../server/limits.ts";
import { Service } from "../server/service.ts";
import { untilStopped } from "../server/shutdown.ts";
import { ServerState } from "../server/state.ts";
import type { Command } from "./command.ts";
import { modelOptions, modelOptionsUsage, readModelOptions } from "./model_options.ts";
import { decimalNumber, parseOptions, wholeNumber } from "./options.ts";

export const command: Command = {
  name: "serve",
  summary: "answer OpenAI-compatible requests over HTTP",
  usage: `usage: wrinklefree serve [MODEL] [options]

MODEL is a packed file (.wf) or a Hugging Face directory, which is converted once; without it, the demo model is served.

  --host ADDRESS     where to listen (default: 127.0.0.1, this machine only)
  --port N           (default: 30000; 0: any that is free)
${modelOptionsUsage}
  --parallel N       requests that are answered together (default: 4)
  --temperature T    for requests that don't set one (default: 0, the likeliest token)
  --served-name NAME what clients call the model (also --alias; default: its own name)
  --insecure         listen on an address that others can reach; anyone there can use the server
`,
  run: serve,
};

async function serve(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(
    args,
    {
      ...modelOptions,
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: "30000" },
      parallel: { type: "string", default: "4" },
      temperature: { type: "string", default: "0" },
      "served-name": { type: "string" },
      alias: { type: "string" },
      insecure: { type: "boolean", default: false },
    },
    1,
  );
  const port = wholeNumber(values.port, "port", 0, 65535);
  const temperature = decimalNumber(values.temperature, "temperature", 0, 2);
  const options = readModelOptions(values, wholeNumber(values.parallel, "parallel", 1, 256));
  if (!isLoopback(values.host) && !values.insecure) {
    throw new Failure(
      `refusing to listen on ${values.host}, where anyone who can reach it could use the server; add --insecure if that is wanted`,
    );
  }

  // A library that can't be loaded, or a tier that this processor lacks, shows before anything else is done.
  cpuTier();
  // Listening comes before loading: a port that is taken shows at once, and /ready says what is going on while a large model loads.
  const state = new ServerState(temperature, values["served-name"] ?? values.alias);
  const listening = listen(state, values.host, port);
  let service: Service;
  try {
    service = await Service.open(positionals[0], options);
  } catch (error) {
    await listening.stop(true);
    throw error;
  }
  state.setReady(service);
  process.stderr.write(startText(state, service, listening));
  await untilStopped(state, listening);
  await service.close();
  return 0;
}

/** What the user needs to know at the start. */
function startText(state: ServerState, service: Service, listening: Listening): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  const message = '{"messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":50}';
  return [
    `wrinklefree ${version}`,
    `model    ${state.modelName}: ${service.description}, ${megabytes(service.bytes)}`,
    `kernels  ${cpuTier()}, ${service.threads} threads`,
    `memory   KV cache for ${service.parallel} × ${service.context} tokens: up to ${megabytes(service.kvBytes)}`,
    `serving  ${listening.url}/v1`,
    "",
    `  curl ${listening.url}/v1/chat/completions -H 'Content-Type: application/json' -d '${message}'`,
    "",
    "",
  ].join("\n");
}
