// The page: who looks, where to, and one stream for all of it.

import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { CONNECTIONS, Head, Stale, type View, VIEWS } from './head';
import { type Live, useLive } from './live';
import { focusMain, Waiting } from './parts';
import { ReceiptDialog } from './receipt';
import { SignIn, signOut } from './sign-in';
import './style/base.css';
import './style/head.css';
import './style/parts.css';
import './style/views.css';
import './style/receipt.css';
import './style/media.css';
import { useTheme } from './theme';
import { PlaygroundView } from './views/playground';
import { PoolView } from './views/pool';
import { RequestsView } from './views/requests';
import { SavingsView } from './views/savings';
import { TenantsView } from './views/tenants';

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
  const [hasLeft, setLeft] = useState(false);
  const again = (left: boolean) => {
    setWantsIn(false);
    setLeft(left);
    setTurn((before) => before + 1);
  };
  const isOut = live.connection === 'key-needed' || live.connection === 'not-allowed';
  const title = VIEWS.find(([name]) => name === view)?.[1];
  useEffect(() => {
    document.title = `${title} · dayfly`;
  }, [title]);
  const signedIn = () => {
    again(false);
    focusMain();
  };
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        To the figures
      </a>
      <Head
        live={live}
        view={view}
        theme={theme}
        chooseTheme={choose}
        signIn={() => setWantsIn(true)}
        signOut={() =>
          void signOut().then(
            () => again(true),
            () => again(false),
          )
        }
      />
      <main id="main" tabIndex={-1}>
        {isOut || wantsIn ? (
          <SignIn why={why(live, hasLeft)} done={signedIn} cancel={isOut ? undefined : () => setWantsIn(false)} />
        ) : (
          <>
            {live.lostAt !== null && <Stale lostAt={live.lostAt} />}
            {live.ledgerUnavailable && live.savings && (
              <p class="refused" role="alert">
                The ledger cannot be read: its figures are from before.
              </p>
            )}
            <Shown view={view} live={live} theme={shown} show={setReceipt} />
          </>
        )}
      </main>
      {live.hello && (
        <footer class="note">
          dayfly {live.hello.version} <a href="/openapi.json">its routes</a> <a href="/metrics">metrics</a>
        </footer>
      )}
      {receipt !== null && <ReceiptDialog id={receipt} close={() => setReceipt(null)} />}
    </>
  );
}

function why({ connection, wasIn }: Live, hasLeft: boolean): string {
  if (connection === 'not-allowed') return 'This key may not read figures: another one is needed.';
  if (connection !== 'key-needed') return 'With a key of your own you see what is yours.';
  if (hasLeft) return 'You have signed out.';
  return wasIn
    ? 'You are not signed in any more: that lasts half a day, and no longer than its key or this server.'
    : 'This server asks for a key.';
}

function skip(event: Event): void {
  // The hash names the view.
  event.preventDefault();
  focusMain();
}

interface ShownProps {
  view: View;
  live: Live;
  theme: string;
  show: (id: string) => void;
}

function Shown({ view, live, theme, show }: ShownProps) {
  const { hello, pool } = live;
  if (!hello || !pool) return <Waiting what={`${CONNECTIONS[live.connection]}…`} />;
  return (
    <>
      <Figures view={view} live={live} theme={theme} show={show} />
      {/* It stays, so that an answer is still there for who has looked elsewhere meanwhile. */}
      <PlaygroundView models={pool.data} mayAsk={hello.scopes.includes('inference')} hidden={view !== 'ask'} />
    </>
  );
}

function Figures({ view, live, theme, show }: ShownProps) {
  const { pool, savings, tenants, receipts, missed, hello } = live;
  const unavailable = <Waiting what={live.ledgerUnavailable ? 'The ledger cannot be read.' : 'reading the ledger…'} />;
  switch (view) {
    case 'pool':
      return (
        pool && <PoolView pool={pool} poolAt={live.poolAt} lostAt={live.lostAt} administers={hello?.scopes.includes('admin') ?? false} />
      );
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
      return null;
  }
}

const place = document.getElementById('page');
if (place) render(<Page />, place);
