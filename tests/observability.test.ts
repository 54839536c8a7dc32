/** deploy/: the alert rules are right and go off when they should, and the dashboard shows what the server measures. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHAT, FRANCE } from "./support/chat.ts";
import { startServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const deploy = join(import.meta.dir, "../deploy");
const alerts = readFileSync(join(deploy, "alerts.yaml"), "utf8");
const dashboard = JSON.parse(readFileSync(join(deploy, "dashboard.json"), "utf8")) as Dashboard;
const directory = mkdtempSync(join(tmpdir(), "wrinklefree-observability-"));
afterAll(() => rmSync(directory, { recursive: true }));

interface Dashboard {
  panels: { id: number; title: string; targets: { expr: string }[] }[];
}

const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

test("everything that the rules and the dashboard look at is measured by a server", async () => {
  const server = await startServer();
  await server.post(CHAT, { ...FRANCE, max_tokens: 2 });
  const measured = await (await fetch(`${server.url}/metrics`)).text();
  await server.stop();
  const names = [alerts, ...expressions].flatMap((text) => text.match(/wrinklefree_[a-z0-9_]+/g) ?? []);
  expect(names.length).toBeGreaterThan(20);
  for (const name of new Set(names)) expect(measured).toMatch(new RegExp(`^${name}\\{`, "m"));
});

test("each panel has a place and a number of its own", () => {
  expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  for (const { title, targets } of dashboard.panels) expect([title, targets.length > 0]).toEqual([title, true]);
});

const promtool = Bun.which("promtool");
if (promtool === null) console.log("skipping promtool: apt-get install prometheus");

describe.skipIf(promtool === null)("promtool", () => {
  async function run(...args: string[]): Promise<{ code: number; output: string }> {
    const child = Bun.spawn([promtool as string, ...args], { stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, output: stdout + stderr };
  }

  test("finds the rules right", async () => {
    expect(await run("check", "rules", join(deploy, "alerts.yaml"))).toMatchObject({ code: 0 });
  });

  test("can read every expression of the dashboard", async () => {
    const rules = expressions.map((expr, index) => ({
      record: `panel:${index}`,
      expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*"),
    }));
    const file = join(directory, "panels.yaml");
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ groups: [{ name: "panels", rules }] }));
    expect(await run("check", "rules", file)).toMatchObject({ code: 0 });
  });

  test("a server that is gone, one that is stuck, errors and a failed reload are told; one that is well is not", async () => {
    const well = { instance: "well", job: "wrinklefree" };
    const series = (name: string, labels: Record<string, string>, values: string) => ({
      series: `${name}{${Object.entries({ ...well, ...labels }).map(([key, value]) => `${key}="${value}"`)}}`,
      values,
    });
    const requests = "wrinklefree_http_requests_total";
    const tests = {
      rule_files: [join(deploy, "alerts.yaml")],
      evaluation_interval: "1m",
      tests: [
        {
          interval: "1m",
          input_series: [
            series("up", {}, "1x30"),
            series("up", { instance: "gone" }, "1x10 0x20"),
            series("wrinklefree_num_requests_running", {}, "2x30"),
            series("wrinklefree_num_requests_waiting", {}, "0x30"),
            series("wrinklefree_engine_steps_total", {}, "0+100x30"),
            series("wrinklefree_num_requests_running", { instance: "stuck" }, "1x30"),
            series("wrinklefree_num_requests_waiting", { instance: "stuck" }, "0x30"),
            series("wrinklefree_engine_steps_total", { instance: "stuck" }, "700x30"),
            series("wrinklefree_config_last_reload_successful", {}, "1x30"),
            series("wrinklefree_config_last_reload_successful", { instance: "outdated" }, "1x5 0x25"),
            series(requests, { status: "200" }, "0+100x30"),
            series(requests, { status: "503" }, "0+1x30"),
            series(requests, { instance: "failing", status: "200" }, "0+80x30"),
            series(requests, { instance: "failing", status: "500" }, "0+20x30"),
          ],
          promql_expr_test: [
            told("WrinklefreeDown", "gone"),
            told("WrinklefreeStuck", "stuck"),
            told("WrinklefreeErrors", "failing"),
            told("WrinklefreeReloadFailed", "outdated"),
          ],
        },
      ],
    };
    const file = join(directory, "tests.yaml");
    writeFileSync(file, JSON.stringify(tests));
    const { code, output } = await run("test", "rules", file);
    expect({ code, output }).toMatchObject({ code: 0 });
  });
});

/** That an alert goes off for one server and no other. */
function told(alertname: string, instance: string) {
  return {
    expr: `count by (instance) (ALERTS{alertname="${alertname}",alertstate="firing"})`,
    eval_time: "20m",
    exp_samples: [{ labels: `{instance="${instance}"}`, value: 1 }],
  };
}
