/**
 * Asks /health again and again and notes how long each answer takes. A program of its own, so that the clients' work in the soak's
 * process is not in what it measures: `bun tests/soak/probe.ts SOCKET` prints the milliseconds as JSON when its input ends.
 */

/** Milliseconds between two questions. */
const INTERVAL_MS = 100;

const unix = process.argv[2] as string;
const latencies: number[] = [];
let isOver = false;
process.stdin.on("end", () => {
  isOver = true;
});
process.stdin.resume();
while (!isOver) {
  const started = performance.now();
  const response = await fetch("http://localhost/health", { unix, keepalive: false });
  await response.text();
  if (response.status !== 200) throw new Error(`/health answered ${response.status}`);
  latencies.push(performance.now() - started);
  await Bun.sleep(INTERVAL_MS);
}
process.stdout.write(JSON.stringify(latencies));

export {};
