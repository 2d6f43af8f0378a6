// What each tenant used, and what is left of its budgets.

import { useState } from 'preact/hooks';
import { count, gbHours, gbHoursOf, grams, joules, money, nanos } from '../format';
import { Choices, Figure, QualityKey, Waiting, Wide } from '../parts';
import { added, csv, heldByRequests, type Row, rowsOf } from '../use';
import type { Quality, Sums, Tenants } from '../wire';
import { Budgets } from './budgets';

const SPANS = [
  ['today', 'today (UTC)'],
  ['days_30', '30 days'],
] as const;

interface Props {
  tenants: Tenants;
  currency: string;
  /** How the latest receipt's energy was come by. */
  energyQuality: Quality;
}

export function TenantsView({ tenants, currency, energyQuality }: Props) {
  const [span, setSpan] = useState<'today' | 'days_30'>('today');
  const rows = rowsOf(tenants[span]);
  return (
    <>
      <div class="choices">
        <Choices legend="Settled" name="span" options={SPANS} chosen={span} choose={setSpan} />
        <button
          type="button"
          onClick={() => save(`dayfly-tenants-${span}-${new Date().toISOString().slice(0, 10)}.csv`, csv(rows, currency))}
          disabled={rows.length === 0}
        >
          Download CSV
        </button>
        <QualityKey />
      </div>
      {rows.length === 0 ? (
        <Waiting what="Nothing was settled yet." />
      ) : (
        <Used rows={rows} currency={currency} energyQuality={energyQuality} />
      )}
      {tenants[span].left_out > 0 && (
        <p class="note">{count(tenants[span].left_out)} smaller sums are left out here; GET /v1/usage has all.</p>
      )}
      <Nobody sums={tenants[span]} />
      <Budgets budgets={tenants.budgets} />
    </>
  );
}

function Used({ rows, currency, energyQuality }: { rows: Row[]; currency: string; energyQuality: Quality }) {
  const tenants = [...new Set(rows.map((row) => row.tenant))];
  return (
    <Wide label="Use by tenant and model">
      <table class="by-model">
        <thead>
          <tr>
            <th scope="col">tenant, model</th>
            <th scope="col" class="number">
              requests
            </th>
            <th scope="col" class="number">
              cold
            </th>
            <th scope="col" class="number">
              prompt tokens
            </th>
            <th scope="col" class="number">
              cached
            </th>
            <th scope="col" class="number">
              answered
            </th>
            <th scope="col" class="number">
              processor
            </th>
            <th scope="col" class="number">
              memory
            </th>
            <th scope="col" class="number">
              energy
            </th>
            <th scope="col" class="number">
              carbon
            </th>
            <th scope="col" class="number">
              cost
            </th>
            <th scope="col" class="number">
              kept after
            </th>
            <th scope="col" class="number">
              its cost
            </th>
          </tr>
        </thead>
        {tenants.map((tenant) => {
          const own = rows.filter((row) => row.tenant === tenant);
          return (
            <tbody key={tenant}>
              <UsedRow name={tenant} row={added(own)} currency={currency} energyQuality={energyQuality} kind="sum" />
              {own.map((row) => (
                <UsedRow key={row.model} name={row.model} row={row} currency={currency} energyQuality={energyQuality} kind="of-model" />
              ))}
            </tbody>
          );
        })}
        {tenants.length > 1 && (
          <tfoot>
            <UsedRow name="all of them" row={added(rows)} currency={currency} energyQuality={energyQuality} kind="sum" />
          </tfoot>
        )}
      </table>
    </Wide>
  );
}

interface UsedRowProps {
  name: string;
  row: Row;
  currency: string;
  energyQuality: Quality;
  kind: 'sum' | 'of-model';
}

function UsedRow({ name, row, currency, energyQuality, kind }: UsedRowProps) {
  const failed = row.requests - row.completed;
  return (
    <tr class={kind}>
      <th scope="row">{name}</th>
      <td class="number" title={failed > 0 ? `${count(failed)} of them did not complete` : undefined}>
        {count(row.requests)}
        {failed > 0 && <small> ({count(failed)} not)</small>}
      </td>
      <td class="number">{count(row.cold)}</td>
      <td class="number">{count(row.prompt_tokens)}</td>
      <td class="number">{count(row.cached_tokens)}</td>
      <td class="number">{count(row.completion_tokens)}</td>
      <td class="number">{nanos(row.cpu_ns)}</td>
      <td class="number">{gbHours(heldByRequests(row))}</td>
      <td class="number">
        <Figure quality={energyQuality}>{joules(row.energy_nj / 1e9)}</Figure>
      </td>
      <td class="number">
        <Figure quality="modelled">{grams(row.micrograms_co2e / 1e6)}</Figure>
      </td>
      <td class="number" title={row.unpriced > 0 ? `${count(row.unpriced)} requests have no price` : undefined}>
        {money(row.pico_units / 1e12, currency)}
        {row.unpriced > 0 && ' +?'}
      </td>
      <td class="number">{gbHours(gbHoursOf(row.kept_kib_ms))}</td>
      <td class="number">{money(row.kept_pico_units / 1e12, currency)}</td>
    </tr>
  );
}

function Nobody({ sums }: { sums: Sums }) {
  const held = sums.accounts.filter(({ account }) => account !== 'keepalive');
  if (held.length === 0) return null;
  return (
    <p class="note">
      Beside these, for nobody in particular:{' '}
      {held.map(({ account, model, kib_ms }) => `${model} ${gbHours(gbHoursOf(kib_ms))} (${account})`).join(', ')}.
    </p>
  );
}

function save(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
