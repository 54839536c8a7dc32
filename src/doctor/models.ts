/** Whether the models that are there can be served: their texts, their settings, and the memory for them. */

import { Failure } from "../errors.ts";
import { readMemory } from "../machine/memory.ts";
import { addressLimit } from "../machine/system.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { takeInventory } from "../models/inventory.ts";
import type { ResolvedModel } from "../models/resolve.ts";
import type { Store } from "../models/store.ts";
import { type Fit, fitOf, planMemory } from "../serving/memory_plan.ts";
import { planService, type ServiceOptions } from "../serving/service_plan.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { hasTokenizer } from "../text/model_text.ts";
import { type Finding, fail, failure, ok, warn } from "./finding.ts";

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

/**
 * The models of the store; one that can't be served is a warning, since nobody has asked for it yet. Settings hold for each as far as it
 * was made for them.
 */
export async function examineStoredModels(store: Store, options: ServiceOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, model } of takeInventory(store).entries) {
    if (model === null) continue;
    const title = `model ${name}`;
    try {
      const packed = await readPackedModel(model.path);
      findings.push(examineStored(title, { packed, path: model.path, name, given: name }, options));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      findings.push(warn(title, error.message, "'wrinklefree rm' removes it, 'wrinklefree pull' brings it again"));
    }
  }
  return findings;
}

function examineStored(title: string, model: ResolvedModel, options: ServiceOptions): Finding {
  const { packed } = model;
  // What was made of a tokenizer was checked then, and opening that of each model would take long.
  if (!hasTokenizer(packed)) {
    return warn(title, "has no tokenizer, so it can't be served", "pull or convert it from a source that has one");
  }
  const memory = readMemory();
  try {
    const own = { ...options, context: Math.min(options.context, packed.config.context) };
    const fit = fitOf(planMemory(model, own, process.memoryUsage.rss(), memory), memory, formatBytes);
    return describeFit(title, fit, "warn");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return failure(title, error, "warn");
  }
}

/** The model that a server would be started with. */
export function examineModel(model: ResolvedModel, options: ServiceOptions): Finding {
  const title = `model ${model.name}`;
  const memory = readMemory();
  try {
    // What is odd about its texts is told by whoever converts or serves it.
    const plan = planService(model, options, () => undefined, memory);
    return describeFit(title, fitOf(plan.memory, memory, formatBytes), "fail");
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return failure(title, error);
  }
}

/** @param worst what it is when the model does not fit. */
function describeFit(title: string, { state, text }: Fit, worst: "warn" | "fail"): Finding {
  if (state === "fits") return ok(title, text);
  return state === "exceeds" && worst === "fail" ? fail(title, text, REMEDY) : warn(title, text, REMEDY);
}
