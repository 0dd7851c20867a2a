// Child processes that never outlive the test file that started them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const running = new Set();
process.once('exit', () => running.forEach(child => child.endAtOnce()));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(1));
}

/** A program that is ended, by the signal its owner names, when this process ends. */
export class Child {
  #child;
  #signalAtOnce;
  #said = '';

  constructor(program, args, { signalAtOnce = 'SIGKILL', ...options } = {}) {
    this.#signalAtOnce = signalAtOnce;
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        this.#said = (this.#said + text).slice(-16_384);
      });
    }
    running.add(this);
    this.ended = once(this.#child, 'exit').then(
      ([code, signal]) => ({ code, signal }),
      error => ({ error }),
    );
    this.ended.then(() => running.delete(this));
  }

  /** The end of what it wrote, for the message of a failure. */
  get said() {
    return this.#said;
  }

  /** Asks it to end and waits until it has. */
  async end(signal, limitMillis = 20_000) {
    this.#child.kill(signal);
    const ended = await Promise.race([this.ended, sleep(limitMillis, undefined, { ref: false })]);
    if (!ended) {
      this.endAtOnce();
      await this.ended;
      throw new Error(`not ended ${limitMillis} ms after ${signal}:\n${this.#said}`);
    }
    return ended;
  }

  endAtOnce() {
    this.#child.kill(this.#signalAtOnce);
  }

  /** Waits until `ready` no longer throws; fails at once when the program ends before that. */
  async until(ready, limitMillis = 20_000) {
    const ended = this.ended.then(how => {
      throw new Error(`ended while it started, ${JSON.stringify(how)}:\n${this.#said}`);
    });
    await Promise.race([ended, eventually(ready, limitMillis)]);
    ended.catch(() => {});
  }
}

/** Repeats `attempt` until it does not throw, and returns what it returned. */
export async function eventually(attempt, limitMillis = 10_000) {
  const deadline = Date.now() + limitMillis;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await sleep(25);
    }
  }
}

/** A TCP port of the loopback address that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
