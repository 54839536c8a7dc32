/**
 * Paths of other servers and of other APIs, which clients ask for out of habit: what is said where nothing here has the path is which one
 * does the same.
 */

import { withVersion } from "./path.ts";
import { GET_ROUTES, knownRoute, POST_ROUTES } from "./routes.ts";

const CHAT = "use /v1/chat/completions";
const VECTORS = "/v1/embeddings gives vectors by which texts can be compared";

/** What to say about paths, those below them included; the first one that fits counts. */
const ADVICE: readonly (readonly [paths: string, advice: string])[] = [
  // OpenAI's.
  ["/v1/responses /responses", `This server has no Responses API; ${CHAT}.`],
  ["/v1/assistants /v1/threads /v1/conversations /v1/realtime", `This server keeps no conversations; ${CHAT}.`],
  ["/v1/audio /v1/images /v1/videos", `This server reads and writes text only; ${CHAT}.`],
  [
    "/v1/files /v1/uploads /v1/batches /v1/vector_stores /v1/fine_tuning",
    "This server keeps no files and has no batches.",
  ],
  ["/v1/moderations", "This server judges no texts."],
  // Anthropic's.
  ["/v1/messages/count_tokens", "This server has no Messages API; /tokenize counts the tokens of a text."],
  ["/v1/messages /v1/complete", `This server has no Messages API; ${CHAT}.`],
  // Gemini's.
  ["/v1beta", `This server has no Gemini API; ${CHAT}, or /v1/embeddings.`],
  // Ollama's.
  ["/api/chat", `This server has no Ollama API; ${CHAT}.`],
  ["/api/generate", "This server has no Ollama API; use /v1/completions."],
  ["/api/embed /api/embeddings", "This server has no Ollama API; use /v1/embeddings."],
  ["/api/tags /api/ps /api/show", "This server has no Ollama API; use /v1/models."],
  ["/api/version", "This server has no Ollama API; use /health."],
  [
    "/api/pull /api/push /api/create /api/copy /api/delete /api/blobs",
    "This server has no Ollama API; 'wrinklefree pull' and 'wrinklefree rm' bring and remove models.",
  ],
  // llama.cpp's.
  ["/props", "/v1/models describes the model, and /health says how it is run."],
  ["/slots", "/metrics and /health count the requests under way."],
  ["/infill", "This server fills no gaps; /completion continues a text."],
  ["/lora-adapters /v1/load_lora_adapter /v1/unload_lora_adapter", "This server has no adapters."],
  // llama.cpp's, vLLM's, SGLang's and those of servers for embeddings.
  [
    "/rerank /reranking /v1/rerank /v1/reranking /v2/rerank /score /v1/score /classify /v1/classify /pooling /predict",
    `This server ranks and classifies no texts; ${VECTORS}.`,
  ],
  ["/embed /embed_all /encode", "Use /v1/embeddings."],
  ["/generate_stream", 'Use /generate with "stream": true.'],
  ["/get_model_info /model_info /info", "Use /v1/models."],
  ["/get_server_info /server_info /version", "Use /health."],
  ["/health_generate /ping", "Use /ready."],
  ["/load /get_load", "Use /metrics."],
];

/**
 * What to ask for instead of a path that means nothing here.
 *
 * @returns a sentence; undefined where nobody knows.
 */
export function adviceFor(path: string): string | undefined {
  const isBelow = (place: string) => path === place || path.startsWith(`${place}/`);
  const [, advice] = ADVICE.find(([paths]) => paths.split(" ").some(isBelow)) ?? [];
  return advice ?? adviceForBeginning(path);
}

/** What stands before a path that there is may be another server's, or be there twice. */
function adviceForBeginning(path: string): string | undefined {
  const routes = [...Object.keys(POST_ROUTES), ...Object.keys(GET_ROUTES)];
  // A path can have thousands of slashes.
  const longest = Math.max(...routes.map((route) => `${route}/`.length));
  const first = path.indexOf("/", Math.max(1, path.length - longest));
  for (let at = first; at >= 0; at = path.indexOf("/", at + 1)) {
    const route = knownRoute(withVersion(path.slice(at)));
    if (route !== "/" && routes.includes(route)) return `Use ${route}.`;
  }
  return undefined;
}
