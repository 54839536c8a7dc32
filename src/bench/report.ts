/**
 * The results in words and numbers: tables for people, JSON and CSV for programs. Each result is written when it is there, so that
 * a bench that is interrupted has said what it knew.
 */

import { parameterCount } from "../model_file/model_config.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { results } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import type { Costs } from "./costs.ts";
import type { KernelRun } from "./kernels.ts";
import type { Machine } from "./machine.ts";
import type { Plan, Run, Throughput } from "./runs.ts";
import type { Subject } from "./subject.ts";
import { Table } from "./table.ts";

/** The forms in which results can be had. */
export type Form = "text" | "json" | "csv";

/** What a bench of a model is about. */
export interface Report {
  machine: Machine;
  subject: Subject;
  costs: Costs;
}

/** Takes results as they are measured and writes them. Each method throws OutputFailure. */
export interface ReportWriter<Result> {
  /** What the machine can do with so many threads is measured. */
  addLimits(threads: number): void;
  /** Called when all limits are measured. */
  add(result: Result): void;
  /** Nothing comes any more. @param isComplete whether everything was measured that was asked for. */
  end(isComplete: boolean): void;
}

/** Gives results to several writers. */
export function together<Result>(writers: readonly ReportWriter<Result>[]): ReportWriter<Result> {
  return {
    addLimits(threads) {
      for (const writer of writers) writer.addLimits(threads);
    },
    add(result) {
      for (const writer of writers) writer.add(result);
    },
    end(isComplete) {
      for (const writer of writers) writer.end(isComplete);
    },
  };
}

/** Writes the runs of a model. @param plans the runs that are to come. */
export function runsWriter(form: Form, report: Report, plans: readonly Plan[]): ReportWriter<Run> {
  if (form === "text") return new RunTables(report, plans);
  if (form === "csv") return new CsvWriter((run) => csvFields(run, report));
  return new JsonWriter(
    () => documentFields(report),
    "runs",
    (run) => runFields(run, report),
  );
}

/** Writes what the kernels reach by themselves. */
export function kernelsWriter(form: Form, machine: Machine): ReportWriter<KernelRun> {
  if (form === "text") return new KernelTables(machine);
  if (form === "csv") return new CsvWriter(kernelFields);
  return new JsonWriter(() => ({ machine: machineFields(machine) }), "kernels", kernelFields);
}

/** What steps read of a model's weights. */
export function describeBytes({ ternaryBytes, headBytes }: Costs): string {
  const head = headBytes === 0 ? "" : `, ${formatBytes(headBytes)} head`;
  return `${formatBytes(ternaryBytes)} ternary${head}`;
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
  const multiplyAdds = run.kind === "decode" ? costs.multiplyAdds : costs.contextMultiplyAdds;
  return {
    read: bytesPerSecond / (1e9 * limit(machine.readBandwidth, run)),
    multiplyAdd: (throughput.tokensPerSecond.median * multiplyAdds) / (1e9 * limit(machine.multiplyAdds, run)),
  };
}

/** A run as CSV gives it: the machine and the model stand in every line. */
function csvFields(run: Run, report: Report) {
  const { machine, subject } = report;
  return {
    cpu: machine.cpu,
    tier: machine.tier,
    cores: machine.cores,
    read_gb_s: rounded(limit(machine.readBandwidth, run)),
    multiply_add_g_s: rounded(limit(machine.multiplyAdds, run)),
    model: subject.name,
    ...runFields(run, report),
  };
}

function kernelFields(run: KernelRun) {
  return {
    ...run,
    read_gb_s: rounded(run.read_gb_s),
    multiply_add_g_s: rounded(run.multiply_add_g_s),
    share_of_read: rounded(run.share_of_read),
    share_of_multiply_add: rounded(run.share_of_multiply_add),
  };
}

