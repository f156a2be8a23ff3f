// What the person does, kept until the avatar has it. In: messages, and the word that one was heard. Out: the same
// messages, each with an id, in order: one at a time, and again and again until it was heard.
//
// LiveKit's client 2.23.0 loses what it is given in the two seconds after it came to a server that was started anew: it
// says that it is connected, puts packets aside for a resumption, and resumes nothing, because this was no resumption.
// LiveKit's server drops what comes for somebody who is not quite there yet. Neither says so.

const AGAIN_MS = 500;
/** More than anybody does while they wait for a connection. */
const LIMIT = 64;
/** Said so often on a connection that stands, it is what the avatar does not take: too long, for instance. */
const TRIES = 60;

export class Outbox {
  #send;
  /** @type {{id: string, [key: string]: unknown}[]} */
  #waiting = [];
  #count = 0;
  #tries = 0;
  #timer = 0;

  /** @param {(message: object) => boolean} send  whether there is a connection; it may get lost all the same */
  constructor(send) {
    this.#send = send;
  }

  /** @param {{id?: string, [key: string]: unknown}} message */
  push(message) {
    this.#count += 1;
    this.#waiting.push({ id: `m-${Date.now().toString(36)}-${this.#count}`, ...message });
    if (this.#waiting.length > LIMIT) this.#waiting.shift();
    if (this.#waiting.length === 1) this.#sendNext();
  }

  /** @param {string} id */
  heard(id) {
    if (this.#waiting[0]?.id !== id) return; // it was heard twice
    this.#waiting.shift();
    this.#sendNext();
  }

  clear() {
    this.#waiting = [];
    clearTimeout(this.#timer);
  }

  #sendNext() {
    this.#tries = 0;
    this.#sendFirst();
  }

  #sendFirst() {
    clearTimeout(this.#timer);
    const [first] = this.#waiting;
    if (!first) return;
    if (this.#send(first)) this.#tries += 1;
    if (this.#tries > TRIES) {
      console.info('A message was never heard.', first.type);
      this.heard(first.id);
      return;
    }
    this.#timer = setTimeout(() => this.#sendFirst(), AGAIN_MS);
  }
}
