/** The results in words and numbers: a table for people, JSON and CSV for programs. */

import { parameterCount } from "../../convert/model_config.ts";
import { formatBytes } from "../../convert/progress.ts";
import type { Costs } from "./costs.ts";
import type { KernelRun } from "./kernels.ts";
import type { Machine } from "./machine.ts";
import type { Run, Throughput } from "./runs.ts";
import type { Subject } from "./subject.ts";

/** Everything that a bench found out. */
export interface Report {
  machine: Machine;
  subject: Subject;
  costs: Costs;
  runs: Run[];
}

/** A run as JSON and CSV give it, the same names for every kind; README.md documents them. */
function runFields(run: Run, report: Report) {
  const { throughput, firstTokenMs, secondTurn } = run;
  const shares = throughput === null ? null : limitShares(run, throughput, report);
  return {
    kind: run.kind,
    threads: run.threads,
    parallel: run.parallel,
    tokens: run.tokens,
    context: run.context,
    temperature: run.kind === "decode" ? run.temperature : null,
    repetitions: run.repetitions,
    tok_s: rounded(throughput?.tokensPerSecond.median),
    tok_s_min: rounded(throughput?.tokensPerSecond.least),
    tok_s_max: rounded(throughput?.tokensPerSecond.most),
    zeros: rounded(throughput?.zerosFound ?? undefined),
    bytes_per_step: throughput === null ? null : Math.round(throughput.bytesPerStep),
    share_of_read: rounded(shares?.read),
    share_of_multiply_add: rounded(shares?.multiplyAdd),
    first_token_ms: rounded(firstTokenMs?.median),
    first_token_ms_min: rounded(firstTokenMs?.least),
    first_token_ms_max: rounded(firstTokenMs?.most),
    second_turn_tokens: secondTurn?.tokens ?? null,
    second_turn_computed: secondTurn?.computed ?? null,
  };
}

/** The shares of what the machine can do that a run reached. */
function limitShares(run: Run, throughput: Throughput, { machine, costs }: Report) {
  const bytesPerSecond = throughput.bytesPerStep * throughput.stepsPerSecond;
  return {
    read: bytesPerSecond / (1e9 * limit(machine.readBandwidth, run)),
    multiplyAdd: (throughput.tokensPerSecond.median * costs.multiplyAdds) / (1e9 * limit(machine.multiplyAdds, run)),
  };
}

/** The machine as JSON gives it. */
function machineFields(machine: Machine) {
  const byThreads = (values: Map<number, number>) =>
    Object.fromEntries([...values].map(([threads, value]) => [threads, rounded(value)]));
  return {
    cpu: machine.cpu,
    tier: machine.tier,
    threads: machine.cores,
    read_gb_s: byThreads(machine.readBandwidth),
    multiply_add_g_s: byThreads(machine.multiplyAdds),
  };
}

