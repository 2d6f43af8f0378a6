// What serving on demand saved against servers that never unload, or what it lost.

import { useEffect, useState } from 'preact/hooks';
import { get } from '../ask';
import { bytes, count, gbHours, joules, money, nanos, percent } from '../format';
import { Choices, Figure, QualityKey, Verdict, Waiting, Wide } from '../parts';
import { compared } from '../report';
import type { Arm, Comparison, Savings, SavingsReport } from '../wire';
import { Curves } from './curves';
import { Inputs } from './inputs';
import { Tiers } from './money';

const WINDOWS = [
  ['run', 'this run'],
  ['24h', '24 h'],
  ['30d', '30 days'],
] as const;
type Window = (typeof WINDOWS)[number][0];

export function SavingsView({ savings, theme }: { savings: Savings; theme: string }) {
  const isOwn = savings.report === null;
  const [since, setSince] = useState<Window>(isOwn ? '24h' : 'run');
  const [earlier, setEarlier] = useState<SavingsReport | null>(null);
  const [refused, setRefused] = useState('');
  useEffect(() => {
    if (since === 'run') return;
    let isWanted = true;
    get<SavingsReport>(`/v1/savings?since=${since}`).then(
      (report) => {
        if (!isWanted) return;
        setEarlier(report);
        setRefused('');
      },
      (error: Error) => isWanted && setRefused(error.message),
    );
    return () => {
      isWanted = false;
    };
    // Again with each point of the curve.
  }, [since, savings.points.unix_ms.at(-1)]);
  const choose = (chosen: Window) => {
    setSince(chosen);
    setEarlier(null);
    setRefused('');
  };
  const report = since === 'run' ? savings.report : earlier;
  return (
    <>
      <div class="choices">
        <Choices legend="Over" name="since" options={isOwn ? WINDOWS.slice(1) : WINDOWS} chosen={since} choose={choose} />
        <QualityKey />
      </div>
      {refused && (
        <p class="refused" role="alert">
          {refused}
        </p>
      )}
      {!report && !refused && <Waiting what="reading the ledger…" />}
      {report && <Baselines report={report} />}
      {report && <Inputs report={report} arms={compared(report)} prices={savings.prices} />}
      {report && <Price report={report} />}
      {report?.money && <Tiers told={report.money} />}
      <Curves savings={savings} theme={theme} />
      {report && <ByTenant report={report} />}
    </>
  );
}

function Baselines({ report }: { report: SavingsReport }) {
  const arms = compared(report);
  if (!arms) return null;
  const { shared, dedicated, ephemeral } = arms;
  const own = report.tenant === undefined ? 'Against a copy for each tenant' : 'Against copies of your own';
  return (
    <div class="baselines">
      {shared && (
        <Baseline
          name="Against one shared copy of each model"
          note="the headline"
          comparison={shared}
          ephemeral={ephemeral}
          report={report}
        />
      )}
      <Baseline name={own} note="" comparison={dedicated} ephemeral={ephemeral} report={report} />
    </div>
  );
}

function words(cause: string): string {
  return cause.replaceAll('_', ' ');
}

function tone(value: number | null): 'loss' | 'saving' | undefined {
  return value === null || value === 0 ? undefined : value < 0 ? 'loss' : 'saving';
}

interface BaselineProps {
  name: string;
  note: string;
  comparison: Comparison;
  ephemeral: Arm;
  report: SavingsReport;
}

