// The `@anthropic-ai/sdk` package: messages, streams, tools, thinking, counting and a refusal.
import Anthropic from "@anthropic-ai/sdk";
import { all, askWeather, BASE_URL, keyOf, PLAIN, run, WEATHER, WEATHER_SCHEMA } from "./saw.mjs";

const MODEL = process.env.COSTPLUS_MODEL ?? "claude-sonnet-4-5";
const open = (scenario) => new Anthropic({ baseURL: BASE_URL, apiKey: keyOf(scenario) });
const asking = (content) => ({ model: MODEL, max_tokens: 200, messages: [{ role: "user", content }] });
const tools = [{ name: "weather", input_schema: WEATHER_SCHEMA }];

const textIn = (message) =>
  message.content
    .filter((block) => block.type === "text")
    .map((block) => block.text)
    .join("");
const callsIn = (message) => message.content.filter((block) => block.type === "tool_use");
const summary = (message) => ({
  text: textIn(message),
  called: callsIn(message).map((block) => [block.name, block.input]),
  blocks: message.content.map((block) => block.type),
  stop: message.stop_reason,
  usage: message.usage,
});

const messages = {
  async message(scenario) {
    const message = await open(scenario).messages.create(asking(PLAIN));
    return { ...summary(message), id: message._request_id };
  },
  async stream(scenario) {
    const stream = open(scenario).messages.stream(asking(PLAIN));
    let grown = "";
    stream.on("text", (piece) => (grown += piece));
    return { ...summary(await stream.finalMessage()), grown };
  },
  async raw_stream(scenario) {
    const events = await all(await open(scenario).messages.create({ ...asking(PLAIN), stream: true }));
    return { types: events.map((event) => event.type) };
  },
  async tools(scenario) {
    const client = open(scenario);
    const asked = { ...asking(askWeather("[[say]]")), tools };
    const first = await client.messages.create(asked);
    const results = callsIn(first).map((call) => ({
      type: "tool_result",
      tool_use_id: call.id,
      content: WEATHER,
    }));
    const turns = [
      { role: "assistant", content: first.content },
      { role: "user", content: results },
    ];
    const second = await client.messages.create({ ...asked, messages: [...asked.messages, ...turns] });
    return { first: summary(first), second: summary(second) };
  },
  async tools_stream(scenario) {
    const stream = open(scenario).messages.stream({
      ...asking(askWeather("[[tool=weather]]")),
      tools,
    });
    const pieces = [];
    stream.on("inputJson", (piece) => pieces.push(piece));
    return { ...summary(await stream.finalMessage()), pieces: pieces.join(""), several: pieces.length > 2 };
  },
  async cache_read(scenario) {
    const asked = { ...asking(`${PLAIN} [[cached=4]]`), system: "Be brief.", temperature: 0.5 };
    return summary(await open(scenario).messages.create(asked));
  },
  async limited(scenario) {
    return summary(await open(scenario).messages.create({ ...asking(PLAIN), max_tokens: 5 }));
  },
  async provider_refuses(scenario) {
    return summary(await open(scenario).messages.create(asking("[[error=400]]")));
  },
  async refused(scenario) {
    return summary(await open(scenario).messages.create(asking(PLAIN)));
  },
};

const translatedOnly = {
  async cut(scenario) {
    const text = "[[tokens=12]] [[truncate]]";
    return summary(await open(scenario).messages.stream(asking(text)).finalMessage());
  },
};

const anthropicOnly = {
  async thinking(scenario) {
    const stream = open(scenario).messages.stream({
      ...asking(`${PLAIN} [[think=5]]`),
      max_tokens: 2000,
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    let thoughts = "";
    stream.on("thinking", (piece) => (thoughts += piece));
    return { ...summary(await stream.finalMessage()), thoughts };
  },
  async cached(scenario) {
    const text = "[[input=100]] [[cached=50]] [[cache_write=20]] [[cache_write_1h=10]] [[tokens=7]]";
    return summary(await open(scenario).messages.create(asking(text)));
  },
  async count_tokens(scenario) {
    const { model, messages: turns } = asking("12345");
    return await open(scenario).messages.countTokens({ model, messages: turns });
  },
  async refused_stream(scenario) {
    return summary(await open(scenario).messages.stream(asking(PLAIN)).finalMessage());
  },
  async unknown_model(scenario) {
    return summary(await open(scenario).messages.create({ ...asking(PLAIN), model: "no-such-model" }));
  },
};

await run(process.env.COSTPLUS_MODEL ? { ...messages, ...translatedOnly } : { ...messages, ...anthropicOnly });
