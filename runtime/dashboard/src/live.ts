// The one stream that all views live on.
//
// It is read with fetch and not with EventSource, which tells no status: whether a key is needed, or a place is missing, is
// something that the page has to say.

import { useEffect, useReducer } from 'preact/hooks';
import type { Brief, Hello, Pool, Savings, Tenants } from './wire';

const RECEIPTS_SHOWN = 100;
const AGAIN_AFTER_MS = [500, 1000, 2000, 5000];
/** Nothing is silent for longer: the server says that it lives. */
const SILENCE_MAX_MS = 40_000;

export type Connection = 'connecting' | 'live' | 'lost' | 'key-needed' | 'not-allowed' | 'full';

export interface Live {
  connection: Connection;
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
    return { ...(isOut ? NOTHING : live), connection: change.connection };
  }
  const { event, data } = change.told;
  switch (event) {
    case 'hello': {
      const hello = data as Hello;
      const kept = live.hello?.tenant === hello.tenant ? live : NOTHING;
      return { ...kept, hello, connection: 'live' };
    }
    case 'pool':
      return { ...live, pool: data as Pool, poolAt: Date.now() };
    case 'receipts': {
      const { first, data: briefs } = data as { first: boolean; data: Brief[] };
      const latest = briefs.slice().reverse();
      return { ...live, missed: first ? false : live.missed, receipts: [...latest, ...(first ? [] : live.receipts)].slice(0, RECEIPTS_SHOWN) };
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
  for (let failures = 0; !leaving.aborted; ) {
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
    const response = await fetch('/v1/live', { signal: AbortSignal.any([leaving, silence.signal]) });
    if (response.status === 401) return 'key-needed';
    if (response.status === 403) return 'not-allowed';
    if (!response.ok || !response.body) return response.status === 503 ? 'full' : 'lost';
    for await (const data of events(response.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MAX_MS);
      if (data !== null) tell(JSON.parse(data) as Told);
    }
    return 'over';
  } catch {
    return 'lost';
  } finally {
    clearTimeout(timer);
  }
}

/** The data of server-sent events, null for a comment. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string | null> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      yield event.startsWith('data: ') ? event.slice('data: '.length) : null;
    }
  }
}
