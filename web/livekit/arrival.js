// The avatar's coming, waited for once. In: that it came, or that it cannot. Out: a promise with a limit.

import { Absent } from './outcome.js';

export class Arrival {
  happened = false;

  /** @type {(value?: unknown) => void} */
  #resolve = () => {};
  /** @type {(reason: unknown) => void} */
  #reject = () => {};
  #promise = new Promise((resolve, reject) => {
    this.#resolve = resolve;
    this.#reject = reject;
  });

  constructor() {
    this.#promise.catch(() => {}); // nobody may be waiting any more
  }

  came() {
    this.happened = true;
    this.#resolve();
  }

  /** @param {Error} error */
  failed(error) {
    this.#reject(error);
  }

  /**
   * @param {number} ms
   * @param {AbortSignal} signal
   * @throws {Absent} when it has not come by then
   */
  async within(ms, signal) {
    const abort = () => this.#reject(signal.reason);
    const timer = setTimeout(() => this.#reject(new Absent('avatar_absent')), ms);
    signal.addEventListener('abort', abort);
    try {
      await this.#promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }
}
