// What a report of savings compares.

import type { Arm, Arms, Comparison, SavingsReport } from './wire';

export interface Compared {
  ephemeral: Arm;
  held: Arms['held'];
  dedicated: Comparison;
  /** None of who is told of copies of its own alone. */
  shared: Comparison | null;
}

/** Of everyone both baselines, of a tenant copies of its own. */
export function compared(report: SavingsReport): Compared | null {
  const { ephemeral, held, dedicated } = report.total ?? report;
  return ephemeral && held && dedicated ? { ephemeral, held, dedicated, shared: report.total?.shared_persistent ?? null } : null;
}
