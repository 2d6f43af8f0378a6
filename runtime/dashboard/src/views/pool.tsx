// The pool: whose memory it is, who is in it, and who had to go.

import { useState } from 'preact/hooks';
import { post } from '../ask';
import { ago, bytes, clock, count, percent, seconds, span } from '../format';
import { Bar, Legend, useNow, Waiting, Wide, type Part } from '../parts';
import type { Eviction, Model, Pool } from '../wire';

interface Props {
  pool: Pool;
  poolAt: number;
  /** Nothing counts down while nothing is heard. */
  lostAt: number | null;
  administers: boolean;
}

export function PoolView({ pool, poolAt, lostAt, administers }: Props) {
  const now = useNow();
  const [refused, setRefused] = useState('');
  const since = Math.max(0, (lostAt ?? now) - poolAt) / 1000;
  const change = (action: string, model: string) => {
    setRefused('');
    post(`/models/${action}`, { model }).catch((error: Error) => setRefused(`${model}: ${error.message}`));
  };
  return (
    <>
      <Memory pool={pool} />
      <section aria-labelledby="models">
        <h2 id="models">Models</h2>
        {refused && (
          <p class="refused" role="alert">
            {refused}
          </p>
        )}
        {pool.data.length === 0 && <Waiting what="There are no models: dayfly pull smollm2 brings one." />}
        <ul class={`models ${administers ? 'administered' : ''}`}>
          {pool.data.length > 0 && <ColumnNames administers={administers} />}
          {pool.data.map((model) => (
            <ModelRow key={model.id} model={model} since={since} administers={administers} change={change} />
          ))}
        </ul>
        {pool.models_left_out > 0 && <p class="note">{count(pool.models_left_out)} further models, none of them in memory.</p>}
        {!administers && <p class="note">With this key you see. Loading, evicting and pinning need one with the scope admin.</p>}
      </section>
      <Evictions evictions={pool.evictions} since={since} />
    </>
  );
}

