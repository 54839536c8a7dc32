/**
 * The units with which systemd runs a server: a .socket unit that listens, so that nobody is turned away while the server is started or
 * restarted, and a .service unit that lets it reach nothing but its model, its files and its sockets.
 */

import { STOP_MARGIN_S } from "../server/service_manager.ts";
import { isHidden } from "./systemd_files.ts";

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
    Unit: [`Description=Sockets of ${name}: ${specifiersEscaped(what)}`],
    Socket: [
      ...places.map((place) => `ListenStream=${specifiersEscaped(place)}`),
      `SocketMode=0${socketMode}`,
      "Backlog=4096",
    ],
    Install: ["WantedBy=sockets.target"],
  });
}

function serviceUnit(service: ServiceDescription): string {
  const { name, what, command, drainSeconds, memoryMax, isForUser } = service;
  return section({
    Unit: [
      `Description=wrinklefree: ${specifiersEscaped(what)}`,
      `Requires=${name}.socket`,
      `After=${name}.socket${isForUser ? "" : " network-online.target"}`,
      ...(isForUser ? [] : ["Wants=network-online.target"]),
    ],
    Service: [
      "# It says when it answers, and that its engine goes on: WatchdogSec= restarts one that is stuck.",
      "Type=notify",
      "NotifyAccess=main",
      `ExecStart=${command.map(quoted).join(" ")}`,
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
  const shown = readPaths.filter(isHidden);
  return [
    "# A user that exists as long as the service runs. Its files are in /var/lib and /var/cache.",
    "DynamicUser=yes",
    `StateDirectory=${name}`,
    `CacheDirectory=${name}`,
    `WorkingDirectory=%S/${name}`,
    ...(store === undefined ? [`Environment=WRINKLEFREE_STORE=%C/${name}`] : [`ReadWritePaths=${quoted(store)}`]),
    ...groups.map((group) => `SupplementaryGroups=${group}`),
    ...credentials.map(({ name: credential, path }) => `LoadCredential=${credential}:${specifiersEscaped(path)}`),
    ...shown.map((path) => `BindReadOnlyPaths=${quoted(path)}`),
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    `ProtectHome=${shown.length > 0 ? "tmpfs" : "yes"}`,
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

/** A word as systemd reads it in a command line or a list of paths. */
function quoted(word: Word): string {
  if (typeof word !== "string") return `%d/${word.credential}`;
  const escaped = specifiersEscaped(word.replaceAll("\\", "\\\\").replaceAll('"', '\\"')).replaceAll("$", "$$$$");
  return /^[\w@%+=:,./-]+$/.test(word) ? escaped : `"${escaped}"`;
}

function specifiersEscaped(text: string): string {
  return text.replaceAll("%", "%%");
}
