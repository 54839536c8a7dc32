/**
 * While a model is loaded and after: the server answers meanwhile and stops when it is told to; what a model says of itself takes no
 * memory; and a model's file that is cut short or written to while it is served ends the server in words.
 */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertCheckpoint } from "../convert/convert.ts";
import { deepModel } from "./support/deep_model.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { eventually, executable, freePort, runProgram, startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-loading-"));
const model = join(scratch, "tiny.wf");
const PATH = process.env.PATH ?? "/usr/bin:/bin";
const QUESTION = { messages: [{ role: "user", content: "What is the capital of France?" }] };

beforeAll(async () => {
  await convertCheckpoint(tinyDirectory, model);
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("while a model is loaded", () => {
  const hold = join(scratch, "hold");
  const preload = join(scratch, "hold.so");

  /** A library that holds the reading of a model's pages until somebody opens the pipe `hold` for writing. */
  beforeAll(() => {
    const source = `
      #define _GNU_SOURCE
      #include <fcntl.h>
      #include <stddef.h>
      #include <stdlib.h>
      #include <sys/syscall.h>
      #include <unistd.h>
      int madvise(void *start, size_t size, int advice) {
          if (advice == 22 && size > 1000000) /* MADV_POPULATE_READ; the runtime asks for single pages */
              close(open(getenv("HOLD"), O_RDONLY));
          return (int)syscall(SYS_madvise, start, size, advice);
      }`;
    writeFileSync(`${preload}.c`, source);
    for (const command of [
      ["cc", "-shared", "-fPIC", "-o", preload, `${preload}.c`],
      ["mkfifo", hold],
    ]) {
      const { exitCode, stderr } = Bun.spawnSync(command);
      if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
    }
  });

  /** A server that is held while it loads. */
  async function startHeld() {
    const port = await freePort();
    const child = Bun.spawn([executable, "serve", model, "--port", String(port)], {
      env: { PATH, LD_PRELOAD: preload, HOLD: hold },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`);
    // The model is mapped, and a thread waits for the pipe.
    await eventually(() => readFileSync(`/proc/${child.pid}/maps`, "utf8").includes(model));
    return { child, ask };
  }

  test("/health is answered, /ready says that it loads, and then it serves", async () => {
    const { child, ask } = await startHeld();
    try {
      const health = (await (await ask("/health")).json()) as { phase: string; model: unknown };
      expect(health).toMatchObject({ phase: "loading", model: null });
      const ready = await ask("/ready");
      expect(ready.status).toBe(503);
      expect(await ready.text()).toContain("still being loaded");
      // All but the embedding, which no token needs as a whole.
      const loading = async () =>
        ((await (await ask("/health")).json()) as { loading: { total: number } | null }).loading;
      await eventually(async () => (await loading()) !== null);
      expect(await loading()).toMatchObject({ what: "reading tiny", done: 0, total: expect.any(Number) });
      expect((await loading())?.total).toBeWithin(1_000_000, statSync(model).size);
      closeSync(openSync(hold, "w"));
      await eventually(async () => (await ask("/ready")).status === 200);
      expect(await (await ask("/health")).json()).toMatchObject({ phase: "ready", model: "tiny" });
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  });

  test("a signal ends it at once, with exit code 0", async () => {
    const { child } = await startHeld();
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expect(await child.stderr.text()).toBe("wrinklefree: stopped after 0 requests\n");
  });
});

test("a model that says that it can hold 16 million tokens takes no memory for them", async () => {
  const directory = join(scratch, "boastful");
  cpSync(tinyDirectory, directory, { recursive: true });
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  writeFileSync(join(directory, "config.json"), JSON.stringify({ ...config, max_position_embeddings: 2 ** 24 }));
  const path = join(scratch, "boastful.wf");
  await convertCheckpoint(directory, path);
  const server = await startServer([path, "--parallel", "64"]);
  const { choices } = await server.chat({ ...QUESTION, max_tokens: 50 });
  expect(choices[0]?.message.content).toBe("The capital of France is Paris.");
  // Tables for all positions would take a gigabyte and more.
  expect(server.residentMegabytes()).toBeLessThan(600);
  await server.stop();
});

/** Writes over a byte of a file, without making it shorter meanwhile. */
function writeByte(path: string, position: number): void {
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, new Uint8Array([1]), 0, 1, position);
  closeSync(descriptor);
}

describe("a file that changes while it is in use", () => {
  test("and is cut short ends the server with exit code 1 and one line that names it", async () => {
    const path = join(scratch, "cut.wf");
    cpSync(model, path);
    const server = await startServer([path, "--log", "off"]);
    const before = server.log();
    truncateSync(path, 4096);
    await server.chat(QUESTION).catch(() => {});
    expect(await server.exited).toBe(1);
    await eventually(() => server.log().length > before.length);
    expect(server.log().slice(before.length)).toBe(
      `wrinklefree: ${path}: can't be read any more: it was cut short while it was in use, or its disk failed; start again with a whole file, and replace files of models by moving new ones to their names\n`,
    );
  });

  test.each([
    ["other bytes of the same length", (path: string) => writeFileSync(path, new Uint8Array(statSync(path).size))],
    ["a byte somewhere in it", (path: string) => writeByte(path, statSync(path).size / 2)],
  ])("one that is written to gives no answer any more, but one line that names it: %s", async (_, write) => {
    const path = join(scratch, "written.wf");
    cpSync(model, path);
    const server = await startServer([path, "--log", "off"]);
    expect((await server.chat(QUESTION)).choices[0]?.message.content).toBe("The capital of France is Paris.");
    const before = server.log();
    write(path);
    expect(await server.chat(QUESTION).catch(() => "none")).toBe("none");
    expect(await server.exited).toBe(1);
    await eventually(() => server.log().length > before.length);
    expect(server.log().slice(before.length)).toBe(
      `wrinklefree: ${path}: was written to while it was in use, so that answers may be wrong; start again, and replace files of models by moving new ones to their names\n`,
    );
  });

  test("one that is replaced by moving another to its name is served on", async () => {
    const path = join(scratch, "moved.wf");
    cpSync(model, path);
    const server = await startServer([path, "--log", "off"]);
    cpSync(model, `${path}.new`);
    truncateSync(`${path}.new`, 4096);
    expect((await runProgram(["inspect", `${path}.new`])).code).toBe(1);
    expect(Bun.spawnSync(["mv", `${path}.new`, path]).exitCode).toBe(0);
    expect((await server.chat(QUESTION)).choices[0]?.message.content).toBe("The capital of France is Paris.");
    await server.stop();
  });

  test("and is cut short ends chat in the same way", async () => {
    const path = join(scratch, "deep.wf");
    cpSync(await deepModel(), path);
    const child = Bun.spawn([executable, "chat", path, "--lines", "--max-tokens", "2000"], {
      env: { PATH },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    child.stdin.write("Tell me a story.\n");
    child.stdin.flush();
    const reader = child.stdout.getReader();
    await reader.read();
    truncateSync(path, 4096);
    // The first answer may have ended it already.
    try {
      child.stdin.write("Tell me another.\n");
      await child.stdin.end();
    } catch {}
    while (!(await reader.read()).done);
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toContain(`wrinklefree: ${path}: can't be read any more`);
  });
});