function Memory({ pool }: { pool: Pool }) {
  const { limit_bytes, used_bytes, weights_bytes, prefix_cache, headers, response_cache, pinned_bytes } = pool.memory;
  const kv = Math.max(0, used_bytes - weights_bytes - prefix_cache.bytes);
  const free = Math.max(0, limit_bytes - used_bytes);
  const part = (name: string, kind: string, size: number): Part => ({ name, kind, size, shown: bytes(size) });
  const parts = [
    part('weights', 'weights', weights_bytes),
    part('keys and values in use', 'kv', kv),
    part('kept prefixes', 'prefix', prefix_cache.bytes),
    part('free', 'free', free),
  ];
  const waiting = pool.memory.waiting_requests + pool.devices.reduce((sum, device) => sum + device.queued_requests, 0);
  return (
    <section aria-labelledby="memory" class="memory">
      <h2 id="memory">Memory</h2>
      <p class="reading">
        <strong class="figure">{bytes(used_bytes)}</strong> of <span class="figure">{bytes(limit_bytes)}</span> budget
        <span class="aside figure">{percent(limit_bytes > 0 ? used_bytes / limit_bytes : null)}</span>
      </p>
      <Bar label="Memory budget" parts={parts} whole={Math.max(limit_bytes, used_bytes)} />
      <Legend parts={parts} />
      <dl class="facts">
        <div>
          <dt>headers, tokenizers, templates</dt>
          <dd class="figure">
            {bytes(headers.bytes)} <small>of {count(headers.count)}, beside the budget</small>
          </dd>
        </div>
        <div>
          <dt>kept answers</dt>
          <dd class="figure">
            {bytes(response_cache.bytes)} <small>of {count(response_cache.answers)}, beside the budget</small>
          </dd>
        </div>
        <div>
          <dt>pinned</dt>
          <dd class="figure">{bytes(pinned_bytes)}</dd>
        </div>
        <div>
          <dt>requests that wait</dt>
          <dd class="figure">{count(waiting)}</dd>
        </div>
      </dl>
      {pool.devices.length > 1 && (
        <ul class="devices">
          {pool.devices.map((device) => (
            <li key={device.id}>
              <span>
                {device.id} <small>{device.kind}</small>
              </span>
              <Bar
                label={`Memory of ${device.id}`}
                whole={device.memory.limit_bytes}
                parts={[
                  part('weights', 'weights', device.memory.weights_bytes),
                  part('other', 'kv', Math.max(0, device.memory.used_bytes - device.memory.weights_bytes)),
                ]}
              />
              <span class="figure">
                {bytes(device.memory.used_bytes)} / {bytes(device.memory.limit_bytes)}
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** What each row's terms say to who hears it, once for who sees them in columns. */
function ColumnNames({ administers }: { administers: boolean }) {
  return (
    <li class="of-models column-names" aria-hidden="true">
      <span>model</span>
      <span class="columns">
        {COLUMNS.map((name) => (
          <span key={name}>{name}</span>
        ))}
      </span>
      {administers && <span />}
    </li>
  );
}

const COLUMNS = ['size', 'in use by', 'unloads in', 'last load'] as const;

interface RowProps {
  model: Model;
  since: number;
  administers: boolean;
  change: (action: string, model: string) => void;
}

function ModelRow({ model, since, administers, change }: RowProps) {
  const status = model.status.value;
  const isThere = status === 'loaded';
  const { progress } = model.status;
  return (
    <li class={`model ${status}`}>
      <div class="who">
        <span class={`lamp ${lamp(model)}`} aria-hidden="true" />
        <span class="name">
          <strong>{model.id}</strong>{' '}
          <small>
            {words(model)}
            {model.device && isThere && ` on ${model.device}`}
            {model.paged && ', paged'}
            {model.pinned && ', pinned'}
          </small>
        </span>
      </div>
      <dl class="columns">
        <div>
          <dt>{COLUMNS[0]}</dt>
          <dd class="figure">
            {bytes(isThere ? (model.weights_bytes ?? 0) : model.size_bytes)} <small>{isThere ? 'in memory' : 'file'}</small>
          </dd>
        </div>
        <div>
          <dt>{COLUMNS[1]}</dt>
          <dd class="figure">
            {count(model.leases ?? 0)}
            {(model.waiting_requests ?? 0) > 0 && <small> +{count(model.waiting_requests ?? 0)} waiting</small>}
          </dd>
        </div>
        <div>
          <dt>{COLUMNS[2]}</dt>
          <dd class="figure">{leaves(model, since)}</dd>
        </div>
        <div>
          <dt>{COLUMNS[3]}</dt>
          <dd class="figure">
            <LastLoad model={model} />
          </dd>
        </div>
      </dl>
      {administers && <Actions model={model} change={change} />}
      {progress && (
        <progress value={progress.value} max={1} aria-label={`Loading ${model.id}: ${progress.current}`}>
          {percent(progress.value)}
        </progress>
      )}
    </li>
  );
}

/** What cannot be done just now stays where the keyboard is, and does nothing. */
function Actions({ model, change }: Pick<RowProps, 'model' | 'change'>) {
  const { id, pinned = false } = model;
  const isThere = model.status.value === 'loaded';
  const isOff = isThere ? pinned : model.status.value === 'loading';
  const word = isThere ? 'Evict' : 'Load';
  return (
    <div class="actions">
      <button
        type="button"
        onClick={() => isOff || change(isThere ? 'unload' : 'load', id)}
        aria-disabled={isOff}
        aria-label={`${word} ${id}`}
        title={isThere && pinned ? 'It is pinned.' : undefined}
      >
        {word}
      </button>
      <button type="button" onClick={() => change(pinned ? 'unpin' : 'pin', id)} aria-pressed={pinned} aria-label={`Pin ${id}`}>
        Pin
      </button>
    </div>
  );
}

function lamp(model: Model): string {
  if (model.quarantined_for_seconds) return 'failed';
  if (model.status.value !== 'loaded') return model.status.value;
  return model.status.state === 'idle' ? 'idle' : 'busy';
}

function words(model: Model): string {
  if (model.quarantined_for_seconds) return `set aside after a failure, for ${span(model.quarantined_for_seconds)}`;
  if (model.gives_way_for) return `gives way: ${model.gives_way_for}`;
  const state = model.status.state ?? '';
  if (state === 'resident') return 'in use';
  return state === '' || state === 'absent' ? 'not in memory' : state.replaceAll('_', ' ');
}

function leaves(model: Model, since: number): string {
  if (model.status.value !== 'loaded') return '–';
  if (model.pinned) return 'stays';
  if (model.status.state !== 'idle') return 'in use';
  const left = model.expires_in_seconds;
  return left === null || left === undefined ? 'stays until room is needed' : clock(left - since);
}

const SOURCES: Record<string, [string, string]> = {
  page_cache_warm: ['warm', 'its file was in the page cache'],
  page_cache_cold: ['cold', 'its file was read from the disk'],
};

function LastLoad({ model }: { model: Model }) {
  const { last_load_seconds: lasted, last_load_source: source } = model;
  if (lasted === null || lasted === undefined) return <>–</>;
  const [word, meaning] = SOURCES[source?.label ?? ''] ?? ['', 'where its file was is unknown'];
  return (
    <span title={source?.major_faults ? `${meaning}; ${count(source.major_faults)} major faults` : meaning}>
      {seconds(lasted)} <small>{word}</small>
    </span>
  );
}

function Evictions({ evictions, since }: { evictions: Eviction[]; since: number }) {
  const latest = evictions.slice().reverse();
  return (
    <section aria-labelledby="evictions">
      <h2 id="evictions">Evictions</h2>
      {latest.length === 0 ? (
        <Waiting what="None since this server began." />
      ) : (
        <Wide label="Evictions, latest first">
          <table class="evictions">
            <thead>
              <tr>
                <th scope="col">when</th>
                <th scope="col">model</th>
                <th scope="col">why</th>
                <th scope="col" class="number">
                  gave back
                </th>
                <th scope="col" class="number">
                  idle for
                </th>
              </tr>
            </thead>
            <tbody>
              {latest.map((one, place) => (
                <tr key={evictions.length - place}>
                  <td>{ago(one.seconds_ago + since)}</td>
                  <th scope="row">{one.model}</th>
                  <td>{one.cause}</td>
                  <td class="number">{bytes(one.bytes)}</td>
                  <td class="number">{span(one.idle_seconds)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </section>
  );
}
