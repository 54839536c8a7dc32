/**
 * Measures what of the engine's speed reaches clients: `bench` of a model with random weights, and as many clients, in this process,
 * that stream answers of the same model from the server with the same number of threads. Clients and server share the machine's cores.
 *
 *   bun tests/tools/http-speed.ts [CLIENTS] [THREADS] [SHAPE]
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Shape, shapes } from "../../src/model_file/shapes.ts";
import { writeRandomModel } from "../support/random_model.ts";
import { executable, startServer } from "../support/server.ts";

const [clients = "16", threads = String(navigator.hardwareConcurrency), shape = "2b-4t"] = process.argv.slice(2);
const TOKENS = 128;
const ROUNDS = 2;

/** Tokens a second of `bench`. */
function benchSpeed(model: string): number {
  const options = { prompt: 0, latency: 0, decode: TOKENS, parallel: clients, threads };
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const bench = Bun.spawnSync([executable, "bench", model, "--json", ...words]);
  if (bench.exitCode !== 0) throw new Error(bench.stderr.toString());
  const { runs } = JSON.parse(bench.stdout.toString()) as { runs: { kind: string; tok_s: number }[] };
  return runs.find(({ kind }) => kind === "decode")?.tok_s as number;
}

/** Streams one answer to its end. Each client has a prompt of its own. */
async function stream(url: string, first = 0): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      prompt: [first, 7 * first + 1],
      max_tokens: TOKENS,
      temperature: 0,
      ignore_eos: true,
      stream: true,
    }),
  });
  const text = await response.text();
  if (!text.endsWith("data: [DONE]\n\n")) throw new Error(text);
}

/** Seconds of processor time that a process has taken. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") as string[];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Tokens a second that the clients get, and the cores that server and clients take. */
async function servedSpeed(model: string): Promise<{ speed: number; cores: number[] }> {
  const server = await startServer([
    model,
    "--parallel",
    clients,
    "--threads",
    threads,
    "--ctx",
    "512",
    "--log",
    "off",
  ]);
  await stream(server.url);
  const processes = [server.pid, process.pid];
  const [began, before] = [performance.now(), processes.map(processorSeconds)];
  await Promise.all(Array.from({ length: Number(clients) }, (_, client) => stream(server.url, client + 1)));
  const seconds = (performance.now() - began) / 1000;
  const cores = processes.map((pid, i) => (processorSeconds(pid) - (before[i] as number)) / seconds);
  await server.stop();
  return { speed: (Number(clients) * TOKENS) / seconds, cores };
}

const directory = mkdtempSync(join(tmpdir(), "http-speed-"));
try {
  const model = join(directory, "random.wf");
  /* The tokens are those of the tokenizer in the file, so that each has a text, which is an event of the stream. */
  const { vocabSize } = shapes.tiny as Shape;
  writeRandomModel(model, { ...(shapes[shape as keyof typeof shapes] as Shape), vocabSize });
  for (let round = 0; round < ROUNDS; round++) {
    const alone = benchSpeed(model);
    const { speed, cores } = await servedSpeed(model);
    const [ofServer, ofClients] = cores.map((count) => count.toFixed(2));
    console.log(
      `${clients} clients, ${threads} threads: bench ${alone.toFixed(1)} tok/s, over HTTP ${speed.toFixed(1)}, ` +
        `${((100 * speed) / alone).toFixed(1)} %; the server takes ${ofServer} cores, the clients ${ofClients}`,
    );
  }
} finally {
  rmSync(directory, { recursive: true });
}