/** The machine and the model as JSON gives them, before the runs. */
function documentFields({ machine, subject, costs }: Report) {
  return {
    machine: machineFields(machine),
    model: {
      name: subject.name,
      random: subject.isRandom,
      parameters: parameterCount(subject.config),
      ternary_bytes: costs.ternaryBytes,
      head_bytes: costs.headBytes,
      kv_bytes_per_position: costs.positionBytes,
    },
  };
}

function machineFields(machine: Machine) {
  const byThreads = (values: Map<number, number>) =>
    Object.fromEntries([...values].map(([threads, value]) => [threads, rounded(value)]));
  return {
    cpu: machine.cpu,
    tier: machine.tier,
    threads: machine.cores,
    read_gb_s: byThreads(machine.readBandwidth),
    multiply_add_g_s: byThreads(machine.multiplyAdds),
    float_multiply_add_g_s: byThreads(machine.floatMultiplyAdds),
    phase_us: byThreads(machine.phaseMicroseconds),
  };
}

/** One JSON document, which is valid once it is ended, whenever that is. */
class JsonWriter<Result> implements ReportWriter<Result> {
  readonly #beginning: () => object;
  readonly #list: string;
  readonly #fields: (result: Result) => object;
  #count = 0;

  /**
   * @param beginning gives what stands before the results.
   * @param list what the list of results is called.
   */
  constructor(beginning: () => object, list: string, fields: (result: Result) => object) {
    this.#beginning = beginning;
    this.#list = list;
    this.#fields = fields;
  }

  addLimits(): void {}

  add(result: Result): void {
    const text = JSON.stringify(this.#fields(result), null, 1).replaceAll("\n", "\n  ");
    // Whole lines, also where progress goes to the same terminal.
    results.write(`${this.#count === 0 ? this.#head() : ""}  ${this.#count === 0 ? "" : ", "}${text}\n`);
    this.#count++;
  }

  end(isComplete: boolean): void {
    results.write(`${this.#count === 0 ? this.#head() : ""} ],\n "complete": ${isComplete}\n}\n`);
  }

  #head(): string {
    return `${JSON.stringify(this.#beginning(), null, 1).slice(0, -"\n}".length)},\n "${this.#list}": [\n`;
  }
}

/** A line of names, and a line for each result. */
class CsvWriter<Result> implements ReportWriter<Result> {
  readonly #fields: (result: Result) => Record<string, string | number | boolean | null>;
  #isEmpty = true;

  constructor(fields: (result: Result) => Record<string, string | number | boolean | null>) {
    this.#fields = fields;
  }

  addLimits(): void {}

  add(result: Result): void {
    const fields = this.#fields(result);
    const lines = [...(this.#isEmpty ? [Object.keys(fields)] : []), Object.values(fields).map(csvCell)];
    results.write(lines.map((cells) => `${cells.join(",")}\n`).join(""));
    this.#isEmpty = false;
  }

  end(): void {}
}

/** The machine and the model in a line each, then tables. */
class RunTables implements ReportWriter<Run> {
  readonly #report: Report;
  readonly #limits: Table;
  readonly #throughput: Table;
  readonly #latency: Table;

  constructor(report: Report, plans: readonly Plan[]) {
    const { machine, subject, costs } = report;
    this.#report = report;
    this.#limits = limitsTable();
    this.#throughput = new Table(throughputHeadings, plans.map(planCells));
    this.#latency = new Table(latencyHeadings, plans.map(latencyPlanCells));
    const count = parameterCount(subject.config);
    const parameters = count < 1e9 ? `${(count / 1e6).toFixed(1)} M` : `${(count / 1e9).toFixed(2)} G`;
    const weights = subject.isRandom ? `${subject.name}, random weights` : subject.name;
    results.write(`${machineLine(machine)}model    ${weights}, ${parameters} parameters: ${describeBytes(costs)}\n`);
  }

  addLimits(threads: number): void {
    this.#limits.write(limitsCells(this.#report.machine, threads));
  }

  add(run: Run): void {
    if (run.kind === "latency") {
      this.#throughput.close();
      this.#latency.write([...latencyPlanCells(run), ...latencyCells(run, this.#report)]);
    } else {
      this.#latency.close();
      this.#throughput.write([...planCells(run), ...throughputCells(run, this.#report)]);
    }
  }

  end(): void {}
}

/** The machine in a line, then tables. */
class KernelTables implements ReportWriter<KernelRun> {
  readonly #machine: Machine;
  readonly #limits: Table;
  readonly #kernels: Table;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#limits = limitsTable();
    this.#kernels = new Table(
      [
        "kernel",
        "tier",
        "threads",
        "tokens",
        "reads GB/s",
        "multiply-adds G/s",
        "of reads",
        "of multiply-adds",
        "best",
      ],
      [["attention_f32", "avx2_vnni"]],
    );
    results.write(machineLine(machine));
  }

