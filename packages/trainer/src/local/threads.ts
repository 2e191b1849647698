/** How many threads compute on this machine, and with which kernels. */
import { type KernelChoice, type KernelVariant, resolveVariant } from '@lockstep/kernels';
import { ConfigError } from '@lockstep/nn';
import { cores } from '@lockstep/workers';

/** What computes on this machine. */
export interface ThreadOptions {
  /** Threads; `auto` (default): one per core. The weights do not depend on it. */
  readonly workers?: number | 'auto';
  /** Default `auto`. The weights do not depend on it. */
  readonly kernels?: KernelChoice;
}

/** Number of threads to use. Throws ConfigError. */
export function resolveWorkers(workers: ThreadOptions['workers'] = 'auto'): number {
  if (workers === 'auto') return cores();
  if (Number.isInteger(workers) && workers >= 1 && workers <= MAX_WORKERS) return workers;
  throw new ConfigError('workers', `got ${workers}, expected auto or an integer from 1 to ${MAX_WORKERS}`);
}

const MAX_WORKERS = 1024;

/** The kernels that a choice means on this machine. Throws ConfigError where there are none such. */
export function resolveKernels(choice: KernelChoice = 'auto'): KernelVariant {
  try {
    return resolveVariant(choice);
  } catch (error) {
    throw new ConfigError('kernels', messageOf(error).replace(/^kernels /, ''));
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
