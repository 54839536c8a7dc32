/** `wrinklefree systemd`: units that run the server as a service. */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { describeSystemError, Failure, UsageError } from "../errors.ts";
import { directory, type Kind, size } from "../options/kinds.ts";
import type { Options } from "../options/option.ts";
import { configOption, type Given } from "../options/settings.ts";
import { type Place, socketAddress } from "../server/places.ts";
import { notes, results } from "../terminal/output.ts";
import { writeWholeFile } from "../whole_file.ts";
import { type CommandTable, declareCommand } from "./command.ts";
import { certificateFiles, serverOptions } from "./serve_options.ts";
import { resolveOptions } from "./store_options.ts";
import { examineService } from "./systemd_faults.ts";
import { fileFault } from "./systemd_files.ts";
import { mayHoldPassword, startedService } from "./systemd_service.ts";
import { makeUnits, type ServiceDescription, type Unit } from "./systemd_units.ts";

/** How much more than planned a service may take. */
const MEMORY_MARGIN = 1.1;

/** Limits are a multiple of so many bytes: the program itself takes a megabyte more or less each time, and a unit must not differ for that. */
const MEMORY_UNIT = 64 * 1024 * 1024;

/** What the kernel's addresses have room for, in bytes. */
const UNIX_PATH_MAX = 107;

const SYSTEM_DIRECTORY = "/etc/systemd/system";

/** What the units' files can be called. */
const unitName: Kind<string> = {
  read(value, label) {
    // Directories have it as well: systemd takes a colon there as the end of their name, and needs "private" itself.
    if (!/^\w[\w.-]{0,99}$/.test(value) || value === "private")
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

export const command = declareCommand({
  name: "systemd",
  summary: "print or install units that run the server as a service",
  synopsis: ["systemd print [MODEL] [options]", "systemd install [MODEL] [options]"],
  description: [
    "Two units: a socket, which listens, and a service with a user of its own that can reach little else of the machine. Options of serve, " +
      "and its variables in the environment, become those of the service; what stands in the configuration file that it will read holds as " +
      "well: --config, or /etc/wrinklefree/config.toml, with --user your own. What can't go along is said. The model can be a path, or a name for " +
      "which the service has a store of its own: --pull has it pulled there.",
    "What the service would fail by is said, as far as it can be found out here: a file that is not there or that its user can't read, a " +
      "model that can't be served or does not fit into the memory, an address for others without keys. Then the exit code is 1, and " +
      "install writes nothing.",
  ],
  options,
  settingsOf: "serve",
  wordsMax: 2,
  words: [["print", "install"], "model"],
  examples: [
    ["wrinklefree systemd print --user", "look at them"],
    ["sudo wrinklefree systemd install /srv/model.wf --api-key-file /etc/wrinklefree/keys", "then follow what it says"],
  ],
  run,
});

async function run(given: GivenUnits, table: CommandTable): Promise<number> {
  const [what, ...words] = given.words;
  if (what !== "print" && what !== "install") {
    throw new UsageError(`systemd takes what to do, print or install${what === undefined ? "" : `, not '${what}'`}`);
  }
  const { service, faults, advice } = await describeService({ ...given, words }, table);
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
  table: CommandTable,
): Promise<{ service: ServiceDescription; faults: string[]; advice: string[] }> {
  const { name, user: isForUser, "memory-max": memoryMax } = given.values;
  if (given.isOnLine("api-key")) {
    throw new UsageError("--api-key would stand in a unit, which everybody can read; use --api-key-file");
  }
  const collector = given.settings.find((setting) => setting.name === "otlp-endpoint");
  if (given.isOnLine("otlp-endpoint") && collector !== undefined && mayHoldPassword(collector)) {
    throw new UsageError(
      "--otlp-endpoint may hold a password here and would stand in a unit, which everybody can read; have it in the service's configuration file",
    );
  }
  resolveOptions(given);
  const started = await startedService(given, { name, isForUser }, table);
  const { values } = started.given;
  certificateFiles(values);
  const { faults, advice, most } = await examineService(started, memoryMax);
  const planned = most === undefined ? undefined : Math.ceil((most * MEMORY_MARGIN) / MEMORY_UNIT) * MEMORY_UNIT;
  const { credentials } = started;
  const service: ServiceDescription = {
    name,
    isForUser,
    what: started.model ?? "the demo model",
    command: started.command,
    places: started.places.map(streamOf),
    socketMode: values["socket-mode"].toString(8).padStart(3, "0"),
    readPaths: started.readPaths,
    store: values.store,
    groups: started.groups,
    credentials,
    drainSeconds: values["drain-timeout"],
    memoryMax: memoryMax ?? planned,
  };
  const copied = credentials.filter(({ path }) => fileFault(path) === undefined);
  return { service, faults, advice: [...started.advice, ...advice, ...new Set(copied.map(copyAdvice))] };
}

/** What may be a surprise of a file that is handed over. */
function copyAdvice({ path }: { path: string }): string {
  return `only root may read ${path}, so the service gets a copy when it starts; restart it after a change`;
}

/** A place as ListenStream= has it. @throws Failure for what no unit can name. */
function streamOf(place: Place): string {
  if (place.kind === "unix") {
    if (Buffer.byteLength(place.path) > UNIX_PATH_MAX) {
      throw new Failure(`no socket can have a path of more than ${UNIX_PATH_MAX} bytes: ${place.path}`);
    }
    return place.path;
  }
  if (place.kind === "passed") return place.address;
  const { hostname, port } = place;
  if (hostname !== "localhost" && isIP(hostname) === 0) {
    throw new Failure(`a socket unit listens on addresses; give that of '${hostname}'`);
  }
  if (port === 0) throw new Failure("a socket unit listens on a port that is known; give another one than 0");
  return socketAddress(place);
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
