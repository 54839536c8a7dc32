/** What a service would fail by. It is found out when its units are made: systemd would start the service again and again. */

import { accessSync, constants, existsSync, realpathSync } from "node:fs";
import { resolve } from "node:path";
import { planConversion } from "../../convert/dry_run.ts";
import { isCheckpoint, sourceFiles } from "../../convert/formats.ts";
import { Failure } from "../errors.ts";
import { parseHubName } from "../hub/hub_name.ts";
import { readMemory } from "../machine/memory.ts";
import { readPackedModel } from "../model_file/packed.ts";
import { entriesNamed, takeInventory } from "../models/inventory.ts";
import { isName, modelName, type ResolvedModel, resolveModel } from "../models/resolve.ts";
import { Store } from "../models/store.ts";
import { readCertificate } from "../server/certificate.ts";
import { exposedPlace } from "../server/exposure.ts";
import { KeySource } from "../server/key_file.ts";
import { hostOf } from "../server/places.ts";
import { fitOf } from "../serving/memory_plan.ts";
import { planService } from "../serving/service_plan.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { givenKeys } from "./api_keys.ts";
import { serviceOptions } from "./model_options.ts";
import { fileFault, isClosed, isDirectory, isForRootAlone, mayOthersWrite, unreadablePath } from "./systemd_files.ts";
import type { StartedService } from "./systemd_service.ts";

/** What was found. */
export interface Examination {
  /** What the service would fail by, a line each. */
  faults: string[];
  /** What may be a surprise. */
  advice: string[];
  /** Bytes of memory that it takes at most; undefined where that is not known before the model is pulled. */
  most: number | undefined;
}

/**
 * Looks at everything as the service will find it, as far as whoever makes its units may.
 *
 * @param memoryMax bytes of memory that it may take; undefined: as much as is planned.
 */
