/**
 * A soak, by hand:
 *
 *   bun run soak                                        30 minutes
 *   bun run soak -- --hours 24 [--clients 64] [--seed 1] [--json]
 *
 * It prints a line each minute, a table at the end, and exits with 1 if anything was wrong. Ctrl-C ends it before its time. With --json the report goes to stdout as JSON, and
 * the lines to stderr. tests/soak.test.ts runs a short one.
 */

import { parseArgs } from "node:util";
import { formatReport } from "./soak/report.ts";
import { soak, whatSoakNeeds } from "./soak/soak.ts";
import { executable } from "./support/server.ts";

const USAGE = "usage: bun tests/soak.ts [--minutes N | --hours N] [--clients N] [--seed N] [--json]";

function readOptions() {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string" },
      hours: { type: "string" },
      clients: { type: "string", default: "64" },
      seed: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
    },
  });
  const minutes = Number(values.minutes ?? 30);
  const seconds = values.hours === undefined ? minutes * 60 : Number(values.hours) * 3600;
  const [clients, seed] = [Number(values.clients), Number(values.seed)];
  const isBoth = values.minutes !== undefined && values.hours !== undefined;
  if (isBoth || !(seconds > 0) || !(clients >= 1) || !Number.isInteger(seed)) throw new Error("no such soak");
  return { seconds, clients, seed, json: values.json };
}

let options: ReturnType<typeof readOptions>;
try {
  options = readOptions();
} catch {
  console.error(USAGE);
  process.exit(2);
}
const needed = whatSoakNeeds();
if (needed !== undefined) {
  console.error(`a soak needs more programs: ${needed}`);
  process.exit(1);
}
const { json, ...soakOptions } = options;
const say = json ? console.error : console.log;
say(`${options.clients} clients for ${options.seconds / 60} minutes against ${executable}`);
const interrupt = new AbortController();
for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => interrupt.abort());
const report = await soak({ ...soakOptions, signal: interrupt.signal, onProgress: (line) => say(line) });
console.log(json ? JSON.stringify(report, null, 1) : formatReport(report));
process.exit(report.faultCount === 0 ? 0 : 1);
