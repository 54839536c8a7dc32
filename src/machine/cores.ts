/** The cores of the machine and those that this process may use. */

import { readSystemFile } from "./system_file.ts";

/** Parses a list of cores in the kernel's notation, "0-3,6"; undefined when it is none. */
export function parseCpuList(text: string): number[] | undefined {
  const cpus: number[] = [];
  for (const part of text.split(",")) {
    const [, first, last] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()) ?? [];
    const [low, high] = [Number(first), Number(last ?? first)];
    if (first === undefined || high < low) return undefined;
    for (let cpu = low; cpu <= high; cpu++) cpus.push(cpu);
  }
  return cpus;
}

/** The cores that this process may run on; undefined where the system doesn't say. */
export function allowedCpus(): number[] | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readSystemFile("/proc/self/status") ?? "")?.[1];
  return list === undefined ? undefined : parseCpuList(list);
}
