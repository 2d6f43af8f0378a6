// What had been saved, over time: four charts, and the same figures as a table.

import { useState } from 'preact/hooks';
import { Chart } from '../chart';
import { gbHours, joules, moment, money } from '../format';
import { Waiting, Wide } from '../parts';
import type { Curve, Savings } from '../wire';

interface Drawn {
  title: string;
  key: keyof Curve;
  /** What the figures are multiplied by before they are drawn, so that axes have whole numbers. */
  by: number;
  shown: (value: number) => string;
}

export function Curves({ savings, theme }: { savings: Savings; theme: string }) {
  const { unix_ms, dedicated, shared } = savings.points;
  const { currency } = savings.prices;
  // Axes have whole seconds of memory where they have no hours.
  const scale = Math.max(0, ...[...(shared?.gb_hours ?? []), ...dedicated.gb_hours].map((value) => Math.abs(value ?? 0))) < 0.1 ? 3600 : 1;
  const curves: Drawn[] = [
    { title: 'Memory saved', key: 'gb_hours', by: scale, shown: (value) => gbHours(value / scale) },
    { title: 'Money saved, by the rate card', key: 'cost', by: 1, shown: (value) => money(value, currency) },
    { title: '≈ Energy saved, by memory held', key: 'attributional_joules', by: 1, shown: joules },
    { title: "≈ Energy saved, on this host's meter", key: 'marginal_joules', by: 1, shown: joules },
  ];
  const scaled = (curve: (number | null)[] | undefined, by: number) =>
    curve ? curve.map((value) => (value === null ? null : value * by)) : unix_ms.map(() => null);
  if (unix_ms.length < 2) {
    return (
      <section aria-labelledby="over-time">
        <h2 id="over-time">Since this server began</h2>
        <Waiting what="There is no curve yet: a point comes every 10 seconds at first." />
      </section>
    );
  }
  return (
    <section aria-labelledby="over-time">
      <h2 id="over-time">Since this server began</h2>
      <p class="legend-line">
        {shared && (
          <span>
            <span class="line" aria-hidden="true" /> against one shared copy
          </span>
        )}
        <span>
          <span class="line dedicated" aria-hidden="true" /> {shared ? 'against a copy per tenant' : 'against copies of your own'}
        </span>
        <span>
          <span class="swatch loss-ground" aria-hidden="true" />
          below zero: a loss
        </span>
      </p>
      <div class="charts">
        {curves.map(({ title, key, by, shown }) => (
          <Chart
            key={`${key} ${by}`}
            title={title}
            unixMs={unix_ms}
            shared={shared ? scaled(shared[key], by) : null}
            dedicated={scaled(dedicated[key], by)}
            shown={shown}
            theme={theme}
          />
        ))}
      </div>
      <AsTable points={savings.points} curves={curves} />
    </section>
  );
}

function AsTable({ points, curves }: { points: Savings['points']; curves: Drawn[] }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="inputs" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>The same as a table</summary>
      {isOpen && (
        <Wide label="What had been saved, over time">
          <PointsTable points={points} curves={curves} />
        </Wide>
      )}
    </details>
  );
}

function PointsTable({ points, curves }: { points: Savings['points']; curves: Drawn[] }) {
  const { unix_ms, shared, dedicated } = points;
  const against = [...(shared ? [['shared copy', shared] as const] : []), ['own copies', dedicated] as const];
  const now = Date.now();
  const cell = (value: number | null | undefined, { by, shown }: Drawn) =>
    value === null || value === undefined ? '–' : shown(value * by);
  return (
    <table>
      <thead>
        <tr>
          <th scope="col" rowSpan={2}>
            until
          </th>
          {curves.map(({ title, key }) => (
            <th key={key} scope="colgroup" colSpan={against.length} class="number">
              {title}
            </th>
          ))}
        </tr>
        <tr>
          {curves.map(({ key }) =>
            against.map(([name]) => (
              <th key={`${key} ${name}`} scope="col" class="number">
                {name}
              </th>
            )),
          )}
        </tr>
      </thead>
      <tbody>
        {unix_ms.map((at, place) => (
          <tr key={at}>
            <th scope="row">{moment(at, now)}</th>
            {curves.map((drawn) =>
              against.map(([name, curve]) => (
                <td key={`${drawn.key} ${name}`} class="number">
                  {cell(curve[drawn.key][place], drawn)}
                </td>
              )),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
