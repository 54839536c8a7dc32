/** The memory that there is for this process. */

import { totalmem } from "node:os";
import { type Limit, readControlGroup } from "./cgroup.ts";
import { readSystemFile } from "./system_file.ts";

/** In bytes. */
export interface Memory {
  /** Of the machine. */
  total: number;
  /** What others leave at this moment; undefined where the system doesn't say. */
  available: number | undefined;
  /** What this process may take, if that is less than all: of its control group. */
  limit: Limit | undefined;
}

/** Looks at the memory. */
export function readMemory(): Memory {
  const total = totalmem();
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(readSystemFile("/proc/meminfo") ?? "")?.[1];
  const limit = readControlGroup().memory;
  return {
    total,
    available: kilobytes === undefined ? undefined : Number(kilobytes) * 1024,
    limit: limit !== undefined && limit.value < total ? limit : undefined,
  };
}