export async function examineService(service: StartedService, memoryMax: number | undefined): Promise<Examination> {
  const faults = [...filesFaults(service), ...accessFaults(service)];
  const advice: string[] = [];
  let most: number | undefined;
  try {
    const resolved = await findModel(service);
    if (resolved !== undefined) most = planMost(service, memoryMax, resolved, faults, advice);
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { faults, advice, most };
}

/** The model, where the service will look for it; undefined where it is to be pulled there. @throws Failure when it can't be served. */
async function findModel(service: StartedService): Promise<ResolvedModel | undefined> {
  const { given, isForUser, model, store, makersStore, workingDirectory } = service;
  const opened = Store.open(store);
  // One of its own is its user's.
  const isOthersStore = !isForUser && given.values.store !== undefined && opened.isThere;
  const requireWritableStore = () => {
    if (isOthersStore) requireWritable(opened);
  };
  if (model === undefined) return await resolveModel(undefined);
  if (!isName(model, store, workingDirectory)) {
    const path = resolve(workingDirectory, model);
    if (!isForUser && existsSync(path)) {
      const files = [path, ...sourceFiles(realpathSync(path))];
      const closed = files.flatMap((file) => unreadablePath(file) ?? unreadablePath(realpathSync(file)) ?? []);
      requireReadable(closed[0]);
    }
    if (!isCheckpoint(path)) return await resolveModel(path);
    if (entriesNamed(takeInventory(opened), modelName(path)).length === 0) requireWritableStore();
    return asConverted(path, model);
  }
  const [entry] = entriesNamed(takeInventory(opened), model);
  if (entry?.model) {
    if (isOthersStore) {
      const { directory, models, sources } = opened;
      const others = existsSync(sources) ? unreadablePath(realpathSync(sources)) : undefined;
      requireReadable([directory, models, entry.model.path].find(isClosed) ?? others);
    }
    const packed = await readPackedModel(entry.model.path);
    return { packed, path: packed.path, name: entry.name, given: model };
  }
  const source = entry?.sources[0]?.path;
  if (source !== undefined && existsSync(source)) {
    requireWritableStore();
    return asConverted(source, model);
  }
  const isOnHub = parseHubName(model) !== null;
  if (isOnHub && given.values.pull && !given.values.offline) {
    requireWritableStore();
    return undefined;
  }
  const [here] = entriesNamed(takeInventory(Store.open(makersStore)), model);
  const remedies = [
    ...(isOnHub ? [given.values.offline ? "add --no-offline --pull" : "add --pull"] : []),
    `give the path of a packed file${here?.model ? `, such as ${here.model.path}` : ""}`,
  ];
  throw new Failure(`there is no ${model} in the service's store ${opened.title}; ${remedies.join(", or ")}`);
}

/** @param closed what the service's user can't read. @throws Failure. */
function requireReadable(closed: string | undefined): void {
  if (closed !== undefined) {
    throw new Failure(`the service's user can't read ${closed}; let all read it (chmod -R a+rX)`);
  }
}

/** @throws Failure for a store in which the service could keep no model. */
function requireWritable(store: Store): void {
  const folders = [store.models, store.sources, store.locks].map((path) => (existsSync(path) ? path : store.directory));
  if (folders.every(mayOthersWrite)) return;
  throw new Failure(
    `the service's user can't write to ${store.directory}, where it would keep the model; leave --store out: it has a store of its own`,
  );
}

/** A model as it will be when the service has converted it. @throws Failure when it can't be. */
function asConverted(path: string, given: string): ResolvedModel {
  const { packed, header } = planConversion(path, {});
  return { packed, bytes: header, name: modelName(path), given };
}

/** @returns bytes at most. @throws Failure for settings that the model does not allow, and for a model that can't be served. */
function planMost(
  { given: { values } }: StartedService,
  memoryMax: number | undefined,
  model: ResolvedModel,
  faults: string[],
  advice: string[],
): number {
  const machine = readMemory();
  const limit = memoryMax === undefined ? machine.limit : { value: memoryMax, file: "--memory-max" };
  // What is free now says nothing of the time when the service runs.
  const memory = { ...machine, limit, available: undefined };
  const { memory: plan } = planService(model, serviceOptions(values, values.parallel), () => undefined, memory);
  const fit = fitOf(plan, memory, formatBytes);
  if (fit.state === "exceeds") faults.push(fit.text);
  if (fit.state === "tight") advice.push(fit.text);
  return plan.most;
}

function filesFaults({ given, isForUser, credentials }: StartedService): string[] {
  const { values, files } = given;
  const named = [...secretsOf(values), ...(values.config === undefined ? [] : [values.config])];
  const faults = named.flatMap((path) => fileFault(path) ?? []);
  if (isForUser) return faults;
  const unreadable = files.filter((path) => isForRootAlone(path) && !credentials.some((one) => one.path === path));
  for (const path of unreadable) {
    faults.push(`the service's user can't read ${path}; let all read it, and keep keys in a file of their own`);
  }
  const program = unreadablePath(realpathSync(process.execPath));
  if (program !== undefined) faults.push(`the service's user can't run ${program}; let all do so (chmod a+rx)`);
  const { store } = values;
  if (store !== undefined && !isDirectory(store)) {
    faults.push(`${store}: no such directory; make it, or leave --store out: the service has a store of its own`);
  }
  return faults;
}

/** The files that are for the server alone. */
function secretsOf(values: StartedService["given"]["values"]): string[] {
  const { "api-key-file": keys, "tls-cert": certificate, "tls-key": key } = values;
  return [...keys, certificate, key].filter((path) => path !== undefined);
}

/** What is wrong with keys and the certificate. What the maker of the units may not read, and what is missing, is left out. */
function accessFaults({ given: { values }, places }: StartedService): string[] {
  const { "api-key-file": files, "tls-cert": certificate, "tls-key": key } = values;
  const checks = [
    () => {
      if (certificate === undefined || key === undefined) return;
      if (mayRead(certificate) && mayRead(key)) readCertificate({ certificate, key });
    },
    () => {
      const read = KeySource.read(givenKeys(values), files.filter(mayRead)).count;
      const unread = files.filter((path) => !mayRead(path)).length;
      const exposed = exposedPlace(places);
      if (exposed === undefined || read + unread > 0 || values.insecure) return;
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
