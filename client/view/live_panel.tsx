/** What the engine does, as it does it. */

import { model } from "../api/model.ts";
import { health, isWatched, type Sample, samples } from "../api/status.ts";
import { formatBytes, formatCount, formatRate, formatShare } from "../text/format.ts";
import { IconButton } from "./icons.tsx";
import { Sparkline } from "./sparkline.tsx";

/** Looks that a line shows. */
const SHOWN = 60;

export function LivePanel() {
  const now = health.value;
  const shown = samples.value.slice(-SHOWN);
  const last = shown.at(-1);
  if (now === undefined || last === undefined) return null;
  const { engine, requests, memory } = now;
  const values = (of: (sample: Sample) => number) => shown.map(of);
  const blocks = engine?.blocks;
  return (
    <section id="live" class="live" aria-label="What the server is doing">
      <header>
        <h2>Live</h2>
        <IconButton
          icon="close"
          label="Close"
          onClick={() => {
            isWatched.value = false;
          }}
        />
      </header>
      <Row name="Speed" value={`${formatRate(last.tokensPerSecond)} tok/s`} values={values((s) => s.tokensPerSecond)} />
      <Row
        name="Requests"
        value={`${formatCount(requests.running)} running, ${formatCount(requests.waiting)} waiting`}
        values={values((s) => s.health.requests.running + s.health.requests.waiting)}
      />
      {blocks !== undefined && (
        <>
          <Row
            name="KV cache"
            value={formatShare(blocks.used / blocks.total)}
            values={values((s) => share(s, "used"))}
            high={1}
          />
          <Row
            name="Prompts kept"
            value={formatShare(blocks.cached / blocks.total)}
            values={values((s) => share(s, "cached"))}
            high={1}
          />
        </>
      )}
      {memory !== undefined && (
        <Row
          name="Memory"
          value={formatBytes(memory.resident)}
          values={values((s) => s.health.memory?.resident ?? 0)}
        />
      )}
      <dl>
        {model.value !== undefined && <Fact name="Model" value={model.value.name} />}
        <Fact name="Kernels" value={now.kernels} />
        {now.threads !== null && <Fact name="Threads" value={formatCount(now.threads)} />}
        {now.context !== null && <Fact name="Context" value={`${formatCount(now.context)} tokens`} />}
        {engine !== null && engine.prompt_tokens > 0 && (
          <Fact name="Prompt from cache" value={formatShare(engine.cached_tokens / engine.prompt_tokens)} />
        )}
        {engine !== null && <Fact name="Tokens written" value={formatCount(engine.generated_tokens)} />}
        {memory?.weights != null && <Fact name="Weights" value={formatBytes(memory.weights)} />}
        {memory?.kv_cache != null && <Fact name="KV cache, at most" value={formatBytes(memory.kv_cache)} />}
        <Fact name="Version" value={now.version} />
      </dl>
      {now.kernels_reason !== null && <p class="quiet">{now.kernels_reason}</p>}
    </section>
  );
}

function share({ health: { engine } }: Sample, what: "used" | "cached"): number {
  return engine === null ? 0 : engine.blocks[what] / engine.blocks.total;
}

function Row(properties: { name: string; value: string; values: readonly number[]; high?: number }) {
  const { name, value, values, high } = properties;
  return (
    <div class="live-row">
      <div>
        <span class="live-name">{name}</span>
        <span class="live-value">{value}</span>
      </div>
      <Sparkline label={`${name}: ${value}`} values={values} count={SHOWN} {...(high === undefined ? {} : { high })} />
    </div>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
