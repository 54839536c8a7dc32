/** The report of a soak as tables, for people. */

import { formatTable } from "../../src/terminal/table.ts";
import type { ServiceReport, SoakReport } from "./soak.ts";

/** The report, with its faults last. */
export function formatReport(report: SoakReport): string {
  const { options, answers, counts, services, healthMs, faults, faultCount } = report;
  const paths = new Map<string, [whole: number, streamed: number]>();
  const others: string[][] = [];
  for (const [what, count] of Object.entries(counts)) {
    const [, form, path] = /^(whole|streams) (\/.*)$/.exec(what) ?? [];
    if (path === undefined) {
      others.push([what, String(count)]);
      continue;
    }
    const row = paths.get(path) ?? [0, 0];
    row[form === "whole" ? 0 : 1] = count;
    paths.set(path, row);
  }
  const byPath = [...paths]
    .sort()
    .map(([path, [whole, streamed]]) => [path, String(whole), streamed > 0 ? String(streamed) : ""]);
  const found = Object.entries(faults).map(([kind, { count }]) => [kind, String(count)]);
  const told = Object.values(faults).flatMap((fault) => fault.told);
  return [
    `${answers} answers in ${options.seconds} s, ${options.clients} clients, seed ${options.seed}`,
    formatTable([["", "whole", "streamed"], ...byPath], "  "),
    "",
    formatTable(others, "  "),
    "",
    formatTable(serviceRows(services), "  "),
    "",
    `/health: median ${healthMs.median.toFixed(1)} ms, p99 ${healthMs.p99.toFixed(1)} ms, ${healthMs.most.toFixed(0)} ms at most, restarts included`,
    "",
    formatTable(found, "  "),
    ...told,
    "",
    faultCount === 0 ? "passed" : "failed",
  ].join("\n");
}

function serviceRows(services: Record<string, ServiceReport>): string[][] {
  const rows = Object.entries(services).map(([name, { fresh, rest, growth, blocksUsed, pauses }]) => [
    name,
    `${fresh.residentMegabytes.toFixed(0)} → ${rest.residentMegabytes.toFixed(0)} MB`,
    growth === undefined ? "" : `${growth.slope.toFixed(1)} ± ${growth.error.toFixed(1)}`,
    `${fresh.descriptors} → ${rest.descriptors}`,
    `${fresh.threads} → ${rest.threads}`,
    String(blocksUsed),
    String(pauses),
  ]);
  const head = [
    "",
    "fresh → end",
    "MB an hour, second half",
    "descriptors",
    "threads",
    "KV blocks in use",
    "put aside",
  ];
  return [head, ...rows];
}
