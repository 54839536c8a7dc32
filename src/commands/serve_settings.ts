/**
 * What the options of a server come to as far as it can change while the server runs. SIGHUP has the configuration files, the files of
 * keys and the certificate read again. Each stands for itself: where anything is wrong with the configuration, the certificate or a
 * file of keys, it stays as it was, and the others are taken over. So a key that is taken out of its file is out, whatever is wrong
 * elsewhere.
 */

import { Failure, UsageError } from "../errors.ts";
import { reloadableNames } from "../options/option.ts";
import type { Given, Setting } from "../options/settings.ts";
import { describeSources, describeValue } from "../options/shown.ts";
import type { RequestSettings } from "../server/app.ts";
import { keyChanges } from "../server/auth.ts";
import { type Certificate, isSame, readCertificate } from "../server/certificate.ts";
import { TrustedProxies } from "../server/client_address.ts";
import { requireKeys } from "../server/exposure.ts";
import type { KeySource } from "../server/key_file.ts";
import { type LogFormat, logEvent, speakAs } from "../server/log.ts";
import type { Place } from "../server/places.ts";
import type { KeyLimits } from "../serving/api_key.ts";
import type { AnswerSettings } from "../serving/state.ts";
import { harmlessLine } from "../terminal/harmless.ts";
import { notes } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import type { TemplateSettings } from "../text/chat_template.ts";
import { givenKeys } from "./api_keys.ts";
import { settingsWithModel, templateSettings } from "./model_options.ts";
import { ANSWERS_MAX, certificateFiles, chosenPlaces, keyLimits, serveOptions } from "./serve_options.ts";

type GivenServe = Given<typeof serveOptions>;
type Values = GivenServe["values"];

/** What holds, read and checked, beside the certificate. */
export interface ServeSettings {
  answers: AnswerSettings;
  requests: RequestSettings;
  prompts: TemplateSettings;
  keys: KeySource;
  /** Of each key that has none of its own. */
  keyLimits: KeyLimits;
  /** How long answers under way may take to finish at the end. */
  drainSeconds: number;
  log: LogFormat;
}

/** What takes over what was read again. */
export interface Taker {
  use(fresh: ServeSettings): void;
  /** @throws Failure; then the old one stays in use. */
  useCertificate(fresh: Certificate): void;
  /** @throws Failure where the model could not be served again with these settings. */
  checkModel(wanted: GivenServe): void;
}

/** What can stay as it was while the rest is taken over. */
export type Part = "configuration" | "keys" | "certificate";

/** Why one did. */
interface Refusal {
  part: Part;
  message: string;
}

/** The settings of one server. */
export class LiveSettings {
  #given: GivenServe;
  readonly #places: readonly Place[];
  #current: ServeSettings;
  #certificate: Certificate | undefined;

  /** @throws Failure for what can't be served with. */
  constructor(given: GivenServe, keys: KeySource, places: readonly Place[]) {
    this.#given = given;
    this.#places = places;
    this.#current = readSettings(given.values, keys, places);
    this.#certificate = certificateOf(given.values);
  }

  get current(): ServeSettings {
    return this.#current;
  }

  /** Undefined: no TLS. */
  get certificate(): Certificate | undefined {
    return this.#certificate;
  }

