// What was saved in money, in three tiers, none of which stands for another.

import { count, exact, money } from '../format';
import { Figure, Wide } from '../parts';
import type { MachineChoice, Money, Quality } from '../wire';

interface Tier {
  name: string;
  shared: number | null;
  dedicated: number | null;
  quality: Quality;
  by: string;
}

export function Tiers({ told }: { told: Money }) {
  const { currency } = told;
  const figure = (value: number | null, quality: Quality) =>
    value === null ? (
      '–'
    ) : (
      <Figure quality={quality} tone={value === 0 ? undefined : value < 0 ? 'loss' : 'saving'}>
        {money(value, currency)}
      </Figure>
    );
  return (
    <section aria-labelledby="tiers">
      <h2 id="tiers">Money saved, in three tiers</h2>
      <Wide label="Money saved, by tier">
        <table class="tiers">
          <thead>
            <tr>
              <th scope="col">tier</th>
              <th scope="col" class="number">
                against one shared copy
              </th>
              <th scope="col" class="number">
                against a copy for each tenant
              </th>
              <th scope="col">by</th>
            </tr>
          </thead>
          <tbody>
            {tiers(told).map(({ name, shared, dedicated, quality, by }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{figure(shared, quality)}</td>
                <td class="number">{figure(dedicated, quality)}</td>
                <td class="by">{by}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
    </section>
  );
}

function tiers({ currency, nominal, capacity, realised }: Money): Tier[] {
  const declared =
    realised.per_hour === 0
      ? 'the operator, who declares nothing'
      : `the operator, who declares ${exact(realised.per_hour)} ${currency} an hour`;
  return [
    {
      name: 'nominal',
      shared: nominal.saved_shared_persistent,
      dedicated: nominal.saved_dedicated,
      quality: nominal.quality,
      by: `the rate card, for what is held and computed (${nominal.rate_card})`,
    },
    capacity
      ? {
          name: 'capacity',
          shared: capacity.saved_shared_persistent,
          dedicated: capacity.saved_dedicated,
          quality: capacity.quality,
          by:
            `machines: ${machine(capacity.ephemeral)}, and not ${machine(capacity.shared_persistent)} or ${machine(capacity.dedicated)} ` +
            `(${capacity.source}; ${count(capacity.hours)} h)`,
        }
      : { name: 'capacity', shared: null, dedicated: null, quality: 'derived', by: 'machines, of which none are configured' },
    { name: 'realised', shared: realised.saved, dedicated: realised.saved, quality: realised.quality, by: declared },
  ];
}

function machine(choice: MachineChoice): string {
  return choice.machine ?? 'one that there is not';
}
