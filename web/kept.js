// The key to this tab's conversation, kept over a reload. In: session and secret. Out: the same, while the server still
// keeps the conversation. It lives in sessionStorage: another tab has another conversation.

const SESSION_KEY = 'mien.session';
/** The server keeps a conversation this long after its connection was lost. */
const KEPT_MS = 30_000;

/** @param {{session: string, secret: string}} session */
export function rememberSession(session) {
  sessionStorage.setItem(SESSION_KEY, JSON.stringify({ ...session, lostAt: Date.now() }));
}

/** @returns {{session: string, secret: string} | null} a conversation that this tab had moments ago, before a reload */
export function recentSession() {
  const stored = sessionStorage.getItem(SESSION_KEY);
  if (!stored) return null;
  const { session, secret, lostAt } = JSON.parse(stored);
  return Date.now() - lostAt < KEPT_MS ? { session, secret } : null;
}

export function forgetSession() {
  sessionStorage.removeItem(SESSION_KEY);
}
