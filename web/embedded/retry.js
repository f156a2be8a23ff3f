// What follows from an attempt to connect that failed: try again, and when, or tell the person. In: the error and how
// many attempts came before. Out: the connection's next state.

import { ApiError } from '../api.js';
import { NoRoute } from './peer.js';

/** @typedef {import('../client.js').Connection} Connection */

const BACKOFF_MS = [500, 1000, 2000, 4000, 8000];
const FULL_RETRY_S = 5;

/**
 * What follows from a failed attempt.
 * @param {unknown} error
 * @param {number} attempt  how many came before
 * @returns {Connection}
 */
export function outcome(error, attempt) {
  if (error instanceof NoRoute) return { phase: 'failed', cause: 'no_route', tried: error.tried };
  if (!(error instanceof ApiError)) {
    return { phase: 'failed', cause: 'error', text: error instanceof Error ? error.message : String(error) };
  }
  switch (error.code) {
    case 'server_full':
      return { phase: 'waiting', cause: 'server_full', text: error.message, ...later(jittered(error, FULL_RETRY_S)) };
    case 'shutting_down':
      return { phase: 'waiting', cause: 'shutting_down', text: error.message, ...later(jittered(error, 2)) };
    case 'server_gone': {
      const backoffMs = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)];
      return { phase: 'waiting', cause: 'server_gone', ...later(backoffMs * (0.8 + 0.4 * Math.random())) };
    }
    case 'unauthorized':
    case 'forbidden_origin':
      return { phase: 'failed', cause: error.code, text: error.message };
    default:
      return { phase: 'failed', cause: 'rejected', text: error.message };
  }
}

/**
 * At least what the server asked for, and up to half as much again, so that pages do not return all at once.
 * @param {ApiError} error
 * @param {number} otherwiseS
 */
function jittered(error, otherwiseS) {
  return 1000 * (error.retryAfterS ?? otherwiseS) * (1 + 0.5 * Math.random());
}

/** @param {number} ms */
function later(ms) {
  return { retryAtMs: performance.now() + ms };
}

/**
 * Until the time has passed, the network comes back, or the signal aborts.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}
