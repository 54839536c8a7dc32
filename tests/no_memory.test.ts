/** The system gives the engine no memory for a request: the request is refused for the time being, and nothing else happens. */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHAT, FRANCE } from "./support/chat.ts";
import { engineHealth, eventually, startServer, streamedText, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-no-memory-"));
const switched = join(scratch, "lacking");
/** Where the executable puts the engine, by which its calls are known. */
const unpacked = join(scratch, "unpacked");
let server: TestServer;

/** A library in front of the system's, by which the engine has no memory as long as a file is there. */
beforeAll(async () => {
  const source = `
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    void *__libc_calloc(size_t count, size_t size);
    void *calloc(size_t count, size_t size) {
        Dl_info caller;
        if (access("${switched}", F_OK) == 0 && dladdr(__builtin_return_address(0), &caller) != 0 && caller.dli_fname != NULL &&
            strncmp(caller.dli_fname, "${unpacked}", strlen("${unpacked}")) == 0) {
            errno = ENOMEM;
            return NULL;
        }
        return __libc_calloc(count, size);
    }`;
  mkdirSync(unpacked);
  const preload = join(scratch, "lacking.so");
  writeFileSync(`${preload}.c`, source);
  const { exitCode, stderr } = Bun.spawnSync(["cc", "-shared", "-fPIC", "-o", preload, `${preload}.c`]);
  if (exitCode !== 0) throw new Error(String(stderr));
  server = await startServer([], {
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LD_PRELOAD: preload, BUN_TMPDIR: unpacked },
  });
});

afterAll(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true });
});

const schema = {
  type: "json_schema",
  json_schema: { name: "n", schema: { type: "object", properties: { a: { type: "integer" } } } },
};

test.each<[string, string, object]>([
  ["OpenAI's", CHAT, FRANCE],
  ["OpenAI's, for a form", CHAT, { ...FRANCE, response_format: schema }],
  ["llama.cpp's", "/completion", { prompt: "A" }],
  ["SGLang's", "/generate", { text: "A" }],
])("in %s words", async (_, path, body) => {
  writeFileSync(switched, "");
  const refused = await server.post(path, body);
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await refused.text()).toContain("The server is short of memory. Please try again later.");
  rmSync(switched);
  const answer = await server.post(path, body);
  expect(answer.status).toBe(200);
});

test("a stream ends with the error, and one that is under way goes on", async () => {
  const generated = async () => (await engineHealth(server)).generated_tokens;
  const before = await generated();
  const begun = server.stream({ ...FRANCE, max_tokens: 20 });
  await eventually(async () => (await generated()) > before);
  writeFileSync(switched, "");
  const refused = await (await server.post(CHAT, { ...FRANCE, stream: true })).text();
  expect(refused).toMatch(/data: \{"error":\{"message":"The server is short of memory\..*\n\ndata: \[DONE\]\n\n$/);
  rmSync(switched);
  expect(streamedText(await begun)).toBe("The capital of France is Paris.");
  expect(server.log()).toContain("wrinklefree: a request is refused: no memory for another request\n");
});
