/** Whether the memory is enough for the models that are there. */

import { Failure } from "../errors.ts";
import { readMemory } from "../machine/memory.ts";
import { addressLimit } from "../machine/system.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { takeInventory } from "../models/inventory.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import type { Store } from "../models/store.ts";
import type { LayoutOptions } from "../serving/engine_layout.ts";
import { fitOf, planMemory } from "../serving/memory_plan.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const REMEDY = "'wrinklefree serve MODEL --dry-run' shows what takes how much";

/** The memory itself. */
export function examineMemory(): Finding {
  const { total, available, limit } = readMemory();
  const free = available === undefined ? "" : `, ${formatBytes(available)} free`;
  const bound = limit === undefined ? "no limit" : `limit of ${formatBytes(limit.value)} (${limit.file})`;
  const text = `${formatBytes(total)}${free}, ${bound}`;
  const addresses = addressLimit();
  if (addresses === undefined) return ok("memory", text);
  return warn(
    "memory",
    `${text}; ${addresses.command} allows ${formatBytes(addresses.bytes)} of addresses`,
    "lift that, and bound memory with MemoryMax= or another control group: the runtime sets aside far more addresses than it uses, and ends at their limit in the middle of answers",
  );
}

/** The models of the store; one that does not fit is a warning, since nobody has asked for it yet. */
export async function examineStoredModels(store: Store, options: LayoutOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, model } of takeInventory(store).entries) {
    if (model === null) continue;
    try {
      const packed = await readPackedModel(model.path);
      findings.push(examineModel({ packed, path: model.path, name, given: name }, options, false));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      findings.push(
        warn(`model ${name}`, error.message, "'wrinklefree rm' removes it, 'wrinklefree pull' brings it again"),
      );
    }
  }
  return findings;
}

/** One model. @param isServed whether it is the one that a server would be started with. */
export function examineModel(model: ResolvedModel, options: LayoutOptions, isServed: boolean): Finding {
  const name = `model ${model.name}`;
  try {
    const memory = readMemory();
    const fit = fitOf(planMemory(model, options, process.memoryUsage.rss(), memory), memory, formatBytes);
    if (fit.state === "fits") return ok(name, fit.text);
    return fit.state === "exceeds" && isServed ? fail(name, fit.text, REMEDY) : warn(name, fit.text, REMEDY);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // Settings that one model allows may be more than another was made for.
    return isServed ? fail(name, error.message, REMEDY) : warn(name, error.message, REMEDY);
  }
}
