/** The processor: kernels, cores, limits of the control group, NUMA, huge pages, clock. */

import { statSync } from "node:fs";
import { cpuCores, cpuTier, cpuTierReason } from "../engine/library.ts";
import { readControlGroup } from "../machine/cgroup.ts";
import { allowedCpus } from "../machine/cores.ts";
import { clockSource, hugePagesMode, numaNodes, onlineCpus } from "../machine/system.ts";
import { type Finding, ok, warn } from "./finding.ts";

/** Sources of time that take microseconds to read. */
const SLOW_CLOCKS = ["hpet", "acpi_pm", "jiffies"];

/** The kernels in use. @throws Failure when the library can't be loaded, or has no such kernels. */
export function examineKernels(): Finding {
  const [tier, reason] = [cpuTier(), cpuTierReason()];
  const text = reason === null ? `${tier}, the best that there are` : `${tier} (${reason})`;
  if (process.env.WRINKLEFREE_CPU) return warn("kernels", text, "unset WRINKLEFREE_CPU, which is for tests");
  if (tier === "scalar") {
    return warn("kernels", text, "use a processor with AVX2 or NEON, or let the virtual machine see that it has them");
  }
  if (reason?.includes("the system does not allow")) {
    return warn("kernels", text, "use a kernel from Linux 5.16 on that lets processes use the tiles of AMX");
  }
  return ok("kernels", text);
}

/** The cores that the threads would run on. @param threads 0: one for each core. @param cpus those to pin to. */
export function examineCores(threads: number, cpus: readonly number[]): Finding[] {
  const allowed = cpuCores();
  const online = onlineCpus()?.length ?? allowed;
  const used = threads || cpus.length || allowed;
  const text = `${allowed} of ${online} may be used; ${used} ${used === 1 ? "thread" : "threads"}`;
  const findings: Finding[] = [];
  if (used > (cpus.length || allowed)) {
    findings.push(warn("cores", `${text}, more than there are cores`, `lower --threads to ${cpus.length || allowed}`));
  } else if (allowed < online) {
    findings.push(
      warn("cores", text, "let the process use all cores (taskset, cpuset, AllowedCPUs=) if it is meant to"),
    );
  } else {
    findings.push(ok("cores", text));
  }
  const quota = readControlGroup().cpus;
  if (quota === undefined) findings.push(ok("cpu limit", "none"));
  else {
    const share = `${quota.value.toFixed(2)} cores (${quota.file})`;
    const whole = Math.max(1, Math.floor(quota.value));
    const remedy = `use --threads ${whole}, or raise the limit: threads that are stopped in the middle of a step hold up the others`;
    findings.push(quota.value < used ? warn("cpu limit", share, remedy) : ok("cpu limit", share));
  }
  return findings;
}

/** Whether the threads would read memory of other nodes. @param cpus those to pin to. */
export function examineNuma(cpus: readonly number[]): Finding {
  const nodes = numaNodes();
  if (nodes.length === 0) return ok("numa", "the system does not say");
  const used = cpus.length > 0 ? cpus : (allowedCpus() ?? []);
  const spanned = nodes.filter((node) => node.cpus.some((cpu) => used.includes(cpu)));
  const text = `${nodes.length} ${nodes.length === 1 ? "node" : "nodes"}, cores of ${spanned.length} in use`;
  if (spanned.length <= 1) return ok("numa", text);
  const list = spanned[0]?.cpus.join(",");
  return warn(
    "numa",
    text,
    `run one server a node: numactl --cpunodebind=0 --membind=0 (its cores are ${list}); or one for all behind numactl --interleave=all`,
  );
}

/** Whether large pages can be had for weights and caches. */
export function examineHugePages(): Finding {
  const mode = hugePagesMode();
  if (mode === undefined) return warn("huge pages", "the system has none", "use a kernel with transparent huge pages");
  if (mode !== "never") return ok("huge pages", mode);
  return warn("huge pages", mode, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

/** Whether the clock is quick to read, and not far behind. */
export function examineClock(): Finding {
  const source = clockSource() ?? "a source that the system does not name";
  const now = new Date();
  const built = statSync(process.execPath).mtime;
  const text = `${now.toISOString()}, from ${source}`;
  if (now < built) {
    const remedy = "set it (timedatectl set-ntp true): the hub's certificates and the dates in prompts depend on it";
    return warn("clock", `${text}, before this program was made`, remedy);
  }
  if (!SLOW_CLOCKS.includes(source)) return ok("clock", text);
  return warn("clock", text, "boot with clocksource=tsc if the processor's counter is reliable");
}
