/** `serve --dry-run`: what would be kept in memory, held against what a server then keeps, and whether it fits. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { planEngineMemory } from "../src/engine/engine.ts";
import { readControlGroup } from "../src/machine/cgroup.ts";
import { makeControlGroup } from "./support/control_group.ts";
import { engineHealth, runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-plan-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Plan {
  context: number;
  kv_blocks: number;
  parts: Record<string, number>;
  resident: number;
  most: number;
  memory: { total: number; limit: { value: number; file: string } | null };
  fit: string;
  text: string;
}

async function plan(args: string[], code = 0, wrapper: string[] = []): Promise<Plan> {
  const run = await runProgram(["serve", "--dry-run", "--json", ...args], { wrapper });
  expect([run.code, run.stderr]).toEqual([code, ""]);
  return JSON.parse(run.stdout) as Plan;
}

const sum = (parts: Record<string, number>) => Object.values(parts).reduce((all, bytes) => all + bytes, 0);

describe("the plan", () => {
  test("is what a server then takes", async () => {
    const options = ["--parallel", "8", "--ctx", "1024", "--kv", "f32"];
    const planned = await plan(options);
    expect(sum(planned.parts)).toBe(planned.most);
    expect(planned.most - planned.resident).toBe(planned.parts.requests as number);
    const server = await startServer([...options, "--log", "off"]);
    try {
      const words = "the capital of France is Paris ".repeat(400);
      const ask = (index: number) =>
        server.post("/v1/completions", { prompt: `${index} ${words}`, max_tokens: 1, truncate_prompt_tokens: 1000 });
      const { blocks } = await engineHealth(server);
      expect(planned.kv_blocks).toBe(blocks.total);
      for (let index = 0; (await engineHealth(server)).blocks.cached < blocks.total - 32 && index < 40; index++) {
        expect((await ask(index)).status).toBe(200);
      }
      const taken = server.residentMegabytes() * 1024 * 1024;
      expect(taken).toBeGreaterThan(planned.resident * 0.75);
      expect(taken).toBeLessThan(planned.most);
    } finally {
      await server.stop();
    }
  });

  test("knows in what form keys and values are kept", async () => {
    const [all, less] = [await plan([]), await plan(["--kv", "q8"])];
    expect(all.parts).toMatchObject({ sketch: expect.any(Number), columns: expect.any(Number) });
    expect(less.parts.kv as number).toBeLessThan((all.parts.kv as number) / 3);
    const bounded = await plan(["--memory", "20M"]);
    expect(bounded.parts.kv as number).toBeLessThanOrEqual(20 * 2 ** 20);
    expect(bounded.parts.kv as number).toBeGreaterThan(19 * 2 ** 20);
  });

  test("in words; the exit code says whether it fits", async () => {
    const { code, stdout } = await runProgram(["serve", "--dry-run"]);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^tiny\n +[\d.]+ \S+ +weights: embedding/)]);
    expect(stdout).toMatch(/ at most fit into this machine's [\d.]+ GB\n$|, but /);
    const large = await plan(["--memory", "100T"], 1);
    expect(large.fit).toBe("exceeds");
    expect(large.text).toMatch(/ are more than .*: lower --memory, --ctx or --parallel, or take --kv q8/);
  });

  test.each([
    [["--ctx", "4096"], 1, "--ctx 4096 is more than tiny was made for"],
    [["--memory", "1K"], 1, "--memory is 1K, and one context of 2048 tokens"],
  ])("%p is refused as by a server", async (args, code, message) => {
    const run = await runProgram(["serve", "--dry-run", ...args]);
    expect([run.code, run.stderr]).toEqual([code, expect.stringContaining(message)]);
  });

  test("of a header that is none, and for an engine that can't be, is refused", () => {
    const layout = { threads: 1, maxSequences: 4, context: 0, kvTokens: 0, batchTokens: 0, cpus: [] };
    const demo = new Uint8Array(readFileSync(join(import.meta.dir, "../build/demo.wf")));
    const header = demo.subarray(0, 8 + Number(new DataView(demo.buffer).getBigUint64(0, true)));
    expect(planEngineMemory(header, "demo", layout).kv_blocks).toBe(260);
    for (const size of [0, 7, 8, 100, header.length - 1]) {
      expect(() => planEngineMemory(header.slice(0, size), "cut.wf", layout)).toThrow(/^cut\.wf: /);
    }
    expect(() => planEngineMemory(header, "demo", { ...layout, context: 4096 })).toThrow(
      "a context of 4096 tokens asked for; this model has 2 to 2048",
    );
    expect(() => planEngineMemory(header, "demo", { ...layout, maxSequences: 0 })).toThrow("0 sequences asked for");
  });

  test("--json without --dry-run is a command line that makes no sense", async () => {
    const { code, stderr } = await runProgram(["serve", "--json"]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("--json is for --dry-run")]);
  });
});

describe("limits of control groups", () => {
  const LIMIT = 800 * 2 ** 20;
  const group = makeControlGroup(LIMIT);
  if (group === undefined) console.log("skipping a real control group: this user can't make one below its own");
  afterAll(() => group?.remove());

  test.skipIf(group === undefined)("a real one bounds the plan, and is named", async () => {
    // Requests may hold what is left, and some of it in any case.
    const fitting = await plan(["--memory", "40M"], 0, group?.wrapper);
    expect(fitting.fit).toBe("fits");
    expect(fitting.most).toBeWithin(LIMIT - 1000, LIMIT + 1);
    const { fit, memory, text } = await plan(["--memory", "500M"], 0, group?.wrapper);
    expect([fit, memory.limit?.file]).toEqual(["tight", group?.file]);
    expect(text).toContain(`the limit of ${group?.file}, 838.9 MB, but not with all that requests may hold`);
    const { fit: exceeding } = await plan(["--memory", "900M"], 1, group?.wrapper);
    expect(exceeding).toBe("exceeds");
  });

  let count = 0;
  function root(files: Record<string, string>): string {
    const directory = join(scratch, `root-${count++}`);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), `${text}\n`);
    }
    return directory;
  }

  test.each<[string, Record<string, string>, number | undefined, number | undefined]>([
    [
      "version 2: the lowest of a group and those above it",
      {
        "proc/self/cgroup": "0::/system.slice/wrinklefree.service",
        "sys/fs/cgroup/system.slice/memory.max": "2000000000",
        "sys/fs/cgroup/system.slice/cpu.max": "max 100000",
        "sys/fs/cgroup/system.slice/wrinklefree.service/memory.max": "max",
        "sys/fs/cgroup/system.slice/wrinklefree.service/memory.high": "1500000000",
        "sys/fs/cgroup/system.slice/wrinklefree.service/cpu.max": "150000 100000",
      },
      1_500_000_000,
      1.5,
    ],
    [
      "version 2 in a container, whose path is that outside",
      {
        "proc/self/cgroup": "0::/docker/0123",
        "sys/fs/cgroup/memory.max": "1000000000",
        "sys/fs/cgroup/cpu.max": "50000 100000",
      },
      1_000_000_000,
      0.5,
    ],
    [
      "version 1, with several controllers in a line",
      {
        "proc/self/cgroup": "4:memory:/a/b\n2:cpu,cpuacct:/a\n0::/",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "900000000",
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "300000",
        "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
      },
      900_000_000,
      3,
    ],
    [
      "version 1 without limits",
      {
        "proc/self/cgroup": "4:memory:/\n1:cpu:/",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
      },
      undefined,
      undefined,
    ],
    [
      "damaged files",
      { "proc/self/cgroup": "x\n0::/../../..", "sys/fs/cgroup/memory.max": "much" },
      undefined,
      undefined,
    ],
    ["none at all", {}, undefined, undefined],
  ])("%s", (_, files, memory, cpus) => {
    const group = readControlGroup(root(files));
    expect([group.memory?.value, group.cpus?.value]).toEqual([memory, cpus]);
  });
});
