/** What the machine can do at most, measured in the process that measures the model: the yardstick for everything else. */

import { cpus } from "node:os";
import { cpuCores, cpuTier, describeCpuTier, measureMachine } from "../engine/library.ts";

/** The machine and its limits, by number of threads. */
export interface Machine {
  /** The processor's name. */
  cpu: string;
  /** The kernel tier in use. */
  tier: string;
  /** The same with why it is no better one, for people. */
  tierDescription: string;
  /** Cores that this process may run on. */
  cores: number;
  /** GB/s that memory can be read with. */
  readBandwidth: Map<number, number>;
  /** 10^9 multiply-adds of 8-bit numbers a second, all in registers, by the tier in use. */
  multiplyAdds: Map<number, number>;
  /** The same of floats. */
  floatMultiplyAdds: Map<number, number>;
  /** Microseconds that it takes to hand out work to the threads and to wait for all of it; a step does so some 200 times. */
  phaseMicroseconds: Map<number, number>;
}

/** The machine, its limits not measured yet. @throws Failure. */
export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() || "unknown",
    tier: cpuTier(),
    tierDescription: describeCpuTier(),
    cores: cpuCores(),
    readBandwidth: new Map(),
    multiplyAdds: new Map(),
    floatMultiplyAdds: new Map(),
    phaseMicroseconds: new Map(),
  };
}

/** Measures the limits with a number of threads, which takes some seconds. @throws Failure. */
export function measureLimits(machine: Machine, threads: number): void {
  machine.readBandwidth.set(threads, measureMachine("reads", machine.tier, threads));
  machine.multiplyAdds.set(threads, measureMachine("multiplyAdds", machine.tier, threads));
  machine.floatMultiplyAdds.set(threads, measureMachine("floatMultiplyAdds", machine.tier, threads));
  machine.phaseMicroseconds.set(threads, measureMachine("phaseMicroseconds", machine.tier, threads));
}
