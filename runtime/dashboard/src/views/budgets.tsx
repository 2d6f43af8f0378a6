// What is left of budgets, and when they begin anew.

import { amount, count, percent, span } from '../format';
import { Waiting } from '../parts';
import type { Budget } from '../wire';

export function Budgets({ budgets }: { budgets: Budget[] }) {
  return (
    <section aria-labelledby="budgets">
      <h2 id="budgets">Budgets</h2>
      {budgets.length === 0 ? (
        <Waiting what="No tenant, and no key, has one." />
      ) : (
        <ul class="budgets">
          {budgets.map((one) => (
            <BudgetRow key={`${one.tenant} ${one.key ?? ''} ${one.budget}`} one={one} />
          ))}
        </ul>
      )}
    </section>
  );
}

function BudgetRow({ one }: { one: Budget }) {
  const { limit, used, reserved, unit } = one;
  const isSpent = used >= limit;
  const spent = unit === 'tokens' ? count(used) : amount(used, unit);
  const of = `${spent} of ${amount(limit, unit)} a ${one.budget.split('/').pop()?.trim()}`;
  const width = (part: number) => `${limit > 0 ? Math.max(0, Math.min(100, (100 * part) / limit)) : 0}%`;
  return (
    <li>
      <span class="whose">
        <strong>{one.tenant}</strong> <small>{one.key ?? 'all keys'}</small>
      </span>
      <div
        class={`meter ${isSpent ? 'spent' : ''}`}
        role="meter"
        aria-label={`${one.tenant}, ${one.key ?? 'all keys'}: ${one.budget}`}
        aria-valuemin={0}
        aria-valuemax={limit}
        aria-valuenow={Math.min(limit, used)}
        aria-valuetext={of}
      >
        <span class="used" style={{ width: width(used) }} />
        <span class="reserved" style={{ width: width(Math.min(reserved, limit - used)) }} />
      </div>
      <span class="figure">
        {of} <span class={isSpent ? 'loss' : 'share'}>{isSpent ? `spent, ${percent(used / limit)}` : percent(used / limit)}</span>
        {reserved > 0 && <small> {amount(reserved, unit)} more under way</small>}
      </span>
      <small>anew in {span(one.anew_in_seconds)}</small>
    </li>
  );
}