  /** Reads everything again, and says on stderr what came of it. @returns what stays as it was because something is wrong with it. */
  async reload(taker: Taker): Promise<Part[]> {
    const refusals: Refusal[] = [];
    const { given, wanted, settings } = await this.#readAgain(refusals);
    const startFault = this.#startFault(wanted, settings.keys, taker);
    refusals.push(...settings.keys.refusals.map((message): Refusal => ({ part: "keys", message })));
    taker.use(settings);
    const isCertificateNew = this.#takeCertificate(taker, refusals);
    const keys = keyChanges(this.#current.keys.keys, settings.keys.keys);
    const changes = {
      keys_added: keys.added,
      keys_removed: keys.removed,
      keys_changed: keys.changed,
      is_certificate_new: isCertificateNew,
      settings_changed: differences(this.#given, given),
      settings_waiting: differences(given, wanted),
      start_fault: startFault ?? null,
    };
    this.#given = given;
    this.#current = settings;
    reportReload(summary(settings.keys, this.#certificate), refusals, changes);
    speakAs(settings.log);
    return refusals.map(({ part }) => part);
  }

  /** The settings and keys of the files as they are now; of those that hold where the configuration can't be taken over. */
  async #readAgain(refusals: Refusal[]): Promise<{ given: GivenServe; wanted: GivenServe; settings: ServeSettings }> {
    try {
      const wanted = await this.#given.again();
      const given = reloadable(this.#given, wanted);
      const settings = this.#settingsOf(given);
      // A file with which the server could not start for want of keys is not one to take its keys away.
      if (this.#current.keys.count > 0) {
        requireKeys(this.#placesOf(wanted), settings.keys.count, wanted.values.insecure);
      }
      return { given, wanted, settings };
    } catch (error) {
      refusals.push({ part: "configuration", message: messageOf(error) });
      const given = this.#given;
      return { given, wanted: given, settings: this.#settingsOf(given) };
    }
  }

  #settingsOf({ values }: GivenServe): ServeSettings {
    const keys = this.#current.keys.again(givenKeys(values), values["api-key-file"]);
    return readSettings(values, keys, this.#places);
  }

  /** Where a server would listen that is started again. */
  #placesOf({ values }: GivenServe): Place[] {
    return chosenPlaces(
      values,
      this.#places.filter(({ kind }) => kind === "passed"),
    );
  }

  /** Why a server could not be started again with what its files say now, as far as that is known; undefined: it could be. */
  #startFault(wanted: GivenServe, keys: KeySource, taker: Taker): string | undefined {
    const { values } = wanted;
    const isWaiting = (name: keyof Values) => !Bun.deepEquals(values[name], this.#given.values[name]);
    try {
      readSettings(values, keys, this.#placesOf(wanted));
      if (isWaiting("tls-cert") || isWaiting("tls-key")) {
        const files = certificateFiles(values);
        if (files !== undefined) readCertificate(files);
      }
      taker.checkModel(wanted);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Has the certificate served that its files hold now. @returns whether it is another one. */
  #takeCertificate(taker: Taker, refusals: Refusal[]): boolean {
    try {
      const fresh = certificateOf(this.#given.values, this.#certificate);
      if (fresh === undefined || isSame(fresh, this.#certificate)) return false;
      taker.useCertificate(fresh);
      this.#certificate = fresh;
      return true;
    } catch (error) {
      refusals.push({ part: "certificate", message: messageOf(error) });
      return false;
    }
  }
}

/** What a person can do something about. Anything else is thrown again. */
function messageOf(error: unknown): string {
  if (error instanceof Failure || error instanceof UsageError) return error.message;
  throw error;
}

/** @param before the one that is in use. @throws Failure, UsageError. */
function certificateOf(values: Values, before?: Certificate): Certificate | undefined {
  const files = certificateFiles(values);
  const certificate = files === undefined ? undefined : readCertificate(files, before);
  if (certificate?.warning !== undefined) notes.warnLater(harmlessLine(certificate.warning));
  return certificate;
}

/** @throws Failure, UsageError. */
function readSettings(values: Values, keys: KeySource, places: readonly Place[]): ServeSettings {
  requireKeys(places, keys.count, values.insecure);
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
    },
    prompts: templateSettings(values),
    keys,
    keyLimits: keyLimits(values),
    drainSeconds: values["drain-timeout"],
    log: values.log,
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

function summary(keys: KeySource, certificate: Certificate | undefined): string {
  const parts = [plural(keys.count, "API key")];
  if (certificate !== undefined) parts.push(`certificate of ${certificate.description}`);
  return parts.join(", ");
}

/** What is another one now. */
interface Changes {
  keys_added: string[];
  keys_removed: string[];
  keys_changed: string[];
  is_certificate_new: boolean;
  /** Taken over. */
  settings_changed: Difference[];
  /** As they are until a restart. */
  settings_waiting: Difference[];
  /** Why there would be no restart. */
  start_fault: string | null;
}

/** Says what holds now, what is another one, and what stays as it was. */
function reportReload(holding: string, refusals: readonly Refusal[], changes: Changes): void {
  const { start_fault } = changes;
  const refused = refusals.map(({ part, message }) => ({ part, message: harmlessLine(message) }));
  const message = harmlessLine(`reloaded${refused.length > 0 ? " in part" : ""}: ${holding}`);
  const unchanged = refused.map((refusal) => `${STAYS[refusal.part]}: ${refusal.message}`);
  const lines = [
    message,
    ...unchanged,
    ...changes.keys_added.map((key) => `key ${key} is new`),
    ...changes.keys_removed.map((key) => `key ${key} is gone`),
    ...changes.keys_changed.map((key) => `key ${key} has another name, or other limits`),
    ...changes.settings_changed.map(({ name, was, is, source }) => `${name} is now ${is}, after ${was} (${source})`),
    ...changes.settings_waiting.map(
      ({ name, was, is, source }) => `${name} stays ${was}, and is ${is} (${source}) only after a restart`,
    ),
    ...(start_fault === null ? [] : [`with these settings it could not start again: ${start_fault}`]),
  ];
  logEvent(
    "reload",
    [message, ...unchanged].join("; "),
    { is_reloaded: refused.length === 0, refused, ...changes },
    {
      text: lines.map((text) => `wrinklefree: ${harmlessLine(text)}\n`).join(""),
      level: refused.length > 0 ? "error" : start_fault === null ? "info" : "warn",
    },
  );
}

/** How it is said that something stays as it was. */
const STAYS: Record<Part, string> = {
  configuration: "the configuration stays as it was",
  keys: "the keys of a file stay as they were",
  certificate: "the certificate stays as it was",
};

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
