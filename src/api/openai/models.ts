/**
 * GET /v1/models and GET /v1/models/{id}: the model that this server has, in OpenAI's shape, with its facts.
 */

import type { ServerState } from "../../serving/state.ts";

/** The list of models. @throws RequestError 503 while there is none. */
export function listModels(state: ServerState): object {
  return { object: "list", data: [describeModel(state)] };
}

/** One model. @throws RequestError 404 when it is another's name, 503 while there is none. */
export function getModel(state: ServerState, name: string): object {
  const description = describeModel(state);
  state.checkModel(name);
  return description;
}

function describeModel(state: ServerState): object {
  const service = state.requireService();
  const { config } = service;
  return {
    id: state.modelName,
    object: "model",
    created: service.opened,
    owned_by: "wrinklefree",
    root: service.name,
    parent: null,
    max_model_len: service.context,
    meta: {
      description: service.description,
      architecture: config.architecture,
      is_demo: service.isDemo,
      aliases: state.aliases,
      n_params: service.parameters,
      size: service.bytes,
      n_vocab: config.vocabSize,
      n_ctx_train: config.context,
      n_embd: config.hiddenSize,
      n_layer: config.layers,
      pooling: config.pooling ?? null,
      takes_tools: service.template.takesTools,
      thinks: service.template.thinks,
    },
  };
}
