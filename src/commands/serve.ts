/**
 * `wrinklefree serve`: the HTTP server, from the command line to its last answer.
 */

import { cpuTier } from "../engine/library.ts";
import { UsageError } from "../errors.ts";
import { readMemory } from "../machine/memory.ts";
import { requireModel, resolveModel } from "../models/resolve.ts";
import { reloadableNames } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { ApiKeys } from "../server/auth.ts";
import { reloadAtHangup } from "../server/hangup.ts";
import { KeySource } from "../server/key_file.ts";
import { listen } from "../server/listening.ts";
import { speakAs } from "../server/log.ts";
import { passedSockets } from "../server/passed_sockets.ts";
import { ServiceManager } from "../server/service_manager.ts";
import { StopSignals, sendTraces, stopOrderly } from "../server/shutdown.ts";
import { fitOf } from "../serving/memory_plan.ts";
import { Service } from "../serving/service.ts";
import { ServerState } from "../serving/state.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { observeProgress } from "../terminal/progress.ts";
import { startTracing } from "../tracing/start.ts";
import { givenKeys, hideKeys } from "./api_keys.ts";
import { declareCommand } from "./command.ts";
import { chosenModel, serviceOptions } from "./model_options.ts";
import { chosenPlaces, serveOptions, tracingSettings } from "./serve_options.ts";
import { printPlan } from "./serve_plan.ts";
import { reportReady, reportStart, reportStop } from "./serve_report.ts";
import { LiveSettings, type Taker } from "./serve_settings.ts";
import { modelHelp, resolveOptions } from "./store_options.ts";

export const command = declareCommand({
  name: "serve",
  summary: "answer OpenAI-compatible requests over HTTP",
  synopsis: ["serve [MODEL] [options]"],
  description: [
    `${modelHelp} Without it, the demo model is served.`,
    `SIGHUP has the configuration files, the files of keys and the certificate read again. These settings change without a restart: ${reloadableNames(serveOptions).join(", ")}.`,
    "SIGTERM ends the server when the answers under way are sent.",
  ],
  options: serveOptions,
  wordsMax: 1,
  words: ["model"],
  prepare({ values }) {
    if (!values["dry-run"]) speakAs(values.log);
  },
  run: serve,
});

async function serve(given: Given<typeof serveOptions>): Promise<number> {
  const { values } = given;
  if (values.json && !values["dry-run"]) throw new UsageError("--json is for --dry-run");
  if (values["dry-run"]) {
    const model = await resolveModel(chosenModel(given), resolveOptions(given));
    return printPlan(model, serviceOptions(values, values.parallel), values.json);
  }
  hideKeys(given);
  const keySource = KeySource.read(givenKeys(values), values["api-key-file"]);
  // After the keys, for whose sake the process may have started anew.
  const manager = new ServiceManager(process.env);
  const passed = passedSockets(process.env);
  const options = serviceOptions(values, values.parallel);
  const [model, storeChoice] = [chosenModel(given), resolveOptions(given)];
  const places = chosenPlaces(values, passed);
  const live = new LiveSettings(given, keySource, places);
  const traces = tracingSettings(given);

  reportStart(model, given.files, places);
  // A library that can't be loaded, or a tier that this processor lacks, shows before anything else is done.
  cpuTier();
  // Listening comes before loading: a port that is taken shows at once, and /ready says what is going on while a large model loads.
  const { answers, requests, keys, keyLimits } = live.current;
  const { certificate } = live;
  const state = new ServerState(answers);
  let service: Service | undefined;
  observeProgress((what, progress) => {
    state.loading = { what, ...progress };
  });
  const signals = new StopSignals();
  const apiKeys = new ApiKeys();
  apiKeys.use(keys.keys, keyLimits);
  const tracing = traces === undefined ? undefined : await startTracing(traces);
  const socketMode = values["socket-mode"];
  const listening = await listen(state, { places, socketMode, certificate, apiKeys, requests, tracing });
  const taker: Taker = {
    use(fresh) {
      apiKeys.use(fresh.keys.keys, fresh.keyLimits);
      state.use(fresh.answers);
      listening.use(fresh.requests);
      state.loaded?.template.use(fresh.prompts);
    },
    useCertificate: (fresh) => listening.useCertificate(fresh),
    checkModel(wanted) {
      const [wantedModel, wantedStore] = [chosenModel(wanted), wanted.values.store];
      if (wantedModel !== model) requireModel(wantedModel, wantedStore);
      else if (service !== undefined) service.checkOptions(serviceOptions(wanted.values, wanted.values.parallel));
    },
  };
  const reload = async () => {
    const refused = await live.reload(taker);
    state.metrics.isReloaded = refused.length === 0;
    return refused;
  };
  reloadAtHangup(() => manager.reloading(reload), signals);
  manager.watch(state);
  const endEarly = async () => {
    await listening.stop(true);
    await sendTraces(tracing, signals);
    reportStop(state, 0);
  };
  try {
    const resolved = await resolveModel(model, storeChoice);
    // A signal need not wait for the loading, of which nothing stays behind.
    service = await Promise.race([Service.start(resolved, options), signals.first.then(() => undefined)]);
  } catch (error) {
    // A conversion ends itself at a signal.
    if (signals.hasCome) {
      await endEarly();
      return 0;
    }
    await listening.stop(true);
    throw error;
  }
  if (service === undefined) {
    await endEarly();
    return 0;
  }
  service.template.use(live.current.prompts);
  state.setReady(service);
  // Who comes through them waits for an answer rather than be told to come back.
  await listening.takePassed();
  const fit = fitOf(service.plan, readMemory(), formatBytes);
  reportReady(state, service, listening, apiKeys.count, fit, traces);
  manager.ready();
  await signals.first;
  const { drainSeconds } = live.current;
  const stopped = stopOrderly(state, listening, signals, drainSeconds);
  manager.stopping(drainSeconds);
  const cutOff = await stopped;
  await sendTraces(tracing, signals);
  manager.leave();
  await service.close();
  reportStop(state, cutOff);
  return 0;
}
