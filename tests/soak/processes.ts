/** What the system says of a process, and how that goes on over time. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What a process holds. */
export interface Sample {
  residentMegabytes: number;
  /** What is not of files: what can leak. */
  ownMegabytes: number;
  descriptors: number;
  threads: number;
}

/** @throws Error when there is no such process, or it is ending. */
export function sampleProcess(pid: number): Sample {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => {
    const value = Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
    if (Number.isNaN(value)) throw new Error(`process ${pid} has no ${name}`);
    return value;
  };
  return {
    residentMegabytes: field("VmRSS") / 1024,
    ownMegabytes: field("RssAnon") / 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field("Threads"),
  };
}

/** What the descriptors of a process are, for people: how many of each kind. */
export function describeDescriptors(pid: number): string {
  const counts = new Map<string, number>();
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    let kind: string;
    try {
      kind = readlinkSync(`/proc/${pid}/fd/${name}`).replace(/:\[\d+\]$/, "");
    } catch {
      continue; // It is closed by now.
    }
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(", ");
}

/** A straight line through points. */
export interface Line {
  slope: number;
  /** Standard error of the slope. */
  error: number;
}

/** The line with the least squares of distances; undefined for fewer than three points. */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): Line | undefined {
  const count = points.length;
  if (count < 3) return undefined;
  const mean = (of: 0 | 1) => points.reduce((sum, point) => sum + point[of], 0) / count;
  const [meanX, meanY] = [mean(0), mean(1)];
  const square = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const slope = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / square;
  const rest = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / (count - 2) / square) };
}
