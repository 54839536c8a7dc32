/**
 * The units with which systemd runs a server: a .socket unit that listens, so that nobody is turned away while the server is started or
 * restarted, and a .service unit that lets it reach nothing but its model, its files and its sockets.
 */

import { Failure } from "../errors.ts";
import { STOP_MARGIN_S } from "../server/service_manager.ts";
import { harmlessLine } from "../terminal/harmless.ts";
import { isHidden } from "./systemd_files.ts";

/** What would end a line, or do worse. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0001-\u001f\u007f]/g;

/** What the units are to say. */
export interface ServiceDescription {
  /** Of both units, without what follows the dot. */
  name: string;
  /** Whether they are for a user's own manager. */
  isForUser: boolean;
  /** What is served, for people. */
  what: string;
  /** The command line: program and arguments. */
  command: readonly Word[];
  /** As ListenStream= has them. */
  places: readonly string[];
  /** Permissions of sockets that have a file, in octal digits. */
  socketMode: string;
  /** Paths that the service reads, wherever they lie. */
  readPaths: readonly string[];
  /** A directory that the service writes to, beside its own ones. */
  store: string | undefined;
  /** Groups by whose leave it reads files, by number. */
  groups: readonly number[];
  /** Files that only root may read: they are handed to the service under these names. */
  credentials: readonly { name: string; path: string }[];
  /** Seconds that answers under way have when it stops. */
  drainSeconds: number;
  /** Bytes of memory that it may take. */
  memoryMax: number | undefined;
}

/** An argument; a file that was handed over stands for its path. */
export type Word = string | { credential: string };

/** A unit's file. */
export interface Unit {
  fileName: string;
  text: string;
}

/** The units of a service. */
export function makeUnits(service: ServiceDescription): Unit[] {
  const { name } = service;
  return [
    { fileName: `${name}.socket`, text: socketUnit(service) },
    { fileName: `${name}.service`, text: serviceUnit(service) },
  ];
}

function socketUnit({ name, what, places, socketMode }: ServiceDescription): string {
  return section({
    Unit: [`Description=Sockets of ${name}: ${specifiersEscaped(harmlessLine(what))}`],
    Socket: [...places.map((place) => `ListenStream=${line(place)}`), `SocketMode=0${socketMode}`, "Backlog=4096"],
    Install: ["WantedBy=sockets.target"],
  });
}

function serviceUnit(service: ServiceDescription): string {
  const { name, what, command, drainSeconds, memoryMax, isForUser } = service;
  return section({
    Unit: [
      `Description=wrinklefree: ${specifiersEscaped(harmlessLine(what))}`,
      `Requires=${name}.socket`,
      `After=${name}.socket${isForUser ? "" : " network-online.target"}`,
      ...(isForUser ? [] : ["Wants=network-online.target"]),
    ],
    Service: [
      "# It says when it answers, and that its engine goes on: WatchdogSec= restarts one that is stuck.",
      "Type=notify",
      "NotifyAccess=main",
      `ExecStart=${commandLine(command)}`,
      "# The configuration, keys and certificates are read again.",
      "ExecReload=/bin/kill -HUP $MAINPID",
      "Restart=on-failure",
      "RestartSec=2",
      "# A command line that makes no sense makes none the second time.",
      "RestartPreventExitStatus=2",
      "# It asks for more time as long as loading goes on.",
      "TimeoutStartSec=5min",
      `TimeoutStopSec=${drainSeconds + STOP_MARGIN_S}`,
      "WatchdogSec=2min",
      "WatchdogSignal=SIGKILL",
      "OOMPolicy=stop",
      ...(memoryMax === undefined
        ? []
        : ["# What 'serve --dry-run' plans at most, and some more.", `MemoryMax=${memoryMax}`]),
      "# A dump would hold prompts and keys.",
      "LimitCORE=0",
      "UMask=0077",
      "",
      ...(isForUser ? [] : systemConfinement(service)),
      ...confinement,
    ],
    Install: [`WantedBy=${isForUser ? "default" : "multi-user"}.target`],
  });
}

/** What every manager can keep a service from. */
const confinement = [
  "NoNewPrivileges=yes",
  "LockPersonality=yes",
  "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
  "RestrictNamespaces=yes",
  "RestrictRealtime=yes",
  "RestrictSUIDSGID=yes",
  "SystemCallArchitectures=native",
  "SystemCallFilter=@system-service",
  "SystemCallFilter=~@privileged",
  "SystemCallErrorNumber=EPERM",
  "# JavaScript is compiled while it runs, so memory has to be writable and executable.",
  "MemoryDenyWriteExecute=no",
];

/** What the system's manager can do beside: a user of its own, and nothing of the system but what it reads. */
function systemConfinement({ name, readPaths, store, groups, credentials }: ServiceDescription): string[] {
  const shown = [...new Set(readPaths)].filter(isHidden);
  const isStoreHidden = store !== undefined && isHidden(store);
  return [
    "# A user that exists as long as the service runs. Its files are in /var/lib and /var/cache.",
    "DynamicUser=yes",
    `StateDirectory=${name}`,
    `CacheDirectory=${name}`,
    `WorkingDirectory=%S/${name}`,
    ...(store === undefined
      ? [`Environment=WRINKLEFREE_STORE=%C/${name}`]
      : [`${isStoreHidden ? "BindPaths" : "ReadWritePaths"}=${quotedPath(store)}`]),
    ...groups.map((group) => `SupplementaryGroups=${group}`),
    ...credentials.map(({ name: credential, path }) => `LoadCredential=${credential}:${line(path)}`),
    ...shown.map((path) => `BindReadOnlyPaths=${quotedPath(path)}`),
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    `ProtectHome=${shown.length > 0 || isStoreHidden ? "tmpfs" : "yes"}`,
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateUsers=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RemoveIPC=yes",
  ];
}

function section(sections: Record<string, readonly string[]>): string {
  const texts = Object.entries(sections).map(([name, lines]) => `[${name}]\n${lines.join("\n")}\n`);
  return texts.join("\n");
}

/** A command line: only what stands behind the program is searched for variables. @throws Failure for a program that systemd refuses. */
function commandLine([program, ...words]: readonly Word[]): string {
  if (typeof program !== "string" || /["'\\]/.test(program)) {
    throw new Failure(`systemd runs no ${program}; have the program in a place without quotes and backslashes`);
  }
  return [quoted(program), ...words.map((word) => quoted(word, "$$"))].join(" ");
}

/** A word of a command line. @param dollar what is written for a dollar. */
function quoted(word: Word, dollar = "$"): string {
  if (typeof word !== "string") return `%d/${word.credential}`;
  const escaped = specifiersEscaped(word.replace(/[\\"]/g, "\\$&"))
    .replaceAll("$", () => dollar)
    .replace(CONTROL, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return /^[\w@%+=:,./-]+$/.test(word) ? escaped : `"${escaped}"`;
}

/** A path in a list. It is read twice, without its quotes and then up to a colon; backslashes count the second time. */
function quotedPath(path: string): string {
  const escaped = line(path.replace(/[\\"':]/g, "\\$&"));
  return /^[\w@%+=,./-]+$/.test(path) ? escaped : `"${escaped}"`;
}

/** A value that takes up the rest of its line. @throws Failure for what no line can hold. */
function line(text: string): string {
  if (text.search(CONTROL) >= 0 || text.endsWith("\\")) {
    throw new Failure(
      `a unit can't name ${JSON.stringify(text)}; use a name without control characters and backslashes`,
    );
  }
  return specifiersEscaped(text);
}

function specifiersEscaped(text: string): string {
  return text.replaceAll("%", "%%");
}
