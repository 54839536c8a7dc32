/** Places that are mounted for one program alone, where this process may mount: as root, with util-linux. */

const PATH = process.env.PATH ?? "/usr/bin:/bin";

/** Words before a command line that mount something for it alone, and run a command after it; undefined where that is not allowed. */
export function mounting(mount: string, after = "true"): string[] | undefined {
  const wrapper = ["unshare", "--mount", "sh", "-c", `${mount} && { "$0" "$@"; code=$?; ${after}; exit $code; }`];
  if (Bun.which("unshare") === null) return undefined;
  return Bun.spawnSync([...wrapper, "/bin/true"], { env: { PATH } }).exitCode === 0 ? wrapper : undefined;
}

/** The same for a directory on a disk of its own. @param size as tmpfs has it: "4m". */
export function smallDisk(directory: string, size: string, after = "true"): string[] | undefined {
  return mounting(`mkdir -p ${directory} && mount -t tmpfs -o size=${size} tmpfs ${directory}`, after);
}
