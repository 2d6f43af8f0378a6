// Asks a model, and shows what that took.

import { useEffect, useState } from 'preact/hooks';
import { type Form, useAnswer } from '../answer';
import { nanos } from '../format';
import { ReceiptFigures } from '../receipt';
import type { Model } from '../wire';

const TOKENS_MAX = 4096;

interface Props {
  models: Model[];
  /** Whether the key is for asking. */
  mayAsk: boolean;
  hidden: boolean;
}

export function PlaygroundView({ models, mayAsk, hidden }: Props) {
  const [model, setModel] = useState('');
  const [prompt, setPrompt] = useState('What is a mayfly?');
  const [form, setForm] = useState<Form>('chat');
  const [tokens, setTokens] = useState(64);
  const { answer, receipt, first, refused, state, ask, stop } = useAnswer();
  const proposed = (models.find((one) => one.status.value === 'loaded') ?? models[0])?.id ?? '';
  const chosen = models.some((one) => one.id === model) ? model : proposed;
  // What was proposed once stays, whatever is loaded meanwhile.
  useEffect(() => setModel(chosen), [chosen]);
  const isAsking = state === 'asking';
  const isOff = isAsking || chosen === '' || prompt === '' || !mayAsk;

  const submit = (event: Event) => {
    event.preventDefault();
    if (!isOff) void ask({ model: chosen, prompt, form, tokens });
  };
  const submitByKey = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit(event);
  };

  return (
    <section aria-labelledby="ask" class="playground" hidden={hidden}>
      <h2 id="ask">Ask</h2>
      {!mayAsk && <p class="note">This key reads. Asking needs one with the scope inference.</p>}
      <form onSubmit={submit}>
        <div class="fields">
          <label class="model-field">
            Model
            <select value={chosen} onChange={(event) => setModel(event.currentTarget.value)}>
              {models.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.id}
                  {one.status.value === 'loaded' ? ' · in memory' : ''}
                </option>
              ))}
            </select>
          </label>
          <label>
            As
            <select value={form} onChange={(event) => setForm(event.currentTarget.value as Form)}>
              <option value="chat">a message</option>
              <option value="text">a text to go on with</option>
            </select>
          </label>
          <label>
            Tokens at most
            <input
              type="number"
              min={1}
              max={TOKENS_MAX}
              value={tokens}
              onChange={(event) => {
                const value = Math.max(1, Math.min(TOKENS_MAX, Math.trunc(event.currentTarget.valueAsNumber) || 1));
                event.currentTarget.value = String(value);
                setTokens(value);
              }}
            />
          </label>
        </div>
        <label>
          Prompt
          <textarea rows={3} value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} onKeyDown={submitByKey} />
        </label>
        <div class="actions">
          <button type="submit" class="first" aria-disabled={isOff} title="Ctrl + Enter">
            Ask
          </button>
          <button type="button" onClick={stop} aria-disabled={!isAsking}>
            Stop
          </button>
          <span class="note" role="status">
            {state === 'stopped' && 'stopped; '}
            {first !== null && (
              <>
                first token after <span class="figure">{nanos(first)}</span>, seen from here
              </>
            )}
            {isAsking && first === null && 'waiting for the first token…'}
          </span>
        </div>
      </form>
      {refused && (
        <p class="refused" role="alert">
          {refused}
        </p>
      )}
      {(isAsking || answer !== '') && (
        <div class="answer" role="log" aria-label="Answer" aria-busy={isAsking} tabIndex={0}>
          {answer || '…'}
        </div>
      )}
      {receipt && (
        <section aria-labelledby="its-receipt">
          <h2 id="its-receipt">What that took</h2>
          <ReceiptFigures receipt={receipt} />
        </section>
      )}
    </section>
  );
}
