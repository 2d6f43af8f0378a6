// The page: who looks, where to, and one stream for all of it.

import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { bytes, count, percent } from './format';
import { type Connection, type Live, useLive } from './live';
import { Waiting } from './parts';
import { ReceiptDialog } from './receipt';
import { SignIn, signOut } from './sign-in';
import './style.css';
import { THEMES, type Theme, useTheme } from './theme';
import { PlaygroundView } from './views/playground';
import { PoolView } from './views/pool';
import { RequestsView } from './views/requests';
import { SavingsView } from './views/savings';
import { TenantsView } from './views/tenants';

const VIEWS = [
  ['pool', 'Pool'],
  ['savings', 'Savings'],
  ['tenants', 'Tenants'],
  ['requests', 'Requests'],
  ['ask', 'Ask'],
] as const;
type View = (typeof VIEWS)[number][0];

const CONNECTIONS: Record<Connection, string> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'connection lost, trying again',
  'key-needed': 'a key is needed',
  'not-allowed': 'this key may not read',
  full: 'too many follow, trying again',
};

function useView(): View {
  const read = () => VIEWS.find(([name]) => `#${name}` === location.hash)?.[0] ?? 'pool';
  const [view, setView] = useState<View>(read);
  useEffect(() => {
    const changed = () => setView(read());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return view;
}

function Page() {
  const [turn, setTurn] = useState(0);
  const live = useLive(turn);
  const view = useView();
  const [theme, shown, choose] = useTheme();
  const [receipt, setReceipt] = useState<string | null>(null);
  const [wantsIn, setWantsIn] = useState(false);
  const again = () => {
    setWantsIn(false);
    setTurn((before) => before + 1);
  };
  const isOut = live.connection === 'key-needed' || live.connection === 'not-allowed';
  const title = VIEWS.find(([name]) => name === view)?.[1];
  useEffect(() => {
    document.title = `${title} · dayfly`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => skip(event)}>
        To the figures
      </a>
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
          <Who live={live} signIn={() => setWantsIn(true)} signOut={() => void signOut().finally(again)} />
          <label>
            <span class="unseen">Theme</span>
            <select value={theme} onChange={(event) => choose(event.currentTarget.value as Theme)}>
              {THEMES.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {isOut || wantsIn ? (
          <SignIn
            why={why(live.connection)}
            done={again}
            cancel={isOut ? undefined : () => setWantsIn(false)}
          />
        ) : (
          <>
            {live.ledgerUnavailable && live.savings && (
              <p class="refused" role="alert">
                The ledger cannot be read: its figures are from before.
              </p>
            )}
            <Shown view={view} live={live} theme={shown} show={setReceipt} />
          </>
        )}
      </main>
      {receipt !== null && <ReceiptDialog id={receipt} close={() => setReceipt(null)} />}
    </>
  );
}

function why(connection: Connection): string {
  if (connection === 'not-allowed') return 'This key may not read figures: another one is needed.';
  return connection === 'key-needed' ? 'This server asks for a key.' : 'With a key of your own you see what is yours.';
}

function skip(event: Event): void {
  // The hash names the view.
  event.preventDefault();
  document.getElementById('main')?.focus();
}

interface ShownProps {
  view: View;
  live: Live;
  theme: string;
  show: (id: string) => void;
}

function Shown({ view, live, theme, show }: ShownProps) {
  const { pool, savings, tenants, receipts, missed, hello } = live;
  if (!hello || !pool) return <Waiting what={`${CONNECTIONS[live.connection]}…`} />;
  const administers = hello.scopes.includes('admin');
  const unavailable = <Waiting what={live.ledgerUnavailable ? 'The ledger cannot be read.' : 'reading the ledger…'} />;
  switch (view) {
    case 'pool':
      return <PoolView pool={pool} poolAt={live.poolAt} administers={administers} />;
    case 'savings':
      return savings ? <SavingsView savings={savings} theme={theme} /> : unavailable;
    case 'tenants':
      return tenants && savings ? (
        <TenantsView tenants={tenants} currency={savings.prices.currency} energyQuality={receipts[0]?.energy_quality ?? 'modelled'} />
      ) : (
        unavailable
      );
    case 'requests':
      return <RequestsView receipts={receipts} missed={missed} show={show} />;
    case 'ask':
      return <PlaygroundView models={pool.data} />;
  }
}

function Standing({ live }: { live: Live }) {
  const { pool, connection } = live;
  const there = pool?.data.filter((model) => model.status.value === 'loaded').length ?? 0;
  return (
    <p class="standing" role="status">
      <span class={`lamp ${connection === 'live' ? 'live' : 'failed'}`} aria-hidden="true" />
      {CONNECTIONS[connection]}
      {pool && (
        <span class="figure aside">
          {count(there)} in memory, {bytes(pool.memory.used_bytes)} ({percent(pool.memory.limit_bytes > 0 ? pool.memory.used_bytes / pool.memory.limit_bytes : null)})
        </span>
      )}
    </p>
  );
}

function Who({ live, signIn, signOut }: { live: Live; signIn: () => void; signOut: () => void }) {
  const { hello } = live;
  if (!hello) return null;
  return (
    <span>
      <strong>{hello.tenant}</strong> <small>{hello.scopes.join(', ')}</small>{' '}
      <button type="button" onClick={hello.signed_in ? signOut : signIn}>
        {hello.signed_in ? 'Sign out' : 'Sign in'}
      </button>
    </span>
  );
}

const place = document.getElementById('page');
if (place) render(<Page />, place);
