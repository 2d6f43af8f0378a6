// What each tenant used, and what is left of its budgets.

import { useState } from 'preact/hooks';
import { amount, count, gbHours, gbHoursOf, grams, joules, money, nanos, seconds } from '../format';
import { Figure, QualityKey, Waiting, Wide } from '../parts';
import type { Budget, Quality, Sums, Tenants, Total } from '../wire';

const SPANS = [
  ['today', 'today (UTC)'],
  ['days_30', '30 days'],
] as const;

interface Row extends Total {
  keepalive_kib_ms: number;
}

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
        <fieldset>
          <legend>Settled</legend>
          {SPANS.map(([value, name]) => (
            <label key={value}>
              <input type="radio" name="span" checked={span === value} onChange={() => setSpan(value)} />
              {name}
            </label>
          ))}
        </fieldset>
        <button type="button" onClick={() => save(`dayfly-tenants-${span}.csv`, csv(rows, currency))} disabled={rows.length === 0}>
          Download CSV
        </button>
        <QualityKey />
      </div>
      {rows.length === 0 ? <Waiting what="Nothing was settled yet." /> : <Used rows={rows} currency={currency} energyQuality={energyQuality} />}
      {tenants[span].left_out > 0 && <p class="note">{count(tenants[span].left_out)} smaller sums are left out here; GET /v1/usage has all.</p>}
      <Nobody sums={tenants[span]} />
      <Budgets budgets={tenants.budgets} />
    </>
  );
}

/** Requests and what was kept for their tenant afterwards, by tenant and model. */
function rowsOf(sums: Sums): Row[] {
  const rows = new Map<string, Row>();
  const key = (tenant: string, model: string) => JSON.stringify([tenant, model]);
  for (const total of sums.requests) rows.set(key(total.tenant, total.model), { ...total, keepalive_kib_ms: 0 });
  for (const { account, tenant, model, kib_ms } of sums.accounts) {
    if (account !== 'keepalive' || tenant === undefined) continue;
    const row = rows.get(key(tenant, model)) ?? { ...NOTHING, tenant, model };
    rows.set(key(tenant, model), { ...row, keepalive_kib_ms: row.keepalive_kib_ms + kib_ms });
  }
  return [...rows.values()].sort((one, other) => one.tenant.localeCompare(other.tenant) || one.model.localeCompare(other.model));
}

const NOTHING: Row = {
  tenant: '',
  model: '',
  requests: 0,
  completed: 0,
  cold: 0,
  prompt_tokens: 0,
  cached_tokens: 0,
  completion_tokens: 0,
  cpu_ns: 0,
  weights_kib_ms: 0,
  load_kib_ms: 0,
  kv_kib_ms: 0,
  energy_nj: 0,
  micrograms_co2e: 0,
  pico_units: 0,
  unpriced: 0,
  keepalive_kib_ms: 0,
};

function added(rows: Row[]): Row {
  const sum = { ...NOTHING };
  for (const row of rows) {
    for (const name of Object.keys(NOTHING) as (keyof Row)[]) {
      if (name !== 'tenant' && name !== 'model') sum[name] += row[name];
    }
  }
  return sum;
}

const heldByRequests = (row: Row) => gbHoursOf(row.weights_kib_ms + row.load_kib_ms + row.kv_kib_ms);

function Used({ rows, currency, energyQuality }: { rows: Row[]; currency: string; energyQuality: Quality }) {
  const tenants = [...new Set(rows.map((row) => row.tenant))];
  return (
    <Wide label="Use by tenant and model">
      <table class="used">
        <thead>
          <tr>
            <th scope="col">tenant, model</th>
            <th scope="col" class="number">requests</th>
            <th scope="col" class="number">cold</th>
            <th scope="col" class="number">prompt tokens</th>
            <th scope="col" class="number">cached</th>
            <th scope="col" class="number">answered</th>
            <th scope="col" class="number">processor</th>
            <th scope="col" class="number">memory</th>
            <th scope="col" class="number">kept after</th>
            <th scope="col" class="number">energy</th>
            <th scope="col" class="number">carbon</th>
            <th scope="col" class="number">cost</th>
          </tr>
        </thead>
        {tenants.map((tenant) => {
          const own = rows.filter((row) => row.tenant === tenant);
          return (
            <tbody key={tenant}>
              <UsedRow name={tenant} row={added(own)} currency={currency} energyQuality={energyQuality} kind="sum" />
              {own.map((row) => (
                <UsedRow key={row.model} name={row.model} row={row} currency={currency} energyQuality={energyQuality} kind="part" />
              ))}
            </tbody>
          );
        })}
      </table>
    </Wide>
  );
}

interface UsedRowProps {
  name: string;
  row: Row;
  currency: string;
  energyQuality: Quality;
  kind: 'sum' | 'part';
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
      <td class="number">{gbHours(gbHoursOf(row.keepalive_kib_ms))}</td>
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

function Budgets({ budgets }: { budgets: Budget[] }) {
  return (
    <section aria-labelledby="budgets">
      <h2 id="budgets">Budgets</h2>
      {budgets.length === 0 ? (
        <Waiting what="No tenant, and no key, has one." />
      ) : (
        <ul class="budgets">
          {budgets.map((one) => (
            <li key={`${one.tenant} ${one.key ?? ''} ${one.budget}`}>
              <span>
                <strong>{one.tenant}</strong> <small>{one.key ?? 'all keys'}</small>
              </span>
              <meter min={0} max={one.limit} high={0.9 * one.limit} value={Math.min(one.limit, one.used + one.reserved)} aria-label={`${one.tenant}: ${one.budget}`} />
              <span class="figure">
                {amount(one.used, one.unit)} of {one.budget}
                {one.reserved > 0 && ` (+${amount(one.reserved, one.unit)} under way)`}
                <small> anew in {seconds(one.anew_in_seconds)}</small>
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function csv(rows: Row[], currency: string): string {
  const columns: [string, (row: Row) => string | number][] = [
    ['tenant', (row) => row.tenant],
    ['model', (row) => row.model],
    ['requests', (row) => row.requests],
    ['completed', (row) => row.completed],
    ['cold', (row) => row.cold],
    ['prompt_tokens', (row) => row.prompt_tokens],
    ['cached_tokens', (row) => row.cached_tokens],
    ['completion_tokens', (row) => row.completion_tokens],
    ['processor_seconds_measured', (row) => row.cpu_ns / 1e9],
    ['memory_gb_hours_derived', heldByRequests],
    ['kept_after_gb_hours_derived', (row) => gbHoursOf(row.keepalive_kib_ms)],
    ['energy_joules', (row) => row.energy_nj / 1e9],
    ['carbon_grams_modelled', (row) => row.micrograms_co2e / 1e6],
    ['cost', (row) => row.pico_units / 1e12],
    ['currency', () => currency],
    ['requests_without_price', (row) => row.unpriced],
  ];
  const lines = [columns.map(([name]) => name), ...rows.map((row) => columns.map(([, value]) => cell(value(row))))];
  return lines.map((line) => `${line.join(',')}\r\n`).join('');
}

/** A text that a spreadsheet would take for a formula is none. */
function cell(value: string | number): string {
  const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