function Baseline({ name, note, comparison, ephemeral, report }: BaselineProps) {
  const { saved, judged, baseline } = comparison;
  const uncertainty = report.energy_relative_uncertainty;
  return (
    <section class="baseline">
      <h2>
        {name} {note && <small>{note}</small>}
      </h2>
      <p class="reading">
        <strong>
          <Figure quality={baseline.quality} tone={tone(saved.gb_hours)}>
            {gbHours(saved.gb_hours)}
          </Figure>
        </strong>{' '}
        of memory {saved.gb_hours < 0 ? 'lost' : 'saved'} <span class="figure">({percent(saved.memory_share)})</span>
        <span class="aside">
          <Verdict verdict={judged.verdict} /> <small>by {judged.by}</small>
        </span>
      </p>
      <dl class="compared">
        <div>
          <dt>held by it / by us</dt>
          <dd>
            <Figure quality={baseline.quality}>{gbHours(baseline.gb_hours)}</Figure> /{' '}
            <Figure quality={ephemeral.quality}>{gbHours(ephemeral.gb_hours)}</Figure>
          </dd>
        </div>
        <div>
          <dt>money saved, by the rate card</dt>
          <dd>
            <Figure quality="derived" tone={tone(saved.cost)}>
              {money(saved.cost, report.currency)}
            </Figure>
          </dd>
        </div>
        <div>
          <dt>energy saved, by memory held</dt>
          <dd>
            <Figure quality="modelled" uncertainty={uncertainty} tone={tone(saved.attributional_joules)}>
              {joules(saved.attributional_joules)}
            </Figure>
          </dd>
        </div>
        <div>
          <dt>energy saved, on this host's meter</dt>
          <dd>
            <Figure quality="modelled" uncertainty={uncertainty} tone={tone(saved.marginal_joules)}>
              {joules(saved.marginal_joules)}
            </Figure>
          </dd>
        </div>
      </dl>
      {judged.verdict === 'loss' && (
        <p class="remedy">
          A loss{judged.cause && `: ${words(judged.cause)}`}
          {judged.remedy && `; ${judged.remedy}`}.
        </p>
      )}
    </section>
  );
}

function Price({ report }: { report: SavingsReport }) {
  const { requests, waited_ns, waits, break_even_per_second } = report.cold_starts;
  const ephemeral = compared(report)?.ephemeral;
  return (
    <section aria-labelledby="price">
      <h2 id="price">What it cost</h2>
      <dl class="facts">
        <div>
          <dt>cold starts</dt>
          <dd class="figure">{count(requests)}</dd>
        </div>
        <div>
          <dt>requests waited for loads</dt>
          <dd class="figure">{nanos(waited_ns)}</dd>
        </div>
        <div>
          <dt>one wait: p50 · p95 · p99</dt>
          <dd class="figure">{waits.requests > 0 ? `${nanos(waits.p50_ns)} · ${nanos(waits.p95_ns)} · ${nanos(waits.p99_ns)}` : '–'}</dd>
        </div>
        <div>
          <dt>processor time of loads</dt>
          <dd class="figure">{ephemeral ? nanos(ephemeral.load_cpu_ns) : '–'}</dd>
        </div>
        <div>
          <dt>a waited second at which the saving is gone</dt>
          <dd class="figure">
            {break_even_per_second === null
              ? '–'
              : break_even_per_second > 0
                ? money(break_even_per_second, report.currency)
                : 'there is none'}
          </dd>
        </div>
        {report.page_cache && (
          <div>
            <dt>unloaded models in the page cache</dt>
            <dd class="figure">
              {bytes(report.page_cache.bytes)}{' '}
              <small>
                if that counts as held, {percent(report.page_cache.shared_memory_share)} and{' '}
                {percent(report.page_cache.dedicated_memory_share)} are saved
              </small>
            </dd>
          </div>
        )}
      </dl>
    </section>
  );
}

function ByTenant({ report }: { report: SavingsReport }) {
  if (!report.tenants?.length) return null;
  return (
    <section aria-labelledby="by-tenant">
      <h2 id="by-tenant">By tenant</h2>
      <Wide label="Savings by tenant">
        <table class="by-tenant">
          <thead>
            <tr>
              <th scope="col">tenant</th>
              <th scope="col" class="number">
                ephemeral
              </th>
              <th scope="col" class="number">
                saved, shared copy
              </th>
              <th scope="col">verdict</th>
              <th scope="col" class="number">
                saved, own copies
              </th>
              <th scope="col">verdict</th>
            </tr>
          </thead>
          <tbody>
            {report.tenants.map((one) => (
              <tr key={one.tenant ?? ''}>
                <th scope="row">{one.tenant ?? 'nobody'}</th>
                <td class="number">{gbHours(one.ephemeral.gb_hours)}</td>
                {[one.shared_persistent, one.dedicated].map(({ saved, judged }, place) => [
                  <td key={`saved-${place}`} class="number">
                    <Figure quality="derived" tone={tone(saved.gb_hours)}>
                      {gbHours(saved.gb_hours)}
                    </Figure>
                  </td>,
                  <td key={`verdict-${place}`}>
                    <Verdict verdict={judged.verdict} />
                    {judged.cause && <small> {words(judged.cause)}</small>}
                  </td>,
                ])}
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
    </section>
  );
}