  addLimits(threads: number): void {
    this.#limits.write(limitsCells(this.#machine, threads));
  }

  add(run: KernelRun): void {
    this.#kernels.write([
      run.kernel,
      run.tier,
      String(run.threads),
      String(run.tokens),
      run.read_gb_s.toFixed(1),
      run.multiply_add_g_s.toFixed(1),
      percent(run.share_of_read),
      percent(run.share_of_multiply_add),
      run.is_best ? "*" : "",
    ]);
  }

  end(): void {}
}

function machineLine(machine: Machine): string {
  return `machine  ${machine.cpu}, ${plural(machine.cores, "core")}, ${machine.tierDescription} kernels\n`;
}

function limitsTable(): Table {
  return new Table(["threads", "reads GB/s", "multiply-adds G/s", "of floats G/s", "a phase µs"], []);
}

function limitsCells(machine: Machine, threads: number): string[] {
  const cell = (values: Map<number, number>, digits: number) => (values.get(threads) ?? 0).toFixed(digits);
  return [
    String(threads),
    cell(machine.readBandwidth, 1),
    cell(machine.multiplyAdds, 1),
    cell(machine.floatMultiplyAdds, 1),
    cell(machine.phaseMicroseconds, 2),
  ];
}

const throughputHeadings = [
  "run",
  "threads",
  "parallel",
  "context",
  "temperature",
  "tokens",
  "  tok/s",
  "      min-max",
  "zeros",
  "bytes/step",
  "of reads",
  "of multiply-adds",
];

/** What a row says of a run before it is measured. */
function planCells(plan: Plan): string[] {
  return [
    plan.kind,
    String(plan.threads),
    String(plan.parallel),
    String(plan.context),
    plan.kind === "decode" ? String(plan.temperature) : "",
    String(plan.tokens),
  ];
}

function throughputCells(run: Run, report: Report): string[] {
  const fields = runFields(run, report);
  return [
    figure(fields.tok_s),
    `${figure(fields.tok_s_min)}-${figure(fields.tok_s_max)}`,
    percent(fields.zeros),
    formatBytes(fields.bytes_per_step ?? 0),
    percent(fields.share_of_read),
    percent(fields.share_of_multiply_add),
  ];
}

const latencyHeadings = [
  "run",
  "threads",
  "long prompt",
  "tokens",
  "first token ms",
  "      min-max",
  "second turn computes",
];

/** What a row says of a latency run before it is measured. */
function latencyPlanCells(plan: Plan): string[] {
  return [plan.kind, String(plan.threads), String(plan.context), String(plan.tokens)];
}

function latencyCells(run: Run, report: Report): string[] {
  const fields = runFields(run, report);
  return [
    figure(fields.first_token_ms),
    `${figure(fields.first_token_ms_min)}-${figure(fields.first_token_ms_max)}`,
    `${fields.second_turn_computed} of ${fields.second_turn_tokens}`,
  ];
}

function limit(values: Map<number, number>, run: Run): number {
  return values.get(run.threads) as number;
}

/** Five digits are more than any of this repeats to. */
export function rounded(value: number): number;
export function rounded(value: number | undefined): number | null;
export function rounded(value: number | undefined): number | null {
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
function csvCell(value: string | number | boolean | null): string {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
