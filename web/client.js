// The one interface between the page and a conversation, whatever carries it. In: what the person does (methods). Out:
// what happens (events). The UI knows this file alone; `embedded-client.js` implements it over docs/protocol.md,
// `livekit-client.js` over a LiveKit room.

/**
 * @typedef {'idle'|'connecting'|'connected'|'reconnecting'|'waiting'|'failed'|'ended'} Phase
 * idle: before the start and after leaving. waiting: will try again by itself at `retryAtMs`. failed: needs the person.
 *
 * @typedef {'lost'|'server_full'|'server_gone'|'shutting_down'|'no_route'|'unauthorized'|'forbidden_origin'|'rejected'|
 *   'avatar_absent'|'avatar_gone'|'left'|'shutdown'|'replaced'|'error'} Cause
 *
 * @typedef {object} Tried  Which routes were looked for, when there was none.
 * @property {number} host    addresses of this device, in the open
 * @property {number} mdns    addresses of this device, hidden behind `.local` names
 * @property {number} srflx   public addresses, found by a STUN server
 * @property {number} relay   TURN relays
 * @property {string[]} remote  candidate types that the server offered
 * @property {boolean} configured  whether any STUN or TURN server was configured
 * @property {string[]} errors  what STUN and TURN servers answered when they failed
 *
 * @typedef {object} Connection
 * @property {Phase} phase
 * @property {Cause} [cause]
 * @property {string} [text]       the server's own words, where it gave some
 * @property {number} [retryAtMs]  on the clock of performance.now()
 * @property {Tried} [tried]       with no_route, where that is known
 *
 * @typedef {'initializing'|'idle'|'listening'|'thinking'|'speaking'} AgentState
 *
 * @typedef {object} Caption  The whole text so far of one utterance.
 * @property {'assistant'|'user'} role
 * @property {string} id
 * @property {string} text
 * @property {boolean} final
 * @property {boolean} [interrupted]  the text ends where the voice was cut
 *
 * @typedef {object} Part   @property {string} part @property {string} name @property {string} why @property {boolean} online
 * @typedef {object} Voice  @property {string} id @property {string} provider @property {string} name
 *   @property {string} language @property {boolean} online
 * @typedef {object} Offer  @property {string} id @property {string} text @property {number} [size_mb]
 *
 * @typedef {object} Hello
 * @property {string} session
 * @property {{name: string}} persona
 * @property {Part[]} parts
 * @property {Voice[]} voices
 * @property {string} voice   the id of the voice in use
 * @property {Offer[]} offers
 * @property {{role: 'assistant'|'user', text: string}[]} history
 * @property {boolean} first  the first one on this connection: `history` is then worth reading
 * @property {boolean} resumed  this connection took an earlier conversation up again
 *
 * @typedef {object} Notice    @property {'info'|'warning'|'error'} level @property {string} code @property {string} text
 * @typedef {object} Turn      @property {string} id @property {{name: string, ms: number}[]} stages @property {number} total_ms
 * @typedef {object} Progress  @property {string} offer @property {number} done @property {number} [total]  in bytes
 *
 * @typedef {'off'|'asking'|'on'|'refused'|'absent'|'busy'|'insecure'} MicrophoneStatus
 * refused: permission denied. absent: none plugged in. busy: taken by another program. insecure: page not served safely.
 *
 * @typedef {object} MicrophoneState
 * @property {MicrophoneStatus} status
 * @property {boolean} muted
 * @property {string} deviceId
 * @property {{deviceId: string, label: string}[]} devices
 * @property {boolean} echoCancelled  what the browser really applies
 *
 * @typedef {object} ClientEventMap
 * @property {Connection} connection
 * @property {{state: AgentState}} state
 * @property {{state: 'speaking'|'listening'|'away'}} userstate
 * @property {Caption} caption
 * @property {Notice} notice
 * @property {Hello} hello
 * @property {Turn} turn
 * @property {Progress} progress
 * @property {MicrophoneState} microphone
 * @property {{on: boolean}} halfduplex
 * @property {{stream: MediaStream | null}} media  sound and picture together, for one media element
 */

/**
 * @typedef {object} AvatarClient  What both implementations offer. All methods return at once and never throw for what
 * the other side does: that comes as `connection` and `notice` events.
 * @property {Connection} connection
 * @property {AgentState} state
 * @property {Hello | null} hello
 * @property {MicrophoneState} microphone
 * @property {boolean} halfDuplex
 * @property {MediaStream | null} stream
 * @property {<K extends keyof ClientEventMap>(type: K, listener: (detail: ClientEventMap[K]) => void) => () => void} on
 *   returns the function that stops listening
 * @property {(options?: {microphone?: boolean}) => void} start
 * @property {() => void} leave        also gives up waiting
 * @property {() => void} openMicrophone  ask (again) for a microphone during a conversation
 * @property {(text: string) => void} sendChat
 * @property {() => void} interrupt
 * @property {(muted: boolean) => void} setMuted
 * @property {(id: string) => void} setVoice
 * @property {(deviceId: string) => void} setMicrophone
 * @property {(offer: string, granted: boolean) => void} consent
 * @property {(on: boolean) => void} setHalfDuplex
 * @property {() => Promise<object>} getStats  one snapshot, for measuring
 */

/** Typed events; listeners that throw do not stop the others. */
export class ClientEvents {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * @param {string} type
   * @param {(detail: any) => void} listener
   * @returns {() => void} stops listening
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * @param {string} type
   * @param {any} detail
   */
  emit(type, detail) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        reportError(error);
      }
    }
  }
}

/**
 * The client for what the server says it is.
 * @param {import('./api.js').Api} api
 * @param {import('./api.js').Config} config
 * @returns {Promise<AvatarClient>}
 */
export async function createClient(api, config) {
  switch (config.mode) {
    case 'embedded': {
      const { EmbeddedClient } = await import('./embedded-client.js');
      return new EmbeddedClient(api);
    }
    case 'livekit': {
      const { LiveKitClient } = await import('./livekit-client.js');
      return new LiveKitClient(api);
    }
    default:
      throw new Error(`This page cannot talk to a server of mode "${config.mode}": reload it, or update the server.`);
  }
}