/** One JSON document. */
export function toJson(report: Report): string {
  const { machine, subject, costs, runs } = report;
  const document = {
    machine: machineFields(machine),
    model: {
      name: subject.name,
      random: subject.isRandom,
      parameters: parameterCount(subject.config),
      ternary_bytes: costs.ternaryBytes,
      head_bytes: costs.headBytes,
      kv_bytes_per_position: costs.positionBytes,
    },
    runs: runs.map((run) => runFields(run, report)),
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

/** A line of names and a line for each run, each with the machine and the model. */
export function toCsv(report: Report): string {
  const { machine, subject, runs } = report;
  const records = runs.map((run) => ({
    cpu: machine.cpu,
    tier: machine.tier,
    cores: machine.cores,
    read_gb_s: rounded(limit(machine.readBandwidth, run)),
    multiply_add_g_s: rounded(limit(machine.multiplyAdds, run)),
    model: subject.name,
    ...runFields(run, report),
  }));
  const lines = [Object.keys(records[0] ?? {}), ...records.map((record) => Object.values(record).map(csvCell))];
  return lines.map((cells) => `${cells.join(",")}\n`).join("");
}

/** Tables with a line on the machine and one on the model before them. */
export function toText(report: Report): string {
  const { machine, subject, costs, runs } = report;
  const count = parameterCount(subject.config);
  const parameters = count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} G`;
  const weights = subject.isRandom ? `${subject.name}, random weights` : subject.name;
  const sections = [
    `${machineLine(machine)}\n` +
      `model    ${weights}, ${parameters} parameters: ${formatBytes(costs.ternaryBytes)} ternary, ${formatBytes(costs.headBytes)} head`,
    limitsTable(machine),
  ];
  const throughputs = runs.filter(({ throughput }) => throughput !== null);
  if (throughputs.length > 0) {
    const headings = [
      "run",
      "threads",
      "parallel",
      "context",
      "temperature",
      "tokens",
      "tok/s",
      "min-max",
      "zeros",
      "bytes/step",
    ];
    const rows = throughputs.map((run) => throughputCells(run, report));
    sections.push(table([[...headings, "of reads", "of multiply-adds"], ...rows]));
  }
  const latencies = runs.filter(({ kind }) => kind === "latency");
  if (latencies.length > 0) {
    const headings = ["run", "threads", "long prompt", "tokens", "first token ms", "min-max", "second turn computes"];
    sections.push(table([headings, ...latencies.map((run) => latencyCells(run, report))]));
  }
  return `${sections.join("\n\n")}\n`;
}

function machineLine(machine: Machine): string {
  return `machine  ${machine.cpu}, ${machine.cores} cores, ${machine.tier} kernels`;
}

function limitsTable(machine: Machine): string {
  const limits = [...machine.readBandwidth].map(([threads, bandwidth]) => [
    String(threads),
    bandwidth.toFixed(1),
    (machine.multiplyAdds.get(threads) ?? 0).toFixed(1),
  ]);
  return table([["threads", "reads GB/s", "multiply-adds G/s"], ...limits]);
}

/** The kernels by themselves, in the form that was asked for. */
export function kernelsReport(machine: Machine, runs: KernelRun[], form: "text" | "json" | "csv"): string {
  const records = runs.map((run) => ({
    ...run,
    weights_gb_s: rounded(run.weights_gb_s),
    multiply_add_g_s: rounded(run.multiply_add_g_s),
    share_of_read: rounded(run.share_of_read),
    share_of_multiply_add: rounded(run.share_of_multiply_add),
  }));
  if (form === "json") return `${JSON.stringify({ machine: machineFields(machine), kernels: records }, null, 1)}\n`;
  if (form === "csv") {
    const lines = [Object.keys(records[0] ?? {}), ...records.map((record) => Object.values(record).map(csvCell))];
    return lines.map((line) => `${line.join(",")}\n`).join("");
  }
  const headings = ["kernel", "threads", "tokens", "weights GB/s", "multiply-adds G/s", "of reads", "of multiply-adds"];
  const rows = runs.map((run) => [
    run.kernel,
    String(run.threads),
    String(run.tokens),
    run.weights_gb_s.toFixed(1),
    run.multiply_add_g_s.toFixed(1),
    percent(run.share_of_read),
    percent(run.share_of_multiply_add),
  ]);
  return `${[machineLine(machine), limitsTable(machine), table([headings, ...rows])].join("\n\n")}\n`;
}

function throughputCells(run: Run, report: Report): string[] {
  const fields = runFields(run, report);
  return [
    run.kind,
    String(run.threads),
    String(run.parallel),
    String(run.context),
    String(fields.temperature ?? ""),
    String(run.tokens),
    figure(fields.tok_s),
    `${figure(fields.tok_s_min)}-${figure(fields.tok_s_max)}`,
    percent(fields.zeros),
    formatBytes(fields.bytes_per_step ?? 0),
    percent(fields.share_of_read),
    percent(fields.share_of_multiply_add),
  ];
}

function latencyCells(run: Run, report: Report): string[] {
  const fields = runFields(run, report);
  return [
    run.kind,
    String(run.threads),
    String(run.context),
    String(run.tokens),
    figure(fields.first_token_ms),
    `${figure(fields.first_token_ms_min)}-${figure(fields.first_token_ms_max)}`,
    `${fields.second_turn_computed} of ${fields.second_turn_tokens}`,
  ];
}

function limit(values: Map<number, number>, run: Run): number {
  return values.get(run.threads) as number;
}

/** Five digits are more than any of this repeats to. */
function rounded(value: number): number;
function rounded(value: number | undefined): number | null;
function rounded(value: number | undefined): number | null {
  return value === undefined ? null : Number(value.toPrecision(5));
}

function figure(value: number | null): string {
  if (value === null) return "";
  return value < 100 ? value.toFixed(2) : value.toFixed(0);
}

function percent(share: number | null): string {
  if (share === null) return "";
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

/** What a run doesn't measure is an empty cell. */
function csvCell(value: string | number | null): string {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows under one another, everything but the first column to the right. */
function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  const line = (row: string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ");
  return rows.map(line).join("\n");
}
