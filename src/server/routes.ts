/** Which path means what, and in which dialect it is answered. */

import type { Dialect } from "../api/dialect.ts";
import type { Exchange } from "../api/exchange.ts";
import { completion as llamaCompletion } from "../api/llama_cpp/completion.ts";
import { llamaCpp } from "../api/llama_cpp/dialect.ts";
import { embedding } from "../api/llama_cpp/embedding.ts";
import { applyTemplate, detokenize, tokenize } from "../api/llama_cpp/tokenize.ts";
import { chatCompletion } from "../api/openai/chat.ts";
import { completion } from "../api/openai/completions.ts";
import { openAi } from "../api/openai/dialect.ts";
import { createEmbeddings } from "../api/openai/embeddings.ts";
import { listModels } from "../api/openai/models.ts";
import { generateText } from "../api/sglang/generate.ts";
import type { JsonObject } from "../json.ts";
import { openApiDocument } from "./description.ts";
import { health, ready } from "./health.ts";
import { exposeMetrics, METRICS_CONTENT_TYPE } from "./metrics.ts";
import { ASSETS_PATH, isAsset, page } from "./page.ts";

/** A path to which bodies of JSON are sent. */
interface PostRoute {
  dialect: Dialect;
  handle: (exchange: Exchange, body: JsonObject) => Promise<Response>;
}

/** What POST means, by path. */
export const POST_ROUTES: Readonly<Record<string, PostRoute>> = {
  "/v1/chat/completions": { dialect: openAi, handle: chatCompletion },
  "/v1/completions": { dialect: openAi, handle: completion },
  "/v1/embeddings": { dialect: openAi, handle: createEmbeddings },
  "/embedding": { dialect: llamaCpp, handle: embedding },
  "/completion": { dialect: llamaCpp, handle: llamaCompletion },
  "/generate": { dialect: openAi, handle: generateText },
  "/tokenize": { dialect: llamaCpp, handle: tokenize },
  "/detokenize": { dialect: llamaCpp, handle: detokenize },
  "/apply-template": { dialect: llamaCpp, handle: applyTemplate },
};

/** What GET means, by path; the models and the page's assets are apart, since their paths hold names. */
export const GET_ROUTES: Readonly<Record<string, (exchange: Exchange) => Response>> = {
  "/": ({ request }) => page(request),
  "/health": ({ state }) => Response.json(health(state)),
  "/ready": ({ state }) => Response.json(ready(state)),
  "/v1/models": ({ state }) => Response.json(listModels(state)),
  "/openapi.json": ({ basePath }) => Response.json(openApiDocument(basePath)),
  "/metrics": ({ state }) => new Response(exposeMetrics(state), { headers: { "content-type": METRICS_CONTENT_TYPE } }),
};

/** The path by which a route is known, whatever model a request names; "other" for a path that means nothing here. */
export function knownRoute(path = ""): string {
  if (/^\/v1\/models\/./.test(path)) return "/v1/models/{model}";
  if (isAsset(path)) return `${ASSETS_PATH}{asset}`;
  // A slash at the end changes nothing, as Elysia has it.
  const plain = path === "/" ? path : path.replace(/\/$/, "");
  return Object.hasOwn(POST_ROUTES, plain) || Object.hasOwn(GET_ROUTES, plain) ? plain : "other";
}

/** The dialect in which a known route is answered, errors included. */
export function dialectOf(route: string): Dialect {
  return POST_ROUTES[route]?.dialect ?? openAi;
}
