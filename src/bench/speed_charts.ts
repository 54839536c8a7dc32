/** A model's runs as a picture: tokens a second by sequences, or by texts that are embedded together, and by threads. */

import { parameterCount } from "../model_file/model_config.ts";
import { plural } from "../terminal/plural.ts";
import { type Chart, type Point, type Series, short } from "./chart.ts";
import type { Picture } from "./picture.ts";
import { describeBytes, type Report, rounded } from "./report.ts";
import type { Run } from "./runs.ts";
import { byFactors, fromZero, through } from "./scale.ts";

/** Speeds that differ by more than this factor are drawn by factors: the small ones are those of single answers, which matter most. */
const EVEN_FACTOR_MAX = 12;

/** A run that has a speed. */
type SpeedRun = Run & { kind: Exclude<Run["kind"], "latency">; throughput: NonNullable<Run["throughput"]> };

/** Makes the picture. */
export function speedPicture({ subject, costs }: Report, runs: Run[]): Picture {
  const speeds = runs.filter((run): run is SpeedRun => run.throughput !== null);
  const decodes = speeds.filter(({ kind }) => kind === "decode");
  const embeds = speeds.filter(({ kind }) => kind === "embed");
  const charts = [
    speedChart("By sequences", "sequences that decode together", decodes, "parallel", (run) =>
      [plural(run.threads, "thread"), ...particulars(run, decodes)].join(", "),
    ),
    speedChart("By texts", "texts that are embedded together", embeds, "parallel", (run) =>
      [plural(run.threads, "thread"), plural(run.tokens, "token", short(run.tokens))].join(", "),
    ),
    speedChart("By threads", "threads", speeds, "threads", (run) => {
      if (run.kind === "prefill") return `prompt of ${short(run.tokens)}`;
      if (run.kind === "embed") return `${plural(run.parallel, "text")} of ${short(run.tokens)}`;
      return [plural(run.parallel, "sequence"), ...particulars(run, decodes)].join(", ");
    }),
  ].filter((chart) => chart !== undefined);
  const count = parameterCount(subject.config);
  const size = count < 1e9 ? `${(count / 1e6).toFixed(1)} million` : `${(count / 1e9).toFixed(2)} billion`;
  const weights = `${size} parameters: ${describeBytes(costs)}`;
  return {
    title: `${subject.name}${subject.isRandom ? ", random weights" : ""}: tokens a second`,
    lines: [weights],
    charts,
    notes: notesOf(runs),
  };
}

/** The speeds of runs, or undefined where there are none. */
function speedChart(
  title: string,
  axis: string,
  runs: SpeedRun[],
  by: "parallel" | "threads",
  nameOf: (run: SpeedRun) => string,
): Chart | undefined {
  if (runs.length === 0) return undefined;
  const series = new Map<string, SpeedRun[]>();
  for (const run of runs) series.getOrInsertComputed(nameOf(run), () => []).push(run);
  const most = Math.max(...runs.map(({ throughput }) => throughput.tokensPerSecond.most));
  const least = Math.min(...runs.map(({ throughput }) => throughput.tokensPerSecond.least));
  const scale = through(
    runs.map((run) => run[by]),
    by === "parallel" || isWide(runs),
  );
  return {
    title,
    x: { name: axis, scale },
    y: { name: "tokens a second", scale: isWide(runs) ? byFactors(least / 1.2, most * 1.1) : fromZero(most) },
    series: [...series].map(([name, ofSeries]): Series => {
      const points = ofSeries.map((run) => point(run, run[by])).sort((a, b) => a.x - b.x);
      return { name, points };
    }),
    bounds: [],
  };
}

function isWide(runs: SpeedRun[]): boolean {
  const medians = runs.map(({ throughput }) => throughput.tokensPerSecond.median);
  return Math.max(...medians) > EVEN_FACTOR_MAX * Math.min(...medians);
}

function point(run: SpeedRun, x: number): Point {
  const { median, least, most } = run.throughput.tokensPerSecond;
  return {
    x,
    y: median,
    range: [least, most],
    label: short(median),
    description: `${describe(run)}: ${rounded(median)} tok/s (${rounded(least)} to ${rounded(most)})`,
  };
}

function describe(run: SpeedRun): string {
  const what = {
    prefill: `a prompt of ${plural(run.tokens, "token")}`,
    decode: `${plural(run.parallel, "sequence")}, context ${run.context}, temperature ${run.temperature}, zeros from ${run.zeros}`,
    embed: `${plural(run.parallel, "text")} of ${plural(run.tokens, "token")}`,
  }[run.kind];
  return `${run.kind}, ${plural(run.threads, "thread")}, ${what}`;
}

/** What tells a decode run from others beside its sequences and threads. */
function particulars(run: Run, others: Run[]): string[] {
  const differ = (field: "context" | "temperature" | "zeros") => others.some((other) => other[field] !== run[field]);
  return [
    ...(differ("context") ? [`context ${run.context}`] : []),
    ...(differ("temperature") ? [`temperature ${run.temperature}`] : []),
    ...(differ("zeros") ? [`zeros ${run.zeros}`] : []),
  ];
}

function notesOf(runs: Run[]): string[] {
  const notes: string[] = [];
  const first = runs[0];
  if (first !== undefined && first.repetitions > 1)
    notes.push(
      `Points are medians of ${first.repetitions} repetitions; lines through them go from the least to the most.`,
    );
  const decode = runs.find(({ kind }) => kind === "decode");
  if (decode !== undefined) {
    const alike = (["context", "temperature"] as const).filter((field) =>
      runs.every((run) => run.kind !== "decode" || run[field] === decode[field]),
    );
    const behind =
      alike.includes("context") && decode.context > 0 ? ` behind ${plural(decode.context, "token")} of context` : "";
    const drawn = alike.includes("temperature") ? ` at temperature ${decode.temperature}` : "";
    notes.push(
      `Each sequence writes ${plural(decode.tokens, "token")}${behind}${drawn}; those of all sequences are counted together.`,
    );
  }
  if (runs.some(({ kind }) => kind === "embed")) notes.push("Tokens of all texts are counted together.");
  for (const run of runs) {
    if (run.kind !== "latency" || run.firstTokenMs === null) continue;
    const seconds = `${short(run.firstTokenMs.median)} ms`;
    notes.push(
      `${plural(run.threads, "thread")}: a request of ${plural(run.tokens, "token")} that arrives while a prompt of ${run.context} is read has its first token after ${seconds}.`,
    );
  }
  return notes;
}
