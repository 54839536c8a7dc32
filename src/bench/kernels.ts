/** The products by themselves: what share of the machine's limits each reaches, for every number of tokens. */

import { type MeasuredKernel, machineProduct } from "../engine/library.ts";
import { BLOCK_BYTES, BLOCK_WEIGHTS } from "../engine/symbols.ts";
import type { Machine } from "./machine.ts";

/** Weights in one byte of a row of each kind; those of the sketch have six bits. */
const WEIGHTS_PER_BYTE: Record<MeasuredKernel, number> = { ternary: BLOCK_WEIGHTS / BLOCK_BYTES, sketch: 8 / 6 };

/** Tokens that a product is measured with: decode, small batches, pieces of prompts. */
const KERNEL_TOKENS = [1, 2, 4, 8, 16, 64, 128, 512];

/** One measurement. */
export interface KernelRun {
  kernel: MeasuredKernel;
  threads: number;
  tokens: number;
  /** GB/s of weights that the product takes in. */
  weights_gb_s: number;
  /** 10^9 multiply-adds a second. */
  multiply_add_g_s: number;
  /** Of the read bandwidth and of the multiply-adds that were measured in the same process. */
  share_of_read: number;
  share_of_multiply_add: number;
}

/** A measurement to make. */
export type KernelPlan = Pick<KernelRun, "kernel" | "threads" | "tokens">;

/** Every kernel with every number of threads and tokens. */
export function kernelPlans(threadCounts: number[]): KernelPlan[] {
  return threadCounts.flatMap((threads) =>
    (["ternary", "sketch"] as const).flatMap((kernel) => KERNEL_TOKENS.map((tokens) => ({ kernel, threads, tokens }))),
  );
}

/** Makes one measurement. @param machine its limits with that number of threads are known. @throws Failure. */
export function measureKernel(machine: Machine, { kernel, threads, tokens }: KernelPlan): KernelRun {
  const multiplyAdds = machineProduct(kernel, threads, tokens);
  const bandwidth = multiplyAdds / tokens / WEIGHTS_PER_BYTE[kernel];
  return {
    kernel,
    threads,
    tokens,
    weights_gb_s: bandwidth,
    multiply_add_g_s: multiplyAdds,
    share_of_read: bandwidth / (machine.readBandwidth.get(threads) as number),
    share_of_multiply_add: multiplyAdds / (machine.multiplyAdds.get(threads) as number),
  };
}
