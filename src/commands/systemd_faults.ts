/** What a service would fail by. It is found out when its units are made: systemd would start the service again and again. */

import { accessSync, constants, existsSync, realpathSync } from "node:fs";
import { planConversion } from "../../convert/dry_run.ts";
import { checkpointName, isCheckpoint } from "../../convert/formats.ts";
import { Failure } from "../errors.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { readMemory } from "../machine/memory.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { entriesNamed, takeInventory } from "../models/inventory.ts";
import { isName, type ResolvedModel, resolveModel } from "../models/resolve.ts";
import { Store } from "../models/store.ts";
import { SYSTEM_FILE } from "../options/config_file.ts";
import type { configOption, Given, Setting } from "../options/settings.ts";
import { readCertificate } from "../server/certificate.ts";
import { exposedPlace } from "../server/exposure.ts";
import { KeySource } from "../server/key_file.ts";
import { hostOf, type Place } from "../server/places.ts";
import { fitOf, planMemory } from "../serving/memory_plan.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { serviceOptions } from "./model_options.ts";
import type { serverOptions } from "./serve_options.ts";
import { fileFault, isForRootAlone, isHidden, mayAllRead } from "./systemd_files.ts";

/** Files that are for the server alone. */
export const SECRET_FILES = ["api-key-file", "tls-cert", "tls-key"];

/** A service before its units are made. */
export interface WantedService {
  given: Given<typeof serverOptions & typeof configOption>;
  /** Whether it is for a user's own manager. */
  isForUser: boolean;
  places: readonly Place[];
  /** A path or a name; undefined: the demo. */
  model: string | undefined;
  /** Of its store; undefined: what the environment says. */
  store: string | undefined;
  /** Bytes of memory that it may take; undefined: as much as is planned. */
  memoryMax: number | undefined;
}

/** What was found. */
export interface Examination {
  /** What the service would fail by, a line each. */
  faults: string[];
  /** What may be a surprise. */
  advice: string[];
  /** Bytes of memory that it takes at most; undefined where that is not known before the model is pulled. */
  most: number | undefined;
}

