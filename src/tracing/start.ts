/** Begins to trace. OpenTelemetry's library is loaded only then. */

import type { TracingSettings } from "./settings.ts";
import type { Tracing } from "./tracing.ts";

/** Begins to send the traces of a server. */
export async function startTracing(settings: TracingSettings): Promise<Tracing> {
  const { OpenTelemetry } = await import("./open_telemetry.ts");
  return new OpenTelemetry(settings);
}
