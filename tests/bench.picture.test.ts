/** `wrinklefree bench --svg`: the picture holds what was measured, and can be read. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { describeInBrowser, startBrowser } from "./support/browser.ts";
import { fixtures, runCommandLine } from "./support/command_line.ts";

setDefaultTimeout(120_000);

const directory = mkdtempSync(join(tmpdir(), "wrinklefree-picture-"));
afterAll(() => rmSync(directory, { recursive: true }));

const speeds = join(directory, "speeds.svg");
const kernels = join(directory, "kernels.svg");
const oneChart = join(directory, "one-chart.svg");

/** A name that XML would read as something else. */
const ODD_NAME = "a<b>&\"c'";
const oddModel = join(directory, `${ODD_NAME}.wf`);

interface SpeedRun {
  kind: string;
  threads: number;
  parallel: number;
  context: number;
  tok_s: number | null;
  first_token_ms: number | null;
}

interface KernelRun {
  kernel: string;
  threads: number;
  tokens: number;
  multiply_add_g_s: number;
  read_gb_s: number;
}

let speedRuns: SpeedRun[];
let kernelRuns: KernelRun[];

beforeAll(() => {
  expect(runCommandLine(["convert", join(fixtures, "tiny"), oddModel]).exitCode).toBe(0);
  const sizes = ["--prompt=32", "--decode=3", "--latency=300", "--repetitions=2", "--threads=1,2", "--parallel=1,2,5"];
  const speed = runCommandLine(["bench", oddModel, ...sizes, "--ctx-at=0,40", "--json", `--svg=${speeds}`]);
  expect(speed.exitCode).toBe(0);
  speedRuns = JSON.parse(speed.stdout).runs;
  const args = ["--threads=1,2", "--tokens=1,16", "--json", `--svg=${kernels}`];
  const kernel = runCommandLine(["bench", "kernels", ...args]);
  expect(kernel.exitCode).toBe(0);
  kernelRuns = JSON.parse(kernel.stdout).kernels;
  const narrow = ["--threads=1", "--tokens=16", "--json", `--svg=${oneChart}`];
  expect(runCommandLine(["bench", "kernels", ...narrow]).exitCode).toBe(0);
});

/** What the points of each chart say of themselves. */
function descriptions(path: string): string[][] {
  const charts = readFileSync(path, "utf8").split('<g class="chart"').slice(1);
  return charts.map((chart) =>
    [...chart.matchAll(/<circle[^>]*><title>([^<]*)<\/title>/g)].map((match) => match[1] as string),
  );
}

/** Those that are not among the others, and the other way round. */
function differences(one: string[], other: string[]): string[] {
  return [...one.filter((text) => !other.includes(text)), ...other.filter((text) => !one.includes(text))];
}

test("each run stands once in each chart that it belongs to, with its figure", () => {
  const [bySequences, byThreads] = descriptions(speeds).map((chart) =>
    chart.map((text) => text.replace(/, temperature.*: |: (?=\d)/, " = ").replace(/ tok\/s.*/, "")),
  ) as [string[], string[]];
  const threads = (count: number) => `${count} thread${count === 1 ? "" : "s"}`;
  const decodes = speedRuns
    .filter(({ kind }) => kind === "decode")
    .map((run) => {
      const sequences = `${run.parallel} sequence${run.parallel === 1 ? "" : "s"}`;
      return `decode, ${threads(run.threads)}, ${sequences}, context ${run.context} = ${run.tok_s}`;
    });
  const prefills = speedRuns
    .filter(({ kind }) => kind === "prefill")
    .map((run) => `prefill, ${threads(run.threads)}, a prompt of 32 tokens = ${run.tok_s}`);
  expect([decodes.length, prefills.length]).toEqual([12, 2]);
  expect(differences(bySequences, decodes)).toEqual([]);
  expect(bySequences).toHaveLength(decodes.length);
  expect(differences(byThreads, [...decodes, ...prefills])).toEqual([]);
  expect(byThreads).toHaveLength(decodes.length + prefills.length);
});

test("a latency run is said in words", () => {
  const text = readFileSync(speeds, "utf8");
  expect(text.match(/a request of 32 tokens that arrives while a prompt of 300 is read/g)).toHaveLength(2);
});

