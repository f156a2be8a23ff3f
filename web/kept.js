// The way back to this tab's conversation, kept over a reload. In: what names it (a session and its secret, or a room and
// who we are there). Out: the same, while the other side still waits. It lives in sessionStorage: another tab has another
// conversation.

const KEY = 'mien.session';
/** The avatar waits this long for a person who went without a word. */
export const KEPT_MS = 30_000;

/** @param {Record<string, string>} way */
export function rememberSession(way) {
  sessionStorage.setItem(KEY, JSON.stringify({ ...way, lostAt: Date.now() }));
}

/**
 * @param {string[]} names  what a way back of this kind holds
 * @returns {Record<string, string> | null} to a conversation that this tab had moments ago, before a reload
 */
export function recentSession(names) {
  const stored = sessionStorage.getItem(KEY);
  if (!stored) return null;
  const { lostAt, ...way } = JSON.parse(stored);
  return Date.now() - lostAt < KEPT_MS && names.every((name) => typeof way[name] === 'string') ? way : null;
}

export function forgetSession() {
  sessionStorage.removeItem(KEY);
}
