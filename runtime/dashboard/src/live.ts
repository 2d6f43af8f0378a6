// The one stream that all views live on.
//
// It is read with fetch and not with EventSource, which tells no status: whether a key is needed, or a place is missing, is
// something that the page has to say.

import { useEffect, useReducer } from 'preact/hooks';
import { ask, Refused } from './ask';
import { events } from './events';
import type { Brief, Hello, Pool, Savings, Tenants, Who } from './wire';

const RECEIPTS_SHOWN = 500;
const AGAIN_AFTER_MS = [500, 1000, 2000, 5000];
/** Nothing is silent for longer: the server says that it lives. */
const SILENCE_MAX_MS = 40_000;

export type Connection = 'connecting' | 'live' | 'lost' | 'key-needed' | 'not-allowed' | 'full';

export interface Live {
  connection: Connection;
  /** When it was lost, by this browser's clock; none while it is there. */
  lostAt: number | null;
  /** Whether someone had signed in, and is not any more. */
  wasIn: boolean;
  hello: Hello | null;
  pool: Pool | null;
  /** When the pool was told, by this browser's clock. */
  poolAt: number;
  receipts: Brief[];
  /** Whether some came faster than they could be told. */
  missed: boolean;
  tenants: Tenants | null;
  savings: Savings | null;
  ledgerUnavailable: boolean;
}

const NOTHING: Live = {
  connection: 'connecting',
  lostAt: null,
  wasIn: false,
  hello: null,
  pool: null,
  poolAt: 0,
  receipts: [],
  missed: false,
  tenants: null,
  savings: null,
  ledgerUnavailable: false,
};

interface Told {
  event: string;
  data: unknown;
}

type Change = { told: Told } | { connection: Connection };

function changed(live: Live, change: Change): Live {
  if ('connection' in change) {
    const isOut = change.connection === 'key-needed' || change.connection === 'not-allowed';
    // What one key may see is not left on the screen for the next.
    if (isOut) return { ...NOTHING, connection: change.connection, wasIn: live.wasIn || (live.hello?.signed_in ?? false) };
    return { ...live, connection: change.connection, lostAt: live.hello ? (live.lostAt ?? Date.now()) : null };
  }
  const { event, data } = change.told;
  switch (event) {
    case 'hello': {
      const hello = data as Hello;
      const before = live.hello;
      const isSame = before?.tenant === hello.tenant && before.scopes.join() === hello.scopes.join();
      const kept = isSame ? live : NOTHING;
      return { ...kept, hello, connection: 'live', lostAt: null, wasIn: false };
    }
    case 'pool':
      return { ...live, pool: data as Pool, poolAt: Date.now() };
    case 'receipts': {
      const { first, data: briefs } = data as { first: boolean; data: Brief[] };
      const latest = briefs.slice().reverse();
      return {
        ...live,
        missed: first ? false : live.missed,
        receipts: [...latest, ...(first ? [] : live.receipts)].slice(0, RECEIPTS_SHOWN),
      };
    }
    case 'missed':
      return { ...live, missed: true };
    case 'tenants':
      return { ...live, tenants: data as Tenants, ledgerUnavailable: false };
    case 'savings':
      return { ...live, savings: data as Savings, ledgerUnavailable: false };
    case 'unavailable':
      return { ...live, ledgerUnavailable: true };
    default:
      return live;
  }
}

/** Follows the stream for as long as `turn` stays the same. */
export function useLive(turn: number): Live {
  const [live, change] = useReducer(changed, NOTHING);
  useEffect(() => {
    const leaving = new AbortController();
    void follow(leaving.signal, change);
    return () => leaving.abort();
  }, [turn]);
  return live;
}

async function follow(leaving: AbortSignal, change: (change: Change) => void): Promise<void> {
  for (let failures = 0; !leaving.aborted;) {
    const ended = await once(leaving, (told) => {
      failures = 0;
      change({ told });
    });
    if (leaving.aborted) return;
    if (ended === 'key-needed' || ended === 'not-allowed') {
      change({ connection: ended });
      return;
    }
    if (ended !== 'over') {
      change({ connection: ended });
      failures += 1;
    }
    const pause = AGAIN_AFTER_MS[Math.min(failures, AGAIN_AFTER_MS.length - 1)];
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function once(leaving: AbortSignal, tell: (told: Told) => void): Promise<Connection | 'over'> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
  try {
    const signal = AbortSignal.any([leaving, silence.signal]);
    // Whether a key is needed is asked where nobody is refused, and not found out by an error.
    const who = (await (await ask('/v1/sign-in', { signal })).json()) as Who;
    if (who.tenant === null) return 'key-needed';
    if (!who.scopes.includes('read')) return 'not-allowed';
    const response = await ask('/v1/live', { signal });
    if (!response.body) return 'lost';
    for await (const data of events(response.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
      if (data !== null) tell(JSON.parse(data) as Told);
    }
    return 'over';
  } catch (error) {
    return error instanceof Refused ? connectionOf(error.status) : 'lost';
  } finally {
    clearTimeout(timer);
  }
}

function connectionOf(status: number): Connection {
  return status === 401 ? 'key-needed' : status === 403 ? 'not-allowed' : status === 503 ? 'full' : 'lost';
}
