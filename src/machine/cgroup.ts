/** What the control groups of this process allow it: memory, processor time, cores. */

import { dirname, join } from "node:path";
import { readSystemFile } from "./system_file.ts";

/** A limit and the file that says it. */
export interface Limit {
  value: number;
  file: string;
}

/** What a process may take. Undefined: as much as there is. */
export interface ControlGroup {
  /** Bytes of memory, with the pages of files that it reads. */
  memory: Limit | undefined;
  /** Cores' worth of processor time. */
  cpus: Limit | undefined;
}

/** A limit of version 1 from here on is none: the largest number of whole pages. */
const UNLIMITED = 2 ** 62;

/**
 * Reads the limits of this process: of its group and of all groups above it the lowest counts.
 *
 * @param root the root of the file system, for tests.
 */
export function readControlGroup(root = "/"): ControlGroup {
  const mount = join(root, "sys/fs/cgroup");
  const lines = (readSystemFile(join(root, "proc/self/cgroup")) ?? "").split("\n");
  const groups = lines.flatMap((line) => {
    const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    return line === "" ? [] : [{ controllers: controllers.split(","), path }];
  });
  const memory: Limit[] = [];
  const cpus: Limit[] = [];
  for (const { controllers, path } of groups) {
    const isUnified = controllers.join() === "";
    for (const controller of isUnified ? [""] : controllers) {
      for (const directory of upwards(join(mount, controller), path)) {
        if (isUnified) {
          memory.push(...numberIn(join(directory, "memory.max")));
          memory.push(...numberIn(join(directory, "memory.high")));
          cpus.push(...quotaIn(join(directory, "cpu.max")));
        } else if (controller === "memory") {
          memory.push(...numberIn(join(directory, "memory.limit_in_bytes")));
        } else if (controller === "cpu") {
          const [quota] = numberIn(join(directory, "cpu.cfs_quota_us"));
          const [period] = numberIn(join(directory, "cpu.cfs_period_us"));
          if (quota !== undefined && period !== undefined) {
            cpus.push({ value: quota.value / period.value, file: quota.file });
          }
        }
      }
    }
  }
  return { memory: lowest(memory), cpus: lowest(cpus) };
}

/** The directory of a group and of all above it. In a container the path may be that outside; the mount's own root counts at least. */
function upwards(mount: string, path: string): string[] {
  const directories: string[] = [];
  for (let directory = join(mount, path); directory.startsWith(mount); directory = dirname(directory)) {
    directories.push(directory);
    if (directory === mount) break;
  }
  return directories;
}

function numberIn(file: string): Limit[] {
  const text = readSystemFile(file);
  const value = Number(text);
  return text !== undefined && /^\d+$/.test(text) && value > 0 && value < UNLIMITED ? [{ value, file }] : [];
}

/** "QUOTA PERIOD" or "max PERIOD", in microseconds. */
function quotaIn(file: string): Limit[] {
  const [, quota, period] = /^(\d+) (\d+)$/.exec(readSystemFile(file) ?? "") ?? [];
  return quota === undefined ? [] : [{ value: Number(quota) / Number(period), file }];
}

function lowest(limits: readonly Limit[]): Limit | undefined {
  return limits.reduce<Limit | undefined>(
    (least, limit) => (least === undefined || limit.value < least.value ? limit : least),
    undefined,
  );
}
