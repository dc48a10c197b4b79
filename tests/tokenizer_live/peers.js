// Other people's tokenizers, for comparison:
//   peers.js vocabulary OUT [PRE_TOKENIZER_FROM]   GPT-2's tokenizer.json, made from the ranks of
//                          r50k_base; with the pre-tokenizer of another tokenizer.json
//   peers.js encode gpt-tokenizer|huggingface TOKENIZER TEXT IDS_OUT   ids as little-endian
//                          u32; prints {"seconds": the best of several runs}
const fs = require('fs');

const ranks = () => require('gpt-tokenizer/cjs/bpeRanks/r50k_base').default.map(
    (t) => Buffer.from(typeof t === 'string' ? Buffer.from(t, 'utf8') : Uint8Array.from(t)));

// GPT-2's alphabet: printable bytes stand for themselves, the rest for characters from 256 on.
function alphabet() {
  const out = [];
  let next = 256;
  for (let b = 0; b < 256; ++b) {
    const plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    out.push(String.fromCharCode(plain ? b : next++));
  }
  return out;
}

// The two tokens that a token was merged from: what joining by lower ranks leaves of its bytes.
function parts(bytes, rankOf) {
  const own = rankOf.get(bytes.toString('latin1'));
  const pieces = [...bytes].map((b) => String.fromCharCode(b));
  while (pieces.length > 2) {
    let best = own, at = -1;
    for (let i = 0; i + 1 < pieces.length; ++i) {
      const r = rankOf.get(pieces[i] + pieces[i + 1]);
      if (r !== undefined && r < best) [best, at] = [r, i];
    }
    if (at < 0) throw new Error(`no parts of token ${own}`);
    pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
  }
  return pieces;
}

function vocabulary(out, preTokenizerFrom) {
  const letters = alphabet();
  const spell = (latin1) => [...Buffer.from(latin1, 'latin1')].map((b) => letters[b]).join('');
  const rankOf = new Map(ranks().map((bytes, rank) => [bytes.toString('latin1'), rank]));
  const vocab = {}, merges = [];
  for (const bytes of ranks()) {
    const text = bytes.toString('latin1');
    vocab[spell(text)] = rankOf.get(text);
    if (bytes.length > 1) merges.push(parts(bytes, rankOf).map(spell).join(' '));
  }
  vocab['<|endoftext|>'] = 50256;
  const byteLevel = {type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true};
  const preTokenizer = preTokenizerFrom ?
      JSON.parse(fs.readFileSync(preTokenizerFrom, 'utf8')).pre_tokenizer : byteLevel;
  fs.writeFileSync(out, JSON.stringify({
    version: '1.0', truncation: null, padding: null,
    added_tokens: [{id: 50256, content: '<|endoftext|>', single_word: false, lstrip: false,
                    rstrip: false, normalized: false, special: true}],
    normalizer: null, pre_tokenizer: preTokenizer, post_processor: null, decoder: byteLevel,
    model: {type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '',
            end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, vocab, merges},
  }));
}

function encoder(peer, tokenizer) {
  if (peer === 'gpt-tokenizer') {
    const {encode} = require('gpt-tokenizer/encoding/r50k_base');
    return (text) => encode(text, {allowedSpecial: 'all'});
  }
  const {Tokenizer} = require('@huggingface/tokenizers');
  const own = new Tokenizer(JSON.parse(fs.readFileSync(tokenizer, 'utf8')), {});
  return (text) => own.encode(text, {add_special_tokens: false}).ids;
}

function encode(peer, tokenizer, textPath, out) {
  const text = fs.readFileSync(textPath).toString('utf8');  // ill-formed parts become U+FFFD
  const run = encoder(peer, tokenizer);
  let ids = [], seconds = Infinity;
  for (let i = 0; i < 3; ++i) {
    const begin = process.hrtime.bigint();
    ids = run(text);
    seconds = Math.min(seconds, Number(process.hrtime.bigint() - begin) / 1e9);
  }
  fs.writeFileSync(out, Buffer.from(Uint32Array.from(ids).buffer));
  console.log(JSON.stringify({seconds}));
}

const [what, ...rest] = process.argv.slice(2);
({vocabulary, encode})[what](...rest);