/** Looks at everything as the service will find it, as far as whoever makes its units may. */
export async function examineService(service: WantedService): Promise<Examination> {
  const faults = [...filesFaults(service), ...accessFaults(service)];
  const advice: string[] = [];
  let most: number | undefined;
  try {
    const resolved = await findModel(service);
    if (resolved !== undefined) most = planService(service, resolved, faults, advice);
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { faults, advice, most };
}

/** The model, where the service will look for it; undefined where it is to be pulled there. @throws Failure when it can't be served. */
async function findModel({ given, isForUser, model, store }: WantedService): Promise<ResolvedModel | undefined> {
  if (model === undefined) return await resolveModel(undefined);
  if (existsSync(model) || !isName(model, store)) {
    const isPacked = !isCheckpoint(model);
    if (!isForUser && !mayAllRead(realpathSync(model))) {
      throw new Failure(`the service's user can't read ${realpathSync(model)}; let all read it (chmod -R a+rX)`);
    }
    if (isPacked) return await resolveModel(model);
    return asConverted(model, model);
  }
  const opened = Store.open(store);
  const [entry] = entriesNamed(takeInventory(opened), model);
  if (entry?.model) {
    const packed = await readPackedModel(entry.model.path);
    return { packed, path: packed.path, name: entry.name, given: model };
  }
  const source = entry?.sources[0]?.path;
  if (source !== undefined && existsSync(source)) return asConverted(source, model);
  const isOnHub = parseHubName(model) !== null;
  if (isOnHub && given.values.pull && !given.values.offline) return undefined;
  const [here] = entriesNamed(takeInventory(Store.open(given.values.store)), model);
  const remedies = [
    ...(isOnHub ? ["add --pull"] : []),
    `give the path of a packed file${here?.model ? `, such as ${here.model.path}` : ""}`,
  ];
  throw new Failure(`there is no ${model} in the service's store ${opened.title}; ${remedies.join(", or ")}`);
}

/** A model as it will be when the service has converted it. @throws Failure when it can't be. */
function asConverted(path: string, given: string): ResolvedModel {
  const { packed, header } = planConversion(path, {});
  return { packed, bytes: header, name: checkpointName(path), given };
}

/** @returns bytes at most. @throws Failure for settings that the model does not allow. */
function planService({ given, memoryMax }: WantedService, model: ResolvedModel, faults: string[], advice: string[]) {
  const { values } = given;
  const machine = readMemory();
  const limit = memoryMax === undefined ? machine.limit : { value: memoryMax, file: "--memory-max" };
  // What is free now says nothing of the time when the service runs.
  const memory = { ...machine, limit, available: undefined };
  const plan = planMemory(model, serviceOptions(values, values.parallel), process.memoryUsage.rss(), memory);
  const fit = fitOf(plan, memory, formatBytes);
  if (fit.state === "exceeds") faults.push(fit.text);
  if (fit.state === "tight") advice.push(fit.text);
  return plan.most;
}

/** Whether a setting holds for the service, and not only for whoever makes the units. */
function isOfService({ given, isForUser }: WantedService, { sources }: Setting): boolean {
  return sources.some(
    (source) =>
      source.kind === "option" ||
      (source.kind === "file" && (isForUser || source.path === SYSTEM_FILE || given.isOnLine("config"))),
  );
}

function settingsOf(service: WantedService, names: readonly string[]): Setting[] {
  return service.given.settings.filter((setting) => names.includes(setting.name) && isOfService(service, setting));
}

/** The texts of a setting; none where it does not hold for the service. */
function textsOf(service: WantedService, name: string): string[] {
  return settingsOf(service, [name]).flatMap(({ value }) => (Array.isArray(value) ? value : []));
}

function filesFaults(service: WantedService): string[] {
  const faults: string[] = [];
  for (const name of [...SECRET_FILES, "config"]) {
    for (const path of textsOf(service, name)) faults.push(...[fileFault(path)].filter((fault) => fault !== undefined));
  }
  if (service.isForUser) return faults;
  const settings = settingsOf(service, SECRET_FILES);
  for (const { name, value, sources } of settings) {
    const [source] = sources;
    // What is given as an option is shown to the service, or copied for it.
    if (source?.kind !== "file" || !Array.isArray(value)) continue;
    for (const path of value.filter((one) => existsSync(one) && (isForRootAlone(one) || isHidden(one)))) {
      faults.push(
        `the service's user can't read ${path}, which ${source.path}:${source.line} names; give it as --${name}`,
      );
    }
  }
  for (const path of service.given.files.filter((one) => one === SYSTEM_FILE || service.given.isOnLine("config"))) {
    if (isForRootAlone(path))
      faults.push(`the service's user can't read ${path}; let all read it, and keep keys in a file of their own`);
  }
  return faults;
}

/** What is wrong with keys and the certificate. What the maker of the units may not read, and what is missing, is left out. */
function accessFaults(service: WantedService): string[] {
  const [files, certificates, keys] = [
    textsOf(service, "api-key-file"),
    textsOf(service, "tls-cert"),
    textsOf(service, "tls-key"),
  ];
  const isInsecure = settingsOf(service, ["insecure"]).some(({ value }) => value === true);
  const [certificate] = certificates;
  const [key] = keys;
  const checks = [
    () => {
      if ([certificate, key].every((path) => path !== undefined && mayRead(path))) {
        readCertificate({ certificate: certificate as string, key: key as string });
      }
    },
    () => {
      const read = KeySource.read([], files.filter(mayRead)).keys.length;
      const unread = files.filter((path) => !mayRead(path)).length;
      const exposed = exposedPlace(service.places);
      if (exposed === undefined || read + unread + textsOf(service, "api-key").length > 0 || isInsecure) return;
      throw new Failure(
        `anyone who can reach ${hostOf(exposed)} could use it without a key; add --api-key-file FILE, or --insecure if that is wanted`,
      );
    },
  ];
  return checks.flatMap((check) => {
    try {
      check();
      return [];
    } catch (error) {
      return [messageOf(error)];
    }
  });
}

function mayRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return fileFault(path) === undefined;
  } catch {
    return false;
  }
}

/** What a person can do something about. Anything else is thrown again. */
function messageOf(error: unknown): string {
  if (error instanceof Failure) return error.message;
  throw error;
}
