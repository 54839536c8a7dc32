/** Kernels as a picture: each under the machine's two limits, how fast memory is read and how many multiply-adds there are. */

import { plural } from "../terminal/plural.ts";
import { type Bound, type Chart, type Point, type Series, short } from "./chart.ts";
import { isOfFloats, type KernelRun, type MeasuredKernel } from "./kernels.ts";
import type { Picture } from "./picture.ts";
import { rounded } from "./report.ts";
import { byFactors } from "./scale.ts";

/** What kernels are called in a picture. */
const NAMES: Record<MeasuredKernel, string> = {
  ternary: "ternary product",
  sketch: "head's sketch",
  attention_f32: "attention, f32",
  attention_f16: "attention, f16",
  attention_q8: "attention, q8",
};

/** Makes the picture: a chart for each tier and number of threads. */
export function kernelsPicture(runs: KernelRun[]): Picture {
  const tiers = [...new Set(runs.map(({ tier }) => tier))];
  const threadCounts = [...new Set(runs.map(({ threads }) => threads))];
  const charts = tiers.flatMap((tier) =>
    threadCounts.map((threads) => ({
      title: `${plural(threads, "thread")}${tiers.length > 1 ? `, ${tier}` : ""}`,
      runs: runs.filter((run) => run.tier === tier && run.threads === threads),
    })),
  );
  return {
    title: "Kernels under the machine's limits",
    lines: [],
    charts: charts.filter((chart) => chart.runs.length > 0).map((chart) => roofline(chart.title, chart.runs)),
    notes: [
      "A number beside a point says how many tokens are computed with what is read: more of them are more multiply-adds for each byte.",
      "Points can lie above a limit by as much as runs differ. Attention computes with floats, everything else with 8-bit numbers.",
    ],
  };
}

/** Multiply-adds for each byte that is read. */
function intensity(run: KernelRun): number {
  return run.multiply_add_g_s / run.read_gb_s;
}

function roofline(title: string, runs: KernelRun[]): Chart {
  const [first] = runs as [KernelRun];
  const reads = first.read_gb_s / first.share_of_read;
  const peaks = [
    { name: "8-bit limit", of: runs.find(({ kernel }) => !isOfFloats(kernel)) },
    { name: "float limit", of: runs.find(({ kernel }) => isOfFloats(kernel)) },
  ].flatMap(({ name, of }) =>
    of === undefined ? [] : [{ name, peak: of.multiply_add_g_s / of.share_of_multiply_add }],
  );
  const highest = Math.max(...peaks.map(({ peak }) => peak));
  const intensities = runs.map(intensity);
  const low = Math.min(...intensities) / 1.3;
  const high = Math.max(...intensities, highest / reads) * 1.3;
  const speeds = runs.map((run) => run.multiply_add_g_s);
  const bottom = Math.min(...speeds, low * reads) / 1.3;
  const top = Math.max(...speeds, highest) * 1.2;
  const bounds: Bound[] = [
    {
      name: `reads, ${short(reads)} GB/s`,
      line: [
        [low, low * reads],
        [highest / reads, highest],
      ],
      isNamedAlong: true,
    },
    ...peaks.map(({ name, peak }) => ({
      name: `${name}, ${short(peak)} G/s`,
      line: [[peak / reads, peak] as const, [high, peak] as const],
      isNamedAlong: false,
    })),
  ];
  const kernels = [...new Set(runs.map(({ kernel }) => kernel))];
  return {
    title,
    x: { name: "multiply-adds for each byte that is read", scale: byFactors(low, high) },
    y: { name: "10⁹ multiply-adds a second", scale: byFactors(bottom, top) },
    series: kernels.map((kernel): Series => {
      const points = runs.filter((run) => run.kernel === kernel).map(point);
      return { name: NAMES[kernel], points: points.sort((a, b) => a.x - b.x) };
    }),
    bounds,
  };
}

function point(run: KernelRun): Point {
  const shares = `${percent(run.share_of_read)} of reads, ${percent(run.share_of_multiply_add)} of multiply-adds`;
  const what = `${run.kernel}, ${run.tier}, ${plural(run.threads, "thread")}, ${plural(run.tokens, "token")}`;
  return {
    x: intensity(run),
    y: run.multiply_add_g_s,
    label: String(run.tokens),
    description: `${what}: ${rounded(run.multiply_add_g_s)} G multiply-adds/s, ${rounded(run.read_gb_s)} GB/s (${shares})`,
  };
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
