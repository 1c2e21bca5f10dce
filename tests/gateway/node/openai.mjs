// The `openai` package: chat, responses, embeddings, streams, tools and a refusal.
import OpenAI from "openai";
import { all, askWeather, BASE_URL, keyOf, PLAIN, run, WEATHER, WEATHER_SCHEMA } from "./saw.mjs";

const CHAT = process.env.COSTPLUS_MODEL ?? "gpt-4o-mini";
const open = (scenario) => new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: keyOf(scenario) });
const said = (content) => [{ role: "user", content }];
const chatTools = [{ type: "function", function: { name: "weather", parameters: WEATHER_SCHEMA } }];
const responseTools = [{ type: "function", name: "weather", parameters: WEATHER_SCHEMA, strict: true }];

const afterTool = (question, message) => [
  ...said(question),
  message,
  ...message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: WEATHER })),
];
const calledIn = (message) =>
  (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

async function chatStream(scenario, options) {
  const stream = await open(scenario).chat.completions.create({
    model: CHAT,
    messages: said(PLAIN),
    stream: true,
    ...options,
  });
  const chunks = await all(stream);
  return {
    text: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
    usages: chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage),
    without_choices: chunks.filter((chunk) => chunk.choices.length === 0).length,
    finish: chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean),
  };
}

const chat = {
  async chat(scenario) {
    const answer = await open(scenario).chat.completions.create({ model: CHAT, messages: said(PLAIN) });
    return { text: answer.choices[0].message.content, usage: answer.usage, id: answer._request_id };
  },
  chat_stream: (scenario) => chatStream(scenario, {}),
  chat_stream_usage: (scenario) => chatStream(scenario, { stream_options: { include_usage: true } }),
  async chat_tools(scenario) {
    const client = open(scenario);
    const question = askWeather();
    const asked = { model: CHAT, tools: chatTools };
    const first = await client.chat.completions.create({ ...asked, messages: said(question) });
    const message = first.choices[0].message;
    const second = await client.chat.completions.create({ ...asked, messages: afterTool(question, message) });
    return {
      called: calledIn(message),
      finish: [first.choices[0].finish_reason, second.choices[0].finish_reason],
      text: second.choices[0].message.content,
    };
  },
  async chat_tools_stream(scenario) {
    const stream = open(scenario).chat.completions.stream({
      model: CHAT,
      tools: chatTools,
      messages: said(askWeather("[[say]] [[tool=weather]]")),
    });
    const pieces = [];
    stream.on("tool_calls.function.arguments.delta", (event) => pieces.push(event.arguments_delta));
    const whole = await stream.finalChatCompletion();
    const message = whole.choices[0].message;
    return {
      called: calledIn(message),
      finish: [whole.choices[0].finish_reason],
      text: message.content,
      pieces: pieces.join(""),
      several: pieces.length > 2,
    };
  },
  async chat_tool_runner(scenario) {
    const asked = [];
    const weather = (given) => {
      asked.push(given);
      return WEATHER;
    };
    const runner = open(scenario).chat.completions.runTools({
      model: CHAT,
      messages: said(askWeather()),
      tools: [
        {
          type: "function",
          function: { name: "weather", function: weather, parse: JSON.parse, parameters: WEATHER_SCHEMA },
        },
      ],
    });
    return { text: await runner.finalContent(), asked, usage: await runner.totalUsage() };
  },
  async chat_think(scenario) {
    const answer = await open(scenario).chat.completions.create({
      model: CHAT,
      messages: said(`${PLAIN} [[think=5]]`),
    });
    return { text: answer.choices[0].message.content, usage: answer.usage };
  },
  async chat_cached(scenario) {
    const system = { role: "system", content: "Be brief." };
    const answer = await open(scenario).chat.completions.create({
      model: CHAT,
      messages: [system, ...said(`${PLAIN} [[cached=4]]`)],
      temperature: 0.5,
    });
    return { text: answer.choices[0].message.content, usage: answer.usage };
  },
  async chat_limited(scenario) {
    const answer = await open(scenario).chat.completions.create({
      model: CHAT,
      messages: said(PLAIN),
      max_completion_tokens: 5,
    });
    return { text: answer.choices[0].message.content, finish: answer.choices[0].finish_reason };
  },
  async chat_provider_refuses(scenario) {
    return open(scenario).chat.completions.create({ model: CHAT, messages: said("[[error=400]]") });
  },
  async stopped_stream(scenario) {
    const stream = await open(scenario).chat.completions.create({
      model: CHAT,
      messages: said("[[input=9]] [[tokens=500]] [[chunk_ms=5]]"),
      stream: true,
    });
    const texts = [];
    for await (const chunk of stream) {
      texts.push(chunk.choices[0]?.delta?.content ?? "");
      if (texts.length === 5) break; // The package aborts the request.
    }
    return { chunks: texts.length };
  },
};

