// What the page says about the connection, the microphone and the avatar's state. In: their values. Out: plain words:
// what happened, and what to do next. Nothing here touches the document.

/** @typedef {import('../client.js').Connection} Connection */
/** @typedef {import('../client.js').Tried} Tried */

/**
 * @typedef {object} Words
 * @property {string} title
 * @property {string[]} body
 * @property {string[]} [tried]  what was looked for
 * @property {string[]} [steps]  what to do
 */

/**
 * The short word for what is going on, for the pill on the picture.
 * @param {Connection} connection
 * @param {import('../client.js').AgentState} state
 * @param {import('../client.js').MicrophoneState} microphone
 * @returns {string}
 */
export function stateWord({ phase }, state, microphone) {
  switch (phase) {
    case 'connecting':
      return 'Connecting';
    case 'reconnecting':
      return 'Reconnecting…';
    case 'waiting':
      return 'Waiting';
    case 'connected':
      // Nobody is listened to through a microphone that is muted or not there.
      if (state === 'listening' && microphone.status !== 'on') return 'Ready';
      if (state === 'listening' && microphone.muted) return 'Muted';
      return { initializing: 'Waking up', idle: 'Ready', listening: 'Listening', thinking: 'Thinking', speaking: 'Speaking' }[state];
    default:
      return '';
  }
}

/**
 * @param {Connection} connection
 * @param {string} name  the avatar's
 * @returns {Words | null} null where nothing needs saying
 */
export function connectionWords(connection, name) {
  const { phase, cause, text } = connection;
  if (phase === 'waiting') return waitingWords(connection, name);
  if (phase === 'failed') {
    switch (cause) {
      case 'no_route':
        return connection.tried ? noRouteWords(connection.tried) : noPathWords();
      case 'unauthorized':
        return {
          title: 'This server asks for a token',
          body: ['Enter the access token that the person who runs this server gave you.'],
        };
      case 'forbidden_origin':
        return {
          title: 'Not from this address',
          body: [
            `The server does not accept conversations from ${location.origin}.`,
            'Whoever runs it can add this address to MIEN_ALLOWED_ORIGINS.',
          ],
        };
      default:
        return { title: 'The conversation could not start', body: [text ?? 'The reason is unknown.'] };
    }
  }
  if (phase === 'ended') {
    switch (cause) {
      case 'replaced':
        return { title: 'Continued elsewhere', body: ['This conversation goes on in another tab or window.'] };
      case 'shutdown':
        return { title: 'The server was shut down', body: [text || 'The conversation is over.'] };
      case 'error':
        return { title: 'The conversation broke off', body: [text || 'Something went wrong on the server.'] };
      default:
        return { title: `${name} has left`, body: [text || 'The conversation is over.'] };
    }
  }
  return null;
}

/**
 * @param {Connection} connection
 * @param {string} name
 * @returns {Words}
 */
function waitingWords({ cause, text }, name) {
  switch (cause) {
    case 'server_full':
      return {
        title: `${name} is busy`,
        body: [text || 'All places on this server are taken right now.', 'You will be let in as soon as one is free.'],
      };
    case 'avatar_absent':
      return {
        title: `${name} has not come yet`,
        body: [
          'It may be busy with other people, or its part of the server is not running.',
          'It is called again by itself. If nobody comes: whoever runs this server should look at the agent (mien agent).',
        ],
      };
    case 'avatar_gone':
      return {
        title: `${name} has left`,
        body: ['Its part of the server stopped in the middle of the conversation.', 'A new conversation begins as soon as it is back.'],
      };
    case 'shutting_down':
      return { title: 'The server is restarting', body: [text || 'It takes no new conversations at the moment.'] };
    default:
      return {
        title: 'The server does not answer',
        body: ['It may be restarting, or this device is offline. The conversation goes on if it is back within 30 seconds.'],
      };
  }
}

/**
 * @param {Tried} tried
 * @returns {Words}
 */
function noRouteWords(tried) {
  const found = [
    [tried.host, 'host', 'address of this device', 'addresses of this device'],
    [tried.mdns, 'mDNS', 'hidden address of this device', 'hidden addresses of this device'],
    [tried.srflx, 'srflx', 'public address', 'public addresses'],
    [tried.relay, 'relay', 'TURN relay', 'TURN relays'],
  ].map(([count, type, one, many]) => `${type}: ${count || 'no'} ${count === 1 ? one : many}`);
  const offered = tried.remote.length
    ? `The server offered: ${[...new Set(tried.remote)].join(', ')}`
    : 'The server offered no address at all';
  const steps = ['Leave the VPN, or another network (a phone’s hotspot), and try again.'];
  if (tried.mdns && !tried.host) steps.push('Allow the microphone: browsers hide this device’s addresses without it.');
  if (!tried.relay) {
    steps.push(
      tried.configured
        ? 'The STUN or TURN server gave no relay: whoever runs this server should check MIEN_ICE_SERVERS.'
        : 'Whoever runs this server can set a TURN relay in MIEN_ICE_SERVERS, and should let UDP through its firewall.',
    );
  }
  return {
    title: 'No route to the server',
    body: ['The server was reached, but sound and picture found no way through.'],
    tried: [...found, offered, ...tried.errors],
    steps,
  };
}

/** The same where nothing is known of the search: a LiveKit server leads it. @returns {Words} */
function noPathWords() {
  return {
    title: 'No route to the server',
    body: ['The LiveKit server was reached, but sound and picture found no way through.'],
    steps: [
      'Leave the VPN, or another network (a phone’s hotspot), and try again.',
      'Whoever runs the server should let its UDP and TCP ports through the firewall, tell it its public address, and turn on TURN over TLS: livekit.yaml says how.',
    ],
  };
}

/**
 * @param {import('../client.js').MicrophoneStatus} status
 * @param {string} name  the avatar's
 * @returns {string} empty where nothing needs saying
 */
export function microphoneWords(status, name) {
  const goesOn = `You can type, and ${name} answers aloud.`;
  switch (status) {
    case 'refused':
      return `The microphone was refused. ${goesOn} To talk, allow it in the browser’s address bar.`;
    case 'absent':
      return `No microphone was found. ${goesOn} To talk, plug one in.`;
    case 'busy':
      return `The microphone is used by another program. ${goesOn} To talk, close that program.`;
    case 'insecure':
      return `Browsers give no microphone to a page without https. ${goesOn}`;
    case 'off':
      return `The microphone is off. ${goesOn}`;
    default:
      return '';
  }
}

/**
 * The end of a long text, from a sentence's start where one is near: what fits over a picture.
 * @param {string} text
 * @param {number} [most]  characters
 * @returns {string}
 */
export function tail(text, most = 140) {
  if (text.length <= most) return text;
  const end = text.slice(-most);
  const sentence = end.search(/[.!?…]["”’)]?\s+\S/);
  if (sentence >= 0 && sentence < most / 2) return end.slice(sentence).replace(/^\S+\s+/, '');
  return `…${end.replace(/^\S*\s+/, '')}`;
}

/** @param {import('../client.js').Caption} caption */
export function captionText({ text, interrupted }) {
  return interrupted ? `${text.trimEnd().replace(/[\s.,;:!?…—-]+$/, '')}—` : text;
}
