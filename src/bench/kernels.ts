/**
 * The products and attention by themselves: what share of the machine's limits each reaches, for every number of tokens, and which
 * tier of kernels is the best at it.
 */

import { measureMachine } from "../engine/library.ts";
import { BLOCK_BYTES, BLOCK_WEIGHTS } from "../engine/symbols.ts";
import type { Machine } from "./machine.ts";

/** Multiply-adds that one token does with each byte that is read. Six bits of the sketch are a weight. A key or value serves four heads. */
const MULTIPLY_ADDS_PER_BYTE = {
  ternary: BLOCK_WEIGHTS / BLOCK_BYTES,
  sketch: 8 / 6,
  attention_f32: 4 / 4,
  attention_f16: 4 / 2,
  attention_q8: (4 * 128) / (128 + 4),
};

/** What is measured. */
export type MeasuredKernel = keyof typeof MULTIPLY_ADDS_PER_BYTE;

const KERNELS = Object.keys(MULTIPLY_ADDS_PER_BYTE) as MeasuredKernel[];

/** Whether a kernel computes with floats; the others do with 8-bit numbers. */
export function isOfFloats(kernel: MeasuredKernel): boolean {
  return kernel.startsWith("attention");
}

/** Tokens that kernels are measured with unless told otherwise: decode, small batches, pieces of prompts. */
export const KERNEL_TOKENS = [1, 2, 4, 8, 16, 64, 128, 512];

/** One measurement. */
export interface KernelRun {
  kernel: MeasuredKernel;
  tier: string;
  threads: number;
  tokens: number;
  /** GB/s of weights, or of keys and values, that it takes in. */
  read_gb_s: number;
  /** 10^9 multiply-adds a second. */
  multiply_add_g_s: number;
  /** Of the read bandwidth and of the tier's multiply-adds that were measured in the same process: of floats for attention. */
  share_of_read: number;
  share_of_multiply_add: number;
  /** Whether no other tier that was measured is faster. */
  is_best: boolean;
}

/** A measurement to make, with every tier of a list. */
export type KernelPlan = Pick<KernelRun, "kernel" | "threads" | "tokens">;

/** Every kernel with every number of threads and tokens. */
export function kernelPlans(threadCounts: number[], tokenCounts: number[]): KernelPlan[] {
  return threadCounts.flatMap((threads) =>
    KERNELS.flatMap((kernel) => tokenCounts.map((tokens) => ({ kernel, threads, tokens }))),
  );
}

/** Measures with some tiers, one after the other. */
export class KernelBench {
  readonly #machine: Machine;
  /** Multiply-adds by tier, kind and threads. */
  readonly #peaks = new Map<string, number>();

  /** @param machine whose limits with the numbers of threads are known. */
  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Makes one measurement with each tier, in their order. @throws Failure. */
  measure({ kernel, threads, tokens }: KernelPlan, tiers: string[]): KernelRun[] {
    const reads = this.#machine.readBandwidth.get(threads) as number;
    const speeds = tiers.map((tier) => measureMachine(kernel, tier, threads, tokens));
    return tiers.map((tier, index) => {
      const multiplyAdds = speeds[index] as number;
      const bandwidth = multiplyAdds / tokens / MULTIPLY_ADDS_PER_BYTE[kernel];
      return {
        kernel,
        tier,
        threads,
        tokens,
        read_gb_s: bandwidth,
        multiply_add_g_s: multiplyAdds,
        share_of_read: bandwidth / reads,
        share_of_multiply_add: multiplyAdds / this.#peak(kernel, tier, threads),
        is_best: multiplyAdds === Math.max(...speeds),
      };
    });
  }

  #peak(kernel: MeasuredKernel, tier: string, threads: number): number {
    const what = isOfFloats(kernel) ? "floatMultiplyAdds" : "multiplyAdds";
    if (tier === this.#machine.tier) return this.#machine[what].get(threads) as number;
    const key = `${what} ${tier} ${threads}`;
    const known = this.#peaks.get(key) ?? measureMachine(what, tier, threads);
    this.#peaks.set(key, known);
    return known;
  }
}
