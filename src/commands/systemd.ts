/** `wrinklefree systemd`: units that run the server as a service. */

import { existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { describeSystemError, Failure, UsageError } from "../errors.ts";
import { looksLikePath } from "../models/resolve.ts";
import { directory, file, type Kind, size } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import { configOption, type Given, type Setting } from "../options/settings.ts";
import { describePlace, type Place } from "../server/places.ts";
import { notes, results } from "../terminal/output.ts";
import { writeWholeFile } from "../whole_file.ts";
import { declareCommand, ownScript } from "./command.ts";
import { chosenModel } from "./model_options.ts";
import { certificateFiles, chosenPlaces, serverOptions } from "./serve_options.ts";
import { examineService, SECRET_FILES } from "./systemd_faults.ts";
import { fileFault, isForRootAlone, readersGroup } from "./systemd_files.ts";
import { makeUnits, type ServiceDescription, type Unit, type Word } from "./systemd_units.ts";

/** How much more than planned a service may take. */
const MEMORY_MARGIN = 1.1;

/** Limits are a multiple of so many bytes: the program itself takes a megabyte more or less each time, and a unit must not differ for that. */
const MEMORY_UNIT = 64 * 1024 * 1024;

const SYSTEM_DIRECTORY = "/etc/systemd/system";

/** Where services have directories for what can be made again, under their names. */
const CACHES = "/var/cache";

/** What the units' files can be called. */
const unitName: Kind<string> = {
  read(value, label) {
    if (!/^[\w:.-]{1,100}$/.test(value))
      throw new UsageError(`${label} takes a plain name such as llm, not '${value}'`);
    return value;
  },
};

const unitOptions = {
  user: { group: "Units", help: "for your own manager, systemctl --user", place: "line", isSwitch: true },
  name: {
    group: "Units",
    help: "what the units are called",
    place: "line",
    placeholder: "NAME",
    kind: unitName,
    default: "wrinklefree",
  },
  "memory-max": {
    group: "Units",
    help: "what the service may take at most, such as 4G",
    place: "line",
    placeholder: "SIZE",
    kind: size,
    otherwise: "what serve --dry-run plans at most and a tenth more, unless the model has yet to be pulled",
  },
  directory: {
    group: "Units",
    help: "where install writes them",
    place: "line",
    placeholder: "DIR",
    kind: directory,
    otherwise: `${SYSTEM_DIRECTORY}, or systemd/user in $XDG_CONFIG_HOME or ~/.config`,
  },
  force: { group: "Units", help: "replace units that are there and differ", place: "line", isSwitch: true },
} as const satisfies Options;

const options = { ...unitOptions, ...serverOptions, ...configOption } as const satisfies Options;
type GivenUnits = Given<typeof options>;

/** Settings of serve that the units have instead of the command line. */
const IN_UNITS = ["host", "port", "listen", "socket-mode", "model", ...Object.keys(unitOptions)];

export const command = declareCommand({
  name: "systemd",
  summary: "print or install units that run the server as a service",
  synopsis: ["systemd print [MODEL] [options]", "systemd install [MODEL] [options]"],
  description: [
    "Two units: a socket, which listens, and a service with a user of its own that can reach little else of the machine. Options of serve " +
      "become those of the service; what stands in /etc/wrinklefree/config.toml holds as well. The model can be a path, or a name for " +
      "which the service has a store of its own: --pull has it pulled there.",
    "What the service would fail by is said, as far as it can be found out here: a file that is not there or that its user can't read, a " +
      "model that can't be served or does not fit into the memory, an address for others without keys. Then the exit code is 1, and " +
      "install writes nothing.",
  ],
  options,
  wordsMax: 2,
  words: [["print", "install"], "model"],
  examples: [
    ["wrinklefree systemd print --user", "look at them"],
    ["sudo wrinklefree systemd install /srv/model.wf --api-key-file /etc/wrinklefree/keys", "then follow what it says"],
  ],
  run,
});

async function run(given: GivenUnits): Promise<number> {
  const [what, ...words] = given.words;
  if (what !== "print" && what !== "install") {
    throw new UsageError(`systemd takes what to do, print or install${what === undefined ? "" : `, not '${what}'`}`);
  }
  const { service, faults, advice } = await describeService({ ...given, words });
  const isSound = faults.length === 0;
  const units = makeUnits(service);
  const place = given.values.directory ?? (service.isForUser ? userDirectory() : SYSTEM_DIRECTORY);
  if (what === "print")
    results.write(units.map(({ fileName, text }) => `# ${join(place, fileName)}\n${text}`).join("\n"));
  else if (isSound) install(units, place, given.values.force);
  for (const fault of faults) notes.write(`wrinklefree: the service could not serve: ${fault}\n`);
  for (const one of advice) notes.write(`wrinklefree: ${one}\n`);
  if (what === "install") notes.write(isSound ? nextSteps(service) : "wrinklefree: nothing is installed\n");
  return isSound ? 0 : 1;
}

async function describeService(
  given: GivenUnits,
): Promise<{ service: ServiceDescription; faults: string[]; advice: string[] }> {
  const { values } = given;
  if (given.isOnLine("api-key")) {
    throw new UsageError("--api-key would stand in a unit, which everybody can read; use --api-key-file");
  }
  certificateFiles(values);
  const model = chosenModel(given);
  const served = model === undefined ? [] : [asServed(model)];
  const program = [process.execPath, ...ownScript()];
  const passedOn = given.settings.filter(
    ({ name, option, sources }) => sources[0]?.kind === "option" && option.place !== "line" && !IN_UNITS.includes(name),
  );
  const isForUser = values.user;
  const secrets = isForUser ? [] : passedOn.flatMap(secretFiles);
  const credentials = secrets.filter(({ path }) => isForRootAlone(path));
  const groups = secrets.map(({ path }) => readersGroup(path)).filter((group) => group !== undefined);
  const places = chosenPlaces(values, []);
  const store = given.isOnLine("store") && values.store !== undefined ? resolve(values.store) : undefined;
  const { faults, advice, most } = await examineService({
    given,
    isForUser,
    places,
    model,
    store: store ?? (isForUser ? values.store : join(CACHES, values.name)),
    memoryMax: values["memory-max"],
  });
  const planned = most === undefined ? undefined : Math.ceil((most * MEMORY_MARGIN) / MEMORY_UNIT) * MEMORY_UNIT;
  const service: ServiceDescription = {
    name: values.name,
    isForUser,
    what: model ?? "the demo model",
    command: [...program, "serve", ...served, ...passedOn.flatMap((setting) => argumentsOf(setting, credentials))],
    places: places.map(streamOf),
    socketMode: values["socket-mode"].toString(8).padStart(3, "0"),
    readPaths: [...program, ...served, ...passedOn.flatMap(filesOf)].filter((path) => path.startsWith("/")),
    store,
    groups: [...new Set(groups)],
    credentials,
    drainSeconds: values["drain-timeout"],
    memoryMax: values["memory-max"] ?? planned,
  };
  const copied = credentials.filter(({ path }) => fileFault(path) === undefined);
  return { service, faults, advice: [...advice, ...copied.map(copyAdvice)] };
}

/** A model as the service is to be given it: paths as a whole, names as they are. */
function asServed(model: string): string {
  if (existsSync(model)) return realpathSync(model);
  return looksLikePath(model) ? resolve(model) : model;
}

/** What may be a surprise of a file that is handed over. */
function copyAdvice({ path }: { path: string }): string {
  return `only root may read ${path}, so the service gets a copy when it starts; restart it after a change`;
}

/** A place as ListenStream= has it. @throws Failure for what no unit can name. */
function streamOf(place: Place): string {
  if (place.kind === "unix") return place.path;
  if (place.kind === "passed") return place.address;
  const { hostname, port } = place;
  const address = hostname === "localhost" ? "127.0.0.1" : hostname;
  if (isIP(address) === 0) throw new Failure(`a socket unit listens on addresses; give that of '${hostname}'`);
  if (port === 0) throw new Failure("a socket unit listens on a port that is known; give another one than 0");
  return describePlace({ kind: "address", hostname: address, port });
}

/** What an option that was given becomes on the service's command line. */
function argumentsOf({ name, option, value }: Setting, credentials: ServiceDescription["credentials"]): Word[] {
  if (value === undefined || value === false) return [];
  if (value === true || option.isSwitch) return [`--${name}`];
  const isPath = option.kind === file || option.kind === directory;
  return value.flatMap((text) => {
    const path = isPath ? resolve(text) : text;
    const credential = credentials.find((one) => one.path === path);
    return [`--${name}`, credential === undefined ? path : { credential: credential.name }];
  });
}

/** The files that an option names, by their whole paths. */
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

function userDirectory(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "systemd", "user");
}

function install(units: readonly Unit[], place: string, isForced: boolean): void {
  const paths = units.map(({ fileName }) => join(place, fileName));
  const differs = units.find(({ text }, index) => {
    const path = paths[index] as string;
    return existsSync(path) && readFileSync(path, "utf8") !== text;
  });
  if (differs !== undefined && !isForced) {
    throw new Failure(`${join(place, differs.fileName)} is there and says something else; add --force to replace it`);
  }
  try {
    mkdirSync(place, { recursive: true });
    for (const [index, { text }] of units.entries()) writeWholeFile(paths[index] as string, text);
  } catch (error) {
    throw new Failure(`can't write units to ${place}: ${describeSystemError(error)}; use sudo, --user or --directory`);
  }
  results.write(paths.map((path) => `${path}\n`).join(""));
}

function nextSteps({ name, isForUser }: ServiceDescription): string {
  const control = `systemctl ${isForUser ? "--user " : ""}`;
  return `now run\n  ${control}daemon-reload\n  ${control}enable --now ${name}.socket ${name}.service\n`;
}