const translatedOnly = {
  async chat_untranslatable(scenario) {
    const asked = { model: CHAT, messages: said(PLAIN), logit_bias: { 50256: -100 } };
    return open(scenario).chat.completions.create(asked);
  },
  async chat_cut(scenario) {
    const asked = { model: CHAT, messages: said("[[tokens=12]] [[truncate]]"), stream: true };
    await all(await open(scenario).chat.completions.create(asked));
    return {};
  },
  async refused(scenario) {
    return open(scenario).chat.completions.create({ model: CHAT, messages: said(PLAIN) });
  },
};

const openaiOnly = {
  async response(scenario) {
    const answer = await open(scenario).responses.create({ model: CHAT, input: PLAIN });
    return { text: answer.output_text, usage: answer.usage, status: answer.status };
  },
  async response_stream(scenario) {
    const stream = open(scenario).responses.stream({ model: CHAT, input: `${PLAIN} [[think=5]]` });
    let grown = "";
    stream.on("response.output_text.delta", (event) => (grown += event.delta));
    const whole = await stream.finalResponse();
    return { text: whole.output_text, grown, usage: whole.usage, items: whole.output.map((item) => item.type) };
  },
  async response_tools(scenario) {
    const client = open(scenario);
    const asked = { model: CHAT, tools: responseTools };
    const first = await client.responses.create({ ...asked, input: askWeather() });
    const calls = first.output.filter((item) => item.type === "function_call");
    const input = [
      ...said(askWeather()),
      ...first.output,
      ...calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: WEATHER })),
    ];
    const second = await client.responses.create({ ...asked, input });
    return {
      called: calls.map((call) => [call.name, JSON.parse(call.arguments)]),
      text: second.output_text,
    };
  },
  async response_tools_stream(scenario) {
    const stream = open(scenario).responses.stream({ model: CHAT, tools: responseTools, input: askWeather() });
    const pieces = [];
    stream.on("response.function_call_arguments.delta", (event) => pieces.push(event.delta));
    const whole = await stream.finalResponse();
    const calls = whole.output.filter((item) => item.type === "function_call");
    return {
      called: calls.map((call) => [call.name, JSON.parse(call.arguments)]),
      pieces: pieces.join(""),
      several: pieces.length > 2,
    };
  },
  async embeddings(scenario) {
    const answer = await open(scenario).embeddings.create({
      model: "text-embedding-3-small",
      input: ["abcd", "efgh"],
      dimensions: 8,
    });
    return { lengths: answer.data.map((one) => one.embedding.length), usage: answer.usage };
  },
  async models(scenario) {
    const listed = await all(open(scenario).models.list());
    return { ids: listed.map((model) => model.id) };
  },
  async refused(scenario) {
    return open(scenario).chat.completions.create({ model: CHAT, messages: said(PLAIN) });
  },
  async refused_stream(scenario) {
    return chatStream(scenario, {});
  },
  async unknown_model(scenario) {
    return open(scenario).chat.completions.create({ model: "no-such-model", messages: said(PLAIN) });
  },
};

await run(process.env.COSTPLUS_MODEL ? { ...chat, ...translatedOnly } : { ...chat, ...openaiOnly });
