/** A control group with a limit of memory, where this process may make one: as root, with the group's files writable. */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface TestControlGroup {
  /** The file of the limit. */
  file: string;
  /** Words before a command line that is to run in it. */
  wrapper: string[];
  remove(): void;
}

/** Makes a group below this process' own. `name` tells it from others of the process. Undefined where that can't be done. */
export function makeControlGroup(memoryBytes: number, name = "test"): TestControlGroup | undefined {
  const groups = readFileSync("/proc/self/cgroup", "utf8");
  const own = /^\d+:memory:(.*)$/m.exec(groups)?.[1];
  const unified = /^0::(.*)$/m.exec(groups)?.[1] ?? "/";
  const [parent, limit] =
    own === undefined
      ? [join("/sys/fs/cgroup", unified), "memory.max"]
      : [join("/sys/fs/cgroup/memory", own), "memory.limit_in_bytes"];
  const directory = join(parent, `wrinklefree-${name}-${process.pid}`);
  try {
    if (!existsSync(parent)) return undefined;
    mkdirSync(directory);
    writeFileSync(join(directory, limit), String(memoryBytes));
  } catch {
    if (existsSync(directory)) rmdirSync(directory);
    return undefined;
  }
  return {
    file: join(directory, limit),
    wrapper: ["sh", "-c", `echo $$ > ${join(directory, "cgroup.procs")} && exec "$@"`, "sh"],
    remove: () => rmdirSync(directory),
  };
}
