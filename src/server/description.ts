/**
 * GET /openapi.json: all of the API, described for programs. The tests send what it describes and check that the answers are what
 * it says.
 */

import { llamaCppDescription } from "../api/llama_cpp/description.ts";
import { openAiDescription } from "../api/openai/description.ts";
import { type Described, get, type OpenApiDocument, ref, string, whole } from "../api/openapi.ts";
import { sglangDescription } from "../api/sglang/description.ts";
import { sharedSchemas } from "../api/shared_description.ts";
import { version } from "../version.ts";

const serverDescription: Described = {
  schemas: {
    Health: {
      ...whole({
        status: { ...string, enum: ["ok"] },
        phase: { ...string, enum: ["loading", "ready", "draining"] },
        version: string,
        model: { type: ["string", "null"] },
        kernels: string,
        kernels_reason: { type: ["string", "null"] },
        requests: { type: "object" },
      }),
      description:
        "`kernels_reason` says why no better kernels are used, and further fields how the model is run and what its engine does.",
      additionalProperties: {},
    },
    Ready: whole({ status: { ...string, enum: ["ready"] } }),
  },
  paths: {
    "/health": {
      get: { ...get("health", "Whether the process is alive.", ref("Health"), ["403"]), security: [] },
    },
    "/ready": {
      get: { ...get("ready", "Whether requests are taken.", ref("Ready"), ["403", "503"]), security: [] },
    },
    "/metrics": { get: get("metrics", "Counters for Prometheus.", string, ["401", "403"]) },
    "/openapi.json": { get: get("openApi", "This description.", { type: "object" }, ["401", "403"]) },
  },
};

/** The description of this server. @param basePath what stands before every path where a proxy passes it on; empty: nothing. */
export function openApiDocument(basePath: string): OpenApiDocument {
  const parts = [openAiDescription, llamaCppDescription, sglangDescription, serverDescription];
  return {
    openapi: "3.1.0",
    info: {
      title: "wrinklefree",
      version,
      description:
        "1.58-bit language models from a plain CPU, under OpenAI's API. Fields that are not described are ignored; parameters of " +
        "OpenAI's that would change the answer and can't be honoured are refused by name.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: basePath || "/" }],
    security: [{}, { bearer: [] }, { header: [] }],
    paths: Object.assign({}, ...parts.map(({ paths }) => paths)),
    components: {
      schemas: Object.assign({}, sharedSchemas, ...parts.map(({ schemas }) => schemas)),
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        header: { type: "apiKey", in: "header", name: "X-Api-Key" },
      },
    },
  };
}
