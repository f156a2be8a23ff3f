// The server's HTTP calls. In: paths and bodies. Out: JSON, or an ApiError that says which of the known refusals it was.
// It keeps the access token (from the address's #token= or typed in) in sessionStorage and nowhere else.

/**
 * @typedef {object} Config
 * @property {string} mode
 * @property {{name: string, language: string, greeting: string}} persona
 * @property {RTCIceServer[]} ice_servers
 * @property {boolean} auth
 * @property {string} version
 * @property {string} disclosure
 * @property {string} [agent]  LiveKit mode: by which name the avatar is called into a room
 * @property {boolean} [ice_restart]  the server can answer an ICE restart of a connection it has
 */

const ANSWER_TIMEOUT_MS = 8000;
const TOKEN_KEY = 'mien.token';

/** A call that did not succeed. `code` is the protocol's, or `server_gone` when nothing answered. */
export class ApiError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number | null} retryAfterS
   */
  constructor(code, message, retryAfterS = null) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

export class Api {
  /** @param {URL} base  where the server's `/` is */
  constructor(base) {
    this.base = base;
  }

  /** @returns {string | null} */
  get token() {
    return sessionStorage.getItem(TOKEN_KEY);
  }

  set token(value) {
    if (value) sessionStorage.setItem(TOKEN_KEY, value);
    else sessionStorage.removeItem(TOKEN_KEY);
  }

  /** Take the token out of this page's address, so that it is not copied along with it. */
  adoptTokenFromAddress() {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const token = fragment.get('token');
    if (!token) return;
    this.token = token;
    fragment.delete('token');
    const rest = fragment.toString();
    history.replaceState(history.state, '', location.pathname + location.search + (rest ? `#${rest}` : ''));
  }

  /**
   * @param {AbortSignal} [signal]
   * @returns {Promise<Config>}
   */
  async config(signal) {
    return (await this.#call('api/config', { signal })).json();
  }

  /** @returns {Promise<Blob>} the face at rest */
  async poster() {
    return (await this.#call('api/poster.png')).blob();
  }

  /**
   * @param {{sdp: string, session?: string, secret?: string, ice_restart?: boolean}} offer
   * @param {AbortSignal} signal
   * @returns {Promise<{sdp: string, session: string, secret: string, resumed: boolean}>}
   */
  async offer(offer, signal) {
    const browser = { timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, language: navigator.language };
    const response = await this.#call('api/offer', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ type: 'offer', browser, ...offer }),
      signal,
    });
    return response.json();
  }

  /**
   * What it takes to enter a LiveKit room to which the avatar is called.
   * @param {string | undefined} agent
   * @param {{room_name?: string, participant_identity?: string, participant_attributes?: Record<string, string>}} wishes
   *   without a name a new room
   * @param {AbortSignal} signal
   * @returns {Promise<{serverUrl: string, participantToken: string}>}
   */
  async ticket(agent, wishes, signal) {
    const metadata = JSON.stringify({ timezone: Intl.DateTimeFormat().resolvedOptions().timeZone });
    const room_config = agent ? { agents: [{ agent_name: agent, metadata }] } : undefined;
    const response = await this.#call('api/token', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ...wishes, room_config }),
      signal,
    });
    return response.json();
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #call(path, options = {}) {
    const headers = new Headers(options.headers);
    if (this.token) headers.set('Authorization', `Bearer ${this.token}`);
    const timeout = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    let response;
    try {
      response = await fetch(new URL(path, this.base), { ...options, headers, signal, cache: 'no-store' });
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new ApiError('server_gone', String(error));
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function refusal(response) {
  const retryAfter = Number.parseFloat(response.headers.get('Retry-After') ?? '');
  let body;
  try {
    body = await response.json();
  } catch {
    body = {}; // a proxy in between answers in its own format; its status still tells enough
  }
  const fallback = response.status === 401 ? 'unauthorized' : response.status >= 500 ? 'server_gone' : 'rejected';
  const code = body.error?.code ?? fallback;
  const message = body.error?.message ?? `The server answered ${response.status}.`;
  const retryAfterS = body.error?.retry_after_s ?? (Number.isFinite(retryAfter) ? retryAfter : null);
  return new ApiError(code, message, retryAfterS);
}
