// The latest requests, each with where its time went; all of one's receipt at a click.

import { useMemo, useState } from 'preact/hooks';
import { count, money, moment, nanos, percent } from '../format';
import { Bar, Figure, Legend, phases, Waiting, type Part } from '../parts';
import type { Brief } from '../wire';

interface Props {
  receipts: Brief[];
  missed: boolean;
  show: (id: string) => void;
}

const KEY: Part[] = phases({ queue_ns: 0, load_wait_ns: 0, prefill_ns: 0, decode_ns: 0, stall_ns: 0, other_ns: 0, wall_ns: 0 });

export function RequestsView({ receipts, missed, show }: Props) {
  const [wanted, setWanted] = useState('');
  const words = wanted
    .toLowerCase()
    .split(' ')
    .filter((word) => word !== '');
  const shown = receipts.filter((one) => words.every((word) => named(one).some((name) => name.toLowerCase().includes(word))));
  const slowest = shown.reduce((most, one) => Math.max(most, one.times.wall_ns), 1);
  return (
    <section aria-labelledby="latest">
      <div class="choices">
        <h2 id="latest">Requests</h2>
        {receipts.length > 0 && (
          <>
            <label class="filter">
              Only{' '}
              <input
                type="search"
                value={wanted}
                placeholder="model, tenant, cold, failed, id"
                onInput={(event) => setWanted(event.currentTarget.value)}
              />
            </label>
            <span class="note" role="status">
              {words.length > 0 ? `${count(shown.length)} of the latest ${count(receipts.length)}` : `the latest ${count(receipts.length)}`}
            </span>
          </>
        )}
      </div>
      {missed && <p class="note">Some came faster than they could be told, and are not here; the ledger has them.</p>}
      {receipts.length === 0 && <Waiting what="None was settled yet. Ask something." />}
      {receipts.length > 0 && shown.length === 0 && <Waiting what="None of them is such a one." />}
      {shown.length > 0 && (
        <>
          <p class="legend-line" aria-hidden="true">
            {KEY.map((part) => (
              <span key={part.kind}>
                <span class={`swatch ${part.kind}`} />
                {part.name}
              </span>
            ))}
            <span>
              full width: <span class="figure">{nanos(slowest)}</span>
            </span>
          </p>
          <p class="of-requests column-names" aria-hidden="true">
            <span>began</span>
            <span>model, tenant</span>
            <span />
            <span>its time</span>
            <span class="wall">in all</span>
            <span class="tokens">prompt → answer</span>
            <span class="cost">cost</span>
          </p>
          <ol class="requests">
            {shown.map((one) => (
              <RequestRow key={one.id} one={one} slowest={slowest} show={show} />
            ))}
          </ol>
        </>
      )}
    </section>
  );
}

function started(one: Brief): 'stored' | 'cold' | 'warm' {
  return one.answered_from === 'response_cache' ? 'stored' : one.cold ? 'cold' : 'warm';
}

/** What it is found by. */
function named(one: Brief): string[] {
  return [one.model, one.tenant, one.outcome, started(one), one.id];
}

interface RowProps {
  one: Brief;
  slowest: number;
  show: (id: string) => void;
}

/** Drawn again when it is drawn to another scale, and on another day, and not for each of its neighbours. */
function RequestRow({ one, slowest, show }: RowProps) {
  const today = new Date().toDateString();
  return useMemo(() => <Row one={one} slowest={slowest} show={show} />, [one, slowest, today]);
}

function Row({ one, slowest, show }: RowProps) {
  const { tokens, times } = one;
  return (
    <li>
      <button type="button" class="request" onClick={() => show(one.id)}>
        <span class="unseen">Receipt of </span>
        <time class="time figure" dateTime={new Date(one.began_unix_ms).toISOString()} title={new Date(one.began_unix_ms).toString()}>
          {moment(one.began_unix_ms, Date.now())}
        </time>
        <span class="names" title={one.model}>
          <strong>{one.model}</strong>
          <small>
            {one.tenant}
            {one.outcome !== 'completed' && <b class="outcome"> {one.outcome}</b>}
          </small>
        </span>
        <span class={`tag ${started(one)}`}>{started(one)}</span>
        <span class="timeline">
          <Bar label="Time" parts={phases(times)} whole={slowest} />
        </span>
        <span class="figure wall">{nanos(times.wall_ns)}</span>
        <span class="figure tokens">
          {count(tokens.prompt)} → {count(tokens.completion)}
          <span class="unseen"> tokens</span>
          {tokens.cached > 0 && <small> {percent(tokens.cached / tokens.prompt)} cached</small>}
        </span>
        <span class="figure cost">{money(one.cost, one.currency)}</span>
      </button>
    </li>
  );
}

export function PhaseFigures({ times }: { times: Brief['times'] }) {
  const parts = phases(times).filter((part) => part.size > 0);
  return (
    <>
      <Bar label="Time" parts={parts} whole={times.wall_ns} />
      <Legend parts={parts} />
      <p class="note">
        <Figure quality="measured">{nanos(times.wall_ns)}</Figure> from its arrival to its end
      </p>
    </>
  );
}
