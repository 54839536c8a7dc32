/**
 * A short measurement. There is no list of what machines of a kind should reach, so nothing is held against one: figures of the same run
 * are held against each other. All threads together against one of them, and the product that answers wait for against the memory and
 * the multiply-adds that it is made of.
 */

import { loadavg } from "node:os";
import { cpuTier, measureMachine } from "../engine/library.ts";
import { BLOCK_BYTES, BLOCK_WEIGHTS } from "../engine/symbols.ts";
import { readControlGroup } from "../machine/cgroup.ts";
import { allowedCpus } from "../machine/cores.ts";
import { physicalCores } from "../machine/system.ts";
import { plural } from "../terminal/plural.ts";
import { type Finding, ok, warn } from "./finding.ts";

/** Below this share of what so many cores do by themselves, they hinder each other, or there are fewer than the system says. */
const CORES_SHARE_MIN = 0.7;

/** Below this share of what its parts allow, something comes in the way of a product. */
const PRODUCT_SHARE_MIN = 0.5;

/** What was measured, in GB/s and in 10^9 multiply-adds a second. */
export interface Speeds {
  tier: string;
  threads: number;
  /** Cores that the threads can have to themselves. */
  cores: number;
  /** By all threads. */
  reads: number;
  multiplyAdds: number;
  /** By one thread. */
  multiplyAddsOfOne: number;
  /** Multiply-adds of a ternary product with one token, whose weights come from memory, by all threads. */
  product: number;
}

/** Measures with a number of threads, which takes some seconds. @throws Failure without memory or threads. */
export function measureSpeeds(threads: number): Speeds {
  const tier = cpuTier();
  const multiplyAddsOfOne = measureMachine("multiplyAdds", tier, 1);
  return {
    tier,
    threads,
    cores: Math.min(threads, physicalCores(allowedCpus() ?? []) || threads, readControlGroup().cpus?.value ?? threads),
    reads: measureMachine("reads", tier, threads),
    multiplyAdds: threads === 1 ? multiplyAddsOfOne : measureMachine("multiplyAdds", tier, threads),
    multiplyAddsOfOne,
    product: measureMachine("ternary", tier, threads, 1),
  };
}

/** What the figures say of each other. */
export function judgeSpeeds(speeds: Speeds): Finding[] {
  const { reads, threads } = speeds;
  return [
    ok("read bandwidth", `${rounded(reads)} GB/s with ${plural(threads, "thread")}`),
    judgeCores(speeds),
    judgeProduct(speeds),
  ];
}

function judgeCores({ tier, threads, cores, multiplyAdds, multiplyAddsOfOne }: Speeds): Finding {
  const name = "multiply-adds";
  const figure = `${rounded(multiplyAdds)} G/s with ${tier} and ${plural(threads, "thread")}`;
  if (threads === 1) return ok(name, figure);
  const times = multiplyAdds / multiplyAddsOfOne;
  const count = Number.isInteger(cores) ? String(cores) : cores.toFixed(1);
  const text = `${figure}, ${times.toFixed(1)} times what one does alone; for ${count === "1" ? "1 core" : `${count} cores`} it should be ${count}`;
  if (times >= cores * CORES_SHARE_MIN) return ok(name, text);
  return warn(
    name,
    text,
    `${busy()}look for other programs (top), for neighbours on the same host (steal in vmstat), whether the cores of a virtual machine are halves of real ones, and whether they slow down together (turbostat)`,
  );
}

function judgeProduct({ reads, multiplyAdds, product }: Speeds): Finding {
  const byMemory = (reads * BLOCK_WEIGHTS) / BLOCK_BYTES;
  const [limit, what] =
    byMemory <= multiplyAdds ? [byMemory, "the memory lets through"] : [multiplyAdds, "the processor can do"];
  const share = product / limit;
  const name = "products";
  const text = `${rounded(product)} G/s where one answer is written, ${Math.round(100 * share)} % of what ${what}`;
  if (share >= PRODUCT_SHARE_MIN) return ok(name, text);
  return warn(
    name,
    text,
    `${busy()}measure again when nothing else runs; if it stays so, 'wrinklefree bench kernels' shows where it is lost`,
  );
}

/** Whether others run, who spoil a measurement. */
function busy(): string {
  const [load = 0] = loadavg();
  return load >= 1 ? `about ${load.toFixed(0)} other threads want to run now: ` : "";
}

function rounded(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}
