/** A short measurement: whether the machine reads and multiplies as fast as one of its kind should. */

import { loadavg } from "node:os";
import { cpuCores, cpuTier, measureMachine } from "../engine/library.ts";
import { cpuFrequency } from "../machine/system.ts";
import { type Finding, ok, warn } from "./finding.ts";

/** 8-bit multiply-adds that a core does in a cycle with each tier's instructions, as most processors that have them. */
const MULTIPLY_ADDS_A_CYCLE: Readonly<Record<string, number>> = {
  scalar: 0.5,
  avx2: 32,
  avx2_vnni: 64,
  avx512: 64,
  amx: 512,
  neon: 16,
  neon_dotprod: 32,
};

/** GB/s that one core reads with at least, and that machines of many cores reach at least. */
const CORE_READS = 8;
const MACHINE_READS = 20;

/** Below this share of what it should reach, something is wrong. */
const SHARE_MIN = 0.5;

/** Measures both with a number of threads, which takes about two seconds. @throws Failure without memory or threads. */
export function examineSpeed(threads: number): Finding[] {
  const tier = cpuTier();
  const used = Math.min(threads, cpuCores());
  const reads = measureMachine("reads", tier, threads);
  const products = measureMachine("multiplyAdds", tier, threads);
  const wantedReads = Math.min(CORE_READS * used, MACHINE_READS);
  const frequency = cpuFrequency();
  const wantedProducts =
    frequency === undefined ? undefined : ((MULTIPLY_ADDS_A_CYCLE[tier] ?? 0) * frequency * used) / 1e9;
  return [
    judge("read bandwidth", reads, wantedReads, "GB/s"),
    wantedProducts === undefined
      ? ok(
          "multiply-adds",
          `${products.toFixed(0)} G/s with ${tier}; the system does not tell the frequency of its cores`,
        )
      : judge("multiply-adds", products, wantedProducts, `G/s with ${tier}`),
  ];
}

function judge(name: string, found: number, wanted: number, unit: string): Finding {
  const text = `${found.toFixed(found < 10 ? 1 : 0)} ${unit}; a machine like this should reach ${wanted.toFixed(0)}`;
  if (found >= wanted * SHARE_MIN) return ok(name, text);
  const [load = 0] = loadavg();
  const busy = load >= 1 ? `about ${load.toFixed(0)} other threads want to run now: ` : "";
  return warn(
    name,
    text,
    `${busy}look for other programs (top), neighbours on the same host (steal in vmstat), power saving (cpupower frequency-info) and limits of the control group`,
  );
}
