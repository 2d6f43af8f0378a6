// One request's receipt, every figure with how it was come by.

import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from './ask';
import { bytes, count, exact, gbHours, gbHoursOf, grams, joules, money, nanos, percent } from './format';
import { Figure, focusMain, Waiting } from './parts';
import { PhaseFigures } from './views/requests';
import type { Receipt } from './wire';

/** A receipt that is looked up. */
export function ReceiptDialog({ id, close }: { id: string; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [receipt, setReceipt] = useState<Receipt | null>(null);
  const [refused, setRefused] = useState('');
  useEffect(() => {
    dialog.current?.showModal();
    const leaving = new AbortController();
    get<Receipt>(`/v1/usage/${encodeURIComponent(id)}`, leaving.signal).then(
      setReceipt,
      (error: Error) => leaving.signal.aborted || setRefused(error.message),
    );
    return () => leaving.abort();
  }, [id]);
  const closed = () => {
    close();
    // The row that it was opened by may have gone.
    if (document.activeElement === document.body) focusMain();
  };
  const closeOutside = (event: MouseEvent) => event.target === dialog.current && dialog.current?.close();
  return (
    <dialog ref={dialog} onClose={closed} onClick={closeOutside} aria-labelledby="receipt-title">
      <div class="inside">
        <header>
          <h2 id="receipt-title">Receipt</h2>
          <button type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </header>
        {refused && (
          <p class="refused" role="alert">
            {refused}
          </p>
        )}
        {receipt && <ReceiptFigures receipt={receipt} />}
        {!receipt && !refused && <Waiting what="looking it up…" />}
      </div>
    </dialog>
  );
}

export function ReceiptFigures({ receipt }: { receipt: Receipt }) {
  const { tokens, cpu, memory, energy, carbon, cost, method } = receipt;
  const uncertainty = energy.relative_uncertainty;
  const energyFigure = (nanojoules: number) => (
    <Figure quality={energy.quality} uncertainty={uncertainty}>
      {joules(nanojoules / 1e9)}
    </Figure>
  );
  return (
    <div class="receipt">
      <p class="id">
        <strong>{receipt.model}</strong> for {receipt.tenant}: {receipt.outcome ?? receipt.state}, {receipt.cold ? 'cold' : 'warm'}
        <code>{receipt.id}</code>
      </p>
      <PhaseFigures times={receipt.times} />
      <dl>
        <Line name="tokens, prompt" value={count(tokens.prompt)} part={`${count(tokens.cached)} of them cached`} />
        <Line
          name="tokens, answer"
          value={count(tokens.completion)}
          part={tokens.drafted ? `${count(tokens.accepted_draft ?? 0)} of ${count(tokens.drafted)} drafts accepted` : ''}
        />
        <Line
          name="processor time"
          value={<Figure quality={cpu.quality}>{nanos(cpu.total_ns)}</Figure>}
          part={`prefill ${nanos(cpu.prefill_ns)}, decode ${nanos(cpu.decode_ns)}, load ${nanos(cpu.load_ns)}`}
        />
        <Line
          name="memory"
          value={<Figure quality={memory.quality}>{gbHours(memory.byte_seconds / 3.6e12)}</Figure>}
          part={
            `weights ${gbHours(gbHoursOf(memory.weights_kib_ms))} of ${bytes(memory.weights_bytes)}, ` +
            `load ${gbHours(gbHoursOf(memory.load_kib_ms))}, keys and values ${gbHours(gbHoursOf(memory.kv_kib_ms))}`
          }
        />
        <Line
          name="energy"
          value={energyFigure(energy.joules * 1e9)}
          part={
            <>
              computing {energyFigure(energy.active_nj)}, load {energyFigure(energy.load_nj)}, memory held{' '}
              {energyFigure(energy.residency_nj)}; {energy.quality}, ±{percent(uncertainty)}: {energy.source}
            </>
          }
        />
        <Line
          name="carbon"
          value={<Figure quality={carbon.quality}>{grams(carbon.grams_co2e)}</Figure>}
          part={`at ${exact(carbon.intensity_grams_per_kwh)} g/kWh (${carbon.intensity_source}), PUE ${carbon.pue}`}
        />
        <Line
          name="cost"
          value={money(cost.amount, cost.currency)}
          part={
            cost.parts.map((part) => `${part.resource.replaceAll('_', ' ')} ${money(part.pico_units / 1e12, cost.currency)}`).join(', ') +
            (cost.missing.length > 0 ? `; no price of ${cost.missing.join(', ')}` : '') +
            ` (${cost.rate_card})`
          }
        />
      </dl>
      <ul class="notes">
        {method.notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
    </div>
  );
}

function Line({ name, value, part }: { name: string; value: preact.ComponentChildren; part: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <span class="figure">{value}</span> <small>{part}</small>
      </dd>
    </div>
  );
}