test("each kernel's measurement stands once in the chart of its threads, with its figures", () => {
  const charts = descriptions(kernels);
  expect(charts).toHaveLength(2);
  for (const [index, chart] of charts.entries()) {
    const wanted = kernelRuns
      .filter(({ threads }) => threads === index + 1)
      .map((run) => `${run.kernel} ${run.tokens} ${run.multiply_add_g_s} ${run.read_gb_s}`);
    const found = chart.map((text) =>
      text.replace(
        /^(\w+), \w+, \d+ threads?, (\d+) tokens?: ([\d.]+) G multiply-adds\/s, ([\d.]+) GB\/s.*/,
        "$1 $2 $3 $4",
      ),
    );
    expect(found).toHaveLength(wanted.length);
    expect(differences(found, wanted)).toEqual([]);
  }
});

test("a picture says what was measured, where and when", () => {
  for (const [path, title] of [
    [speeds, "a&lt;b&gt;&amp;&quot;c': tokens a second"],
    [kernels, "Kernels under the machine's limits"],
  ] as const) {
    const text = readFileSync(path, "utf8");
    expect(text).toContain(`>${title}</text>`);
    expect(text).toMatch(/, \d+ cores?, .* kernels<\/text>/);
    expect(text).toMatch(/>\d{4}-\d\d-\d\d, wrinklefree \d/);
    expect(text).not.toMatch(/<(?:script|image|foreignObject)|href=|url\(/);
  }
});

describeInBrowser("in a browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser.close());

  async function open(path: string, colorScheme: "light" | "dark"): Promise<Page> {
    const page = await browser.newPage({ colorScheme });
    await page.goto(`file://${path}`);
    return page;
  }

  describe.each([
    ["speeds", speeds],
    ["kernels", kernels],
    ["kernels in one chart", oneChart],
  ])("%s", (_, path) => {
    test("it is well-formed, and no text lies on another or outside", async () => {
      const page = await open(path, "light");
      // A file that is no XML is shown with an element of this name.
      expect(await page.evaluate("document.getElementsByTagName('parsererror').length")).toBe(0);
      const faults = await page.evaluate<string[]>(`(() => {
        const boxes = [...document.querySelectorAll("text:not(.along)")].map((text) => [text.textContent, text.getBoundingClientRect()]);
        const { width, height } = document.documentElement.viewBox.baseVal;
        const outside = boxes.filter(([, box]) => box.left < 0 || box.top < 0 || box.right > width || box.bottom > height);
        const meet = (one, other) =>
          Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1 &&
          Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 4;
        const pairs = boxes.flatMap(([text, one], index) =>
          boxes.slice(index + 1).filter(([, other]) => meet(one, other)).map(([other]) => text + " | " + other));
        return [...outside.map(([text]) => text), ...pairs];
      })()`);
      expect(faults).toEqual([]);
      await page.close();
    });

    test.each(["light", "dark"] as const)("%s: texts and points stand out from the page", async (scheme) => {
      const page = await open(path, scheme);
      const colours = await page.evaluate<string[][]>(`(() => {
        const fill = (element) => getComputedStyle(element).fill;
        const page = fill(document.querySelector(".page"));
        return [...new Set([...document.querySelectorAll("text, circle")].map(fill))].map((colour) => [page, colour]);
      })()`);
      expect(colours.length).toBeGreaterThan(4);
      for (const [background, colour] of colours as [string, string][]) {
        expect([colour, contrast(background, colour) >= 4.5]).toEqual([colour, true]);
      }
      expect(luminance(colours[0]?.[0] as string) > 0.5).toBe(scheme === "light");
      await page.close();
    });
  });
});

/** By WCAG 2. */
function luminance(colour: string): number {
  const [red, green, blue] = (colour.match(/\d+/g) as string[]).map((text) => {
    const value = Number(text) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (lighter + 0.05) / (darker + 0.05);
}

test.each([
  ["a directory that is not there", join(directory, "nowhere", "file.svg"), "no such file or directory"],
  ["a directory", directory, "is a directory"],
])("%s is refused before anything is measured", (_, path, message) => {
  const { exitCode, stdout, stderr } = runCommandLine(["bench", "--shape=tiny", `--svg=${path}`]);
  expect({ exitCode, stdout, stderr }).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: `wrinklefree: ${path}: ${message}\n`,
  });
});
