// Where this tab's conversation is, and whether the avatar still waits there: over a lost connection, and over a reload.
// In: that a room was entered, lost or left. Out: what a new token must name to come back.

import { KEPT_MS, forgetSession, recentSession, rememberSession } from '../kept.js';

/** @typedef {{room_name: string, participant_identity: string}} Where */

export class Place {
  /** @type {Where | null} */
  #where = null;
  /** As Date.now(). */
  #lostAt = 0;

  /** Empty for a new room. @returns {Partial<Where>} */
  get wishes() {
    return this.#where && Date.now() - this.#lostAt < KEPT_MS ? this.#where : {};
  }

  /** @param {Where} where */
  entered(where) {
    this.#where = where;
  }

  lost() {
    this.#lostAt = Date.now();
  }

  /** There is nothing to come back to. */
  forget() {
    this.#where = null;
    forgetSession();
  }

  /**
   * The page goes; it may be back.
   * @param {string} session
   * @returns {boolean} whether there is anything to come back to
   */
  keep(session) {
    if (!this.#where) return false;
    this.lost();
    rememberSession({ ...this.#where, session });
    return true;
  }

  /**
   * What this tab had before it was loaded again; once, because a copy of the tab would have it too.
   * @returns {string | null} the conversation
   */
  recall() {
    const kept = recentSession(['room_name', 'participant_identity', 'session']);
    forgetSession();
    if (this.#where || !kept) return null;
    const { session, room_name, participant_identity } = kept;
    this.#where = { room_name, participant_identity };
    this.lost();
    return session;
  }
}
