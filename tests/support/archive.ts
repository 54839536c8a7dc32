/** Fixtures that are kept compressed, because formats repeat each other's contents. */

import { join } from "node:path";
import { fixtures } from "./command_line.ts";

/** Unpacks tests/fixtures/NAME.tar.zst into a directory. */
export async function unpackFixtures(name: string, directory: string): Promise<void> {
  const archive = await Bun.file(join(fixtures, `${name}.tar.zst`)).bytes();
  await new Bun.Archive(await Bun.zstdDecompress(archive)).extract(directory);
}
