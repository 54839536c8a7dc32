/**
 * A disk without room: what was there stays as it was, no file is left in half, and a server whose log can't be written goes on. (What
 * pulling and converting into the store do is in the tests of those.)
 */

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHAT, FRANCE } from "./support/chat.ts";
import { tinyDirectory } from "./support/goldens.ts";
import { smallDisk } from "./support/mounts.ts";
import { eventually, executable, freePort, runProgram } from "./support/server.ts";

setDefaultTimeout(60_000);

const PATH = process.env.PATH ?? "/usr/bin:/bin";
const scratch = mkdtempSync(join(tmpdir(), "wrinklefree-full-"));
const disk = join(scratch, "disk");
const home = join(scratch, "home");
afterEach(() => rmSync(home, { recursive: true, force: true }));

const canMount = smallDisk(disk, "1m") !== undefined;
if (!canMount) console.log("skipping disks that are full: it takes root, and leave to mount");

/** What fills all of the disk but some kilobytes. */
const fill = (free: number) => `head -c $((1048576 - ${free} * 1024)) /dev/zero > ${disk}/filler`;

/** Words before a command line for which a script has prepared the disk; afterwards the files there are shown, each with its contents. */
function onDisk(prepare: string): string[] {
  const show = `cd ${disk} && rm -f filler && for file in $(find . -type f | sort); do echo "== $file"; cat $file; done`;
  const [first, ...rest] = smallDisk(disk, "1m", show) as [string, ...string[]];
  const script = rest.at(-1) as string;
  return [first, ...rest.slice(0, -1), script.replace(" && {", ` && ${prepare} && {`)];
}

test.each([
  ["where nothing is", "", ""],
  ["in the place of another", "echo before > out.wf && ", "before\n"],
])("a converted file that outgrows what is allowed leaves what was there: %s", async (_, prepare, before) => {
  const directory = mkdtempSync(join(scratch, "convert-"));
  const wrapper = [
    "bash",
    "-c",
    `cd ${directory} && ${prepare}ulimit -f 1000 && { "$0" "$@"; code=$?; ls -A; exit $code; }`,
  ];
  const output = join(directory, "out.wf");
  const { code, stdout, stderr } = await runProgram(["convert", tinyDirectory, output, "--force"], { wrapper });
  expect(stderr).toContain(`${output}: cannot be written: `);
  expect([code, stdout]).toEqual([1, before === "" ? "" : "out.wf\n"]);
  if (before !== "") expect(readFileSync(output, "utf8")).toBe(before);
});

describe.skipIf(!canMount)("on a full disk", () => {
  const saved = '{"model":"tiny","messages":[{"role":"user","content":"Hello"}]}\n';

  test.each([
    [
      "a conversation that is saved anew leaves the one before",
      `printf '%s' '${saved}' > ${disk}/chat.json && ${fill(4)}`,
      saved,
    ],
    ["a conversation that is saved first leaves nothing", fill(0), ""],
  ])("%s", async (_, prepare, before) => {
    const lines = [`/load ${disk}/chat.json`, "Hi.", `/save ${disk}/chat.json`].slice(before === "" ? 1 : 0);
    const child = Bun.spawn([...onDisk(prepare), executable, "chat", "--lines", "--max-tokens", "2", "--no-history"], {
      env: { PATH },
      stdin: Buffer.from(`${lines.join("\n")}\n`),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    await child.exited;
    expect(stderr).toContain(`${disk}/chat.json: no space left on the device`);
    expect(stdout.split("== ").slice(1)).toEqual(before === "" ? [] : [`./chat.json\n${before}`]);
  });

  test("units that are installed leave those before", async () => {
    const prepare = `echo before > ${disk}/wrinklefree.socket && ${fill(4)}`;
    const args = ["systemd", "install", "--user", "--force", "--directory", disk];
    const { code, stdout, stderr } = await runProgram(args, { wrapper: onDisk(prepare), env: { PATH, HOME: home } });
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining(`can't write units to ${disk}: no space left on the device`),
    ]);
    expect(stdout).toBe("== ./wrinklefree.socket\nbefore\n");
  });

  test("a server whose log has no room answers, and logs again when there is some", async () => {
    const port = await freePort();
    const wrapper = smallDisk(disk, "1m") as string[];
    const program = [
      "bash",
      "-c",
      `exec "$0" "$@" 2> ${disk}/log`,
      executable,
      "serve",
      "--port",
      String(port),
      "--log",
      "json",
    ];
    const child = Bun.spawn([...wrapper, ...program], { env: { PATH }, stdout: "ignore", stderr: "ignore" });
    try {
      const url = `http://127.0.0.1:${port}`;
      const ready = () =>
        fetch(`${url}/ready`).then(
          ({ ok }) => ok,
          () => false,
        );
      await eventually(ready);
      const inside = (path: string) => `/proc/${child.pid}/root${disk}/${path}`;
      const logged = () => readFileSync(inside("log"), "utf8").match(/^\{.*"status":200/gm)?.length ?? 0;
      const ask = () =>
        fetch(url + CHAT, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ ...FRANCE, max_tokens: 8 }),
        }).then((answer) => answer.json() as Promise<{ choices: { message: { content: string } }[] }>);
      await ask();
      await eventually(() => logged() === 1);
      expect(() => writeFileSync(inside("filler"), new Uint8Array(2_000_000))).toThrow("no space left");
      // More than one page of the file, which has its room already.
      for (let index = 0; index < 40; index++) {
        expect((await ask()).choices[0]?.message.content).toBe("The capital of France is Paris.");
      }
      const full = logged();
      expect(full).toBeLessThan(41);
      rmSync(inside("filler"));
      await eventually(async () => {
        await ask();
        return logged() > full;
      });
    } finally {
      // The server is what the shell waits for.
      const [server] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").split(" ");
      process.kill(Number(server), "SIGKILL");
      await child.exited;
    }
  });
});
