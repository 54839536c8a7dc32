/**
 * Whether C is formatted as csrc/.clang-format says: `bun tools/format_c.ts --check`; without --check it formats it.
 */

const root = `${import.meta.dir}/..`;
const isCheck = process.argv.includes("--check");

const clangFormat = Bun.which("clang-format");
if (clangFormat === null) {
  const install = process.platform === "darwin" ? "brew install clang-format" : "sudo apt-get install -y clang-format";
  console.error(`check: there is no clang-format, which checks how C is formatted; install with: ${install}`);
  process.exit(1);
}
const sources = [...new Bun.Glob("csrc/**/*.{c,h}").scanSync({ cwd: root })].sort();
const { exitCode } = Bun.spawnSync([clangFormat, ...(isCheck ? ["--dry-run", "--Werror"] : ["-i"]), ...sources], {
  cwd: root,
  stdout: "inherit",
  stderr: "inherit",
});
if (isCheck && exitCode !== 0) console.error("check: C is not formatted; run 'bun tools/format_c.ts'");
process.exit(exitCode);
