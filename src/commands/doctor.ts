/** `wrinklefree doctor`: whether this machine serves models as it should, and what to do where it does not. */

import { examineAccess, examineCertificate } from "../doctor/access.ts";
import { type Finding, fail, failure, ok, warn } from "../doctor/finding.ts";
import { examineMemory, examineModel, examineStoredModels } from "../doctor/models.ts";
import { examineClock, examineCores, examineHugePages, examineKernels, examineNuma } from "../doctor/processor.ts";
import { judgeSpeeds, measureSpeeds } from "../doctor/speed.ts";
import { examineDescriptors, examinePlace, examineStore, examineTemporaryDirectory } from "../doctor/surroundings.ts";
import { cpuCores, library } from "../engine/library.ts";
import { Failure } from "../errors.ts";
import { addressLimit } from "../machine/system.ts";
import { isToBePulled, resolveModel } from "../models/resolve.ts";
import { Store } from "../models/store.ts";
import type { Options } from "../options/option.ts";
import type { Given } from "../options/settings.ts";
import { KeySource } from "../server/key_file.ts";
import { results } from "../terminal/output.ts";
import { shownEndpoint } from "../tracing/settings.ts";
import { version } from "../version.ts";
import { givenKeys, hideKeys } from "./api_keys.ts";
import { declareCommand } from "./command.ts";
import { chosenModel, serviceOptions } from "./model_options.ts";
import { certificateFiles, chosenPlaces, serverOptions, tracingSettings } from "./serve_options.ts";
import { resolveOptions } from "./store_options.ts";

const doctorOptions = {
  json: { group: "Output", help: "print JSON", place: "line", isSwitch: true },
  "no-speed": {
    group: "Output",
    help: "leave out the measurement, which keeps all cores busy for some seconds",
    place: "line",
    isSwitch: true,
  },
  ...serverOptions,
} as const satisfies Options;

export const command = declareCommand({
  name: "doctor",
  summary: "see whether this machine serves models as it should",
  synopsis: ["doctor [MODEL] [options]"],
  description: [
    "Looks at the kernels, cores, limits, memory, huge pages, NUMA nodes, clock, temporary directory, port, keys, certificate and descriptors " +
      "that a server would have with the options of serve. Each model in the store is held against the memory. Where something is not as it should be, it " +
      "says what to do.",
    "For some seconds it measures how fast memory is read and numbers are multiplied. No machine is held against another: all threads " +
      "together are held against one of them times the cores that they can have, by pinning and the limit of the control group; and the " +
      "product that answers wait for against the reads and multiply-adds of the same run.",
    "The exit code is 0 when nothing fails, also with warnings, and 1 otherwise.",
  ],
  options: doctorOptions,
  settingsOf: "serve",
  wordsMax: 1,
  words: ["model"],
  run: doctor,
});

async function doctor(given: Given<typeof doctorOptions>): Promise<number> {
  const findings = await examine(given);
  const isWell = findings.every(({ state }) => state !== "fail");
  const text = given.values.json
    ? `${JSON.stringify({ version, ok: isWell, findings }, null, 2)}\n`
    : findings.map(describe).join("");
  results.write(text);
  return isWell ? 0 : 1;
}

async function examine(given: Given<typeof doctorOptions>): Promise<Finding[]> {
  const { values } = given;
  const options = serviceOptions(values, values.parallel);
  const places = chosenPlaces(values, []);
  const files = certificateFiles(values);
  const countKeys = () => {
    hideKeys(given);
    return KeySource.read(givenKeys(values), values["api-key-file"]).count;
  };
  const surroundings = [
    ...(await Promise.all(places.map(examinePlace))),
    examineAccess(places, countKeys, values.insecure),
    ...(files === undefined ? [] : [examineCertificate(files)]),
    ...attempt("traces", () => examineTraces(given)),
    examineDescriptors(),
  ];
  const [store, storeFinding] = openStore(values.store);
  try {
    library();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const reason = addressLimit() === undefined ? examineTemporaryDirectory(error) : failure("engine", error);
    return [reason, examineMemory(), ...surroundings, storeFinding, examineHugePages(), examineClock()];
  }
  const model = chosenModel(given);
  return [
    ...attempt("kernels", () => [examineKernels()]),
    ...examineCores(options.threads, options.cpus),
    examineMemory(),
    ...(model === undefined ? [] : await examineChosen(model, given)),
    ...(store === undefined ? [] : await examineStoredModels(store, options)),
    examineHugePages(),
    examineNuma(options.cpus),
    examineClock(),
    examineTemporaryDirectory(undefined),
    storeFinding,
    ...surroundings,
    ...(values["no-speed"]
      ? []
      : attempt("speed", () => judgeSpeeds(measureSpeeds(options.threads || options.cpus.length || cpuCores())))),
  ];
}

function examineTraces(given: Given<typeof doctorOptions>): Finding[] {
  const traces = tracingSettings(given);
  return traces === undefined ? [] : [ok("traces", `to ${shownEndpoint(traces.url)}`)];
}

function openStore(directory: string | undefined): [Store | undefined, Finding] {
  try {
    const store = Store.open(directory);
    return [store, examineStore(store)];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [undefined, failure("store", error)];
  }
}

/** The model that a server would be started with. Nothing is pulled to look at it. */
async function examineChosen(model: string, given: Given<typeof doctorOptions>): Promise<Finding[]> {
  try {
    const options = resolveOptions(given);
    if (isToBePulled(model, options.store)) {
      const remedy = `'wrinklefree pull ${model}' brings it`;
      return [
        options.pull
          ? warn(`model ${model}`, "is not here to be looked at: the server pulls it when it starts", remedy)
          : fail(`model ${model}`, "is not pulled yet", `${remedy}, or let the server do so with --pull`),
      ];
    }
    const resolved = await resolveModel(model, options);
    return [examineModel(resolved, serviceOptions(given.values, given.values.parallel))];
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [fail(`model ${model}`, error.message, "'wrinklefree list' shows the models that there are")];
  }
}

/** What an examination finds; that it can't be made is a finding, too. */
function attempt(name: string, examination: () => Finding[]): Finding[] {
  try {
    return examination();
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return [failure(name, error)];
  }
}

function describe({ name, state, text, remedy }: Finding): string {
  const line = `${state.padEnd(5)} ${name}: ${text}\n`;
  return remedy === undefined ? line : `${line}      -> ${remedy}\n`;
}
