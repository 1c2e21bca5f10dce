// What a script of this folder tells the test that runs it.
//
// Rule 1: the base URL and the start of the keys come from the environment; every scenario has a key, and so a
// customer, of its own: what is booked for that customer is what the scenario used.
// Rule 2: one JSON object goes to standard output, what each scenario saw by its name; what an SDK throws is
// seen too, with the number of requests that it took.

export const BASE_URL = process.env.COSTPLUS_URL;
const KEY = process.env.COSTPLUS_KEY;
const PATIENCE_MS = 30_000;

let requests = 0;
const plainFetch = globalThis.fetch;
globalThis.fetch = (...given) => {
  requests += 1;
  return plainFetch(...given);
};

/** Returns the key of a scenario's customer. */
export const keyOf = (scenario) => `${KEY}_${scenario}`;

/** Returns what an error says, in the fields that the SDKs have. */
function thrown(error) {
  return {
    threw: error.constructor.name,
    kinds: kindsOf(error),
    message: String(error.message),
    status: error.status ?? error.statusCode ?? null,
    code: error.code ?? error.error?.error?.code ?? null,
    type: error.type ?? null,
    retryable: error.isRetryable ?? null,
    body: error.responseBody ?? null,
    cause: error.cause ? String(error.cause) : null,
  };
}

function kindsOf(error) {
  const kinds = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  return kinds;
}

/** Runs the scenarios one after another and prints what they saw. */
export async function run(scenarios) {
  const saw = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    const before = requests;
    let late;
    const tooLate = new Promise((_, reject) => {
      late = setTimeout(() => reject(new Error(`no answer in ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    try {
      saw[name] = await Promise.race([scenario(name), tooLate]);
    } catch (error) {
      saw[name] = thrown(error);
    }
    clearTimeout(late);
    saw[name].requests = requests - before;
  }
  process.stdout.write(JSON.stringify(saw));
}

/** Returns everything that an async iterable brings. */
export async function all(iterable) {
  const found = [];
  for await (const one of iterable) found.push(one);
  return found;
}

export const CITY = { city: "Ålesund", days: 3 };
export const WEATHER = "Rain, then sun.";
/** Returns a question whose answer calls the tool `weather` first. */
export const askWeather = (more = "") => `[[input=40]] [[tokens=12]] [[tool=weather ${JSON.stringify(CITY)}]] ${more}`;
export const PLAIN = "Hello [[input=9]] [[tokens=12]]";
export const WEATHER_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city"],
  additionalProperties: false,
};
