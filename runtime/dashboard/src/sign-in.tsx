// A key is shown once; from then on the browser has a cookie that this script cannot read.

import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask } from './ask';

interface Props {
  why: string;
  done: () => void;
  /** Where there is something to go back to. */
  cancel?: (() => void) | undefined;
}

export function SignIn({ why, done, cancel }: Props) {
  const [refused, setRefused] = useState('');
  const [isAsking, setAsking] = useState(false);
  const key = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => key.current?.focus(), []);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (isAsking) return;
    setRefused('');
    setAsking(true);
    try {
      const shown = key.current?.value.trim() ?? '';
      // Of anything else a browser makes no header, and asks nobody.
      if (!/^[\x21-\x7e]*$/.test(shown)) throw new Error('This is no key: keys have letters, digits and signs of ASCII alone.');
      await ask('/v1/sign-in', { method: 'POST', headers: { authorization: `Bearer ${shown}` } });
      done();
    } catch (error) {
      setRefused((error as Error).message);
      key.current?.select();
    } finally {
      setAsking(false);
    }
  };
  return (
    <section class="sign-in" aria-labelledby="sign-in">
      <h2 id="sign-in">Sign in</h2>
      <p>{why}</p>
      <form onSubmit={submit}>
        {/* What a key is kept under by who keeps it for people. */}
        <input type="text" autocomplete="username" value={location.host} hidden readOnly />
        <label>
          Key
          <input
            ref={key}
            name="key"
            type="password"
            autocomplete="current-password"
            required
            spellcheck={false}
            aria-invalid={refused !== ''}
            aria-describedby={refused ? 'sign-in-refused' : undefined}
          />
        </label>
        <div class="actions">
          <button type="submit" class="first" aria-disabled={isAsking}>
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
        <p class="refused" role="alert" id="sign-in-refused">
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
