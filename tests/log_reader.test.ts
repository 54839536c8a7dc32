/** The log's reader is stuck: the server goes on, keeps a bounded part of what it has to say, and tells what is lost when it is read again. */

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, executable, freePort } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-reader-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** What a pipe holds now. */
function readAll(pipe: number): string {
  const bytes = Buffer.alloc(1 << 16);
  let text = "";
  try {
    for (let count = -1; count !== 0; ) {
      count = readSync(pipe, bytes);
      text += bytes.toString("latin1", 0, count);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
  }
  return text;
}

test.each([["text"], ["json"]])("a log in %s", async (format) => {
  const fifo = join(scratch, `log-${format}`);
  expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
  const pipe = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const port = await freePort();
  const words = [executable, "serve", "--port", String(port), "--log", format, "--any-model"];
  const server = Bun.spawn(["bash", "-c", `exec "$0" "$@" 2> ${fifo}`, ...words], {
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin" },
    stdout: "ignore",
    stderr: "ignore",
  });
  try {
    const url = `http://127.0.0.1:${port}/v1/models`;
    const ask = async () => {
      const { status } = await fetch(url).then(async (answer) => {
        await answer.text();
        return answer;
      });
      expect(status).toBe(200);
    };
    await eventually(() =>
      ask().then(
        () => true,
        () => false,
      ),
    );
    await eventually(() => fetch(`http://127.0.0.1:${port}/ready`).then(({ ok }) => ok));
    readAll(pipe);
    // Some megabytes.
    const [rounds, together] = [1000, 20];
    for (let round = 0; round < rounds; round++) await Promise.all(Array.from({ length: together }, ask));
    let log = "";
    let more = 0;
    await eventually(async () => {
      await ask();
      more++;
      log += readAll(pipe);
      return log.includes("the log has lost ");
    });
    await ask();
    await eventually(() => {
      log += readAll(pipe);
      const lost = Number(/the log has lost (\d+) lines/.exec(log)?.[1]);
      const told = log.match(/\/v1\/models\b/g)?.length ?? 0;
      return lost > 1000 && lost + told === rounds * together + more + 1;
    });
  } finally {
    server.kill("SIGKILL");
    await server.exited;
    closeSync(pipe);
  }
});
