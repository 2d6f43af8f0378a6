// A key is shown once; from then on the browser has a cookie that this script cannot read.

import { useState } from 'preact/hooks';
import { ask } from './ask';

interface Props {
  why: string;
  done: () => void;
  /** Where there is something to go back to. */
  cancel?: (() => void) | undefined;
}

export function SignIn({ why, done, cancel }: Props) {
  const [refused, setRefused] = useState('');
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    setRefused('');
    const form = event.currentTarget as HTMLFormElement;
    const key = String(new FormData(form).get('key') ?? '').trim();
    try {
      await ask('/v1/sign-in', { method: 'POST', headers: { authorization: `Bearer ${key}` } });
      form.reset();
      done();
    } catch (error) {
      setRefused((error as Error).message);
    }
  };
  return (
    <section class="sign-in" aria-labelledby="sign-in">
      <h2 id="sign-in">Sign in</h2>
      <p>{why}</p>
      <form onSubmit={submit}>
        <label>
          Key
          <input name="key" type="password" autocomplete="current-password" required spellcheck={false} />
        </label>
        <div class="actions">
          <button type="submit" class="first">
            Sign in
          </button>
          {cancel && (
            <button type="button" onClick={cancel}>
              Cancel
            </button>
          )}
        </div>
      </form>
      {refused && (
        <p class="refused" role="alert">
          {refused}
        </p>
      )}
      <p class="note">
        The operator makes one with <code>dayfly key create --tenant NAME</code>.
      </p>
    </section>
  );
}

export function signOut(): Promise<unknown> {
  return ask('/v1/sign-in', { method: 'DELETE' });
}
