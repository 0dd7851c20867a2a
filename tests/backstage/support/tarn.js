// Plays scripts to tarn itself, for tests/it/tarn.rs: a JSON array of them on stdin, what happened on stdout. Time is made up.

import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const require = createRequire(import.meta.url);
const timers = require('node:timers');
const { setImmediate } = timers;

/** Time for everybody: jumps from one thing that happens to the next. */
class Clock {
  now = 0;
  #waiting = [];

  /** Takes the place of Node's timers and of the time of day, in all modules. */
  install() {
    const set = every => (call, millis = 0) => {
      const timer = { at: this.now + millis, every: every && millis, atOnce: millis === 0, call };
      this.#waiting.push(timer);
      return timer;
    };
    const clear = timer => {
      this.#waiting = this.#waiting.filter(other => other !== timer);
    };
    for (const place of [globalThis, timers]) {
      Object.assign(place, { setTimeout: set(false), setInterval: set(true), clearTimeout: clear, clearInterval: clear });
    }
    Date.now = () => this.now;
  }

  reset() {
    this.now = 0;
    this.#waiting = [];
  }

  /** The next timer, in the order in which they were set. */
  next() {
    return this.#waiting.reduce((first, timer) => (first && first.at <= timer.at ? first : timer), undefined);
  }

  /** How many timers there are for this moment, but for those that something has set at this very moment. */
  due(at) {
    return this.#waiting.filter(timer => timer.at === at && !timer.atOnce).length;
  }

  fire(timer) {
    this.#waiting = this.#waiting.filter(other => other !== timer);
    if (timer.every) {
      this.#waiting.push(Object.assign(timer, { at: timer.at + timer.every }));
    }
    timer.call();
  }
}

const clock = new Clock();
clock.install();
const { Pool, TimeoutError } = require('tarn');

/** A pool, its clients, and a diary of what happens. */
class House {
  entries = [];
  #clients = new Map();
  #opened = 0;
  #numberOf = new Map();
  #slow = new Set();
  #script;
  #pool;

  constructor(script) {
    this.#script = script;
    let request;
    this.#pool = new Pool({
      ...script.options,
      create: () => this.#create(request),
      destroy: server => this.#close(server),
      validate: server => !server.dead,
    });
    this.#pool.on('createRequest', id => {
      request = id;
    });
    this.#pool.on('createFail', (id, error) => {
      this.note(`failed ${this.#numberOf.get(id)}`);
      if (error instanceof TimeoutError) {
        this.#slow.add(this.#numberOf.get(id));
      }
    });
    this.#pool.on('createSuccess', (id, { number }) => {
      this.note(`open ${number}`);
      // greenroom looks at idle servers from the first that is open; tarn from the first that is lent, so one whose asker has
      // gone in the meantime would stay for ever (docs/adr/0007).
      this.#pool._startReaping();
    });
  }

  note(what) {
    this.entries.push([clock.now, what]);
  }

  turn({ client, leaves, dead }) {
    const { waiting, server } = this.#clients.get(client) ?? {};
    if (server) {
      const somebodyWaits = [...this.#clients.values()].some(other => other.waiting);
      if (dead > 0 && somebodyWaits) {
        this.#die(server);
      }
      this.note(`back ${server.number}`);
      this.#clients.delete(client);
      this.#pool.release(server);
    } else if (!waiting) {
      [...this.#pool.free].reverse().slice(0, dead).forEach(({ resource }) => this.#die(resource));
      this.#ask(client);
    } else if (leaves) {
      this.note(`left ${client}`);
      this.#clients.delete(client);
      waiting.abort();
    }
  }

  #ask(client) {
    const waiting = this.#pool.acquire();
    this.#clients.set(client, { waiting });
    waiting.promise.then(
      server => {
        this.note(`lent ${server.number} to ${client}`);
        this.#clients.set(client, { server });
      },
      error => {
        if (this.#clients.get(client)?.waiting === waiting) {
          this.note(`refused ${client}: ${reason(error)}`);
          this.#clients.delete(client);
        }
      },
    );
  }

  #create(request) {
    this.#opened += 1;
    const number = this.#opened;
    this.#numberOf.set(request, number);
    this.note(`opens ${number}`);
    const { after, fails } = this.#script.logins[number - 1] ?? this.#script.logins.at(-1);
    return new Promise((resolve, reject) => {
      setTimeout(() => (fails ? reject(new Error(`login ${number} failed`)) : resolve({ number })), after);
    });
  }

  #close(server) {
    // Of one that came too late nobody knows any more; a dead one is closed already.
    if (!this.#slow.has(server.number) && !server.dead) {
      this.note(`closed ${server.number}`);
    }
  }

  #die(server) {
    this.note(`died ${server.number}`);
    server.dead = true;
  }
}

/** Why nothing was lent. A login that took too long is a timeout as well: tarn has the same words for both. */
function reason(error) {
  return error instanceof TimeoutError ? 'timeout' : error.message;
}

/** What happens, and from when on it depends on the order of two things of the same millisecond. */
async function play(script) {
  clock.reset();
  const house = new House(script);
  const turns = [...script.turns];
  let undecided;
  while (true) {
    const timer = clock.next();
    const isTurn = turns.length > 0 && turns[0].at <= (timer?.at ?? Infinity);
    const at = isTurn ? turns[0].at : timer?.at ?? Infinity;
    if (at >= script.ends) {
      return { entries: house.entries, undecided };
    }
    // Looked at before any of them can have cleared another one.
    if (at > clock.now && clock.due(at) + isTurn > 1) {
      undecided ??= at;
    }
    clock.now = at;
    if (isTurn) {
      house.turn(turns.shift());
    } else {
      clock.fire(timer);
    }
    // Every promise that can be settled is.
    await new Promise(resolve => setImmediate(resolve));
  }
}

const played = [];
for (const script of JSON.parse(await text(process.stdin))) {
  played.push(await play(script));
}
process.stdout.write(JSON.stringify(played));
