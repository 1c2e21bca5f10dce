// The shape of `@stripe/ai-sdk/provider`: OpenAI's chat at the root, the seller's key, a header for the customer.
//
// `createStripe({ apiKey, customerId, baseURL })` posts to `${baseURL}/chat/completions`. The package is not on
// the public registry: a built copy in COSTPLUS_STRIPE_AI_SDK is used where there is one; else its shape is
// sent by `@ai-sdk/openai-compatible`, and once by hand, with the headers and the body that it sends.
import path from "node:path";
import { pathToFileURL } from "node:url";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { BASE_URL, PLAIN, run } from "./saw.mjs";

const SELLER_KEY = process.env.COSTPLUS_SELLER_KEY;
const MODEL = "openai/gpt-4o-mini";
const HELLO = [{ role: "user", content: PLAIN }];
const customerOf = (scenario) => `cus_stripe_${scenario}`;

const alike = (scenario) =>
  createOpenAICompatible({
    name: "stripe",
    baseURL: BASE_URL,
    apiKey: SELLER_KEY,
    headers: { "X-Stripe-Customer-ID": customerOf(scenario) },
    includeUsage: true,
  });

const told = async (answer) => ({
  text: await answer.text,
  usage: { input: (await answer.usage).inputTokens, output: (await answer.usage).outputTokens },
});

const shape = {
  text: async (s) => told(await generateText({ model: alike(s)(MODEL), prompt: PLAIN })),
  async stream(s) {
    const stream = streamText({ model: alike(s)(MODEL), prompt: PLAIN });
    await stream.consumeStream();
    return told(stream);
  },
  refused: async (s) => told(await generateText({ model: alike(s)(MODEL), prompt: PLAIN })),
  async by_hand(s) {
    const answer = await fetch(`${BASE_URL}/chat/completions`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${SELLER_KEY}`,
        "content-type": "application/json",
        "user-agent": "Stripe/v1 @stripe/ai-sdk/provider/0.1.0 ai-sdk/provider-utils/3.0.44",
        "x-stripe-customer-id": customerOf(s),
      },
      body: JSON.stringify({ model: MODEL, messages: HELLO, temperature: 0.2, max_tokens: 4096, stop: ["X"] }),
    });
    const { choices, usage } = await answer.json();
    return { status: answer.status, text: choices[0].message.content, usage };
  },
};

/** Returns scenarios with the package itself, called as Vercel's `ai` calls a model. */
async function itself(folder) {
  const entry = pathToFileURL(path.join(folder, "dist/provider/index.mjs"));
  const { createStripe } = await import(entry);
  const modelOf = (s) =>
    createStripe({ apiKey: SELLER_KEY, customerId: customerOf(s), baseURL: BASE_URL })(MODEL);
  const prompt = [{ role: "user", content: [{ type: "text", text: PLAIN }] }];
  const textOf = (content) => content.map((part) => part.text ?? "").join("");
  const usageOf = ({ inputTokens, outputTokens }) => ({ input: inputTokens, output: outputTokens });
  return {
    async sdk_text(s) {
      const { content, usage } = await modelOf(s).doGenerate({ prompt });
      return { text: textOf(content), usage: usageOf(usage) };
    },
    async sdk_stream(s) {
      const { stream } = await modelOf(s).doStream({ prompt });
      const parts = [];
      for await (const part of stream) parts.push(part);
      const finish = parts.find((part) => part.type === "finish");
      const text = parts.map((part) => (part.type === "text-delta" ? part.delta : "")).join("");
      return { text, usage: usageOf(finish.usage) };
    },
    sdk_refused: async (s) => modelOf(s).doGenerate({ prompt }),
  };
}

const folder = process.env.COSTPLUS_STRIPE_AI_SDK;
await run(folder ? { ...shape, ...(await itself(folder)) } : shape);
