// The head of the page: where to, whether it is live, who looks.

import { bytes, clock, count, moment, percent } from './format';
import type { Connection, Live } from './live';
import { useNow } from './parts';
import { THEMES, type Theme } from './theme';

export const VIEWS = [
  ['pool', 'Pool'],
  ['savings', 'Savings'],
  ['tenants', 'Tenants'],
  ['requests', 'Requests'],
  ['ask', 'Ask'],
] as const;
export type View = (typeof VIEWS)[number][0];

export const CONNECTIONS: Record<Connection, string> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'connection lost, trying again',
  'key-needed': 'a key is needed',
  'not-allowed': 'this key may not read',
  full: 'too many follow, trying again',
};

const THEME_WORDS: Record<Theme, string> = { system: 'Auto', light: 'Light', dark: 'Dark' };

interface Props {
  live: Live;
  view: View;
  theme: Theme;
  chooseTheme: (theme: Theme) => void;
  signIn: () => void;
  signOut: () => void;
}

export function Head({ live, view, theme, chooseTheme, signIn, signOut }: Props) {
  const title = VIEWS.find(([name]) => name === view)?.[1];
  return (
    <header class="top">
      <h1>
        dayfly<span class="unseen">, {title}</span>
      </h1>
      <nav aria-label="Views">
        {VIEWS.map(([name, word]) => (
          <a key={name} href={`#${name}`} aria-current={name === view ? 'page' : undefined}>
            {word}
          </a>
        ))}
      </nav>
      <Standing live={live} />
      <div class="who">
        <Who live={live} signIn={signIn} signOut={signOut} />
        <label>
          <span class="unseen">Theme</span>
          <select title="Theme" value={theme} onChange={(event) => chooseTheme(event.currentTarget.value as Theme)}>
            {THEMES.map((name) => (
              <option key={name} value={name}>
                {THEME_WORDS[name]}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  );
}

function Standing({ live }: { live: Live }) {
  const { pool, connection, lostAt } = live;
  const there = pool?.data.filter((model) => model.status.value === 'loaded').length ?? 0;
  return (
    <p class="standing">
      <span role="status">
        <span class={`lamp ${connection === 'live' ? 'live' : connection === 'connecting' ? 'loading' : 'failed'}`} aria-hidden="true" />
        {CONNECTIONS[connection]}
      </span>
      {pool && lostAt === null && (
        <span class="figure aside">
          {count(there)} in memory, {bytes(pool.memory.used_bytes)} (
          {percent(pool.memory.limit_bytes > 0 ? pool.memory.used_bytes / pool.memory.limit_bytes : null)})
        </span>
      )}
    </p>
  );
}

function Who({ live, signIn, signOut }: { live: Live; signIn: () => void; signOut: () => void }) {
  const { hello } = live;
  if (!hello) return null;
  return (
    <span class="tenant">
      <span class="name">
        <strong>{hello.tenant}</strong> <small>{hello.scopes.join(', ')}</small>
      </span>
      <button type="button" onClick={hello.signed_in ? signOut : signIn}>
        {hello.signed_in ? 'Sign out' : 'Sign in'}
      </button>
    </span>
  );
}

/** That what is shown is from before, and from when. */
export function Stale({ lostAt }: { lostAt: number }) {
  const now = useNow();
  return (
    <p class="refused stale">
      The server is not heard: what is shown is as it was at <span class="figure">{moment(lostAt, now)}</span>,{' '}
      <span class="figure">{clock((now - lostAt) / 1000)}</span> ago.
    </p>
  );
}
