/**
 * What the options of a server come to as far as it can change while the server runs. SIGHUP has the configuration files, the files of
 * keys and the certificate read again, all or nothing: if anything is wrong with one of them, everything stays as it was.
 */

import { Failure, UsageError } from "../errors.ts";
import { reloadableNames } from "../options/option.ts";
import type { Given, Setting } from "../options/settings.ts";
import { describeSources, describeValue } from "../options/shown.ts";
import type { RequestSettings } from "../server/app.ts";
import { type KeySource, keyChanges } from "../server/auth.ts";
import { type Certificate, isSame, readCertificate } from "../server/certificate.ts";
import { TrustedProxies } from "../server/client_address.ts";
import { logEvent, speakAs } from "../server/log.ts";
import { hostOf, isLocal, type Place } from "../server/places.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import type { AnswerSettings } from "../serving/state.ts";
import { harmless } from "../terminal/harmless.ts";
import { notes } from "../terminal/output.ts";
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
      reportReload(this.#current, settings, differences(this.#given, given), differences(given, wanted));
      speakAs(settings.requests.log);
      this.#given = given;
      this.#current = settings;
    } catch (error) {
      if (!(error instanceof Failure || error instanceof UsageError)) throw error;
      const message = line(`nothing is reloaded, everything stays as it was: ${error.message}`);
      logEvent("reload", message, { is_reloaded: false }, { level: "error" });
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
  if (certificate?.warning !== undefined)
    notes.writeLater(`wrinklefree: warning: ${line(certificate.warning)}\n`, "warn");
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

/**
 * Says what is another one now.
 *
 * @param changed settings that were taken over.
 * @param waiting settings that stay as they are until a restart.
 */
function reportReload(
  before: ServeSettings,
  settings: ServeSettings,
  changed: readonly Difference[],
  waiting: readonly Difference[],
): void {
  const keys = keyChanges(before.keys.keys, settings.keys.keys);
  const message = `reloaded: ${summary(settings)}`;
  const lines = [
    message,
    ...keys.added.map((key) => `key ${key} is new`),
    ...keys.removed.map((key) => `key ${key} is gone`),
    ...keys.changed.map((key) => `key ${key} has another name, or other limits`),
    ...changed.map(({ name, was, is, source }) => `${name} is now ${is}, after ${was} (${source})`),
    ...waiting.map(
      ({ name, was, is, source }) => `${name} stays ${was}, and is ${is} (${source}) only after a restart`,
    ),
  ];
  const { certificate } = settings;
  const facts = {
    is_reloaded: true,
    keys_added: keys.added,
    keys_removed: keys.removed,
    keys_changed: keys.changed,
    is_certificate_new: certificate !== undefined && !isSame(certificate, before.certificate),
    settings_changed: changed,
    settings_waiting: waiting,
  };
  logEvent("reload", line(message), facts, { text: lines.map((text) => `wrinklefree: ${line(text)}\n`).join("") });
}

/** A setting of which something else was said. */
interface Difference {
  name: string;
  was: string;
  is: string;
  /** Where it is said now. */
  source: string;
}

/** Where one says something else than the other. Keys are not shown. */
function differences(one: GivenServe, other: GivenServe): Difference[] {
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

/** A text as one line of the log. */
function line(text: string): string {
  return harmless(text).replaceAll("\n", "\\n");
}
