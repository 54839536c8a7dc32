/**
 * What a service is started with. Its command line and its environment are put together here, and its settings are what `serve` makes of
 * both and of the configuration files that it will read. Its units, and the search for what it would fail by, take them from here: what
 * holds for whoever makes the units may be something else.
 */

import { existsSync, realpathSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { sourceFiles } from "../../convert/formats.ts";
import { Failure } from "../errors.ts";
import { looksLikePath } from "../models/resolve.ts";
import { SYSTEM_FILE } from "../options/config_file.ts";
import { directory, file } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import { configOption, type Given, readOptions, type Setting } from "../options/settings.ts";
import { shownTexts } from "../options/shown.ts";
import { type Place, socketAddress } from "../server/places.ts";
import { type CommandTable, optionTable, ownScript } from "./command.ts";
import { chosenModel, settingsWithModel } from "./model_options.ts";
import { chosenPlaces, serverOptions } from "./serve_options.ts";
import { isForRootAlone, isHidden, readersGroup } from "./systemd_files.ts";
import type { Word } from "./systemd_units.ts";

const options = { ...serverOptions, ...configOption } as const satisfies Options;

/** What whoever makes the units has given for the service, in all places. */
export type GivenForService = Given<typeof options>;

/** Where services of the system have directories of their names: for what can be made again, and for the rest. */
const [CACHES, STATES] = ["/var/cache", "/var/lib"];

/** Files that are for the server alone. */
export const SECRET_FILES = ["api-key-file", "tls-cert", "tls-key"];

/** What the socket unit has instead of the command line, unless files name other places to the service. */
const OF_SOCKETS = ["host", "port", "listen", "socket-mode"];

/** Variables that stay where they are: what is to do instead. */
const STAYING: Readonly<Record<string, string>> = {
  "api-key": "everybody can read a unit; give its keys in a file, with --api-key-file",
  "otlp-endpoint": "it may hold a password, and everybody can read a unit; have it in the service's configuration file",
  insecure: "add --insecure if that is wanted",
  store: "it has a store of its own; add --store if it is to have that one",
};

/** A service before its units are made. */
export interface StartedService {
  /** Whether it is for a user's own manager. */
  isForUser: boolean;
  /** Its command line, which begins with the program. */
  command: readonly Word[];
  /** Its settings, with files where they are: what is handed over stands elsewhere for the service. */
  given: GivenForService;
  /** Those of its socket unit. */
  places: readonly Place[];
  /** A path or a name, as `serve` is told it; undefined: the demo. */
  model: string | undefined;
  /** From where it sees paths that begin nowhere. */
  workingDirectory: string;
  /** Its store; undefined: the one that the environment of whoever makes the units says. */
  store: string | undefined;
  /** That of whoever makes the units; undefined: as above. */
  makersStore: string | undefined;
  /** Paths that it reads, wherever they lie. */
  readPaths: readonly string[];
  /** Files that only root may read, and the names under which they are handed over. */
  credentials: readonly { name: string; path: string }[];
  /** Groups by whose leave it reads files, by number. */
  groups: readonly number[];
  /** What holds for whoever makes the units and not for the service, a line each. */
  advice: readonly string[];
}

/**
 * Finds out what a service is started with.
 *
 * @param maker what was given to the command that makes its units.
 * @throws Failure for the configuration files that it will read.
 */
export async function startedService(
  maker: GivenForService,
  { name, isForUser }: { name: string; isForUser: boolean },
  table: CommandTable,
): Promise<StartedService> {
  const goesAlong = (setting: Setting, isOfEnvironment: boolean) => !isOfEnvironment || !staysThere(setting, isForUser);
  const passedOn = maker.settings.filter(
    (setting) =>
      Object.hasOwn(options, setting.name) &&
      setting.name !== "model" &&
      isGiven(setting) &&
      // On one command line both would be refused; elsewhere the stricter one holds.
      !(setting.name === "pull" && maker.values.offline) &&
      goesAlong(setting, !maker.isOnLine(setting.name as keyof typeof options)),
  );
  const named = settingsWithModel(maker).some((setting) => setting.name === "model" && isGiven(setting));
  const served = named ? wordsOfModel(asServed(chosenModel(maker) as string, isForUser)) : [];
  const read = (settings: readonly Setting[]) => {
    const args = [...served, ...settings.flatMap((setting) => argumentsOf(setting))];
    const environment = isForUser ? userEnvironment() : { HOME: "/" };
    return readOptions("serve", args as string[], options, 1, () => optionTable(table), environment);
  };

  const given = await read(passedOn);
  const places = chosenPlaces(given.values, []);
  const sockets = places.map((place, descriptor) => {
    return { kind: "passed", descriptor, address: socketAddress(place) } as const;
  });
  // Without these it would listen elsewhere too where its files name other places than its sockets.
  const unplaced = passedOn.filter((setting) => !OF_SOCKETS.includes(setting.name));
  const isPlaced = chosenPlaces((await read(unplaced)).values, sockets).length > places.length;

  const secrets = isForUser ? [] : given.settings.flatMap(secretFiles);
  const credentials = secrets.filter(({ path }) => isForRootAlone(path));
  const isHandedOver = (setting: Setting) => secretFiles(setting).some(({ path }) => isAmong(credentials, path));
  const onLine = given.settings.filter(
    (setting) =>
      (setting.sources[0]?.kind === "option" &&
        setting.name !== "model" &&
        (isPlaced || !OF_SOCKETS.includes(setting.name))) ||
      isHandedOver(setting),
  );
  const program = [process.execPath, ...ownScript()];
  const workingDirectory = isForUser ? homedir() : join(STATES, name);
  const chosen = chosenModel(given);
  const path = resolve(workingDirectory, chosen ?? "");
  // Its file may name a link that can't be shown to it as one.
  const model = chosen !== undefined && existsSync(path) ? asServed(path, isForUser) : chosen;
  const isElsewhere = model !== chosen && model !== path;
  const modelPaths = model === undefined ? [] : modelFiles(resolve(workingDirectory, model));
  const ownFiles = isForUser ? [] : [...given.files, ...secrets.map(({ path }) => path)];
  const groups = ownFiles.map(readersGroup).filter((group) => group !== undefined);
  return {
    isForUser,
    command: [
      ...program,
      "serve",
      ...(isElsewhere ? [model as string] : served),
      ...onLine.flatMap((setting) => argumentsOf(setting, credentials)),
    ],
    given,
    places,
    model,
    workingDirectory,
    makersStore: maker.values.store,
    store: given.values.store ?? (isForUser ? undefined : join(CACHES, name)),
    readPaths: [...program, ...modelPaths, ...given.settings.flatMap(filesOf)]
      .filter((path) => path.startsWith("/") && !isAmong(credentials, path))
      .flatMap(withTargets),
    credentials,
    groups: [...new Set(groups)],
    advice: [
      ...maker.settings.filter((setting) => !goesAlong(setting, true)).flatMap(stayingVariable),
      ...otherVariables(given, name, isForUser),
      ...otherFiles(maker, given),
    ],
  };
}

/** Whether a setting of the environment is not to go along. */
function staysThere(setting: Setting, isForUser: boolean): boolean {
  const { name, value } = setting;
  // A switch that is off makes nothing less safe.
  if (STAYING[name] === undefined || value === false) return false;
  if (name === "store") return !isForUser;
  return name !== "otlp-endpoint" || mayHoldPassword(setting);
}

/** Whether not everybody may see the whole of a setting. */
export function mayHoldPassword({ option, value }: Setting): boolean {
  if (option.isSwitch || !Array.isArray(value)) return false;
  return shownTexts(option, value).some((text, index) => text !== value[index]);
}

/** A model on a command line: without its option, what begins as one does would be another one. */
function wordsOfModel(model: string): string[] {
  return [model.startsWith("-") ? `--model=${model}` : model];
}

/** Whether a setting was given for the service, on the command line or in the environment. */
function isGiven({ sources }: Setting): boolean {
  return sources[0]?.kind === "option" || sources[0]?.kind === "environment";
}

/** What a user's own manager tells its services of where files are. */
function userEnvironment(): NodeJS.ProcessEnv {
  const { HOME = homedir(), XDG_CONFIG_HOME } = process.env;
  return { HOME, XDG_CONFIG_HOME };
}

/**
 * A model as the service is to be given it: names as they are, paths as a whole. A link stays one, whose name the model has and which may
 * lead elsewhere later; but what is shown to the service is no link there, and a checkpoint has files that are found from where it lies.
 */
function asServed(model: string, isForUser: boolean): string {
  const path = resolve(model);
  if (existsSync(model)) return isForUser || !isHidden(path) || path.endsWith(".wf") ? path : realpathSync(path);
  return looksLikePath(model) ? path : model;
}

/** The paths of a model: its own, those of what lies beside it and is a part of it, and of what links in its directory lead to. */
function modelFiles(path: string): string[] {
  if (!existsSync(path)) return [];
  const real = realpathSync(path);
  try {
    const isInside = (file: string) => file.startsWith(`${real}/`);
    const files = sourceFiles(real).map((file) => (isInside(file) ? realpathSync(file) : file));
    return [path, ...files.filter((file) => !isInside(file))];
  } catch (error) {
    if (error instanceof Failure) return [path]; // what is wrong with it is said elsewhere
    throw error;
  }
}

/** What a setting becomes on the service's command line. @param credentials files that are handed over. */
function argumentsOf({ name, option, value }: Setting, credentials: StartedService["credentials"] = []): Word[] {
  if (value === undefined) return [];
  if (typeof value === "boolean") return [`--${value ? "" : "no-"}${name}`];
  const isPath = !option.isSwitch && (option.kind === file || option.kind === directory);
  return value.flatMap((text) => {
    const word = isPath ? resolve(text) : text;
    const credential = credentials.find(({ path }) => path === word);
    if (credential !== undefined) return [`--${name}`, { credential: credential.name }];
    // Behind a space it would be an option.
    return word.startsWith("-") ? [`--${name}=${word}`] : [`--${name}`, word];
  });
}

/** The files that a setting names, by their whole paths. */
function filesOf({ option, value }: Setting): string[] {
  if (option.isSwitch || option.kind !== file || !Array.isArray(value)) return [];
  return value.map((path) => resolve(path));
}

function secretFiles(setting: Setting): { name: string; path: string }[] {
  if (!SECRET_FILES.includes(setting.name)) return [];
  return filesOf(setting).map((path, index) => ({
    name: `${setting.name}${index === 0 ? "" : `-${index + 1}`}`,
    path,
  }));
}

function isAmong(files: readonly { path: string }[], wanted: string): boolean {
  return files.some(({ path }) => path === wanted);
}

/** A path with what its links lead to. */
function withTargets(path: string): string[] {
  try {
    return [...new Set([path, realpathSync(path)])];
  } catch {
    return [path]; // what is wrong with it is said elsewhere
  }
}

/** What becomes of a variable that stays where it is. */
function stayingVariable({ name, sources }: Setting): string[] {
  return sources.flatMap((source) =>
    source.kind === "environment" ? [`${source.variable} does not hold for the service: ${STAYING[name]}`] : [],
  );
}

/** Variables that are no settings, and which `serve` would follow here. */
function otherVariables({ values }: GivenForService, name: string, isForUser: boolean): string[] {
  const ofHub = ["HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
  const isTraced = values.traces || values["otlp-endpoint"] !== undefined;
  const found = Object.keys(process.env).filter(
    (variable) =>
      ["WRINKLEFREE_CPU", "BUN_TMPDIR"].includes(variable) ||
      (values.pull && ofHub.includes(variable)) ||
      (isTraced && variable.startsWith("OTEL_")),
  );
  if (found.length === 0) return [];
  const edit = `systemctl ${isForUser ? "--user " : ""}edit ${name}.service`;
  return [`the units have no ${found.sort().join(", ")}; '${edit}' adds what is wanted of that as Environment=`];
}

/** Files whose settings hold here and not for the service. */
function otherFiles(maker: GivenForService, { files }: GivenForService): string[] {
  return maker.files
    .filter((path) => !files.includes(resolve(path)))
    .filter((path) =>
      maker.settings.some(({ sources }) => sources.some((one) => one.kind === "file" && one.path === path)),
    )
    .map((path) => `the service does not read ${path}; give it as --config, or have its settings in ${SYSTEM_FILE}`);
}
