// What follows in LiveKit mode from an attempt that failed. In: the error and how many attempts came before. Out: the
// connection's next state. What the page's own server refuses is the same as in the embedded room.

import { outcome } from '../embedded/retry.js';
import { NoPath } from './visit.js';

/** @typedef {import('../client.js').Connection} Connection */

const ABSENT_RETRY_MS = 5000;

/** The room is there and the avatar is not. */
export class Absent extends Error {
  /** @param {'avatar_absent'|'avatar_gone'} code  it never came, or it went and nothing took its place */
  constructor(code) {
    super(code);
    this.name = 'Absent';
    this.code = code;
  }
}

/**
 * @param {unknown} error
 * @param {number} attempt  how many came before
 * @returns {Connection}
 */
export function livekitOutcome(error, attempt) {
  if (error instanceof NoPath) return { phase: 'failed', cause: 'no_route' };
  if (error instanceof Absent) {
    return { phase: 'waiting', cause: error.code, retryAtMs: performance.now() + ABSENT_RETRY_MS };
  }
  return outcome(error, attempt);
}
