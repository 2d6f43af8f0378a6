// The latest requests, each with where its time went; all of one's receipt at a click.

import { count, money, nanos, percent, timeOfDay } from '../format';
import { Bar, Figure, Legend, phases, Waiting, type Part } from '../parts';
import type { Brief } from '../wire';

interface Props {
  receipts: Brief[];
  missed: boolean;
  show: (id: string) => void;
}

const KEY: Part[] = phases({ queue_ns: 0, load_wait_ns: 0, prefill_ns: 0, decode_ns: 0, stall_ns: 0, other_ns: 0, wall_ns: 0 });

export function RequestsView({ receipts, missed, show }: Props) {
  const slowest = Math.max(1, ...receipts.map((one) => one.times.wall_ns));
  return (
    <section aria-labelledby="latest">
      <h2 id="latest">The latest {receipts.length > 0 && count(receipts.length)}</h2>
      {receipts.length === 0 ? (
        <Waiting what="None was settled yet. Ask something." />
      ) : (
        <>
          <p class="legend-line" aria-hidden="true">
            {KEY.map((part) => (
              <span key={part.kind}>
                <span class={`swatch ${part.kind}`} /> {part.name}{' '}
              </span>
            ))}
            <span>
              full width: <span class="figure">{nanos(slowest)}</span>
            </span>
          </p>
          {missed && <p class="note">Some came faster than they could be told, and are not here; the ledger has them.</p>}
          <ol class="requests">
            {receipts.map((one) => (
              <RequestRow key={one.id} one={one} slowest={slowest} show={show} />
            ))}
          </ol>
        </>
      )}
    </section>
  );
}

function RequestRow({ one, slowest, show }: { one: Brief; slowest: number; show: (id: string) => void }) {
  const { tokens, times } = one;
  const isStored = one.answered_from === 'response_cache';
  return (
    <li>
      <button type="button" class="request" onClick={() => show(one.id)}>
        <span class="unseen">Receipt of </span>
        <span class="time figure">{timeOfDay(one.began_unix_ms)}</span>
        <span class="names">
          <strong>{one.model}</strong> <small>{one.tenant}</small>
        </span>
        <span class={`tag ${isStored ? 'stored' : one.cold ? 'cold' : 'warm'}`}>{isStored ? 'stored' : one.cold ? 'cold' : 'warm'}</span>
        <span class="timeline">
          <Bar label="Time" parts={phases(times)} whole={slowest} />
        </span>
        <span class="figure wall">{nanos(times.wall_ns)}</span>
        <span class="figure tokens">
          {count(tokens.prompt)}
          {tokens.cached > 0 && <small> ({percent(tokens.cached / tokens.prompt)} cached)</small>} → {count(tokens.completion)}
          <small> tokens</small>
        </span>
        <span class="figure cost">{money(one.cost, one.currency)}</span>
        <span class={`outcome ${one.outcome}`}>{one.outcome === 'completed' ? '' : one.outcome}</span>
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
