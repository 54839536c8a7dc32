/** A server in the test's own process, so that the test decides what state it is in. */

import { ApiKeys } from "../../src/server/auth.ts";
import { TrustedProxies } from "../../src/server/client_address.ts";
import { type Listening, listen } from "../../src/server/listening.ts";
import type { ServerState } from "../../src/serving/state.ts";

/** Listens on a free port, without keys. */
export function listenWith(state: ServerState): Promise<Listening> {
  return listen(state, {
    places: [{ kind: "address", hostname: "127.0.0.1", port: 0 }],
    socketMode: 0o660,
    apiKeys: new ApiKeys(),
    requests: {
      trustedProxies: new TrustedProxies([]),
      allowedHosts: [],
      corsOrigins: [],
      keepAliveSeconds: 60,
      basePath: "",
    },
  });
}
