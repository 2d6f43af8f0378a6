// Light or dark: the system's, until someone says otherwise.

import { useEffect, useState } from 'preact/hooks';

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];
const KEPT = 'dayfly.theme';

function kept(): Theme {
  const stored = localStorage.getItem(KEPT);
  return THEMES.find((theme) => theme === stored) ?? 'system';
}

/** What was chosen, what that is now, and how to choose. */
export function useTheme(): [Theme, 'light' | 'dark', (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(kept);
  const system = matchMedia('(prefers-color-scheme: dark)');
  const [isDark, setDark] = useState(system.matches);
  useEffect(() => {
    const changed = () => setDark(system.matches);
    system.addEventListener('change', changed);
    return () => system.removeEventListener('change', changed);
  }, []);
  const shown = theme === 'system' ? (isDark ? 'dark' : 'light') : theme;
  document.documentElement.dataset.theme = shown;
  const choose = (chosen: Theme) => {
    localStorage.setItem(KEPT, chosen);
    setTheme(chosen);
  };
  return [theme, shown, choose];
}
