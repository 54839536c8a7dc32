/** What the process needs around it: a temporary directory, a port, file descriptors, the store. */

import { accessSync, constants, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { describeSystemError, type Failure } from "../errors.ts";
import { descriptorLimit } from "../machine/system.ts";
import type { Store } from "../models/store.ts";
import { COMFORTABLE_DESCRIPTORS } from "../server/descriptors.ts";
import { describePlace, hostOf, type Place } from "../server/places.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { type Finding, fail, failure, ok, warn } from "./finding.ts";

/** The executable unpacks its library, a few megabytes, at each start. */
const TEMPORARY_BYTES = 64_000_000;

/** How long a server that holds the port may take to say what it is. */
const ANSWER_MS = 1000;

/** The directory into which the library is unpacked. @param loadFailure why it could not be loaded from there. */
export function examineTemporaryDirectory(loadFailure: Failure | undefined): Finding {
  const directory = process.env.BUN_TMPDIR ?? tmpdir();
  if (loadFailure !== undefined) return failure("temporary directory", loadFailure);
  try {
    accessSync(directory, constants.W_OK);
    const { bavail, bsize } = statfsSync(directory);
    const text = `${directory}: can be written to, programs run there, ${formatBytes(bavail * bsize)} free`;
    if (bavail * bsize >= TEMPORARY_BYTES) return ok("temporary directory", text);
    return warn("temporary directory", text, "make room, or set BUN_TMPDIR to another directory");
  } catch (error) {
    const text = `${directory}: ${describeSystemError(error)}`;
    return fail(
      "temporary directory",
      text,
      "set BUN_TMPDIR to a directory where files may be written and programs may run",
    );
  }
}

/** Whether a server could listen at a place. */
export async function examinePlace(place: Place): Promise<Finding> {
  const name = describePlace(place);
  if (place.kind === "unix") return examineSocketPath(place.path, name);
  const [hostname, port] = place.kind === "address" ? [place.hostname, place.port] : ["", 0];
  try {
    Bun.listen({ hostname, port, socket: { data() {} } }).stop(true);
    return ok("port", port === 0 ? `any that is free on ${hostname}` : `${name} is free`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE" && (await isOwnServer(place)))
      return ok("port", `${name}: a wrinklefree server runs there`);
    const remedy = {
      EADDRINUSE: "choose another --port, or end what listens there (ss -ltnp)",
      EACCES: "choose a --port from 1024 on, or allow it with AmbientCapabilities=CAP_NET_BIND_SERVICE",
    }[code ?? ""];
    const text = code === "EADDRINUSE" ? "another program listens there" : describeSystemError(error);
    return fail("port", `${name}: ${text}`, remedy ?? "choose another --host or --port");
  }
}

function examineSocketPath(path: string, name: string): Finding {
  try {
    accessSync(dirname(path), constants.W_OK);
    return ok("port", `${name}: its directory can be written to`);
  } catch (error) {
    const text = `${name}: ${dirname(path)}: ${describeSystemError(error)}`;
    return fail("port", text, "make the directory, for the user that the server runs as (RuntimeDirectory=)");
  }
}

async function isOwnServer(place: Place): Promise<boolean> {
  const anywhere: Record<string, string> = { "0.0.0.0": "127.0.0.1", "::": "::1" };
  const host = anywhere[hostOf(place)] ?? hostOf(place);
  const address = place.kind === "address" ? describePlace({ ...place, hostname: host }) : "";
  const asked = ["http", "https"].map(async (scheme) => {
    // Whoever it is: nothing secret is asked, and nothing is believed but the name.
    const tls = { rejectUnauthorized: false };
    const response = await fetch(`${scheme}://${address}/health`, { signal: AbortSignal.timeout(ANSWER_MS), tls });
    if (!("kernels" in ((await response.json()) as object))) throw new Error("another program");
  });
  return await Promise.any(asked).then(
    () => true,
    () => false,
  );
}

/** How many clients can be connected. */
export function examineDescriptors(): Finding {
  const limit = descriptorLimit();
  const text = Number.isFinite(limit) ? `${limit} files and connections` : "no limit that the system tells";
  if (limit >= COMFORTABLE_DESCRIPTORS) return ok("descriptors", text);
  return warn("descriptors", text, "raise it with 'ulimit -n' or LimitNOFILE=: each client takes one");
}

/** Whether models can be pulled and converted. */
export function examineStore(store: Store): Finding {
  try {
    const directory = store.existingDirectory();
    accessSync(directory, constants.W_OK);
    const { bavail, bsize } = statfsSync(directory);
    return ok("store", `${store.title}: ${formatBytes(bavail * bsize)} free`);
  } catch (error) {
    const text = `${store.directory}: ${describeSystemError(error)}`;
    if (!store.isThere) return fail("store", text, "name another directory with --store or WRINKLEFREE_STORE");
    return warn(
      "store",
      text,
      "models in it are served all the same; to pull others, name another directory with --store",
    );
  }
}
