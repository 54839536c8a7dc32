/**
 * What the options of a server come to as far as it can change while the server runs. SIGHUP has the configuration files, the files of
 * keys and the certificate read again, all or nothing: if anything is wrong with one of them, everything stays as it was.
 */

import { Failure, UsageError } from "../errors.ts";
import { reloadableNames } from "../options/option.ts";
import type { Given, Setting } from "../options/settings.ts";
import { describeSources, describeValue } from "../options/shown.ts";
import type { RequestSettings } from "../server/app.ts";
import type { KeySource } from "../server/auth.ts";
import { type Certificate, readCertificate } from "../server/certificate.ts";
import { TrustedProxies } from "../server/client_address.ts";
import { hostOf, isLocal, type Place } from "../server/places.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import type { AnswerSettings } from "../serving/state.ts";
import { harmless } from "../terminal/harmless.ts";
import { plural } from "../terminal/plural.ts";
import type { TemplateSettings } from "../text/chat_template.ts";
import { givenKeys } from "./api_keys.ts";
import { settingsWithModel, templateSettings } from "./model_options.ts";
import { ANSWERS_MAX, certificateFiles, keyLimits, serveOptions } from "./serve_options.ts";

type GivenServe = Given<typeof serveOptions>;
type Values = GivenServe["values"];

/** What holds, read and checked. */
export interface ServeSettings {
  answers: AnswerSettings;
  requests: RequestSettings;
  prompts: TemplateSettings;
  keys: KeySource;
  /** Of each key that has none of its own. */
  keyLimits: KeyLimits;
  /** Undefined: no TLS. */
  certificate: Certificate | undefined;
  /** How long answers under way may take to finish at the end. */
  drainSeconds: number;
}

/** The settings of one server. */
export class LiveSettings {
  #given: GivenServe;
  readonly #places: readonly Place[];
  #current: ServeSettings;

  /** @throws Failure for what can't be served with. */
  constructor(given: GivenServe, keys: KeySource, places: readonly Place[]) {
    this.#given = given;
    this.#places = places;
    this.#current = readSettings(given.values, keys, places);
  }

  get current(): ServeSettings {
    return this.#current;
  }

  /**
   * Reads everything again, and says on stderr what came of it.
   *
   * @param use takes over what was read, or throws a Failure and changes nothing.
   */
  async reload(use: (fresh: ServeSettings, before: ServeSettings) => void): Promise<void> {
    try {
      const wanted = await this.#given.again();
      const given = reloadable(this.#given, wanted);
      const { values } = given;
      const keys = this.#current.keys.again(givenKeys(values), values["api-key-file"]);
      const settings = readSettings(values, keys, this.#places);
      use(settings, this.#current);
      const changes = [...changesBetween(this.#given, given), ...restartsFor(given, wanted)];
      this.#given = given;
      this.#current = settings;
      say([`reloaded: ${summary(settings)}`, ...changes]);
    } catch (error) {
      if (!(error instanceof Failure || error instanceof UsageError)) throw error;
      say([`nothing is reloaded, everything stays as it was: ${error.message}`]);
    }
  }
}

/** @throws Failure, UsageError. */
function readSettings(values: Values, keys: KeySource, places: readonly Place[]): ServeSettings {
  const exposed = places.find((place) => !isLocal(place));
  if (exposed !== undefined && keys.keys.length === 0 && !values.insecure) {
    throw new Failure(
      `refusing to listen on ${hostOf(exposed)}, where anyone who can reach it could use the server; set WRINKLEFREE_API_KEY or --api-key-file, or add --insecure if that is wanted`,
    );
  }
  const files = certificateFiles(values);
  const certificate = files === undefined ? undefined : readCertificate(files);
  if (certificate?.warning !== undefined) say([`warning: ${certificate.warning}`]);
  return {
    answers: {
      temperature: values.temperature,
      reasoningFormat: values["reasoning-format"],
      names: { served: values["served-name"], aliases: values.alias, any: values["any-model"] },
      limits: {
        answers: values.queue === undefined ? ANSWERS_MAX : values.parallel + values.queue,
        promptTokens: values["queue-tokens"],
      },
    },
    requests: {
      trustedProxies: new TrustedProxies(values["trusted-proxy"]),
      allowedHosts: values["allowed-host"],
      corsOrigins: values["cors-origin"],
      keepAliveSeconds: values["keep-alive"],
      basePath: values["base-path"],
      log: values.log,
    },
    prompts: templateSettings(values),
    keys,
    keyLimits: keyLimits(values),
    certificate,
    drainSeconds: values["drain-timeout"],
  };
}

/** What holds when everything is taken over that can be. */
function reloadable(before: GivenServe, wanted: GivenServe): GivenServe {
  const names = reloadableNames(serveOptions) as (keyof Values)[];
  const fresh = Object.fromEntries(names.map((name) => [name, wanted.values[name]]));
  const settings = before.settings.map((setting, index) =>
    setting.option.isReloadable ? (wanted.settings[index] as Setting) : setting,
  );
  return { ...wanted, values: { ...before.values, ...fresh } as Values, settings };
}

function summary({ keys, certificate }: ServeSettings): string {
  const count = new Set(keys.keys.map(({ text }) => text)).size;
  const parts = [plural(count, "API key")];
  if (certificate !== undefined) parts.push(`certificate of ${certificate.description}`);
  return parts.join(", ");
}

/** A line for each setting that is another one now. */
function changesBetween(before: GivenServe, after: GivenServe): string[] {
  return differences(before, after).map(
    ({ name, was, is, source }) => `${name} is now ${is}, after ${was} (${source})`,
  );
}

/** A line for each setting that stays as it is until a restart. */
function restartsFor(given: GivenServe, wanted: GivenServe): string[] {
  return differences(given, wanted).map(
    ({ name, was, is, source }) => `${name} stays ${was}, and is ${is} (${source}) only after a restart`,
  );
}

/** Where one says something else than the other. Keys are not shown. */
function differences(one: GivenServe, other: GivenServe) {
  const others = settingsWithModel(other);
  return settingsWithModel(one).flatMap((setting, index) => {
    const changed = others[index] as Setting;
    if (Bun.deepEquals(setting.value, changed.value)) return [];
    return [
      {
        name: setting.name,
        was: describeValue(setting),
        is: describeValue(changed),
        source: describeSources(changed),
      },
    ];
  });
}

/** Lines of the server's log, which waits for no reader. */
function say(lines: readonly string[]): void {
  process.stderr.write(lines.map((line) => `wrinklefree: ${harmless(line).replaceAll("\n", "\\n")}\n`).join(""));
}
