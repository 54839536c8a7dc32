/** A model's runs as a picture: tokens a second by sequences and by threads. */

import { parameterCount } from "../model_file/model_config.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { plural } from "../terminal/plural.ts";
import { type Chart, type Point, type Series, short } from "./chart.ts";
import type { Picture } from "./picture.ts";
import { type Report, rounded } from "./report.ts";
import type { Run } from "./runs.ts";
import { byFactors, fromZero, type Scale, through } from "./scale.ts";

/** Speeds that differ by more than this factor are drawn by factors: the small ones are those of single answers, which matter most. */
const EVEN_FACTOR_MAX = 12;

/** A run that has a speed. */
type SpeedRun = Run & { throughput: NonNullable<Run["throughput"]> };

/** Makes the picture. */
export function speedPicture({ subject, costs }: Report, runs: Run[]): Picture {
  const speeds = runs.filter((run): run is SpeedRun => run.throughput !== null);
  const decodes = speeds.filter(({ kind }) => kind === "decode");
  const charts: Chart[] = [];
  if (decodes.length > 0) {
    const scale = through(
      decodes.map(({ parallel }) => parallel),
      true,
    );
    charts.push(
      speedChart("By sequences", { name: "sequences that decode together", scale }, decodes, "parallel", (run) =>
        [plural(run.threads, "thread"), ...particulars(run, decodes)].join(", "),
      ),
    );
  }
  if (speeds.length > 0) {
    const scale = through(
      speeds.map(({ threads }) => threads),
      isWide(speeds),
    );
    charts.push(
      speedChart("By threads", { name: "threads", scale }, speeds, "threads", (run) =>
        run.kind === "prefill"
          ? `prompt of ${short(run.tokens)}`
          : [plural(run.parallel, "sequence"), ...particulars(run, decodes)].join(", "),
      ),
    );
  }
  const count = parameterCount(subject.config);
  const size = count < 1e9 ? `${(count / 1e6).toFixed(1)} million` : `${(count / 1e9).toFixed(2)} billion`;
  const weights = `${size} parameters: ${formatBytes(costs.ternaryBytes)} ternary, ${formatBytes(costs.headBytes)} head`;
  return {
    title: `${subject.name}${subject.isRandom ? ", random weights" : ""}: tokens a second`,
    lines: [weights],
    charts,
    notes: notesOf(runs),
  };
}

function speedChart(
  title: string,
  x: { name: string; scale: Scale },
  runs: SpeedRun[],
  by: "parallel" | "threads",
  nameOf: (run: SpeedRun) => string,
): Chart {
  const series = new Map<string, SpeedRun[]>();
  for (const run of runs) series.getOrInsertComputed(nameOf(run), () => []).push(run);
  const most = Math.max(...runs.map(({ throughput }) => throughput.tokensPerSecond.most));
  const least = Math.min(...runs.map(({ throughput }) => throughput.tokensPerSecond.least));
  return {
    title,
    x,
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

function describe(run: Run): string {
  const what =
    run.kind === "prefill"
      ? `a prompt of ${run.tokens} tokens`
      : `${plural(run.parallel, "sequence")}, context ${run.context}, temperature ${run.temperature}, zeros from ${run.zeros}`;
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
    const behind = alike.includes("context") && decode.context > 0 ? ` behind ${decode.context} tokens of context` : "";
    const drawn = alike.includes("temperature") ? ` at temperature ${decode.temperature}` : "";
    notes.push(
      `Each sequence writes ${decode.tokens} tokens${behind}${drawn}; those of all sequences are counted together.`,
    );
  }
  for (const run of runs) {
    if (run.kind !== "latency" || run.firstTokenMs === null) continue;
    const seconds = `${short(run.firstTokenMs.median)} ms`;
    notes.push(
      `${plural(run.threads, "thread")}: a request of ${run.tokens} tokens that arrives while a prompt of ${run.context} is read has its first token after ${seconds}.`,
    );
  }
  return notes;
}
