/** How the system is set up, as far as it matters for reading much memory from many threads. */

import { readdirSync } from "node:fs";
import { parseCpuList } from "./cores.ts";
import { readSystemFile } from "./system_file.ts";

/** A part of the machine with memory of its own. */
export interface NumaNode {
  number: number;
  cpus: number[];
}

/** The nodes that have cores; none where the system doesn't say. */
export function numaNodes(): NumaNode[] {
  const directory = "/sys/devices/system/node";
  const names = listNames(directory).filter((name) => /^node\d+$/.test(name));
  return names
    .map((name) => ({
      number: Number(name.slice("node".length)),
      cpus: parseCpuList(readSystemFile(`${directory}/${name}/cpulist`) ?? "") ?? [],
    }))
    .filter(({ cpus }) => cpus.length > 0)
    .sort((one, other) => one.number - other.number);
}

/** Cores of the machine, whether this process may use them or not; undefined where the system doesn't say. */
export function onlineCpus(): number[] | undefined {
  return parseCpuList(readSystemFile("/sys/devices/system/cpu/online") ?? "");
}

/** Who gets huge pages; undefined where the system has none. */
export function hugePagesMode(): string | undefined {
  return /\[(\w+)\]/.exec(readSystemFile("/sys/kernel/mm/transparent_hugepage/enabled") ?? "")?.[1];
}

/** What the kernel takes the time from; undefined where it doesn't say. */
export function clockSource(): string | undefined {
  return readSystemFile("/sys/devices/system/clocksource/clocksource0/current_clocksource");
}

/** How many cores of the machine these are: several threads of one core count once. Where the system doesn't say, each is a core. */
export function physicalCores(cpus: readonly number[]): number {
  const siblings = (cpu: number) =>
    readSystemFile(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`) ?? String(cpu);
  return new Set(cpus.map(siblings)).size;
}

/** How many files this process may have open; infinite where the system doesn't say. */
export function descriptorLimit(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readSystemFile("/proc/self/limits") ?? "")?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/** What this process may address, in bytes, and what says so in a shell: the lower one of both limits; undefined without one. */
export function addressLimit(): { bytes: number; command: string } | undefined {
  const limits = readSystemFile("/proc/self/limits") ?? "";
  const found = [
    { bytes: Number(/^Max address space\s+(\d+)/m.exec(limits)?.[1]), command: "ulimit -v" },
    { bytes: Number(/^Max data size\s+(\d+)/m.exec(limits)?.[1]), command: "ulimit -d" },
  ].filter(({ bytes }) => bytes > 0);
  return found.sort((one, other) => one.bytes - other.bytes)[0];
}

function listNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
