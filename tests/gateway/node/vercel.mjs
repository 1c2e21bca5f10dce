// Vercel's `ai` with `@ai-sdk/openai` (responses and chat) and `@ai-sdk/anthropic`.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { askWeather, BASE_URL, keyOf, PLAIN, run, WEATHER, WEATHER_SCHEMA } from "./saw.mjs";

const GPT = process.env.COSTPLUS_CHAT_MODEL ?? "gpt-4o-mini";
const CLAUDE = process.env.COSTPLUS_MESSAGES_MODEL ?? "claude-sonnet-4-5";
const openai = (scenario) => createOpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: keyOf(scenario) });
const anthropic = (scenario) => createAnthropic({ baseURL: `${BASE_URL}/v1`, apiKey: keyOf(scenario) });

const answered = async (answer) => ({
  text: await answer.text,
  finish: await answer.finishReason,
  usage: plain(await answer.usage),
  total: plain(await (answer.totalUsage ?? answer.usage)),
});
const plain = (usage) => ({ input: usage.inputTokens, output: usage.outputTokens });

/** Returns the same scenarios for a model, by the model's name: text, stream, tool loops, refusals. */
function scenariosOf(name, modelOf) {
  const toolLoop = (asked) => ({
    tools: {
      weather: tool({
        description: "The weather of a city.",
        inputSchema: jsonSchema(WEATHER_SCHEMA),
        execute: async (given) => {
          asked.push(given);
          return WEATHER;
        },
      }),
    },
    stopWhen: isStepCount(4),
  });
  return {
    [`${name}_text`]: async (s) => answered(await generateText({ model: modelOf(s), prompt: PLAIN })),
    [`${name}_stream`]: async (s) => {
      const stream = streamText({ model: modelOf(s), prompt: PLAIN });
      const pieces = [];
      for await (const piece of stream.textStream) pieces.push(piece);
      return { ...(await answered(stream)), grown: pieces.join(""), several: pieces.length > 2 };
    },
    [`${name}_tools`]: async (s) => {
      const asked = [];
      const answer = await generateText({ model: modelOf(s), prompt: askWeather(), ...toolLoop(asked) });
      return { ...(await answered(answer)), asked, steps: answer.steps.length };
    },
    [`${name}_tools_stream`]: async (s) => {
      const asked = [];
      const stream = streamText({ model: modelOf(s), prompt: askWeather(), ...toolLoop(asked) });
      await stream.consumeStream();
      return { ...(await answered(stream)), asked, steps: (await stream.steps).length };
    },
  };
}

function refusalsOf(name, modelOf) {
  return {
    [`${name}_refused`]: async (s) => answered(await generateText({ model: modelOf(s), prompt: PLAIN })),
    [`${name}_refused_stream`]: async (s) => {
      let failed;
      const stream = streamText({ model: modelOf(s), prompt: PLAIN, onError: ({ error }) => (failed = error) });
      await stream.consumeStream();
      throw failed;
    },
  };
}

const others = {
  async embeddings(s) {
    const model = openai(s).embedding("text-embedding-3-small");
    const answer = await embedMany({ model, values: ["abcd", "efgh"] });
    return { lengths: answer.embeddings.map((one) => one.length), tokens: answer.usage.tokens };
  },
};

const chat = scenariosOf("chat", (s) => openai(s).chat(GPT));
const messages = scenariosOf("messages", (s) => anthropic(s)(CLAUDE));
const isTranslated = process.env.COSTPLUS_CHAT_MODEL !== undefined;
await run(
  isTranslated
    ? { ...chat, ...messages }
    : {
        ...chat,
        ...messages,
        ...scenariosOf("responses", (s) => openai(s)(GPT)),
        ...refusalsOf("chat", (s) => openai(s).chat(GPT)),
        ...refusalsOf("messages", (s) => anthropic(s)(CLAUDE)),
        ...refusalsOf("responses", (s) => openai(s)(GPT)),
        ...others,
      },
);
