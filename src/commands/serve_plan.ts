/** `wrinklefree serve --dry-run`: what would be kept in memory, and whether it fits. */

import { readMemory } from "../machine/memory.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import { fitOf, type MemoryPlan } from "../serving/memory_plan.ts";
import { planService, type ServiceOptions } from "../serving/service_plan.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notice, results } from "../terminal/output.ts";
import { formatTable } from "../terminal/table.ts";

/** Prints the plan of a server. @returns the exit code: 1 when it does not fit. @throws Failure. */
export function printPlan(model: ResolvedModel, options: ServiceOptions, isJson: boolean): number {
  const { packed, given, name } = model;
  const memory = readMemory();
  const { memory: plan } = planService(model, options, (text) => notice(given, text), memory);
  const fit = fitOf(plan, memory, formatBytes);
  if (isJson) {
    const { parts, kept, resident, most, bound, layout, kvBlocks } = plan;
    const described = {
      model: name,
      file: packed.path,
      context: layout.context,
      parallel: layout.maxSequences,
      kv_blocks: kvBlocks,
      parts: Object.fromEntries(parts.map((part) => [part.name, part.bytes])),
      kept,
      resident,
      most,
      bound,
      memory: { total: memory.total, available: memory.available ?? null, limit: memory.limit ?? null },
      fit: fit.state,
      text: fit.text,
    };
    results.write(`${JSON.stringify(described, null, 2)}\n`);
  } else {
    results.write(`${name}\n${planTable(plan)}\n${fit.text}\n`);
  }
  return fit.state === "exceeds" ? 1 : 0;
}

function planTable({ parts, kept, resident, most }: MemoryPlan): string {
  const rows = parts.filter(({ name }) => name !== "requests").map(({ bytes, what }) => [formatBytes(bytes), what]);
  const requests = parts.filter(({ name }) => name === "requests").map(({ bytes, what }) => [formatBytes(bytes), what]);
  return formatTable(
    [
      ...rows,
      [formatBytes(resident), "in all"],
      [formatBytes(kept), "of that always, for which --memory-budget is a bound"],
      ...requests,
      [formatBytes(most), "at most"],
    ].map(([bytes = "", what = ""]) => [bytes.padStart(10), what]),
  );
}
