// client.js URL KEY: asks a server in every way that OpenAI's client has for texts, and prints what
// came back as one JSON document; the test (tests/blackbox/serve_openai_test.py) judges it.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = (await client.models.list()).data[0].id;
const prompt = "In the beginning";
const warm = { model, temperature: 1.2, top_p: 0.9, seed: 7, max_tokens: 20 };
const messages = [{ role: "user", content: prompt }];
const out = { model, retrieved: (await client.models.retrieve(model)).id };

out.completion = await client.completions.create({ prompt, ...warm });
out.several = await client.completions.create({ prompt, ...warm, n: 2 });
out.stopped = await client.completions.create({ prompt, model, temperature: 0, max_tokens: 40, stop: [" the"] });

out.pieces = [];
for await (const event of await client.completions.create({ prompt, ...warm, stream: true })) {
  out.pieces.push(event.choices[0].text);
}

out.chat = await client.chat.completions.create({ messages, ...warm });
out.chatStream = { text: "", usage: null, chunks: 0 };
const stream = await client.chat.completions.create({
  messages, ...warm, stream: true, stream_options: { include_usage: true } });
for await (const event of stream) {
  out.chatStream.chunks += 1;
  out.chatStream.text += event.choices[0]?.delta?.content ?? "";
  out.chatStream.usage = event.usage ?? out.chatStream.usage;
}
// The helper that puts a stream together is strict about what chunks look like.
const helper = client.chat.completions.stream({ messages, ...warm });
out.helper = (await helper.finalChatCompletion()).choices[0];

// Leaving a stream early must do no harm.
for await (const event of await client.completions.create({ prompt, ...warm, max_tokens: 2000, stream: true })) {
  if (event.choices[0].text) break;
}

out.errors = {};
async function refused(name, promise) {
  try {
    await promise;
    out.errors[name] = null;
  } catch (e) {
    out.errors[name] = { status: e.status, kind: e.constructor.name, code: e.code, param: e.param, message: e.message };
  }
}
await refused("range", client.completions.create({ prompt, ...warm, temperature: -1 }));
await refused("model", client.completions.create({ prompt, ...warm, model: "other" }));
await refused("tools", client.chat.completions.create({
  messages, ...warm, tools: [{ type: "function", function: { name: "f", parameters: {} } }] }));
await refused("key", new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list());
console.log(JSON.stringify(out));
