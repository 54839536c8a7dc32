/** What the machine can do at most, measured in the process that measures the model: the yardstick for everything else. */

import { cpus } from "node:os";
import { cpuCores, cpuTier, machineMultiplyAdds, machineReadBandwidth } from "../engine/library.ts";

/** The machine and its limits, by number of threads. */
export interface Machine {
  /** The processor's name. */
  cpu: string;
  /** The kernel tier in use. */
  tier: string;
  /** Cores that this process may run on. */
  cores: number;
  /** GB/s that memory can be read with. */
  readBandwidth: Map<number, number>;
  /** 10^9 multiply-adds of 8-bit numbers a second, all in registers. */
  multiplyAdds: Map<number, number>;
}

/**
 * Measures the limits for each number of threads, about a second for each.
 *
 * @param onStep called before each number of threads.
 * @throws Failure.
 */
export function measureMachine(threadCounts: number[], onStep: (threads: number) => void): Machine {
  const machine: Machine = {
    cpu: cpus()[0]?.model.trim() || "unknown",
    tier: cpuTier(),
    cores: cpuCores(),
    readBandwidth: new Map(),
    multiplyAdds: new Map(),
  };
  for (const threads of threadCounts) {
    onStep(threads);
    machine.readBandwidth.set(threads, machineReadBandwidth(threads));
    machine.multiplyAdds.set(threads, machineMultiplyAdds(threads));
  }
  return machine;
}
