// The formula of what was saved, and everything that goes into it.

import { bytes, exact, gbHours, gbHoursOf, percent, seconds } from '../format';
import type { Compared } from '../report';
import type { Arms, Savings, SavingsReport } from '../wire';

const HELD: readonly [keyof Arms['held'], string][] = [
  ['active_kib_ms', 'weights while a request ran'],
  ['keepalive_kib_ms', 'weights kept after the last request'],
  ['pinned_kib_ms', 'weights that were pinned'],
  ['load_kib_ms', 'weights while they were loaded'],
  ['idle_kib_ms', 'weights held for nobody'],
  ['pages_kib_ms', 'keys and values kept for later'],
  ['process_kib_ms', 'the process beside models'],
];

interface Props {
  report: SavingsReport;
  arms: Compared | null;
  prices: Savings['prices'];
}

export function Inputs({ report, arms, prices }: Props) {
  if (!arms) return null;
  const { currency } = report;
  const { shared, dedicated, ephemeral, held } = arms;
  const price = (value: number | null, unit: string) => (value === null ? 'no price' : `${exact(value)} ${currency} per ${unit}`);
  return (
    <details class="inputs">
      <summary>Formula and inputs</summary>
      <p>
        saved = baseline − ephemeral, over a window of <span class="figure">{seconds(report.window_ms / 1000)}</span>; a negative figure is
        a loss and is never cut off.
      </p>
      <ul>
        {shared && (
          <li>
            <b>one shared copy</b> = Σ over models (largest weights × window) + process × window ={' '}
            <span class="figure">{gbHours(shared.baseline.gb_hours)}</span>
          </li>
        )}
        {shared ? (
          <li>
            <b>a copy per tenant</b> = Σ over tenants and models (largest weights × first request to last) + process × its longest ={' '}
            <span class="figure">{gbHours(dedicated.baseline.gb_hours)}</span>
          </li>
        ) : (
          <li>
            <b>copies of your own</b> = Σ over models (largest weights × first request to last) ={' '}
            <span class="figure">{gbHours(dedicated.baseline.gb_hours)}</span>
          </li>
        )}
        <li>
          <b>ephemeral</b>, measured = <span class="figure">{gbHours(ephemeral.gb_hours)}</span>:
          <table>
            <tbody>
              {HELD.map(([key, name]) => (
                <tr key={key}>
                  <th scope="row">{name}</th>
                  <td class="number">{gbHours(gbHoursOf(held[key]))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </li>
        {report.process_bytes !== undefined && (
          <li>
            process = <span class="figure">{bytes(report.process_bytes)}</span>, measured before the first load
          </li>
        )}
        <li>
          money: {price(prices.memory_gb_hour, 'GB·h')}, {price(prices.cpu_hour, 'processor hour of loads')} ({report.rate_card})
        </li>
        <li>
          energy: {report.energy_source}, ±{percent(report.energy_relative_uncertainty)}
        </li>
        {report.notes.map((note) => (
          <li key={note}>{note}</li>
        ))}
      </ul>
    </details>
  );
}
